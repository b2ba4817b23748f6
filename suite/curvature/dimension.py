"""The sharpness dimension of sorted exponents, to the letter of Definition 4.2 (Tuci et al. 2026)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Numbers = Tensor | NDArray[np.float64] | Sequence[float]


def sharpness_dimension(exponents: Numbers, weights: Numbers | None = None) -> float:
    """How many leading exponents may be summed before the sum turns negative, the last one in part.

    For exponents λ_1 ≥ … ≥ λ_d, j* = max{i : λ_1 + … + λ_i ≥ 0} and SD = j* + (λ_1 + … + λ_j*) / |λ_j*+1|; d if no
    partial sum is negative; 0 if λ_1 < 0. With weights (masses) m_k it is sup{t : ∫₀ᵗ λ ≥ 0} of the step function that
    stays at λ_k for a length m_k, which is the same for unit masses.

    The sign of a partial sum is decided by exact summation (`math.fsum`), so that cancellation near the crossing does
    not move it.

    Args:
        exponents: real numbers in any order; −inf (a direction annihilated in one step) is allowed.
        weights: masses ≥ 0, one per exponent; all 1 if None.

    Returns:
        A number between 0 and the total mass.

    Raises:
        ValueError: no exponents, NaN or +inf among them, or weights that are negative, not finite or of other length.

    >>> sharpness_dimension([0.5, -0.25, -1.0])
    2.25
    """
    values, masses = _checked(exponents, weights)
    order = np.argsort(-values, kind="stable")
    values, masses = values[order], masses[order]
    areas = values * masses
    j = _last_nonnegative_prefix(areas)
    if j == len(areas):
        return math.fsum(masses)
    rest = max(0.0, math.fsum(areas[:j]))
    # rest / |λ| cannot exceed the mass but for rounding; a denormal λ must not overflow it
    part = masses[j] if rest >= -areas[j] else rest / -values[j]
    return math.fsum(masses[:j]) + float(min(part, masses[j]))


def _checked(exponents: Numbers, weights: Numbers | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    values = as_array(exponents)
    masses = np.ones_like(values) if weights is None else as_array(weights)
    if values.size == 0:
        raise ValueError("no exponents")
    if np.isnan(values).any() or (values == np.inf).any():
        raise ValueError("an exponent is NaN or +inf")
    if masses.shape != values.shape:
        raise ValueError(f"{masses.size} weights for {values.size} exponents")
    if not np.isfinite(masses).all() or (masses < 0).any():
        raise ValueError("a weight is negative or not finite")
    kept = masses > 0
    if not kept.any():
        raise ValueError("all weights are zero")
    return values[kept], masses[kept]


def as_array(numbers: Numbers) -> NDArray[np.float64]:
    """From wherever they are, a CUDA device included."""
    held = numbers.detach().cpu() if isinstance(numbers, Tensor) else numbers
    return np.asarray(held, dtype=np.float64).reshape(-1)


def _last_nonnegative_prefix(areas: NDArray[np.float64]) -> int:
    """max{j : areas[0] + … + areas[j − 1] ≥ 0} for areas whose signs go from + to −; 0 ≤ j ≤ n.

    The partial sums rise, then fall, so there is one crossing: a plain cumulative sum finds it up to rounding, exact
    sums move it to its place by bisection.
    """
    negative = np.flatnonzero(np.cumsum(areas) < 0)
    guess = int(negative[0]) if negative.size else len(areas)
    low, high = _bracket(areas, guess)
    while low < high:
        middle = (low + high + 1) // 2
        if math.fsum(areas[:middle]) >= 0:
            low = middle
        else:
            high = middle - 1
    return low


def _bracket(areas: NDArray[np.float64], guess: int) -> tuple[int, int]:
    """Bounds on j around a guess, widened until exact sums enclose the crossing."""
    first_negative = int(np.count_nonzero(areas >= 0))  # sums cannot turn before the areas do
    reach = 1
    while True:
        low, high = max(first_negative, guess - reach), min(len(areas), guess + reach)
        low_fits = low == first_negative or math.fsum(areas[:low]) >= 0
        high_fits = high == len(areas) or math.fsum(areas[: high + 1]) < 0
        if low_fits and high_fits:
            return min(low, high), high
        reach *= 4
