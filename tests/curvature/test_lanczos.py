"""Lanczos in its three forms, whole spectra from Krylov spaces, and the spectral measures made of them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from suite.curvature.eigenpairs import krylov_spectrum, top_eigenpairs
from suite.curvature.hessian import HessianOperator, StackedHessian
from suite.curvature.lanczos import Tridiagonal, _Basis, lanczos, rademacher
from suite.curvature.measure import SpectralMeasure
from suite.curvature.network import Network
from suite.curvature.operator import SymmetricOperator
from suite.curvature.quadrature import spectral_measure, stacked_measure
from tests.curvature.modules import classes, dense, normal, perceptron, seeded

CPU = torch.device("cpu")


class Matrix(SymmetricOperator):
    """A symmetric matrix that counts the rows it multiplies."""

    def __init__(self, matrix: Tensor, zeros: int = 0) -> None:
        super().__init__(len(matrix), matrix.dtype, matrix.device)
        self.matrix, self.rows, self.products, self.zeros = matrix, 64, 0, zeros

    def _product(self, block: Tensor) -> Tensor:
        self.products += len(block)
        return block @ self.matrix


def with_eigenvalues(values: Tensor, dtype: torch.dtype = torch.float64) -> Matrix:
    basis = torch.linalg.qr(normal(len(values), len(values), seed=11)).Q
    return Matrix(((basis * values.double()) @ basis.T).to(dtype))


def hessian_like(size: int) -> Tensor:
    """A few steep directions, a bulk that decays, some negative ones: what a network's spectrum looks like."""
    bulk = torch.logspace(0, -8, size - 13, dtype=torch.float64)
    steep = torch.tensor([100.0, 60, 55, 30, 20, 18, 10, 9, 8], dtype=torch.float64)
    return torch.cat([steep, bulk, torch.tensor([-0.5, -1.0, -2.0, -3.0], dtype=torch.float64)])


def gram_error(run: Tridiagonal) -> float:
    """The largest inner product of two Lanczos vectors, or the largest distance of a norm from 1."""
    assert run.basis is not None
    basis = run.basis.double()
    return float((basis @ basis.mT - torch.eye(basis.shape[1], dtype=torch.float64)).abs().max())


