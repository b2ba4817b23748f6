"""Rank correlations as the field uses them, with every degenerate case defined."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def pair_signs(x: Vector) -> NDArray[np.float64]:
    """sign(x_i − x_j) for all pairs, `n × n`."""
    return np.sign(x[:, None] - x[None, :])


def kendall(x: Vector, y: Vector) -> float:
    """Kendall's τ-b between a metric x and a gap y.

    Points with a missing value on either side are left out. NaN with fewer than three points or where the gap is
    constant (there is nothing to predict); 0 where the metric is constant (it predicts nothing).
    """
    kept = np.isfinite(x) & np.isfinite(y)
    x, y = x[kept], y[kept]
    if len(x) < 3 or np.ptp(y) == 0:
        return float("nan")
    if np.ptp(x) == 0:
        return 0.0
    return float(weighted_kendall(pair_signs(x), pair_signs(y), np.ones((1, len(x))))[0])


def weighted_kendall(x_signs: Vector, y_signs: Vector, counts: Vector) -> Vector:
    """τ-b of resampled data: point i occurs `counts[r, i]` times in resample r.

    Args:
        x_signs: of the metric, from `pair_signs`, `n × n`.
        y_signs: of the gap.
        counts: `R × n`.

    Returns:
        `R` values; NaN where the gap is constant in a resample, 0 where only the metric is.
    """
    agree = _quadratic(x_signs * y_signs, counts)
    x_pairs, y_pairs = _quadratic(np.abs(x_signs), counts), _quadratic(np.abs(y_signs), counts)
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = agree / np.sqrt(x_pairs * y_pairs)
    return np.where(y_pairs == 0, np.nan, np.where(x_pairs == 0, 0.0, tau))


def _quadratic(matrix: Vector, counts: Vector) -> Vector:
    """cᵀ M c for each row c."""
    result: Vector = ((counts @ matrix) * counts).sum(1)
    return result


def granulated_kendall(frame: pd.DataFrame, factors: list[str], metric: str, gap: str, vary: str) -> tuple[float, int]:
    """ψ of one hyperparameter (Jiang et al. 2019): the mean τ-b as it alone varies.

    Args:
        frame: one row per run.
        factors: all that was varied, seeds among them.
        metric: a column.
        gap: a column.
        vary: the hyperparameter; for every setting of the other factors that has at least two runs and a gap that is
            not constant, τ-b between metric and gap is taken over its values. A constant metric counts as 0.

    Returns:
        ψ (NaN if no setting can be used), and the number of settings it is the mean of.
    """
    others = [name for name in factors if name != vary]
    present = frame[np.isfinite(frame[metric]) & np.isfinite(frame[gap])]
    groups = [part for _, part in present.groupby(others, sort=True)] if others else [present]
    taus = [tau for part in groups if not np.isnan(tau := _short_kendall(part[metric], part[gap]))]
    return (float(np.mean(taus)), len(taus)) if taus else (float("nan"), 0)


def _short_kendall(x: pd.Series[float], y: pd.Series[float]) -> float:
    """As `kendall`, for as few as two points."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(a) < 2 or np.ptp(b) == 0:
        return float("nan")
    return float(weighted_kendall(pair_signs(a), pair_signs(b), np.ones((1, len(a))))[0])
