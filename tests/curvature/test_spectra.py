"""Operators, dense spectra, the reduction and quadrature against closed forms and dense references."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from suite.curvature import reduction
from suite.curvature.dense import minibatch_eigenvalues
from suite.curvature.dimension import sharpness_dimension
from suite.curvature.hessian import HessianOperator, dense_hessian
from suite.curvature.jacobian import Step, log_singular_values
from suite.curvature.lanczos import lanczos_quadrature, rademacher
from suite.curvature.measure import SpectralMeasure
from suite.curvature.reduction import ReducedInputs, input_basis
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum
from tests.curvature.nets import mlp, quadratic

CPU = torch.device("cpu")


def of_quadrature(nodes: torch.Tensor, weights: torch.Tensor, size: int) -> QuadratureSpectrum:
    return QuadratureSpectrum(SpectralMeasure.of_quadrature(nodes, weights, size))


KNOWN = torch.tensor([3.0, 1.5, 0.5, 0.0, 0.0, -0.25, -1.0], dtype=torch.float64)


def test_quadratic_closed_forms() -> None:
    loss, _ = quadratic(KNOWN)
    values, retried = minibatch_eigenvalues(loss, torch.randn(7, dtype=torch.float64))
    spectra = DenseSpectra.of([values], 7, [retried])
    assert spectra.trace().value == pytest.approx(3.75, abs=1e-12)
    assert spectra.max_eigenvalue().value == pytest.approx(3.0, abs=1e-12)
    assert spectra.largest().value == pytest.approx(3.0, abs=1e-12)
    assert spectra.frobenius().value == pytest.approx(float(KNOWN.norm()), abs=1e-12)
    # η = 0.8: |1 − ηα| = 1.4, 0.2, 0.6, 1, 1, 1.2, 1.8
    logs = sorted(np.log([1.8, 1.4, 1.2, 1.0, 1.0, 0.6, 0.2]), reverse=True)
    by_hand = 6 + sum(logs[:6]) / abs(logs[6])
    assert spectra.sharpness_dimension(Step(0.8)).value == pytest.approx(by_hand, abs=1e-12)
    assert spectra.leading_exponent(Step(0.8)).value == pytest.approx(np.log(1.8), abs=1e-12)
    assert spectra.trace().standard_error is None


def test_dense_hessian_and_operator_are_autograds() -> None:
    loss, weights, inputs, _ = mlp()
    expected = torch.autograd.functional.hessian(lambda w: loss(w, inputs), weights)
    found = dense_hessian(lambda w: loss(w, inputs), weights, chunk=7)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    operator = HessianOperator(lambda w: loss(w, inputs), weights)
    block = torch.randn(3, operator.size, dtype=torch.float64)
    assert torch.allclose(operator @ block, block @ expected, atol=1e-12)
    assert torch.allclose(operator @ block[1], expected @ block[1], atol=1e-12)


def test_reduction_keeps_the_spectrum_and_counts_the_zeros() -> None:
    loss, weights, inputs, hidden = mlp(features=9, batch=6)
    inputs[5] = inputs[0] + inputs[1]  # rank 5
    full = torch.linalg.eigvalsh(dense_hessian(lambda w: loss(w, inputs), weights))
    reduced = ReducedInputs(inputs, slice(0, 9 * hidden), hidden)
    assert reduced.basis.shape == (9, 5)
    assert reduced.zeros == hidden * 4
    small = torch.linalg.eigvalsh(dense_hessian(lambda w: loss(w, reduced.inputs), reduced.reduce(weights)))
    with_zeros = torch.cat([small, torch.zeros(reduced.zeros, dtype=torch.float64)]).sort().values
    assert torch.allclose(with_zeros, full, rtol=0, atol=1e-12)


def test_whole_training_set_is_decomposed_once_and_anew_when_it_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    decomposed: list[int] = []

    def counted(inputs: torch.Tensor) -> torch.Tensor:
        decomposed.append(len(inputs))
        return input_basis(inputs)

    monkeypatch.setattr(reduction, "input_basis", counted)
    inputs = torch.randn(80, 3, generator=torch.Generator().manual_seed(5))
    first, again = (ReducedInputs(batch, slice(0, 6), 2) for batch in (inputs, inputs.clone()))
    assert torch.equal(first.inputs, again.inputs)
    assert decomposed == [80]
    ReducedInputs(inputs[:6], slice(0, 6), 2)
    inputs[0, 0] += 1
    changed = ReducedInputs(inputs, slice(0, 6), 2)
    assert decomposed == [80, 6, 80]
    assert torch.allclose(changed.inputs @ changed.basis.T, inputs, atol=1e-5)


def test_networks_in_training_mode_and_infinite_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="not deterministic"):
        HessianOperator(lambda w: torch.nn.functional.dropout(w, 0.5).square().sum(), torch.rand(50))
    with pytest.raises(ValueError, match="inf"):
        dense_hessian(lambda w: (w / 0).sum(), torch.ones(3))


def test_dead_network_in_float32_is_data() -> None:
    loss, weights, inputs, hidden = mlp()
    dead = weights.clone()
    dead[: 9 * hidden] = 0
    values, _ = minibatch_eigenvalues(lambda w: loss(w, inputs.float()), dead.float())
    assert values.dtype == torch.float64
    assert sharpness_dimension(log_singular_values(values, Step(0.5))) == pytest.approx(len(weights), abs=1)


def test_sd_averages_sorted_spectra_and_its_error_is_the_jackknife() -> None:
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randn(6, generator=generator, dtype=torch.float64) for _ in range(4)]
    spectra, step = DenseSpectra.of(rows, 8, [False] * 4), Step(0.7)
    logs = np.stack([np.sort(np.log(np.abs(1 - 0.7 * np.r_[r.numpy(), 0, 0])))[::-1] for r in rows])
    assert spectra.sharpness_dimension(step).value == pytest.approx(sharpness_dimension(logs.mean(0)), rel=1e-12)
    left = [sharpness_dimension(np.delete(logs, k, 0).mean(0)) for k in range(4)]
    error = np.sqrt(3 / 4 * np.sum((np.array(left) - np.mean(left)) ** 2))
    assert spectra.sharpness_dimension(step).standard_error == pytest.approx(error, rel=1e-9)
    assert spectra.trace().standard_error == pytest.approx(np.std([float(r.sum()) for r in rows], ddof=1) / 2)


def test_pooling_is_never_below_averaging_sorted_spectra() -> None:
    for seed in range(20):
        rows = torch.randn(3, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        averaged = DenseSpectra.of(list(rows), 12, [False] * 3).sharpness_dimension(Step(0.9)).value
        pooled = of_quadrature(rows, torch.full_like(rows, 1 / 12), 12).sharpness_dimension(Step(0.9)).value
        assert pooled >= averaged - 1e-9


def test_spectra_survive_storage() -> None:
    dense = DenseSpectra.of([KNOWN, KNOWN[:5]], 9, [False, True])
    again = DenseSpectra.from_arrays(dense.to_arrays())
    assert torch.equal(again.eigenvalues, dense.eigenvalues)
    assert (again.size, again.retried.tolist()) == (9, [False, True])
    measure = of_quadrature(torch.rand(2, 3), torch.rand(2, 3).double().softmax(1), 5)
    assert torch.equal(QuadratureSpectrum.from_arrays(measure.to_arrays()).measure.masses, measure.measure.masses)


def test_exhausted_krylov_space_is_exact() -> None:
    loss, _ = quadratic(torch.tensor([4.0, 1.0, 1.0, -2.0, -2.0], dtype=torch.float64))
    operator = HessianOperator(loss, torch.zeros(5, dtype=torch.float64))
    probes = rademacher(3, 5, 0, torch.float64, CPU)
    nodes, weights = lanczos_quadrature(operator, probes, 5)
    hessian = dense_hessian(loss, torch.zeros(5, dtype=torch.float64))
    values, vectors = torch.linalg.eigh(hessian)
    for node, weight, probe in zip(nodes, weights, probes, strict=True):
        for value in (4.0, 1.0, -2.0):
            mass = ((vectors.T @ probe) ** 2)[(values - value).abs() < 1e-9].sum() / 5
            assert float(weight[(node - value).abs() < 1e-9].sum()) == pytest.approx(float(mass), abs=1e-10)
        assert float(weight.sum()) == pytest.approx(1.0, abs=1e-12)
        assert node.max() < 4 + 1e-9
        assert node.min() > -2 - 1e-9


def reorthogonalised(matrix: torch.Tensor, probe: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Full two-pass reorthogonalisation, written plainly."""
    basis, alphas, betas = [probe / probe.norm()], [], []
    for _ in range(steps):
        w = matrix @ basis[-1]
        alphas.append(float(w @ basis[-1]))
        for _ in range(2):
            for v in basis:
                w = w - (w @ v) * v
        betas.append(float(w.norm()))
        basis.append(w / w.norm())
    inner = torch.tensor(betas[:-1], dtype=torch.float64)
    matrix = torch.diag(torch.tensor(alphas, dtype=torch.float64)) + torch.diag(inner, 1) + torch.diag(inner, -1)
    nodes, vectors = torch.linalg.eigh(matrix)
    return nodes, vectors[0] ** 2


