"""Prediction of the gap for hyperparameter values that were not seen, beyond what the trivial predictors say."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from suite.ranking.correlation import Vector

_COLLINEAR = 1e-8
"""Share of a predictor's variance that has to be left beside the others for it to be one of its own."""


def folds(frame: pd.DataFrame, hyperparameters: list[str]) -> list[NDArray[np.bool_]]:
    """For every value of every hyperparameter that varies: the rows that have it, which are predicted from the rest."""
    made = []
    for name in hyperparameters:
        codes, levels = pd.factorize(frame[name], use_na_sentinel=False)
        made += [codes == level for level in range(len(levels))] if len(levels) > 1 else []
    return made


def r2_over_trivial(x: Vector, y: Vector, trivial: NDArray[np.bool_], left_out: list[NDArray[np.bool_]]) -> Vector:
    """1 − (squared errors of trivial predictors and the metric) / (those of the trivial predictors alone).

    Least squares of the gap on ranks (shared by ties; a missing value stands in the middle), fitted without one value
    of one hyperparameter and tried on the runs that have it, over all such values. 1: the metric adds all that was
    missing; 0: nothing; below 0: it misleads where it was not fitted. A trivial predictor adds nothing to itself: 0.

    Args:
        x: metrics, `M × n`; NaN where missing.
        y: a gap, `n`.
        trivial: `M`, which metrics are trivial predictors; the constant ones among them are not used.
        left_out: `folds`.

    Returns:
        `M`; NaN where nothing is left to explain or there are no folds.
    """
    if not left_out:
        return np.full(len(x), np.nan)
    ranks = np.array([_ranks(row) for row in x]).reshape(x.shape)
    base = np.vstack([np.ones(len(y)), ranks[trivial & (np.ptp(ranks, axis=1) > 0)]]).T
    alone, together = 0.0, np.zeros(len(x))
    for tried in left_out:
        residual, residuals = _beside(base, y[:, None], tried), _beside(base, ranks.T, tried)
        fitted, target = residuals[~tried], residual[~tried]
        squares = (fitted**2).sum(0)
        own = squares > _COLLINEAR * ((ranks[:, ~tried] - ranks[:, ~tried].mean(1, keepdims=True)) ** 2).sum(1)
        slope = np.where(own, (fitted * target).sum(0) / np.where(own, squares, 1.0), 0.0)
        alone += float((residual[tried] ** 2).sum())
        together += ((residual[tried] - residuals[tried] * slope) ** 2).sum(0)
    if alone <= 1e-20 * float((y**2).sum()):
        return np.full(len(x), np.nan)
    return np.where(trivial, 0.0, 1 - together / alone)


def _ranks(row: Vector) -> Vector:
    """Ranks over those present, from −1 to 1; 0 where missing."""
    present = np.isfinite(row)
    made = np.zeros(len(row))
    if present.sum() > 1:
        made[present] = (2 * rankdata(row[present]) - present.sum() - 1) / (present.sum() - 1)
    return made


def _beside(base: Vector, columns: Vector, tried: NDArray[np.bool_]) -> Vector:
    """What the base, fitted on the rows that are not tried, leaves of columns, on all rows (Frisch and Waugh)."""
    coefficients = np.linalg.lstsq(base[~tried], columns[~tried], rcond=1e-8)[0]
    left: Vector = columns - base @ coefficients
    return left
