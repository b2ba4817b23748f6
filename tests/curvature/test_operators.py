"""Operators against dense matrices written out, and networks that are not the textbook's."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from scipy.sparse.linalg import eigsh
from torch import Tensor, nn
from torch.func import vmap

from suite.curvature.combined import (
    CountedOperator,
    DeflatedOperator,
    MicroBatchedOperator,
    PreconditionedOperator,
)
from suite.curvature.gauss_newton import SandwichOperator, empirical_fisher, gauss_newton, true_fisher
from suite.curvature.hessian import HessianOperator, StackedHessian
from suite.curvature.network import Network
from suite.curvature.operator import SymmetricOperator
from tests.curvature.modules import classes, dense, flat_loss, normal, perceptron, seeded


def matrix(operator: SymmetricOperator) -> Tensor:
    return operator @ torch.eye(operator.size, dtype=operator.dtype)


def small() -> tuple[nn.Module, Tensor, Tensor]:
    return seeded(lambda: perceptron(6, 8, 3)), normal(12, 6), classes(12, 3)


# --- Hessians of networks that are not the textbook's ----------------------------------------------------------------


class FromDict(nn.Module):
    """Two named inputs and a flag; a dictionary out."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, *, left: Tensor, right: Tensor, flip: bool) -> dict[str, Tensor]:
        sign = -1 if flip else 1
        return {"logits": torch.tanh(self.left(left)) + sign * self.right(right), "left": self.left(left)}


def test_dict_inputs_and_a_custom_loss() -> None:
    module, batch = seeded(FromDict), {"left": normal(9, 4), "right": normal(9, 2, seed=3), "flip": True}
    targets = {"class": classes(9, 3), "number": normal(9, 3, seed=4)}

    def criterion(out: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        smooth = F.cross_entropy(out["logits"], target["class"], label_smoothing=0.1)
        return smooth + 0.3 * F.huber_loss(out["left"], target["number"]) + out["logits"].logsumexp(1).square().mean()

    network = Network(module)
    operator = HessianOperator(network.loss(criterion, batch, targets), network.params)
    expected = dense(module, lambda out: criterion(out, targets), **batch)
    assert torch.allclose(matrix(operator), expected, atol=1e-13)


def test_several_positional_inputs() -> None:
    module, x, z = seeded(lambda: nn.Bilinear(3, 4, 2)), normal(7, 3), normal(7, 4, seed=5)
    network = Network(module)
    operator = HessianOperator(network.loss(lambda out, _: out.exp().mean(), (x, z), None), network.params)
    assert torch.allclose(matrix(operator), dense(module, lambda out: out.exp().mean(), x, z), atol=1e-13)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.middle, self.head = nn.Embedding(7, 5), nn.Linear(5, 5), nn.Linear(5, 7, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.middle(self.embedding(tokens))))


def test_tied_parameters_count_once_and_feel_both_uses() -> None:
    module, tokens, y = seeded(Tied), classes(10, 7, seed=3), classes(10, 7)
    network = Network(module)
    assert network.names == ("embedding.weight", "middle.weight", "middle.bias")

    def by_hand(flat: Tensor) -> Tensor:
        tied, weight, bias = torch.split(flat, [35, 25, 5])
        h = torch.tanh(tied.view(7, 5)[tokens] @ weight.view(5, 5).T + bias)
        return F.cross_entropy(h @ tied.view(7, 5).T, y)

    operator = HessianOperator(network.loss(F.cross_entropy, tokens, y), network.params)
    expected = torch.autograd.functional.hessian(by_hand, network.params)
    assert torch.allclose(matrix(operator), expected, atol=1e-13)
    untied = copy.deepcopy(module)
    untied.head.weight = nn.Parameter(module.embedding.weight.detach().clone())
    assert len(Network(untied).params) == len(network.params) + 35


def test_frozen_parameters_are_constants() -> None:
    module, x, y = small()
    whole = dense(module, lambda out: F.cross_entropy(out, y), x)
    module[0].weight.requires_grad_(False)
    network = Network(module)
    assert network.names == ("0.bias", "2.weight", "2.bias")
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    assert torch.allclose(matrix(operator), whole[48:, 48:], atol=1e-13)
    assert network.slices()["2.bias"] == slice(32, 35)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no trainable parameters"):
        Network(module)


