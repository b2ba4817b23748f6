"""Definition 4.2: edge cases by hand, properties, and a transcription in exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.curvature.dimension import sharpness_dimension

REAL = st.floats(-1e6, 1e6, allow_subnormal=True)
EXPONENTS = st.lists(REAL, min_size=1, max_size=30)


def definition_4_2(exponents: list[float]) -> Fraction:
    """The paper's own words, with fractions."""
    ordered = sorted((Fraction(x) for x in exponents), reverse=True)
    if ordered[0] < 0:
        return Fraction(0)
    j = max(i for i in range(1, len(ordered) + 1) if sum(ordered[:i]) >= 0)
    if j == len(ordered):
        return Fraction(j)
    return j + sum(ordered[:j]) / abs(ordered[j])


@pytest.mark.parametrize(
    ("exponents", "expected"),
    [
        ([-1.0, -2.0], 0.0),
        ([1.0, 2.0], 2.0),
        ([0.0, 0.0], 2.0),
        ([0.5, -0.25, -1.0], 2.25),
        ([1.0, -1.0, -5.0], 2.0),
        ([0.0, -1.0], 1.0),
        ([1.0, -0.0], 2.0),
        ([1.0, 0.0, -2.0], 2.5),
        ([1.0, -math.inf], 1.0),
        ([-math.inf], 0.0),
        ([0.0, -5e-324], 1.0),
        ([5e-324, -5e-324, -1.0], 2.0),
        ([-5e-324], 0.0),
        ([1e308, -1e-308, -1e308], 3.0 - 1e-300),
    ],
)
def test_by_hand(exponents: list[float], expected: float) -> None:
    assert sharpness_dimension(exponents) == pytest.approx(expected, rel=1e-15)


def test_cancellation_near_the_crossing_does_not_move_it() -> None:
    # a plain running sum loses the 1e-9 in 1e8 and crosses elsewhere
    exponents = [1e8] + [1e-9] * 1000 + [-1e8] + [-1e-9] * 1000 + [-1.0]
    assert sharpness_dimension(exponents) == pytest.approx(float(definition_4_2(exponents)), rel=1e-15)


@given(EXPONENTS)
def test_equals_the_transcription(exponents: list[float]) -> None:
    assert sharpness_dimension(exponents) == pytest.approx(float(definition_4_2(exponents)), rel=1e-12, abs=1e-12)


@given(EXPONENTS, st.randoms())
def test_bounds_and_order(exponents: list[float], random: object) -> None:
    value = sharpness_dimension(exponents)
    assert 0 <= value <= len(exponents)
    shuffled = exponents.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert sharpness_dimension(shuffled) == value


@given(EXPONENTS, st.integers(0, 29), st.floats(0, 10))
def test_grows_with_every_exponent(exponents: list[float], place: int, rise: float) -> None:
    raised = exponents.copy()
    raised[place % len(raised)] += rise
    assert sharpness_dimension(raised) >= sharpness_dimension(exponents) - 1e-9


@given(EXPONENTS, st.integers(1, 4))
def test_splitting_masses_changes_nothing(exponents: list[float], pieces: int) -> None:
    split = np.repeat(exponents, pieces)
    weights = np.full(split.size, 1 / pieces)
    assert sharpness_dimension(split, weights) == pytest.approx(sharpness_dimension(exponents), rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(REAL, st.floats(0.01, 5)), min_size=1, max_size=12))
def test_weights_scale(pairs: list[tuple[float, float]]) -> None:
    values, weights = np.array(pairs).T
    whole = sharpness_dimension(values, weights)
    assert sharpness_dimension(values, 3 * weights) == pytest.approx(3 * whole, rel=1e-9, abs=1e-9)


def test_zero_weights_do_not_count() -> None:
    assert sharpness_dimension([5.0, 1.0, -1.0, -9.0], [0.0, 1.0, 2.0, 0.0]) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("exponents", "weights", "said"),
    [
        ([], None, "no exponents"),
        ([math.nan, 1.0], None, "NaN"),
        ([math.inf], None, r"\+inf"),
        ([1.0], [1.0, 2.0], "2 weights for 1"),
        ([1.0], [-1.0], "negative"),
        ([1.0], [0.0], "zero"),
    ],
)
def test_refused(exponents: list[float], weights: list[float] | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sharpness_dimension(exponents, weights)
