"""Our operators beside those of curvlinops, hessian-eigenthings and PyHessian, on the same nets and batches.

They need the optional extra: `pip install -c constraints.txt -e '.[peers]'`. Where a peer is known to be wrong
(unequal batches, fused attention, dropout, unused parameters: see test_traps.py) it is not asked.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from suite.curvature.combined import MicroBatchedOperator
from suite.curvature.gauss_newton import empirical_fisher, gauss_newton, true_fisher
from suite.curvature.hessian import HessianOperator
from suite.curvature.network import Network
from suite.models.networks.decoder import Block, Decoder
from tests.curvature.modules import classes, normal, perceptron, seeded

WHY = "the peers are an optional extra: pip install -c constraints.txt -e '.[peers]'"
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}

Product = Callable[[Tensor], Tensor]


class Predictions(nn.Module):
    """A decoder's logits with tokens and samples in one axis: what cross-entropy takes without arguments."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [Block(8, 2, 16, nn.GELU(), True) for _ in range(2)]
        self.decoder = Decoder(11, 6, 11, 8, blocks, True, True)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(tokens).flatten(0, 1)


class Problem:
    """One net, one batch, in one dtype."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        if name == "mlp":
            self.module = seeded(lambda: perceptron(7, 12, 12, 5, activation=nn.ReLU))
            self.inputs, self.targets = normal(30, 7).to(dtype), classes(30, 5)
        else:
            self.module = seeded(Predictions)
            self.inputs, self.targets = classes(6 * 9, 11, seed=3).view(9, 6), classes(6 * 9, 11)
        self.module = self.module.to(dtype)
        self.network, self.dtype = Network(self.module), dtype
        self.loss = self.network.loss(cross_entropy, self.inputs, self.targets)
        self.parameters = list(self.module.parameters())
        self.batches = [(self.inputs, self.targets)]

    def agree(self, ours: Product, theirs: Product, but_for: str = "nothing") -> None:
        """Relative to the product, on five vectors; the peers take one at a time."""
        vectors = normal(5, len(self.network.params)).to(self.dtype)
        kept = torch.ones(len(self.network.params))
        for name, place in self.network.slices().items():
            kept[place] = float(not re.search(but_for, name))
        for vector in vectors:
            mine, other = kept * ours(vector).double(), kept * theirs(vector).detach().double()
            assert float(mine.norm()) > 0
            assert float((mine - other).norm()) < TOLERANCE[self.dtype] * float(mine.norm())


@pytest.fixture(params=["mlp", "transformer"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[torch.float32, torch.float64], ids=["float32", "float64"])
def problem(request: pytest.FixtureRequest, name: str) -> Problem:
    return Problem(name, request.param)


def hessian(problem: Problem) -> Product:
    return HessianOperator(problem.loss, problem.network.params).__matmul__


def newton(problem: Problem) -> Product:
    return gauss_newton(problem.loss.predict, problem.loss.criterion, problem.network.params).__matmul__


def sample_losses(problem: Problem) -> Callable[[Tensor], Tensor]:
    return lambda w: cross_entropy(problem.network(w, problem.inputs), problem.targets, reduction="none")


# --- curvlinops ------------------------------------------------------------------------------------------------------


def test_curvlinops_hessian(problem: Problem) -> None:
    peer = pytest.importorskip("curvlinops", reason=WHY)
    theirs = peer.HessianLinearOperator(problem.module, nn.CrossEntropyLoss(), problem.parameters, problem.batches)
    # its rows of layer normalisations' scales are 20 to 30 % off: see test_traps.py on normalisations
    problem.agree(hessian(problem), theirs.__matmul__, but_for=r"(before_\w+|final)\.weight")


def test_curvlinops_gauss_newton(problem: Problem) -> None:
    peer = pytest.importorskip("curvlinops", reason=WHY)
    theirs = peer.GGNLinearOperator(problem.module, nn.CrossEntropyLoss(), problem.parameters, problem.batches)
    problem.agree(newton(problem), theirs.__matmul__)
    # for cross-entropy the Fisher matrix is the Gauss–Newton matrix
    fisher = true_fisher(problem.loss.predict, "categorical", problem.network.params)
    problem.agree(fisher.__matmul__, theirs.__matmul__)


def test_curvlinops_empirical_fisher(problem: Problem) -> None:
    peer = pytest.importorskip("curvlinops", reason=WHY)
    theirs = peer.EFLinearOperator(problem.module, nn.CrossEntropyLoss(), problem.parameters, problem.batches)
    ours = empirical_fisher(sample_losses(problem), problem.network.params)
    problem.agree(ours.__matmul__, theirs.__matmul__)


def test_curvlinops_sampled_fisher_tends_to_ours() -> None:
    peer = pytest.importorskip("curvlinops", reason=WHY)
    problem = Problem("mlp", torch.float64)
    ours = true_fisher(problem.loss.predict, "categorical", problem.network.params)
    vector = normal(ours.size)
    exact, errors = ours @ vector, []
    for samples in (100, 10_000):
        theirs = peer.FisherMCLinearOperator(
            problem.module, nn.CrossEntropyLoss(), problem.parameters, problem.batches, seed=1, mc_samples=samples
        )
        errors.append(float((theirs @ vector - exact).norm() / exact.norm()))
    assert errors[1] < 0.02
    assert errors[1] < errors[0] / 3  # 100 times the samples: a tenth of the error


def test_curvlinops_weighs_unequal_batches_as_we_do() -> None:
    peer = pytest.importorskip("curvlinops", reason=WHY)
    problem = Problem("mlp", torch.float64)
    x, y = problem.inputs, problem.targets
    batches = [(x[k : k + 13], y[k : k + 13]) for k in range(0, 30, 13)]
    theirs = peer.HessianLinearOperator(problem.module, nn.CrossEntropyLoss(), problem.parameters, batches)

    def part(start: int, stop: int) -> HessianOperator:
        loss = problem.network.loss(cross_entropy, x[start:stop], y[start:stop])
        return HessianOperator(loss, problem.network.params)

    problem.agree(MicroBatchedOperator(part, 30, 13).__matmul__, theirs.__matmul__)


# --- hessian-eigenthings ---------------------------------------------------------------------------------------------


def test_eigenthings_hessian(problem: Problem) -> None:
    peer = pytest.importorskip("hessian_eigenthings", reason=WHY)
    theirs = peer.HessianOperator(problem.module, problem.batches, peer.supervised_loss(cross_entropy))
    problem.agree(hessian(problem), theirs.matvec)


def test_eigenthings_gauss_newton(problem: Problem) -> None:
    pytest.importorskip("hessian_eigenthings", reason=WHY)
    from hessian_eigenthings.loss_fns.standard import supervised_forward, supervised_loss_of_output
    from hessian_eigenthings.operators import GGNOperator

    theirs = GGNOperator(problem.module, problem.batches, supervised_forward, supervised_loss_of_output(cross_entropy))
    problem.agree(newton(problem), theirs.matvec)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_eigenthings_empirical_fisher(dtype: torch.dtype) -> None:
    pytest.importorskip("hessian_eigenthings", reason=WHY)
    from hessian_eigenthings.loss_fns.standard import supervised_per_sample_loss
    from hessian_eigenthings.operators import EmpiricalFisherOperator

    problem = Problem("mlp", dtype)
    theirs = EmpiricalFisherOperator(problem.module, problem.batches, supervised_per_sample_loss(cross_entropy))
    ours = empirical_fisher(sample_losses(problem), problem.network.params)
    problem.agree(ours.__matmul__, theirs.matvec)


def test_eigenthings_spectral_density_has_our_moments() -> None:
    """Not on the same probes: within the noise of theirs."""
    peer = pytest.importorskip("hessian_eigenthings", reason=WHY)
    problem = Problem("mlp", torch.float64)
    theirs = peer.HessianOperator(problem.module, problem.batches, peer.supervised_loss(cross_entropy))
    found = peer.spectral_density(theirs, num_runs=50, lanczos_steps=20, seed=0)
    matrix = torch.stack([hessian(problem)(row) for row in torch.eye(len(problem.network.params)).double()])
    for power in (1, 2):
        exact = float(torch.linalg.matrix_power(matrix, power).trace()) / len(matrix)
        runs = (found.raw_weights * found.raw_eigenvalues**power).sum(1)
        assert abs(float(runs.mean()) - exact) < 4 * float(runs.std()) / 50**0.5


# --- PyHessian -------------------------------------------------------------------------------------------------------


def test_pyhessian_hessian(problem: Problem) -> None:
    pyhessian = pytest.importorskip("pyhessian", reason=WHY)
    module = copy.deepcopy(problem.module)  # it leaves graphs in .grad
    peer = pyhessian.hessian(module, nn.CrossEntropyLoss(), data=(problem.inputs, problem.targets), cuda=False)

    def theirs(vector: Tensor) -> Tensor:
        pieces = torch.split(vector, [p.numel() for p in peer.params])
        shaped = [piece.view_as(p) for piece, p in zip(pieces, peer.params, strict=True)]
        return torch.cat([h.reshape(-1) for h in pyhessian.hessian_vector_product(peer.gradsH, peer.params, shaped)])

    problem.agree(hessian(problem), theirs)