def test_parameters_of_several_dtypes_are_refused() -> None:
    module, *_ = small()
    module[0].float()
    with pytest.raises(ValueError, match="differ in dtype"):
        Network(module)


def test_convolutions_and_group_norm() -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.GroupNorm(2, 4),
            nn.SiLU(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(16, 3),
        )

    module, x, y = seeded(make), normal(5, 2, 4, 4), classes(5, 3)
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    expected = dense(module, lambda out: F.cross_entropy(out, y), x)
    assert torch.allclose(matrix(operator), expected, atol=1e-13)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_rows_of_a_block_do_not_change_its_products(rows: int) -> None:
    module, x, y = small()
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params, rows=rows)
    expected = dense(module, lambda out: F.cross_entropy(out, y), x)
    block = normal(10, operator.size)
    assert torch.allclose(operator @ block, block @ expected, atol=1e-13)
    assert torch.allclose(operator @ block[3], expected @ block[3], atol=1e-13)
    assert operator.choice == f"{rows} rows, as told"


def test_vectors_that_do_not_fit_are_refused() -> None:
    operator = HessianOperator(lambda w: (w * w).sum(), torch.ones(4))
    for bad, words in [
        (torch.ones(5), "4 parameters"),
        (torch.ones(2, 2, 4), "4 parameters"),
        (torch.ones(4).double(), "float64"),
    ]:
        with pytest.raises(ValueError, match=words):
            operator @ bad
    with pytest.raises(ValueError, match="at least one row"):
        HessianOperator(lambda w: (w * w).sum(), torch.ones(4), rows=0)


# --- running out of memory -------------------------------------------------------------------------------------------


class Cramped(SymmetricOperator):
    """A diagonal matrix on a device where more than `fits` rows do not fit."""

    def __init__(self, diagonal: Tensor, fits: int, rows: int) -> None:
        super().__init__(len(diagonal), diagonal.dtype, diagonal.device)
        self.diagonal, self.fits, self.tried = diagonal, fits, []
        self._choose_rows(rows, 0)

    def _product(self, block: Tensor) -> Tensor:
        self.tried.append(len(block))
        if len(block) > self.fits:
            raise torch.OutOfMemoryError(f"{len(block)} rows")
        return block * self.diagonal


def test_out_of_memory_halves_the_block_and_remembers() -> None:
    diagonal, block = normal(6), normal(37, 6, seed=2)
    operator = Cramped(diagonal, fits=5, rows=32)
    assert torch.equal(operator @ block, block * diagonal)
    assert operator.rows == 4
    assert operator.tried[:3] == [32, 16, 8]
    assert operator.tried.count(32) == 1
    assert max(operator.tried[3:]) <= 5
    assert "did not fit" in operator.choice
    operator.tried.clear()
    assert torch.equal(operator @ block, block * diagonal)
    assert max(operator.tried) == 4


def test_one_row_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Cramped(normal(6), fits=0, rows=8) @ normal(8, 6)


def test_rows_that_do_not_fit_are_not_chosen() -> None:
    class Measured(Cramped):
        def __init__(self) -> None:
            SymmetricOperator.__init__(self, 6, torch.float64, torch.device("cpu"))
            self.diagonal, self.fits, self.tried = normal(6), 3, []
            self._choose_rows(None, 2**20)

    operator = Measured()
    assert operator.rows == 1
    assert 4 in operator.tried
    assert "by measurement" in operator.choice