def test_ghosts_leave_the_measure_right() -> None:
    size = 400
    eigenvalues = torch.cat([torch.tensor([50.0, 20.0]), torch.linspace(-0.5, 1.0, size - 2)]).double()
    loss, hessian = quadratic(eigenvalues)
    operator = HessianOperator(loss, torch.zeros(size, dtype=torch.float64))
    probe = rademacher(1, size, 1, torch.float64, CPU)
    nodes, weights = lanczos_quadrature(operator, probe, 80)
    assert int(((nodes - 50).abs() < 1e-6).sum()) > 1, "no ghosts: the test tests nothing"
    exact_nodes, exact_weights = reorthogonalised(hessian, probe[0], 80)
    for power in range(1, 5):
        moment = float((weights[0] * nodes[0] ** power).sum())
        assert moment == pytest.approx(float((exact_weights * exact_nodes**power).sum()), rel=1e-9)
        direct = float(probe[0] @ torch.linalg.matrix_power(hessian, power) @ probe[0]) / size
        assert moment == pytest.approx(direct, rel=1e-9)
    step = Step(0.3)
    pooled = of_quadrature(nodes, weights, size).sharpness_dimension(step).value
    full = of_quadrature(exact_nodes[None], exact_weights[None], size).sharpness_dimension(step).value
    assert size - pooled == pytest.approx(size - full, rel=1e-3)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-9])
