"""The basis of the Hessian's range and the eigenvalues in it, against the dense Hessian in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from suite.curvature.subspace import (
    MLPBatch,
    RangeBasis,
    exact_eigenvalues,
    largest_batch,
    projected_hessian,
    reduced_size,
)

ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}
CRITERIA = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}
MLP5 = [(200, 784), (200, 200), (200, 200), (200, 200), (10, 200)]
ENOUGH = 10**9


class Problem:
    """A random perceptron on a random batch, its loss written independently of the library."""

    def __init__(  # type: ignore[no-untyped-def]
        self, widths, batch, activation="relu", criterion="cross_entropy", bias=False, seed=0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.bias = bias
        self.shapes = [(n, m) for m, n in itertools.pairwise(widths)]
        self.sizes = [size for n, m in self.shapes for size in (n * m, n * bias)]
        self.params = torch.randn(sum(self.sizes), generator=generator, dtype=torch.float64) / 2
        self.inputs = torch.randn(batch, widths[0], generator=generator, dtype=torch.float64)
        classes = torch.randint(0, widths[-1], (batch,), generator=generator)
        numbers = torch.randn(batch, widths[-1], generator=generator, dtype=torch.float64)
        self.targets = classes if criterion == "cross_entropy" else numbers
        self.activation, self._criterion = ACTIVATIONS[activation], CRITERIA[criterion]

    def criterion(self, outputs: Tensor) -> Tensor:
        return self._criterion(outputs, self.targets)

    def weight(self, layer: int) -> Tensor:
        """A view of the parameters."""
        return torch.split(self.params, self.sizes)[2 * layer].view(self.shapes[layer])

    def loss(self, params: Tensor) -> Tensor:
        parts, values = torch.split(params, self.sizes), self.inputs
        for k, shape in enumerate(self.shapes):
            values = F.linear(values, parts[2 * k].view(shape), parts[2 * k + 1] if self.bias else None)
            values = self.activation(values) if k < len(self.shapes) - 1 else values
        return self.criterion(values)

    def net(self) -> MLPBatch:
        return MLPBatch(self.params, self.shapes, self.inputs, self.activation, self.criterion, self.bias)

    def hessian(self) -> Tensor:
        matrix: Tensor = torch.func.jacrev(torch.func.grad(self.loss))(self.params)
        return (matrix + matrix.T) / 2


def check(problem: Problem, tolerance: float = 1e-10) -> RangeBasis:
    """All that must hold, relative to the Hessian's largest entry or eigenvalue."""
    basis, dense = RangeBasis(problem.net()), problem.hessian()
    assert dense.shape[0] <= 1500
    scale = float(dense.abs().max()) or 1.0
    vectors = basis.expand(torch.eye(basis.size, dtype=torch.float64))
    assert vectors.shape == (basis.size, len(dense))
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(basis.size, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(basis.restrict(dense), dense @ vectors.T, rtol=0, atol=1e-12 * scale)
    residual = dense - basis.expand(basis.restrict(dense))
    assert float(residual.abs().max()) < tolerance * scale
    projected = projected_hessian(basis)
    torch.testing.assert_close(projected, vectors @ dense @ vectors.T, rtol=0, atol=tolerance * scale)
    expected = torch.linalg.eigvalsh(dense)
    zeros = torch.zeros(basis.zeros, dtype=torch.float64)
    values = torch.cat([exact_eigenvalues(basis, ENOUGH), zeros]).sort().values
    torch.testing.assert_close(values, expected, rtol=0, atol=tolerance * float(expected.abs().max()) + 1e-300)
    assert basis.size <= reduced_size(problem.shapes, len(problem.inputs), bias=problem.bias)
    return basis


def rank(matrix: Tensor) -> int:
    return int(torch.linalg.matrix_rank(matrix, hermitian=True, rtol=1e-13))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(7, 5), (9, 6, 4), (12, 9, 8, 5), (11, 8, 9, 7, 4)])
@pytest.mark.parametrize("batch", [1, 3, 30])
def test_dense_spectrum(activation: str, criterion: str, bias: bool, widths: tuple[int, ...], batch: int) -> None:
    check(Problem(widths, batch, activation, criterion, bias))


@settings(deadline=None, max_examples=60)
@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    batch=st.integers(1, 14),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    criterion=st.sampled_from(sorted(CRITERIA)),
    bias=st.booleans(),
    seed=st.integers(0, 10**6),
)
@example(widths=[1, 1, 1, 1, 1], batch=1, activation="relu", criterion="mse", bias=False, seed=0)
@example(widths=[3, 2, 1], batch=5, activation="relu", criterion="cross_entropy", bias=True, seed=1)
def test_random_shapes(widths: list[int], batch: int, activation: str, criterion: str, bias: bool, seed: int) -> None:
    check(Problem(widths, batch, activation, criterion, bias, seed))


@pytest.mark.parametrize("bias", [False, True])
def test_a_wide_net(bias: bool) -> None:
    problem = Problem((30, 20, 20, 10), 4, bias=bias)
    basis = check(problem)
    # ReLU: about half of what shapes allow
    assert basis.size < 0.7 * reduced_size(problem.shapes, 4, bias=bias)


