"""The robust sign error (Dziugaite et al. 2020): how often a metric puts two settings in the wrong order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from suite.ranking.bootstrap import setting_numbers
from suite.ranking.correlation import Numbers, Vector

LEAST_PAIRS = 12
"""Effective pairs, (Σw)² / Σw², that an environment needs to be kept (Dziugaite et al. 2020, section 4)."""


@dataclass(frozen=True)
class Coupled:
    """Pairs of runs whose settings differ in exactly one hyperparameter.

    Attributes:
        first, second: `P`, rows.
        environment: `P`, 0 … E − 1: which two settings.
        hyperparameter: `E`, the position of the one that differs.
        hyperparameters: how many there are.
    """

    first: Numbers
    second: Numbers
    environment: Numbers
    hyperparameter: Numbers
    hyperparameters: int


@dataclass(frozen=True)
class SignErrors:
    """Of each metric over the environments kept; NaN where there are none.

    Attributes:
        mean, p90, largest: `M`, over environments.
        pooled: `M × hyperparameters`, over all pairs that differ in it; NaN with fewer than 12 effective pairs.
        environments: how many were kept.
    """

    mean: Vector
    p90: Vector
    largest: Vector
    pooled: Vector
    environments: int


def couple(frame: pd.DataFrame, hyperparameters: list[str]) -> Coupled:
    """All such pairs; settings (a, b) and (b, a) are one environment, for both have the same error."""
    if not hyperparameters:
        none = np.zeros(0, dtype=np.int64)
        return Coupled(none, none, none, none, 0)
    levels = np.array([pd.factorize(frame[name], use_na_sentinel=False)[0] for name in hyperparameters])
    numbers = setting_numbers(frame, hyperparameters)
    differ = np.zeros((len(frame), len(frame)), dtype=np.uint8)
    for level in levels:
        differ += level[:, None] != level[None, :]
    first, second = np.nonzero((differ == 1) & (numbers[:, None] < numbers[None, :]))
    keys = numbers[first] * (int(numbers.max(initial=0)) + 1) + numbers[second]
    _, index, environment = np.unique(keys, return_index=True, return_inverse=True)
    which = (levels[:, first[index]] != levels[:, second[index]]).argmax(0) if len(index) else index
    return Coupled(first, second, environment, which, len(hyperparameters))


def weights(differences: Vector, test_size: int | None) -> Vector:
    """The weight (p − ½)₊, p = max(0, 1 − 2 exp(−2n (Δg/2)²))², by Hoeffding: how surely two gaps differ.

    Args:
        differences: Δg of gaps between accuracies.
        test_size: n. None: Hoeffding's inequality says nothing of the gap (losses have no bound, or n is not known);
            every pair that differs weighs ½, the limit for large n.
    """
    if test_size is None:
        return np.where(differences != 0, 0.5, 0.0)
    p: Vector = np.maximum(0.0, 1 - 2 * np.exp(-2 * test_size * (differences / 2) ** 2)) ** 2
    weight: Vector = np.maximum(p - 0.5, 0.0)
    return weight


def sign_errors(x: Vector, y: Vector, coupled: Coupled, test_size: int | None) -> SignErrors:
    """Σ w ½ (1 − sgn Δμ sgn Δg) / Σ w over the seed pairs of each environment.

    An environment counts where its effective number of pairs, (Σw)² / Σw², is at least 12: with two seeds there are
    four, and none counts; `pooled` says what can be said then, of each hyperparameter over all environments. A pair
    without values is half wrong.

    Args:
        x: metrics, signed so that a larger one means a larger gap, `M × n`.
        y: a gap, `n`.
        coupled: from `couple`.
        test_size: n of `weights`.
    """
    gap = y[coupled.first] - y[coupled.second]
    weight, count = weights(gap, test_size), len(coupled.hyperparameter)

    def wrong() -> Iterator[Vector]:
        """Of one metric after the other: of all at once they are many numbers."""
        for values in x:
            with np.errstate(invalid="ignore"):
                signs = np.nan_to_num(np.sign(values[coupled.first] - values[coupled.second]))
            yield weight * (1 - signs * np.sign(gap)) / 2

    errors = _errors(wrong(), weight, coupled.environment, count)
    kept = errors[:, np.isfinite(errors).all(0)]
    pooled = _errors(wrong(), weight, coupled.hyperparameter[coupled.environment], coupled.hyperparameters)
    if not kept.shape[1]:
        none = np.full(len(x), np.nan)
        return SignErrors(none, none, none, pooled, 0)
    return SignErrors(kept.mean(1), np.quantile(kept, 0.9, axis=1), kept.max(1), pooled, kept.shape[1])


def _errors(wrong: Iterator[Vector], weight: Vector, groups: Numbers, count: int) -> Vector:
    """Weighted error of each group of pairs, `M × count`; NaN where it has too few effective pairs."""
    total = np.bincount(groups, weight, count)
    squares = np.bincount(groups, weight**2, count)
    rows = [np.bincount(groups, row, count) for row in wrong]
    sums = np.array(rows).reshape(len(rows), count)
    with np.errstate(invalid="ignore", divide="ignore"):
        # a hair below 12: sums of floats
        return np.where(total**2 >= LEAST_PAIRS * (1 - 1e-9) * squares, sums / total, np.nan)
