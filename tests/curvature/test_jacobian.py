"""Exponents against dense Jacobians and against logarithms in many digits."""

from __future__ import annotations

from decimal import Decimal, getcontext

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.curvature.jacobian import Step, log_singular_values


def symmetric(size: int, seed: int) -> torch.Tensor:
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return matrix + matrix.T


@pytest.mark.parametrize("step", [Step(0.1), Step(0.3, weight_decay=0.05), Step(3.0)])
def test_plain_sgd_is_the_dense_jacobian(step: Step) -> None:
    hessian = symmetric(12, 0)
    jacobian = (1 - step.learning_rate * step.weight_decay) * torch.eye(12).double() - step.learning_rate * hessian
    expected = torch.linalg.svdvals(jacobian).log()
    found = log_singular_values(torch.linalg.eigvalsh(hessian), step).sort(descending=True).values
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("step", [Step(0.1, 0.9), Step(0.3, 0.5, 0.05), Step(3.0, 0.99, 1e-3)])
def test_heavy_ball_is_the_dense_jacobian_of_the_doubled_state(step: Step) -> None:
    size, eta, mu = 8, step.learning_rate, step.momentum
    hessian, one = symmetric(size, 1), torch.eye(8).double()
    force = hessian + step.weight_decay * one
    jacobian = torch.cat([torch.cat([one - eta * force, -eta * mu * one], 1), torch.cat([force, mu * one], 1)])
    expected = torch.linalg.svdvals(jacobian).log()
    found = log_singular_values(torch.linalg.eigvalsh(hessian), step).sort(descending=True).values
    assert found.shape == (2 * size,)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_heavy_ball_matches_the_step_as_autograd_sees_it() -> None:
    hessian, step = symmetric(5, 2), Step(0.2, 0.9, 0.01)

    def move(state: torch.Tensor) -> torch.Tensor:
        w, v = state[:5], state[5:]
        v = step.momentum * v + hessian @ w + step.weight_decay * w
        return torch.cat([w - step.learning_rate * v, v])

    jacobian = torch.autograd.functional.jacobian(move, torch.zeros(10).double())
    found = log_singular_values(torch.linalg.eigvalsh(hessian), step).sort(descending=True).values
    assert torch.allclose(found, torch.linalg.svdvals(jacobian).log(), atol=1e-12)


@given(st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-18))
def test_relative_accuracy_against_forty_digits(alpha: float) -> None:
    getcontext().prec = 40
    distance = abs(1 - Decimal(alpha))
    if distance == 0:
        return
    expected = float(distance.ln())
    found = float(log_singular_values(torch.tensor([alpha], dtype=torch.float64), Step(1.0)))
    # near x = 1 the rounding of x − 1 is all there is; elsewhere the relative accuracy is full
    assert found == pytest.approx(expected, rel=1e-14, abs=5e-324)


@pytest.mark.parametrize("alpha", [1e-20, -1e-20, 1e-300, 2 + 4e-16])
def test_tiny_exponents_are_not_lost(alpha: float) -> None:
    found = float(log_singular_values(torch.tensor([alpha], dtype=torch.float64), Step(1.0)))
    assert found == pytest.approx(-alpha if abs(alpha) < 1 else 4.440892098500626e-16, rel=1e-12)


def test_annihilated_direction_and_nan() -> None:
    assert float(log_singular_values(torch.tensor([2.0]), Step(0.5))) == -float("inf")
    with pytest.raises(ValueError, match="NaN"):
        log_singular_values(torch.tensor([float("nan")]), Step(0.5))