@pytest.mark.parametrize(("activation", "criterion"), [("gelu", "cross_entropy"), ("tanh", "mse")])
@pytest.mark.parametrize("batch", [1, 4, 40])
def test_the_basis_is_the_range_for_smooth_units(activation: str, criterion: str, batch: int) -> None:
    """Where nothing is dead D is the rank of the Hessian: no direction too many."""
    problem = Problem((12, 9, 8, 5), batch, activation, criterion)
    assert check(problem).size == rank(problem.hessian())


@pytest.mark.parametrize("bias", [False, True])
def test_the_basis_is_the_range_for_relu(bias: bool) -> None:
    """As long as the batch's signals are independent: here fewer samples than classes."""
    problem = Problem((30, 20, 20, 10), 4, criterion="mse", bias=bias)
    assert check(problem).size == rank(problem.hessian())


def test_the_basis_is_the_range_without_dead_units() -> None:
    problem = Problem((12, 9, 8, 5), 4, "gelu")
    problem.inputs.abs_()
    problem.weight(0)[:4] = -200
    assert check(problem).size == rank(problem.hessian())


def test_cross_entropy_saves_a_row_of_outputs() -> None:
    sizes = {c: check(Problem((6, 5), 4, criterion=c)).size for c in CRITERIA}
    assert sizes == {"cross_entropy": 4 * 4, "mse": 5 * 4}


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layer", [0, 1])
def test_units_off_for_every_sample(activation: str, bias: bool, layer: int) -> None:
    problem = Problem((6, 8, 7, 3), 5, activation, bias=bias)
    problem.inputs.abs_()
    problem.params.abs_()
    before = check(problem).size
    problem.weight(layer)[:4] = -200  # tanh and gelu too: φ' = φ'' = 0 in float64
    assert check(problem).size < before


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_dead_layer(bias: bool, layer: int) -> None:
    """Without biases nothing is left; with them what lies above the dead layer."""
    problem = Problem((6, 8, 7, 6, 3), 5, bias=bias)
    problem.inputs.abs_()
    problem.weight(layer)[:] = -1
    if bias:
        torch.split(problem.params, problem.sizes)[2 * layer + 1].fill_(-1)
    basis = check(problem)
    assert basis.size == 0 if not bias else 0 < basis.size < 40


def test_duplicate_samples_add_nothing() -> None:
    problem = Problem((8, 7, 6, 4), 3)
    size = check(problem).size
    problem.inputs, problem.targets = problem.inputs.repeat(4, 1), problem.targets.repeat(4)
    assert check(problem).size == size


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [False, True])
def test_inputs_of_low_rank(activation: str, bias: bool) -> None:
    problem = Problem((15, 7, 6, 4), 9, activation, bias=bias)
    problem.inputs[:] = problem.inputs[:, :2] @ problem.inputs[:2]
    first = check(problem).layers[0]
    assert first.size <= 7 * (2 + bias)


def test_inputs_of_zeros() -> None:
    problem = Problem((5, 6, 4), 3, "tanh")
    problem.inputs.zero_()
    assert check(problem).size == 0
    problem.inputs[0, 2] = 1.0
    assert 0 < check(problem).size < reduced_size(problem.shapes, 3)


def test_nearly_parallel_inputs() -> None:
    """Spans are kept down to rounding: an input that differs by 1e-9 is another direction."""
    problem = Problem((15, 7, 6, 4), 3, "tanh")
    problem.inputs[1] = problem.inputs[0] + 1e-9 * problem.inputs[1]
    assert check(problem).layers[0].size == 7 * 3


def test_a_sample_with_a_tiny_signal_counts() -> None:
    problem = Problem((9, 8, 7, 3), 4, "gelu")
    problem.inputs[0] *= 1e-20
    assert check(problem).layers[0].size == 8 * 4


@pytest.mark.parametrize("scale", [1e-9, 1e6])
def test_scale(scale: float) -> None:
    """Nothing is compared with an absolute number."""
    problem = Problem((9, 8, 7, 3), 4)
    size, criterion = check(problem).size, problem._criterion
    problem._criterion = lambda outputs, targets: scale * criterion(outputs, targets)
    assert check(problem).size == size


def test_a_criterion_that_couples_samples() -> None:
    problem = Problem((9, 8, 3), 4, "tanh", "mse")
    problem._criterion = lambda outputs, targets: (outputs - targets).square().sum().sqrt() + outputs.std()
    check(problem)


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """One direction at a time gives what all at once do."""
    basis = RangeBasis(Problem((12, 9, 8, 5), 6, bias=True).net())
    whole = projected_hessian(basis)
    monkeypatch.setattr("suite.curvature.subspace._BLOCK_NUMBERS", 1)
    torch.testing.assert_close(projected_hessian(basis), whole, rtol=0, atol=1e-13)


