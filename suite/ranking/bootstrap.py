"""Bootstrap intervals. Drawn again is what was drawn: settings of a grid with all their seeds, or whole runs."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from suite.ranking.correlation import pair_signs, weighted_kendall

RESAMPLES = 1000


def generator(*names: str) -> np.random.Generator:
    """A generator seeded by a hash of names: the same in every run of the report."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:8], "big"))


def cluster_counts(clusters: NDArray[np.int64], resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
    """How often each point occurs when clusters are drawn with replacement.

    Args:
        clusters: cluster number (0 … k − 1) of each of n points. The seeds of one setting are not independent evidence
            about hyperparameters: they come and go together.
        resamples: R.
        random: the generator.

    Returns:
        `R × n`.
    """
    k = int(clusters.max()) + 1
    drawn = random.multinomial(k, np.full(k, 1 / k), size=resamples).astype(float)
    return np.asarray(drawn[:, clusters], dtype=float)


def grid_replicates(x: NDArray[np.float64], y: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """τ-b of each resample; points with a missing value never count."""
    kept = np.isfinite(x) & np.isfinite(y)
    if kept.sum() < 3:
        return np.full(len(counts), np.nan)
    return weighted_kendall(pair_signs(x[kept]), pair_signs(y[kept]), counts[:, kept])


def mean_replicates(statistics: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of per-run statistics in each resample of runs; runs without a statistic are left out."""
    kept = np.isfinite(statistics)
    if not kept.any():
        return np.full(len(counts), np.nan)
    weights = counts[:, kept]
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = weights @ statistics[kept] / weights.sum(1)
    return means


def interval(replicates: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval; NaN where fewer than half of the replicates are defined."""
    defined = replicates[np.isfinite(replicates)]
    if len(defined) < len(replicates) / 2:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
