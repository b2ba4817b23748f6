"""A value with its standard error, and the three ways errors are had here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; None where there is one draw only."""

    value: float
    standard_error: float | None = None


def mean_of(draws: Tensor) -> Estimate:
    """The mean of independent draws `[k]` and its standard error."""
    count = len(draws)
    error = float(draws.std()) / math.sqrt(count) if count > 1 else None
    return Estimate(float(draws.mean()), error)


def root_of(square: Estimate) -> Estimate:
    """√ of an estimate, its error by the delta method (none is given at zero, where that has no meaning)."""
    value = math.sqrt(max(0.0, square.value))
    if square.standard_error is None or value == 0:
        return Estimate(value, square.standard_error and None)
    return Estimate(value, square.standard_error / (2 * value))


def jackknife(value: float, count: int, without: Callable[[int], float]) -> Estimate:
    """The delete-one jackknife's standard error of a statistic of `count` draws."""
    if count < 2:
        return Estimate(value)
    left = [without(k) for k in range(count)]
    middle = math.fsum(left) / count
    return Estimate(value, math.sqrt((count - 1) / count * math.fsum((x - middle) ** 2 for x in left)))
