"""The granulated Kendall coefficient (Jiang et al. 2019)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from suite.ranking.correlation import Vector, defined_mean, kendall, weighted_kendall


def granulated_kendall(frame: pd.DataFrame, factors: list[str], metric: str, gap: str, vary: str) -> tuple[float, int]:
    """ψ of one hyperparameter: the mean τ-b as it alone varies.

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
    x, y = columns(frame, metric, gap)
    taus = [kendall(x[rows], y[rows], least=2) for rows in _groups(frame, factors, vary)]
    defined = [tau for tau in taus if not np.isnan(tau)]
    return (float(np.mean(defined)), len(defined)) if defined else (float("nan"), 0)


def granulated_replicates(
    frame: pd.DataFrame, factors: list[str], metric: str, gap: str, vary: str, counts: Vector
) -> Vector:
    """ψ of each resample of the rows: row i occurs `counts[r, i]` times in resample r; NaN where it has none."""
    x, y = columns(frame, metric, gap)
    groups = _groups(frame, factors, vary)
    taus = np.array([weighted_kendall(x[rows], y[rows], counts[:, rows], least=2) for rows in groups])
    return defined_mean(taus) if len(taus) else np.full(len(counts), np.nan)


def columns(frame: pd.DataFrame, metric: str, gap: str) -> tuple[Vector, Vector]:
    """A metric's and a gap's values, float64 `[n]` each."""
    return frame[metric].to_numpy(float), frame[gap].to_numpy(float)


def _groups(frame: pd.DataFrame, factors: list[str], vary: str) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Positions of the rows of each setting of the other factors."""
    others = [name for name in factors if name != vary]
    if not others:
        return [np.arange(len(frame))]
    # a factor may have "none" as one of its values: dropna=False keeps these rows
    numbers = frame.groupby(others, sort=True, dropna=False).ngroup().to_numpy()
    return [np.flatnonzero(numbers == number) for number in range(int(numbers.max(initial=-1)) + 1)]