@pytest.fixture
def removals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many basis vectors each reorthogonalisation removed."""
    counts: list[int] = []
    original = _Basis.remove_from

    def counting(self, vectors: Tensor, count: int) -> None:  # type: ignore[no-untyped-def]
        counts.append(count)
        original(self, vectors, count)

    monkeypatch.setattr(_Basis, "remove_from", counting)
    return counts


# --- reorthogonalisation ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4])
def test_partial_keeps_half_the_digits_of_orthogonality_for_less(count: int, removals: list[int]) -> None:
    operator, probes = with_eigenvalues(hessian_like(500)), rademacher(count, 500, 0, torch.float64, CPU)
    partial = lanczos(operator, probes, 100, "partial")
    spent = sum(removals)
    assert gram_error(partial) < 1e-6  # √eps is 1.5e-8, the recurrence is an estimate
    removals.clear()
    full = lanczos(operator, probes, 100, "full")
    assert gram_error(full) < 1e-13
    assert spent < 0.5 * sum(removals)
    # semiorthogonal vectors give the tridiagonal matrix of orthogonal ones, up to rounding (Simon 1984, theorem 4)
    assert torch.allclose(partial.quadrature()[0], full.quadrature()[0], rtol=1e-10, atol=1e-10)


def test_without_reorthogonalisation_there_is_something_to_mend(removals: list[int]) -> None:
    operator, probe = with_eigenvalues(hessian_like(500)), rademacher(1, 500, 0, torch.float64, CPU)
    run = lanczos(operator, probe, 100, "none")
    assert run.basis is None
    assert removals == []
    nodes = run.quadrature()[0][0]
    assert int(((nodes - 100).abs() < 1e-6).sum()) > 1
    for form in ("partial", "full"):
        nodes = lanczos(operator, probe, 100, form).quadrature()[0][0]
        assert int(((nodes - 100).abs() < 1e-6).sum()) == 1


def test_partial_in_float32_is_orthogonal_to_half_its_digits() -> None:
    operator = with_eigenvalues(hessian_like(500), torch.float32)
    run = lanczos(operator, rademacher(2, 500, 0, torch.float32, CPU), 100, "partial")
    assert gram_error(run) < 3e-3  # √eps is 3.5e-4
    nodes = run.quadrature()[0]
    assert (((nodes - 100).abs() < 1e-2).sum(1) == 1).all()


@pytest.mark.parametrize("form", ["full", "partial"])
def test_basis_in_bfloat16_on_another_device_counts_right(form: str) -> None:
    operator, probes = with_eigenvalues(hessian_like(500), torch.float32), rademacher(2, 500, 0, torch.float32, CPU)
    run = lanczos(operator, probes, 60, form, basis_dtype=torch.bfloat16, basis_device="cpu")
    assert run.basis is not None
    assert run.basis.dtype == torch.bfloat16
    assert run.basis.shape == (2, 60, 500)
    nodes, weights = run.quadrature()
    reference, shares = lanczos(operator, probes, 60, "full").quadrature()
    for power in range(1, 5):
        moment, exact = (weights * nodes**power).sum(1), (shares * reference**power).sum(1)
        assert torch.allclose(moment, exact, rtol=1e-3)
    assert (((nodes - 100).abs() < 0.5).sum(1) == 1).all()


@pytest.mark.parametrize("form", ["none", "partial", "full"])
def test_moments_are_those_of_the_matrix(form: str) -> None:
    operator, probes = with_eigenvalues(hessian_like(300)), rademacher(3, 300, 4, torch.float64, CPU)
    nodes, weights = lanczos(operator, probes, 40, form).quadrature()  # type: ignore[arg-type]
    block = probes
    for power in range(1, 9):
        block = block @ operator.matrix
        exact = (block * probes).sum(1) / 300
        assert torch.allclose((weights * nodes**power).sum(1), exact, rtol=1e-9)


# --- breakdown -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["none", "partial", "full"])
def test_an_exhausted_space_gives_exact_nodes(form: str) -> None:
    values = torch.cat([torch.tensor([4.0, 1.0, -2.0]), torch.zeros(57)]).double()
    operator, probes = with_eigenvalues(values), rademacher(3, 60, 0, torch.float64, CPU)
    run = lanczos(operator, probes, 20, form)  # type: ignore[arg-type]
    assert bool(run.exhausted.all())
    assert int(run.live.sum(1).max()) <= 5
    nodes, weights = run.quadrature()
    eigenvalues, vectors = torch.linalg.eigh(operator.matrix)
    shares = (probes @ vectors).square() / 60
    for value in (4.0, 1.0, -2.0, 0.0):
        expected = shares[:, (eigenvalues - value).abs() < 1e-9].sum(1)
        found = torch.where((nodes - value).abs() < 1e-9, weights, 0.0).sum(1)
        assert torch.allclose(found, expected, atol=1e-12)
    assert float(nodes.max()) < 4 + 1e-9
    assert float(nodes.min()) > -2 - 1e-9


def test_probes_break_down_one_by_one() -> None:
    eigenvalues = torch.linspace(1, 10, 10, dtype=torch.float64)
    operator = Matrix(torch.diag(eigenvalues))
    probes = torch.zeros(3, 10, dtype=torch.float64)
    probes[0, :2], probes[1, :5], probes[2] = 1, 1, 1
    run = lanczos(operator, probes, 10, "full")
    assert run.live.sum(1).tolist() == [2, 5, 10]
    nodes, weights = run.quadrature()
    for row, length in enumerate((2, 5, 10)):
        heavy = nodes[row][weights[row] > 1e-10]
        assert torch.allclose(heavy, eigenvalues[:length], atol=1e-10)
        assert torch.allclose(weights[row][weights[row] > 1e-10], torch.tensor(1 / length).double(), atol=1e-7)


def test_the_zero_matrix_and_more_steps_than_dimensions() -> None:
    probes = rademacher(2, 5, 0, torch.float64, CPU)
    nodes, weights = lanczos(Matrix(torch.zeros(5, 5, dtype=torch.float64)), probes, 3).quadrature()
    assert torch.count_nonzero(nodes) == 0
    assert torch.allclose(weights.sum(1), torch.ones(2, dtype=torch.float64))
    operator = with_eigenvalues(torch.arange(1.0, 6))
    run = lanczos(operator, probes, 50, "full")
    assert run.diagonal.shape == (2, 5)
    assert torch.allclose(run.quadrature()[0], torch.arange(1.0, 6).double().expand(2, 5), atol=1e-9)


@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1e12])
def test_breakdown_is_relative_to_the_operators_scale(scale: float) -> None:
    values = hessian_like(100)
    probes = rademacher(1, 100, 0, torch.float64, CPU)
    plain = lanczos(with_eigenvalues(values), probes, 30, "full")
    scaled = lanczos(with_eigenvalues(scale * values), probes, 30, "full")
    assert torch.equal(scaled.live, plain.live)
    assert torch.allclose(scaled.quadrature()[0] / scale, plain.quadrature()[0], rtol=1e-9, atol=1e-9)


def test_bad_input_is_refused() -> None:
    operator, probe = with_eigenvalues(torch.arange(1.0, 6)), rademacher(1, 5, 0, torch.float64, CPU)
    with pytest.raises(ValueError, match="none, partial or full"):
        lanczos(operator, probe, 3, "selective")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one step"):
        lanczos(operator, probe, 0)
    with pytest.raises(ValueError, match="none of them zero"):
        lanczos(operator, torch.cat([probe, torch.zeros_like(probe)]), 3)
    broken = Matrix(torch.full((5, 5), math.nan, dtype=torch.float64))
    for form in ("none", "full", "partial"):
        with pytest.raises(ValueError, match="not finite"):
            lanczos(broken, probe, 3, form)


# --- whole spectra ---------------------------------------------------------------------------------------------------

NETS = {
    "tanh": lambda: perceptron(10, 18, 18, 5),
    "relu": lambda: perceptron(10, 20, 20, 5, activation=nn.ReLU),
    "wide": lambda: perceptron(24, 20, 8, activation=nn.GELU),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("batch", [3, 40])
def test_krylov_spectra_of_networks_are_exact(name: str, batch: int) -> None:
    module = seeded(NETS[name])
    x, y = normal(batch, module[0].in_features), classes(batch, module[-1].out_features)
    exact = torch.linalg.eigvalsh(dense(module, lambda out: F.cross_entropy(out, y), x))
    assert 500 < len(exact) <= 2000
    network = Network(module)
    found = krylov_spectrum(HessianOperator(network.loss(F.cross_entropy, x, y), network.params, rows=1))
    assert found.dtype == torch.float64
    assert float(found.sum()) == pytest.approx(float(exact.sum()), rel=1e-6)
    assert float(found.norm()) == pytest.approx(float(exact.norm()), rel=1e-6)
    assert float(found[-1]) == pytest.approx(float(exact[-1]), rel=1e-6)
    assert float(found[0]) == pytest.approx(float(exact[0]), rel=1e-6)
    padded = torch.cat([found, torch.zeros(len(exact) - len(found), dtype=torch.float64)]).sort().values
    assert float((padded - exact).abs().max()) < 1e-9 * float(exact[-1])


def test_krylov_spectrum_has_multiple_eigenvalues_with_their_multiplicity() -> None:
    values = torch.tensor([3.0, 3, 3, 1, 1, -2, -2, -2, -2, 0, 0, 0]).double()
    found = krylov_spectrum(with_eigenvalues(values))
    assert torch.allclose(found, values[values != 0].sort().values, atol=1e-10)
    assert len(krylov_spectrum(Matrix(torch.zeros(4, 4, dtype=torch.float64)))) == 0


# --- measures --------------------------------------------------------------------------------------------------------


def rows(measure: SpectralMeasure) -> list[tuple[int, list[float], list[float]]]:
    parts = zip(measure.draws.tolist(), measure.nodes.tolist(), measure.masses.tolist(), strict=True)
    return sorted(parts)


def drawn(draw: int) -> Matrix:
    return with_eigenvalues(hessian_like(80) * (1 + draw / 10))


def test_runs_in_pieces_are_the_runs_in_one_go() -> None:
    whole = spectral_measure(drawn, runs=6, steps=10, probes_per_draw=2, seed=5)
    assert whole.draws.tolist() == [0, 0, 1, 1, 2, 2]
    first = spectral_measure(drawn, runs=2, steps=10, probes_per_draw=2, seed=5)
    rest = spectral_measure(drawn, runs=4, steps=10, probes_per_draw=2, seed=5, first=1)
    assert rest.draws.tolist() == [1, 1, 2, 2]
    assert rows(SpectralMeasure.concatenate([first, rest])) == rows(whole)
    assert rows(spectral_measure(drawn, runs=6, steps=10, probes_per_draw=2, seed=6)) != rows(whole)


def test_probes_per_draw_share_their_operator() -> None:
    asked: list[int] = []

    def operator(draw: int) -> Matrix:
        asked.append(draw)
        return drawn(draw)

    measure = spectral_measure(operator, runs=7, steps=10, probes_per_draw=3, seed=5)
    assert asked == [0, 1, 2]
    assert measure.draws.tolist() == [0, 0, 0, 1, 1, 1, 2]
    # a run depends on its draw and its place in it alone
    fewer = spectral_measure(drawn, runs=2, steps=10, probes_per_draw=1, seed=5)
    assert torch.equal(fewer.nodes, measure.nodes[[0, 3]])
    for bad in ({"runs": 0}, {"runs": 2, "probes_per_draw": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            spectral_measure(drawn, **bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("deflate", [0, 3])
def test_known_zeros_are_in_the_measure_exactly(deflate: int) -> None:
    operator = Matrix(with_eigenvalues(hessian_like(80)).matrix, zeros=1000)
    measure = spectral_measure(operator, runs=4, steps=10, deflate=deflate)
    assert measure.size == 1080
    zero_mass = torch.where(measure.nodes == 0, measure.masses, 0.0).sum(1)
    assert torch.allclose(zero_mass, torch.full((4,), 1000.0, dtype=torch.float64))
    without = spectral_measure(with_eigenvalues(hessian_like(80)), runs=4, steps=10, deflate=deflate)
    assert measure.trace().value == pytest.approx(without.trace().value, rel=1e-12)


def test_deflation_is_exact_on_the_steep_and_quieter_on_the_rest() -> None:
    values = hessian_like(300)
    operator = with_eigenvalues(values)
    plain = spectral_measure(operator, runs=40, steps=30)
    deflated = spectral_measure(operator, runs=40, steps=30, deflate=9)
    steep = top_eigenpairs(operator, 9).values
    assert torch.allclose(steep, values.sort(descending=True).values[:9], rtol=1e-9)
    for value in steep.tolist():
        mass = torch.where((deflated.nodes - value).abs() < 1e-9 * abs(value), deflated.masses, 0.0).sum(1)
        assert torch.allclose(mass, torch.ones(40, dtype=torch.float64), atol=1e-9)
    assert deflated.size == plain.size == 300
    for measure in (plain, deflated):
        trace = measure.trace()
        assert trace.standard_error is not None
        assert abs(trace.value - float(values.sum())) < 4 * trace.standard_error
        square = measure.moment(2)
        assert square.standard_error is not None
        assert abs(square.value - float(values.square().sum())) < 4 * square.standard_error
    assert deflated.trace().standard_error < 0.3 * plain.trace().standard_error  # type: ignore[operator]


def test_deflated_trace_is_unbiased() -> None:
    """The probes of the rest live in d − k dimensions: weighing them by d − k must account for their shorter length."""
    values = torch.cat([torch.tensor([90.0, 50, 40]), torch.linspace(-1, 3, 117)]).double()
    measure = spectral_measure(with_eigenvalues(values), runs=2000, steps=2, deflate=3)
    trace = measure.trace()
    assert trace.standard_error is not None
    assert abs(trace.value - float(values.sum())) < 4 * trace.standard_error
    assert trace.standard_error < 0.002 * float(values.sum())


def test_stacked_measures_are_the_single_ones() -> None:
    module = seeded(lambda: perceptron(6, 8, 3))
    network = Network(module)
    params = network.params + 0.3 * normal(3, len(network.params), seed=8)
    x, y = normal(3, 12, 6, seed=9), torch.stack([classes(12, 3, seed=s) for s in range(3)])

    def loss(flat: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(network(flat, inputs), targets)

    stack = stacked_measure(StackedHessian(loss, params, x, y), runs=4, steps=15, seed=2)
    assert len(stack) == 3
    for k, measure in enumerate(stack):
        alone = HessianOperator(lambda w, k=k: loss(w, x[k], y[k]), params[k], rows=4)
        single = spectral_measure(alone, runs=4, steps=15, seed=2)
        assert torch.equal(measure.draws, single.draws)
        for power in range(1, 5):
            found, expected = ((m.masses * m.nodes**power).sum(1) for m in (measure, single))
            assert torch.allclose(found, expected, rtol=1e-10)
        assert torch.allclose(measure.nodes.amax(1), single.nodes.amax(1), rtol=1e-10)