# --- operators of operators ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("micro", [1, 5, 12, 50])
def test_micro_batches_are_the_whole_batch(keep: bool, micro: int) -> None:
    module, x, y = small()
    network, built = Network(module), []

    def part(start: int, stop: int) -> HessianOperator:
        built.append((start, stop))
        return HessianOperator(network.loss(F.cross_entropy, x[start:stop], y[start:stop]), network.params, rows=2)

    operator = MicroBatchedOperator(part, 12, micro, keep)
    block, expected = normal(3, operator.size), dense(module, lambda out: F.cross_entropy(out, y), x)
    parts = -(-12 // micro)
    assert len(built) == (parts if keep else 1)
    assert torch.allclose(operator @ block, block @ expected, atol=1e-13)
    built.clear()
    operator @ block[0]
    assert len(built) == (0 if keep else parts)


def test_micro_batches_of_no_size_are_refused() -> None:
    for batch, micro in ((0, 1), (4, 0)):
        with pytest.raises(ValueError, match="at least 1"):
            MicroBatchedOperator(lambda a, b: HessianOperator(torch.sum, torch.ones(2)), batch, micro)


def test_preconditioned_operator() -> None:
    module, x, y = small()
    network, expected = Network(module), dense(module, lambda out: F.cross_entropy(out, y), x)
    inner = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    diagonal = normal(inner.size, seed=7).exp()
    root = diagonal.rsqrt()
    operator = PreconditionedOperator(inner, diagonal)
    assert torch.allclose(matrix(operator), root[:, None] * expected * root, atol=1e-12)
    for bad in (diagonal - diagonal[0], diagonal[1:], torch.full_like(diagonal, np.inf)):
        with pytest.raises(ValueError, match="positive, finite"):
            PreconditionedOperator(inner, bad)


def test_deflated_operator() -> None:
    module, x, y = small()
    network, expected = Network(module), dense(module, lambda out: F.cross_entropy(out, y), x)
    values, vectors = torch.linalg.eigh(expected)
    inner = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    rest = torch.linalg.eigvalsh(matrix(DeflatedOperator(inner, vectors[:, -3:].T)))
    without = torch.cat([values[:-3], torch.zeros(3, dtype=torch.float64)]).sort().values
    assert torch.allclose(rest, without, atol=1e-13)


def test_counted_operator_is_the_operator_and_counts_vectors() -> None:
    module, x, y = small()
    network, counts = Network(module), []
    inner = HessianOperator(network.loss(F.cross_entropy, x, y), network.params, rows=4, zeros=3)
    counted = CountedOperator(inner, counts.append)
    block = normal(10, inner.size)
    assert torch.equal(counted @ block, inner @ block)
    assert torch.equal(counted @ block[0], inner @ block[0])
    assert counts == [4, 4, 2, 1]
    assert (counted.rows, counted.choice, counted.zeros) == (4, "4 rows, as told", 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_scipy_export(dtype: torch.dtype) -> None:
    module, x, y = small()
    expected = torch.linalg.eigvalsh(dense(module, lambda out: F.cross_entropy(out, y), x)).numpy()
    network = Network(module.to(dtype))
    exported = HessianOperator(network.loss(F.cross_entropy, x.to(dtype), y), network.params).to_scipy()
    assert exported.dtype == np.dtype(str(dtype).removeprefix("torch."))
    found = eigsh(exported, k=6, which="LA", return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(found), expected[-6:], rtol=1e-10 if dtype == torch.float64 else 1e-4)
    columns = np.asarray(normal(len(network.params), 4).to(dtype))
    one_by_one = np.stack([exported.matvec(column) for column in columns.T], 1)
    np.testing.assert_allclose(exported.matmat(columns), one_by_one, rtol=0, atol=1e-5 * np.abs(one_by_one).max())


# --- stacks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [2**30, 1])
def test_stack_is_its_networks_one_by_one(memory: int) -> None:
    module, *_ = small()
    network = Network(module)
    params = network.params + 0.3 * normal(4, len(network.params), seed=8)
    x, y = normal(4, 12, 6, seed=9), torch.stack([classes(12, 3, seed=s) for s in range(4)])

    def loss(flat: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(network(flat, inputs), targets)

    stack, block = StackedHessian(loss, params, x, y, memory=memory), normal(4 * 3, len(network.params))
    found = (stack @ block).view(4, 3, -1)
    for k in range(4):
        alone = HessianOperator(lambda w, k=k: loss(w, x[k], y[k]), params[k], rows=1)
        assert torch.allclose(found[k], alone @ block.view(4, 3, -1)[k], atol=1e-13)
    with pytest.raises(ValueError, match="each of 4 networks"):
        stack @ block[:5]
    with pytest.raises(ValueError, match="batch of"):
        StackedHessian(loss, params, x[:3], y)


# --- Gauss–Newton and Fisher -----------------------------------------------------------------------------------------


def explicit(predict, middle: Tensor, params: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    """Jᵀ M J with the Jacobian written out."""
    jacobian = torch.autograd.functional.jacobian(predict, params).reshape(-1, len(params))
    return jacobian.T @ middle @ jacobian


@pytest.mark.parametrize("rows", [1, 8])
def test_gauss_newton_with_the_jacobian_written_out(rows: int) -> None:
    module, x, y = small()
    network = Network(module)
    loss = network.loss(F.cross_entropy, x, y)
    logits = network(network.params, x)
    curvature = torch.autograd.functional.hessian(loss.criterion, logits).reshape(36, 36)
    expected = explicit(lambda w: network(w, x), curvature, network.params)
    found = matrix(gauss_newton(loss.predict, loss.criterion, network.params, rows))
    assert torch.allclose(found, expected, atol=1e-13)


def test_fisher_is_gauss_newton_for_negative_log_likelihoods() -> None:
    module, x, y = small()
    network = Network(module)
    target = normal(12, 3, seed=4)
    for likelihood, criterion in [
        ("categorical", lambda out: F.cross_entropy(out, y)),
        ("gaussian", lambda out: 0.5 * (out - target).square().sum(1).mean()),
    ]:
        newton = matrix(gauss_newton(lambda w: network(w, x), criterion, network.params))
        fisher = matrix(true_fisher(lambda w: network(w, x), likelihood, network.params))  # type: ignore[arg-type]
        assert torch.allclose(fisher, newton, atol=1e-14)
        assert float(torch.linalg.eigvalsh(fisher)[0]) > -1e-14
    with pytest.raises(ValueError, match="categorical or gaussian"):
        true_fisher(lambda w: network(w, x), "poisson", network.params)  # type: ignore[arg-type]


def test_fisher_is_the_expectation_over_labels_of_the_empirical_one() -> None:
    module, x, _ = small()
    network = Network(module)
    probabilities = network(network.params, x).softmax(1)
    total = torch.zeros(len(network.params), len(network.params), dtype=torch.float64)
    for sample in range(12):
        for label in range(3):
            one, target = x[sample : sample + 1], torch.tensor([label])
            gradient = torch.func.grad(lambda w, one=one, t=target: F.cross_entropy(network(w, one), t))(network.params)
            total += probabilities[sample, label] * torch.outer(gradient, gradient) / 12
    found = matrix(true_fisher(lambda w: network(w, x), "categorical", network.params))
    assert torch.allclose(found, total, atol=1e-14)


def test_empirical_fisher_is_the_mean_of_per_sample_gradients() -> None:
    module, x, y = small()
    network = Network(module)
    gradients = []
    for sample, label in zip(x.split(1), y.split(1), strict=True):
        loss, params = flat_loss(module, lambda out, label=label: F.cross_entropy(out, label), sample)
        gradients.append(torch.func.grad(loss)(params))
    expected = torch.stack(gradients).T @ torch.stack(gradients) / 12
    losses = lambda w: F.cross_entropy(network(w, x), y, reduction="none")  # noqa: E731
    assert torch.allclose(matrix(empirical_fisher(losses, network.params)), expected, atol=1e-14)
    batched = vmap(torch.func.grad(lambda w, a, b: F.cross_entropy(network(w, a[None]), b[None])), (None, 0, 0))
    assert torch.allclose(batched(network.params, x, y), torch.stack(gradients), atol=1e-14)


def test_gauss_newton_through_fused_attention() -> None:
    layer = seeded(lambda: nn.TransformerEncoderLayer(6, 2, 7, dropout=0.3, batch_first=True))
    network, x, target = Network(layer), normal(2, 4, 6), normal(2, 4, 6, seed=5)
    found = matrix(gauss_newton(lambda w: network(w, x), lambda out: F.mse_loss(out, target), network.params))
    middle = torch.eye(48, dtype=torch.float64) * 2 / 48
    expected = explicit(lambda w: network(w, x), middle, network.params)
    assert torch.allclose(found, expected, atol=1e-12)


def test_sandwich_of_a_network_in_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="not deterministic"):
        SandwichOperator(lambda w: F.dropout(w, 0.5), lambda _: lambda u: u, torch.rand(50))
