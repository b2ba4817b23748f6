"""The bootstrap: settings are drawn again with all their runs, and intervals know how few settings there were."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from suite.ranking.correlation import Numbers, Vector

RESAMPLES = 1000
LEVEL = 0.95


def generator(*names: str) -> np.random.Generator:
    """A generator seeded by a hash of names: the same in every run of the report."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:8], "big"))


def setting_numbers(frame: pd.DataFrame, hyperparameters: list[str]) -> Numbers:
    """The setting (0 … k − 1) of each row; "none" is a value like others; all one setting where nothing is varied."""
    if not hyperparameters:
        return np.zeros(len(frame), dtype=np.int64)
    return np.asarray(frame.groupby(hyperparameters, sort=False, dropna=False).ngroup(), dtype=np.int64)


def clusters(points: pd.DataFrame, hyperparameters: list[str]) -> tuple[Numbers, str]:
    """What is drawn again: the cluster of each point, and what a cluster is.

    The seeds of one setting are not independent evidence about hyperparameters, so they come and go together. Where
    there is a single setting nothing but the seed varies: runs are drawn, and the interval is about that setting.

    What is drawn are settings like these. Where learning rate and batch size move metric and gap much more than
    anything else does, five values of each say less of other values than 25 settings seem to: intervals of 95 % then
    hold the τ over all values 84 % of the time (the tests simulate it), and too often that of these very values.

    Args:
        points: one row per run.
        hyperparameters: the columns that make a setting.

    Returns:
        Cluster numbers 0 … k − 1, and `settings` or `runs`.
    """
    settings = setting_numbers(points, hyperparameters)
    if settings.max(initial=0) > 0:
        return settings, "settings"
    return np.arange(len(points)), "runs"


def cluster_counts(numbers: Numbers, resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
    """How often each point occurs when clusters are drawn with replacement.

    Args:
        numbers: cluster number (0 … k − 1) of each of n points.
        resamples: R.
        random: the generator.

    Returns:
        `R × n`.
    """
    if not len(numbers):
        return np.zeros((resamples, 0))
    k = int(numbers.max()) + 1
    drawn = random.multinomial(k, np.full(k, 1 / k), size=resamples).astype(float)
    return np.asarray(drawn[:, numbers], dtype=float)


@dataclass(frozen=True)
class Spread:
    """The variance of an estimate, and the degrees of freedom it is known with; NaN where it is not known."""

    variance: float
    freedom: float


def spread(replicates: NDArray[np.float64], k: int) -> Spread:
    """The spread of an estimate from its replicates, drawn from k clusters.

    Resampling k clusters sees their scatter about their own mean, (k − 1) / k of the scatter about the true one. Not
    known from fewer than two clusters, or where fewer than half of the replicates are defined.
    """
    defined = replicates[np.isfinite(replicates)]
    if k < 2 or len(defined) < max(2, len(replicates) / 2):
        return Spread(float("nan"), float("nan"))
    return Spread(float(defined.var(ddof=1)) * k / (k - 1), k - 1.0)


def mean_spread(spreads: Sequence[Spread]) -> Spread:
    """The spread of the mean of independent estimates; degrees of freedom by Welch and Satterthwaite."""
    variances = np.array([s.variance for s in spreads])
    freedoms = np.array([s.freedom for s in spreads])
    total = float(variances.sum())
    freedom = total**2 / float((variances**2 / freedoms).sum()) if total else float(freedoms.min())
    return Spread(total / len(spreads) ** 2, freedom)


def interval(estimate: float, known: Spread, bounds: tuple[float, float] = (-1.0, 1.0)) -> tuple[float, float]:
    """The 95 % interval: Student's t times the bootstrap's standard error, cut at what is possible.

    Not the percentile interval: with few clusters it cannot be wide enough (of four means, all percentiles lie between
    the least and the greatest, and the truth lies outside of these one time in eight).
    """
    if not np.isfinite([estimate, known.variance]).all():
        return float("nan"), float("nan")
    half = float(stdtrit(known.freedom, (1 + LEVEL) / 2) * np.sqrt(known.variance)) if known.variance else 0.0
    return max(bounds[0], estimate - half), min(bounds[1], estimate + half)


def intervals(draws: Vector, k: int, bounds: tuple[float, float] = (-1.0, 1.0)) -> tuple[Vector, Vector]:
    """`interval` of many estimates at once: `… × (1 + R)`, the estimate first, then its replicates from k clusters.

    Returns:
        Lower and upper ends, `…`.
    """
    flat = draws.reshape(-1, draws.shape[-1])
    ends = [interval(row[0], spread(row[1:], k), bounds) for row in flat]
    low, high = np.array(ends).reshape(-1, 2).T.reshape(2, *draws.shape[:-1])
    return low, high
