"""Rank correlations as the field uses them, with every degenerate case defined."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

Vector = NDArray[np.float64]

LEAST = 3
"""Fewer points than this have no τ: two are always ±1."""


def pair_signs(x: Vector) -> Vector:
    """sign(x_i − x_j) for all pairs, `n × n`."""
    return np.sign(x[:, None] - x[None, :])


def kendall(x: Vector, y: Vector, least: int = LEAST) -> float:
    """Kendall's τ-b (scipy's) between a metric x and a gap y.

    Points with a missing value on either side are left out. NaN with fewer than `least` points or where the gap is
    constant (there is nothing to predict); 0 where the metric is constant (it predicts nothing).
    """
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if len(x) < least or np.ptp(y) == 0:
        return float("nan")
    if np.ptp(x) == 0:
        return 0.0
    return float(kendalltau(x, y, variant="b").statistic)


def weighted_kendall(x: Vector, y: Vector, counts: Vector, least: int = LEAST) -> Vector:
    """`kendall` of resampled data: point i occurs `counts[r, i]` times in resample r.

    scipy has no such thing, and resampling one at a time takes minutes; the tests hold each value against scipy's on
    the resampled points.

    Returns:
        One τ-b for each row of `counts`; NaN where the gap is constant in a resample, 0 where only the metric is.
    """
    kept = np.isfinite(x) & np.isfinite(y)
    if kept.sum() < least:
        return np.full(len(counts), np.nan)
    x_signs, y_signs, counts = pair_signs(x[kept]), pair_signs(y[kept]), counts[:, kept]
    agree = _quadratic(x_signs * y_signs, counts)
    x_pairs, y_pairs = _quadratic(np.abs(x_signs), counts), _quadratic(np.abs(y_signs), counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = agree / np.sqrt(x_pairs * y_pairs)
    return np.where(y_pairs == 0, np.nan, np.where(x_pairs == 0, 0.0, tau))


def coverage(x: Vector, y: Vector, counts: Vector) -> Vector:
    """Of the pairs whose gaps differ, the share that the metric has values for, in each resample.

    τ times this counts every other pair as a coin toss, right or wrong with equal chance. That is less than guessing
    the missing values would be worth: a guess still falls on the right side of the values that are extreme.

    Returns:
        One share for each row of `counts`; NaN where the gap is constant or has fewer than three points.
    """
    known = np.isfinite(y)
    if known.sum() < LEAST:
        return np.full(len(counts), np.nan)
    differ, counts, has = np.abs(pair_signs(y[known])), counts[:, known], np.isfinite(x[known])
    pairs = _quadratic(differ, counts)
    with np.errstate(invalid="ignore"):
        share: Vector = _quadratic(differ[np.ix_(has, has)], counts[:, has]) / pairs
    return share


def _quadratic(matrix: Vector, counts: Vector) -> Vector:
    """cᵀ M c for each row c."""
    result: Vector = ((counts @ matrix) * counts).sum(1)
    return result


def defined_mean(values: Vector) -> Vector:
    """Mean over the first axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: Vector = np.where(defined, values, 0.0).sum(0) / defined.sum(0)
    return mean