def test_flat_networks_keep_their_relative_accuracy(scale: float) -> None:
    eigenvalues = torch.linspace(-0.2, 1.0, 60).double() * scale
    loss, _ = quadratic(eigenvalues)
    operator = HessianOperator(loss, torch.zeros(60, dtype=torch.float64))
    nodes, weights = lanczos_quadrature(operator, rademacher(4, 60, 2, torch.float64, CPU), 60)
    measure = of_quadrature(nodes, weights, 60)
    assert measure.max_eigenvalue().value == pytest.approx(scale, rel=1e-6)
    assert measure.trace().value == pytest.approx(float(eigenvalues.sum()), rel=0.5)


def test_quadrature_of_a_network_in_float32() -> None:
    loss, weights, inputs, _ = mlp(features=12, batch=30)
    exact = torch.linalg.eigvalsh(dense_hessian(lambda w: loss(w, inputs), weights))
    operator = HessianOperator(lambda w: loss(w, inputs.float()), weights.float())
    nodes, masses = lanczos_quadrature(operator, rademacher(200, operator.size, 3, torch.float32, CPU), 30)
    measure = of_quadrature(nodes, masses, operator.size)
    trace = measure.trace()
    assert trace.standard_error is not None
    assert abs(trace.value - float(exact.sum())) < 4 * trace.standard_error
    assert measure.largest().value == pytest.approx(float(exact.abs().max()), rel=1e-4)
    assert measure.frobenius().value == pytest.approx(float(exact.norm()), rel=0.05)
    codimension = operator.size - sharpness_dimension(log_singular_values(exact, Step(0.5)))
    estimate = measure.sharpness_dimension(Step(0.5))
    assert estimate.standard_error is not None
    assert abs(operator.size - estimate.value - codimension) < 4 * estimate.standard_error + 0.02 * codimension


def test_probes_do_not_depend_on_their_number() -> None:
    few, many = (rademacher(n, 33, 7, torch.float32, CPU) for n in (2, 5))
    assert torch.equal(few, many[:2])
    assert set(many.unique().tolist()) == {-1.0, 1.0}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_cpu() -> None:
    loss, weights, inputs, _ = mlp()
    here, _ = minibatch_eigenvalues(lambda w: loss(w, inputs), weights)
    on_device, _, _, _ = mlp(device="cuda")
    there, _ = minibatch_eigenvalues(lambda w: on_device(w, inputs.cuda()), weights.cuda())
    assert torch.allclose(there.cpu(), here, atol=1e-12)
