"""What a reviewer found: stacks inside other operators, runs in parts, float32 breakdown, compiled products."""

from __future__ import annotations

import shutil

import pytest
import torch

from suite.curvature import (
    DeflatedOperator,
    HessianOperator,
    MicroBatchedOperator,
    PreconditionedOperator,
    Quadrature,
    StackedHessian,
    Step,
    adaptive,
    krylov_spectrum,
    multi_step_dimension,
    spectral_measure,
    stacked_measure,
)
from suite.curvature.lanczos import lanczos, rademacher
from tests.curvature.modules import normal
from tests.curvature.nets import mlp, quadratic

CPU = torch.device("cpu")


def stack() -> StackedHessian:
    return StackedHessian(lambda w, x: (w * x).sum().pow(4), normal(3, 5), normal(3, 5, seed=1))


def test_a_stack_is_refused_where_rows_are_regrouped() -> None:
    for combine in (
        lambda s: PreconditionedOperator(s, torch.ones(5, dtype=torch.float64)),
        lambda s: DeflatedOperator(s, torch.eye(5, dtype=torch.float64)[:1]),
        lambda s: MicroBatchedOperator(lambda a, b: s, 4, 2),
        lambda s: spectral_measure(s, 6),
    ):
        with pytest.raises(ValueError, match="stack of networks"):
            combine(stack())


def test_known_zeros_are_put_back_or_refused() -> None:
    stacked = stack()
    stacked.zeros = 10
    assert [m.size for m in stacked_measure(stacked, runs=2, steps=4)] == [15] * 3
    reduced = HessianOperator(quadratic(normal(4))[0], normal(4), rows=2)
    reduced.zeros = 7
    assert spectral_measure(DeflatedOperator(reduced, torch.eye(4).double()[:1]), 2).size == 11
    for combine in (
        lambda: PreconditionedOperator(reduced, torch.ones(4, dtype=torch.float64)),
        lambda: MicroBatchedOperator(lambda a, b: reduced, 4, 2),
    ):
        with pytest.raises(ValueError, match="reduced"):
            combine()


def test_runs_of_one_operator_in_parts_are_one_draw() -> None:
    eigenvalues = torch.cat([torch.tensor([8.0, 5.0, 3.0]), torch.linspace(-0.3, 1, 97)]).double()
    operator = HessianOperator(quadratic(eigenvalues)[0], torch.zeros(100, dtype=torch.float64), rows=8)
    step = Step(0.15)
    found = adaptive(
        lambda first, count: spectral_measure(operator, count, 40, first=first), Quadrature(step), 0.8, 400
    )
    assert found.reached
    assert found.measure.runs > 16, "one part was enough: the test tests nothing"
    assert found.measure.draws.unique().tolist() == [0]
    assert len({tuple(row) for row in found.measure.masses.tolist()}) == found.measure.runs, "probes were drawn twice"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exhausted_spaces_are_noticed_in_either_dtype(dtype: torch.dtype) -> None:
    eigenvalues = torch.zeros(60, dtype=torch.float64)
    eigenvalues[:4] = torch.tensor([4.0, 2.0, 1.0, -1.0])
    operator = HessianOperator(quadratic(eigenvalues)[0], torch.zeros(60, dtype=dtype), rows=8)
    probes = rademacher(3, 60, 0, dtype, CPU)
    for form in ("full", "partial"):
        run = lanczos(operator, probes, 30, form)
        assert bool(run.exhausted.all())
        assert run.live.sum(1).max() <= 7
    found = krylov_spectrum(operator)
    assert found.tolist() == pytest.approx([-1, 1, 2, 4], abs=1e-5)


def test_parameters_that_require_gradients_keep_no_graph() -> None:
    loss, weights, inputs, _ = mlp()
    operator = HessianOperator(lambda w: loss(w, inputs), weights.requires_grad_(), rows=4)
    run = lanczos(operator, rademacher(2, operator.size, 0, torch.float64, CPU), 20, "full")
    assert run.basis is not None
    assert not run.basis.requires_grad
    assert not (operator @ torch.ones(operator.size, dtype=torch.float64)).requires_grad


def test_dimensions_take_tensors_that_require_gradients() -> None:
    assert multi_step_dimension(torch.tensor([0.5, -0.25, -1.0], requires_grad=True)) == 2.25


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
def test_compiled_products_are_the_plain_ones() -> None:
    loss, weights, inputs, _ = mlp()
    plain = HessianOperator(lambda w: loss(w, inputs), weights, rows=3)
    compiled = HessianOperator(lambda w: loss(w, inputs), weights, rows=3, compiled=True)
    assert "compiled" in compiled.choice
    for count in (1, 3, 4):
        block = normal(count, plain.size, seed=count)
        assert torch.allclose(compiled @ block, plain @ block, rtol=1e-10, atol=1e-13)
