"""A direction that one step annihilates has the exponent −inf: SD and its error are numbers all the same."""

from __future__ import annotations

import math

import pytest
import torch

from suite.curvature.dimension import sharpness_dimension
from suite.curvature.jacobian import Step
from suite.curvature.spectrum import DenseSpectra


@pytest.mark.parametrize("rows", [[[2.0, 1.0, -0.5], [3.0, 1.0, 0.5]], [[2.0, 2.0, -1.0], [2.0, -1.0, -1.0]]])
def test_jackknife_with_an_annihilated_direction(rows: list[list[float]]) -> None:
    draws = [torch.tensor(row, dtype=torch.float64) for row in rows]
    spectra = DenseSpectra.of(draws, 3, [False, False])
    step = Step(0.5)
    assert (spectra.exponents(step) == -math.inf).any()
    found = spectra.sharpness_dimension(step)
    alone = [sharpness_dimension(exponents) for exponents in spectra.exponents(step)]  # with one draw left out
    assert found.standard_error == pytest.approx(abs(alone[0] - alone[1]) / 2)
    assert 0 <= found.value <= 3


def test_jackknife_of_finite_exponents_is_the_textbook_one() -> None:
    draws = torch.rand(5, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 6 - 1
    spectra, step = DenseSpectra.of(list(draws), 6, [False] * 5), Step(0.4)
    exponents = spectra.exponents(step)
    left = [sharpness_dimension(exponents[[j for j in range(5) if j != k]].mean(0)) for k in range(5)]
    middle = sum(left) / 5
    error = math.sqrt(4 / 5 * sum((x - middle) ** 2 for x in left))
    assert spectra.sharpness_dimension(step).standard_error == pytest.approx(error)
