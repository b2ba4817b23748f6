"""Exact spectra: MLP-3 by the input-subspace reduction, MLP-5 by the range of its Hessian, float64.

The dense Hessian of MLP-5 would take 622 GB; what is found without it is checked against the operator's own moments.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.nn.functional import cross_entropy, relu

from suite.curvature.dimension import sharpness_dimension
from suite.curvature.hessian import HessianOperator
from suite.curvature.jacobian import Step, log_singular_values
from suite.curvature.network import Network
from suite.curvature.subspace import MLPBatch, RangeBasis, exact_eigenvalues
from suite.measuring.probes.spectrum import load_spectrum, spectral_probe
from suite.models.flat import initial_weights
from suite.spec.loading import load_task
from suite.spec.probes import DenseSpectrum
from suite.training.problem import load_problem
from tests.bench.bench_nets import CPU, QUICK, about, conditions, mlp5, peak_memory

pytestmark = pytest.mark.usefixtures("asked_for")

TASK = Path(__file__).parents[2] / "tasks/mnist/mlp3.yaml"
MEMORY = 8 * 10**9
SHAPES = [(200, 784), (200, 200), (200, 200), (200, 200), (10, 200)]
STEP = Step(0.1)


@pytest.mark.data
@pytest.mark.benchmark(group="exact spectra")
def test_all_eigenvalues_of_mlp3(benchmark: BenchmarkFixture, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One minibatch of 128 MNIST images, as a task's dense probe does it."""
    monkeypatch.setenv("SUITE_DATA_DIR", str(data_dir))
    task = load_task(TASK)
    problem = load_problem(task, CPU, torch.float32)
    weights = initial_weights(task.model, task.data.shape(), 0)
    spec = DenseSpectrum(minibatches=1)
    with peak_memory() as peak:
        probe = benchmark.pedantic(
            spectral_probe, (problem, weights, spec, 128), rounds=1 if QUICK else 3, warmup_rounds=0 if QUICK else 1
        )
    spectrum = load_spectrum(spec, probe)
    value = spectrum.sharpness_dimension(STEP).value
    assert 0 < value < len(weights) == 12_960
    benchmark.extra_info.update(conditions(), net="mlp3", parameters=len(weights), batch=128)
    benchmark.extra_info.update(
        dimension=int(torch.count_nonzero(probe["eigenvalues"])),
        seconds=benchmark.stats.stats.min,
        peak_memory_mib=peak.mib,
        sharpness_dimension=value,
    )


@pytest.mark.benchmark(group="exact spectra")
@pytest.mark.parametrize("batch", [1] if QUICK else [2, 4])
def test_all_eigenvalues_of_mlp5(benchmark: BenchmarkFixture, batch: int) -> None:
    whole = mlp5()
    inputs, targets = whole.inputs[:batch].double(), whole.targets[:batch]
    params = whole.network.params.double()

    def eigenvalues() -> tuple[RangeBasis, torch.Tensor]:
        net = MLPBatch(params, SHAPES, inputs, relu, lambda out: cross_entropy(out, targets), bias=False)
        basis = RangeBasis(net)
        return basis, exact_eigenvalues(basis, MEMORY)

    with peak_memory() as peak:
        basis, values = benchmark.pedantic(eigenvalues, rounds=1)
    network = Network(whole.module.double())
    operator = HessianOperator(network.loss(cross_entropy, inputs, targets), params, rows=1)
    _check_against(operator, basis, values)
    exponents = log_singular_values(torch.cat([values, torch.zeros(basis.zeros, dtype=torch.float64)]), STEP)
    benchmark.extra_info.update(about(whole), batch=batch, dimension=basis.size)
    benchmark.extra_info.update(
        seconds=benchmark.stats.stats.min, peak_memory_mib=peak.mib, sharpness_dimension=sharpness_dimension(exponents)
    )


def _check_against(operator: HessianOperator, basis: RangeBasis, values: torch.Tensor) -> None:
    """A vector's product stays in the basis, and H's power iteration ends at the largest eigenvalue found."""
    assert basis.size + basis.zeros == operator.size == 278_800
    generator = torch.Generator().manual_seed(0)
    vector = operator @ torch.randn(operator.size, generator=generator, dtype=torch.float64)
    kept = basis.expand(basis.restrict(vector))
    assert float((vector - kept).norm()) < 1e-9 * float(vector.norm())
    for _ in range(200):
        vector = vector / vector.norm()
        vector = operator @ vector
    assert float(vector.norm()) == pytest.approx(float(values.abs().max()), rel=1e-6)
