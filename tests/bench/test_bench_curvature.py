"""Exact SD of the paper's MLP-3, one minibatch of 128 real MNIST images in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from suite.curvature.jacobian import Step
from suite.measuring.probes import load_spectrum, spectral_probe
from suite.models.flat import initial_weights
from suite.spec.loading import load_task
from suite.spec.probes import DenseSpectrum
from suite.training.problem import load_problem

TASK = Path(__file__).parents[2] / "tasks/mnist/mlp3.yaml"


@pytest.mark.data
def test_exact_sd_of_mlp3(benchmark: BenchmarkFixture, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_DATA_DIR", str(data_dir))
    task = load_task(TASK)
    problem = load_problem(task, torch.device("cpu"), torch.float32)
    weights = initial_weights(task.model, task.data.shape(), 0)
    spec = DenseSpectrum(minibatches=1)

    def exact_sd() -> float:
        return load_spectrum(spec, spectral_probe(problem, weights, spec, 128)).sharpness_dimension(Step(0.1)).value

    value = benchmark.pedantic(exact_sd, rounds=3, warmup_rounds=1)
    assert 0 < value <= 12_960