def test_leading_axes() -> None:
    basis = RangeBasis(Problem((6, 5, 4), 3, bias=True).net())
    coords = torch.randn(2, 3, basis.size, dtype=torch.float64)
    expanded = basis.expand(coords)
    assert expanded.shape == (2, 3, basis.size + basis.zeros)
    torch.testing.assert_close(basis.restrict(expanded), coords, rtol=0, atol=1e-13)
    torch.testing.assert_close(basis.expand(coords[0, 1]), expanded[0, 1], rtol=0, atol=1e-14)
    torch.testing.assert_close(basis.restrict(expanded[0, 1]), coords[0, 1], rtol=0, atol=1e-13)


def test_torch_order_of_parameters() -> None:
    """Flat parameters are those of `nn.Sequential`, in the order of `parameters()`; float32 is taken up to float64."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.GELU(), torch.nn.Linear(5, 3))
    flat = torch.cat([p.reshape(-1) for p in model.parameters()])
    inputs, targets = torch.randn(4, 6), torch.tensor([0, 1, 2, 1])
    shapes = [(5, 6), (3, 5)]
    basis = RangeBasis(MLPBatch(flat, shapes, inputs, F.gelu, lambda z: F.cross_entropy(z, targets), True))
    assert basis.size + basis.zeros == len(flat)
    names, sizes = [n for n, _ in model.named_parameters()], [p.numel() for p in model.parameters()]

    def loss(w: Tensor) -> Tensor:
        parts = torch.split(w, sizes)
        named = {n: v.view_as(p) for n, v, p in zip(names, parts, model.parameters(), strict=True)}
        return F.cross_entropy(torch.func.functional_call(model, named, (inputs.double(),)), targets)

    dense = torch.func.jacrev(torch.func.grad(loss))(flat.detach().double())
    expected = torch.linalg.eigvalsh(dense)
    values = torch.cat([exact_eigenvalues(basis, ENOUGH), torch.zeros(basis.zeros, dtype=torch.float64)])
    torch.testing.assert_close(values.sort().values, expected, rtol=0, atol=1e-14)


@settings(deadline=None, max_examples=100)
@given(widths=st.lists(st.integers(1, 300), min_size=2, max_size=6), batch=st.integers(1, 400), bias=st.booleans())
def test_bound_from_shapes(widths: list[int], batch: int, bias: bool) -> None:
    shapes = [(n, m) for m, n in itertools.pairwise(widths)]
    size = reduced_size(shapes, batch, bias=bias)
    assert size <= sum(n * (m + bias) for n, m in shapes)
    assert size <= reduced_size(shapes, batch + 1, bias=bias)


def test_memory_is_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem((12, 9, 8, 5), 30, "tanh")
    basis = RangeBasis(problem.net())
    monkeypatch.setattr("suite.curvature.subspace.projected_hessian", _must_not_run)
    with pytest.raises(
        ValueError, match=rf"all {basis.size} eigenvalues on a batch of 30 take .* not even a batch of 1"
    ):
        exact_eigenvalues(basis, 10**6)
    allowed = 8 * (17 * 2**20 + 100_000)  # blocks of signals, and a matrix of less than 224
    fits = largest_batch(problem.shapes, allowed)
    assert 1 <= fits < 30
    with pytest.raises(ValueError, match=f"a batch of {fits} is certain to fit"):
        exact_eigenvalues(basis, allowed)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_largest_batch_is_not_refused(activation: str) -> None:
    allowed = 8 * (17 * 2**20 + 60_000)
    fits = largest_batch(Problem((12, 9, 8, 5), 1).shapes, allowed)
    assert fits >= 1
    exact_eigenvalues(RangeBasis(Problem((12, 9, 8, 5), fits, activation).net()), allowed)


def test_largest_batch_for_the_papers_net() -> None:
    assert [largest_batch(MLP5, gigabytes * 10**9) for gigabytes in (8, 20, 64, 139)] == [14, 23, 45, 73]
    assert largest_batch(MLP5, 1000) == 0


@pytest.mark.parametrize(
    ("params", "shapes", "inputs", "message"),
    [
        (20, [(4, 5), (3, 4)], (2, 5), "have 32 parameters"),
        (32, [(4, 5), (3, 5)], (2, 5), r"shapes are \(outputs, inputs\)"),
        (32, [(4, 5), (3, 4)], (2, 6), r"inputs \[2, 6\]"),
        (32, [(4, 5), (3, 4)], (0, 5), "one or more rows"),
        (32, [], (2, 5), r"\(outputs, inputs\)"),
    ],
)
def test_bad_input(params: int, shapes: list[tuple[int, int]], inputs: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPBatch(torch.ones(params), shapes, torch.ones(inputs), F.relu, Tensor.sum, False)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_not_finite(value: float) -> None:
    problem = Problem((6, 5, 4), 3)
    problem.params[0] = value
    with pytest.raises(ValueError, match="not finite"):
        problem.net()


def _must_not_run(*_: object) -> Callable[..., Tensor]:
    raise AssertionError("the matrix was assembled before memory was checked")
