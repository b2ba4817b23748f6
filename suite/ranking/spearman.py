"""Spearman's ρ of all metrics at once, and of their resamples."""

from __future__ import annotations

import numpy as np

from suite.ranking.bootstrap import intervals
from suite.ranking.correlation import LEAST, Numbers, Vector
from suite.ranking.within import Run, mean_over_runs

RESAMPLES = 300
"""As many are used for intervals of ρ, which want a standard error only: it is known to 4 % of itself."""


def spearman_columns(
    x: Vector, y: Vector, numbers: Numbers, runs: list[Run] | None, counts: Vector
) -> dict[str, Vector]:
    """`rho`, `rho_low` and `rho_high`, `M × T` each: over all networks, or within runs and then their mean.

    Args:
        x: metrics, `M × n`.
        y: gaps, `T × n`.
        numbers: cluster of each network, or of each run.
        runs: of trajectory tasks; None for grids.
        counts: `R × k`, how often each cluster occurs in each resample, the first row all ones.
    """
    counts = counts[: 1 + RESAMPLES]
    drawn = counts[:, numbers]
    if not len(numbers):
        draws = np.full((len(x), len(y), len(counts)), np.nan)
    elif runs is None:
        draws = draw_spearman(x, y, drawn)
    else:
        each = [draw_spearman(run.x, run.y, np.ones((1, run.x.shape[1])))[..., 0] for run in runs]
        draws = mean_over_runs(np.array(each), drawn)
    low, high = intervals(draws, counts.shape[1])
    return {"rho": draws[..., 0], "rho_low": low, "rho_high": high}


def draw_spearman(x: Vector, y: Vector, counts: Vector) -> Vector:
    """ρ of data in which point i occurs `counts[r, i]` times: Pearson's r of the ranks, ties given their mean rank.

    Args:
        x: metrics, `M × n`; what is not finite is missing, and the gap is ranked among the rest.
        y: gaps, `T × n`, finite.
        counts: `R × n`; a row of ones is the data themselves.

    Returns:
        `M × T × R`; NaN where the gap is constant among the points with a value or these are fewer than three, 0 where
        only the metric is constant, as for τ.
    """
    known = np.isfinite(x)
    rho = np.full((len(x), len(y), len(counts)), np.nan)
    for pattern in np.unique(known, axis=0):
        if pattern.sum() < LEAST:
            continue
        metrics, drawn = np.flatnonzero((known == pattern).all(1)), counts[:, pattern]
        gaps = [_centred_ranks(gap[pattern], drawn) for gap in y]
        for m in metrics:
            ranks, spread = _centred_ranks(x[m, pattern], drawn)
            for t, (other, width) in enumerate(gaps):
                rho[m, t] = _correlation((ranks * other * drawn).sum(1), spread, width)
    return rho


def _centred_ranks(values: Vector, counts: Vector) -> tuple[Vector, Vector]:
    """Ranks less their mean in each resample, `R × n`, and the sum of their squares, `R`."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    # of a level: the points below it and half of itself, less half of all points: ranks have that mean always
    levels = sizes.cumsum(1) - sizes / 2 - sizes.sum(1, keepdims=True) / 2
    place = np.empty(len(values), dtype=np.intp)
    place[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(values)))
    return levels[:, place], (levels**2 * sizes).sum(1)


def _correlation(products: Vector, first: Vector, second: Vector) -> Vector:
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = products / np.sqrt(first * second)
    return np.where(second == 0, np.nan, np.where(first == 0, 0.0, rho))
