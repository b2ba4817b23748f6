"""Spectral probes on CUDA are those of the CPU, and the same twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from suite.curvature.jacobian import Step
from suite.curvature.spectrum import DenseSpectra
from suite.measuring.place import WORKER_VARIABLES, Place
from suite.measuring.probes import spectrum
from suite.measuring.probes.spectrum import load_spectrum, retried, spectral_probe
from suite.models.flat import initial_weights
from suite.spec.probes import DenseSpectrum, LanczosSpectrum
from suite.spec.task import TaskSpec
from suite.training.problem import load_problem

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

NETWORKS = {
    "mlp": ({"kind": "digits"}, {"kind": "mlp", "widths": [8], "activation": "gelu"}),
    "mlp with biases": ({"kind": "digits"}, {"kind": "mlp", "widths": [7, 6], "activation": "relu", "bias": True}),
    "transformer": (
        {"kind": "modular", "modulus": 11, "operation": "add", "encoding": "tokens", "train_fraction": 0.6},
        {"kind": "transformer", "layers": 1, "width": 8, "heads": 2},
    ),
}
PROBES = {
    "dense": DenseSpectrum(minibatches=2, batch_size=16),
    "lanczos": LanczosSpectrum(runs=3, steps=12, batch_size=16, dtype="float64"),
    "lanczos-full": LanczosSpectrum(runs=3, steps=12, batch_size="full", dtype="float64"),
}


def probe(
    network: str,
    spec: DenseSpectrum | LanczosSpectrum,
    device: str,
    change: Callable[[torch.Tensor], None] = lambda weights: None,
) -> dict[str, torch.Tensor]:
    data, model = NETWORKS[network]
    training = {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "batch_size": 16, "steps": 1}
    task = TaskSpec.model_validate(
        {"name": "t", "title": "t", "kind": "grid", "data": data, "model": model, "training": training}
    )
    problem = load_problem(task, torch.device(device), torch.float64)
    weights = initial_weights(task.model, task.data.shape(), 0).to(device, torch.float64)
    change(weights)
    return {name: t.cpu() for name, t in spectral_probe(problem, weights, spec, 16).items()}


@pytest.mark.parametrize("network", NETWORKS)
def test_dense_and_lanczos_see_one_hessian(network: str) -> None:
    dense = DenseSpectrum(minibatches=1, batch_size="full")
    lanczos = LanczosSpectrum(runs=64, steps=8, batch_size="full", dtype="float64")
    exact = load_spectrum(dense, probe(network, dense, "cpu"))
    estimate = load_spectrum(lanczos, probe(network, lanczos, "cpu"))
    assert estimate.largest().value == pytest.approx(exact.largest().value, rel=0.05)
    spread = estimate.trace().standard_error
    assert spread is not None
    assert abs(estimate.trace().value - exact.trace().value) < 4 * spread
    assert retried(probe(network, dense, "cpu")) == ""


@pytest.mark.parametrize("network", ["mlp", "mlp with biases"])
def test_the_range_gives_the_spectrum_of_what_is_too_large_for_a_matrix(
    network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = DenseSpectrum(minibatches=2, batch_size=8)
    written = load_spectrum(budget, probe(network, budget, "cpu"))
    monkeypatch.setattr(spectrum, "_MATRIX", 100)
    ranged = load_spectrum(budget, probe(network, budget, "cpu"))
    assert isinstance(written, DenseSpectra)
    assert isinstance(ranged, DenseSpectra)
    assert ranged.size == written.size
    for one, other in zip(ranged.eigenvalues, written.eigenvalues, strict=True):
        ours, theirs = (_whole(values, written.size) for values in (one, other))
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-12 * float(theirs.abs().max()))
    step = Step(0.5)
    assert ranged.sharpness_dimension(step).value == pytest.approx(written.sharpness_dimension(step).value, rel=1e-9)


def _whole(values: torch.Tensor, size: int) -> torch.Tensor:
    """With the zeros that are left out, ascending."""
    kept = values[values != 0]
    return torch.cat([kept, torch.zeros(size - len(kept), dtype=values.dtype)]).sort().values


@pytest.mark.parametrize("dead", [slice(0, 7 * 65), slice(7 * 65, 7 * 65 + 6 * 8), slice(None)])
def test_dead_networks_have_a_spectrum_of_zeros_by_the_range_too(dead: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(weights: torch.Tensor) -> None:
        weights[dead] = 0.0 if dead == slice(None) else -weights[dead].abs() - 0.1

    budget, step = DenseSpectrum(minibatches=1, batch_size=8), Step(0.5)
    written = load_spectrum(budget, probe("mlp with biases", budget, "cpu", kill)).sharpness_dimension(step).value
    monkeypatch.setattr(spectrum, "_MATRIX", 100)
    ranged = load_spectrum(budget, probe("mlp with biases", budget, "cpu", kill)).sharpness_dimension(step).value
    assert ranged == pytest.approx(written, rel=1e-9)


@pytest.mark.gpu
@CUDA
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", PROBES)
def test_probes_on_cuda_are_those_of_the_cpu(network: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in WORKER_VARIABLES.items():
        monkeypatch.setenv(variable, value)
    expected = probe(network, PROBES[name], "cpu")
    try:
        Place.of("cuda:0", "float64").prepare()
        first, second = (probe(network, PROBES[name], "cuda:0") for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    scale = max(float(t.abs().max()) for key, t in expected.items() if key in ("eigenvalues", "nodes"))
    for key, tensor in expected.items():
        assert torch.equal(first[key], second[key]), key
        assert torch.allclose(first[key].double(), tensor.double(), rtol=1e-8, atol=1e-9 * scale), key
