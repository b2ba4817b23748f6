"""Metrics of gradients: dense derivatives by torch, closed forms of quadratics, a brute-force line search."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from suite.curvature.estimate import Estimate
from suite.measuring.probes import Subject, find_probes
from suite.measuring.probes.spectrum import minibatch
from suite.metrics import Run, find_metrics
from suite.metrics.gradients import _least_rise
from suite.metrics.probed.gradients import Gradients
from suite.training.problem import load_problem
from tests.metrics.made import CPU, dense_hessian_of, made_run, value_of
from tests.metrics.test_metrics import Line
from tests.metrics.test_metrics import run as line_run

ALL = {"gradients": {"samples": 2000, "minibatches": 3}}
DECODER = {"kind": "transformer", "layers": 1, "width": 4, "heads": 2, "hidden_factor": 1}
CASES: dict[str, dict[str, Any]] = {
    "vectors": {},
    "squared errors": {"training": {"loss": "mse", "optimizer": {"kind": "sgd", "learning_rate": 0.05}}},
    "tokens": {
        "data": {"kind": "modular", "modulus": 7, "operation": "add", "encoding": "tokens", "train_fraction": 0.9},
        "model": DECODER,
        "training": {"batch_size": 8},
    },
    "a target a position": {
        "data": {"kind": "markov", "vocabulary": 4, "order": 1, "length": 3, "sequences": 45, "concentration": 0.5},
        "model": DECODER,
        "training": {"batch_size": 8, "optimizer": {"kind": "adamw", "learning_rate": 0.01}},
    },
}


@cache
def probed_run(case: str = "vectors") -> Run:
    return made_run("gradients", probes=ALL, **CASES[case])


def each_gradient(one: Run) -> Tensor:
    """The gradient of every input's loss `[n, d]`, a backward pass each."""
    pairs = zip(one.inputs, one.targets, strict=True)
    return torch.stack([grad(one.batch_loss)(one.weights, x[None], y[None]) for x, y in pairs])


def whole_hessian(one: Run) -> Tensor:
    if one.task.model.kind == "mlp":
        return dense_hessian_of(one, one.inputs, one.targets)
    # a row at a time: batched, torch differentiates layer normalisation wrongly
    slope = grad(lambda w: one.batch_loss(w, one.inputs, one.targets))
    hessian: Tensor = jacrev(slope, chunk_size=1)(one.weights)
    return hessian


def test_fisher_trace_is_the_mean_over_the_networks_own_labels() -> None:
    one = probed_run()

    def log_probabilities(w: Tensor, x: Tensor) -> Tensor:
        return one.network(w, x[None])[0].log_softmax(-1)

    scores = vmap(jacrev(log_probabilities), (None, 0))(one.weights, one.inputs)
    p = one.logits().softmax(-1)
    assert value_of("fisher_trace", one) == pytest.approx(float((p * scores.square().sum(2)).sum(1).mean()), rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_the_others_are_those_of_dense_derivatives(case: str) -> None:
    one = probed_run(case)
    every, hessian = each_gradient(one), whole_hessian(one)
    g, second = every.mean(0), float(every.square().sum(1).mean())
    wanted = {
        "empirical_fisher_trace": second,
        "takeuchi_ratio": second / value_of("fisher_trace", one) * (3 if case == "a target a position" else 1),
        "directional_sharpness": float(g @ hessian @ g / (g @ g)),
        "gradient_hessian_alignment": float(torch.cosine_similarity(g, hessian @ g, dim=0)),
        "weights_curvature": float(one.weights @ hessian @ one.weights),
    }
    for name, value in wanted.items():
        assert value_of(name, one) == pytest.approx(value, rel=1e-8), name


@pytest.mark.parametrize("case", CASES)
def test_batch_sharpness_is_a_mean_of_ratios_over_minibatches(case: str) -> None:
    one = probed_run(case)
    ratios = []
    for k in range(3):
        at = minibatch(k, one.batch_size, len(one.inputs))
        here = replace(one, inputs=one.inputs[at], targets=one.targets[at])
        g = each_gradient(here).mean(0)
        ratios.append(float(g @ whole_hessian(here) @ g / (g @ g)))
    value = find_metrics()["batch_sharpness"].measure(one)
    assert isinstance(value, Estimate)
    assert value.value == pytest.approx(sum(ratios) / 3, rel=1e-8)
    assert value.standard_error == pytest.approx(float(torch.tensor(ratios).std()) / math.sqrt(3), rel=1e-5)


@pytest.mark.parametrize("case", ["vectors", "tokens", "a target a position"])
def test_takeuchi_ratio_is_one_where_labels_are_the_networks_own(case: str) -> None:
    # E over labels of ‖g‖² of the joint log-probability is the trace of its Fisher information
    one, probe = probed_run(case), find_probes()["gradients"]
    problem = load_problem(one.task, CPU, torch.float64)
    p = one.logits().softmax(-1)
    ratios = []
    for seed in range(16 if case == "vectors" else 40):
        labels = torch.multinomial(p.flatten(0, -2), 1, generator=torch.Generator().manual_seed(seed))
        labels = labels.reshape(one.targets.shape)
        drawn = replace(problem, train=replace(problem.train, targets=labels))
        subject = Subject(drawn, one.task, 1, one.weights, one.initial, ())
        seen = Gradients.from_arrays(probe.measure(subject, one.task.probes.gradients))
        ratios.append(value_of("takeuchi_ratio", replace(one, targets=labels, probes={"gradients": seen})))
    spread = float(torch.tensor(ratios).std()) / math.sqrt(len(ratios))
    assert sum(ratios) / len(ratios) == pytest.approx(1, abs=4 * spread)
    assert spread < 0.05


def test_takeuchi_ratios_error_is_the_spread_over_the_inputs_drawn() -> None:
    one = probed_run()
    seen, generator = one.gradients, torch.Generator().manual_seed(0)
    measure = find_metrics()["takeuchi_ratio"].measure
    values, squares = [], []
    for _ in range(400):
        at = torch.randperm(seen.size, generator=generator)[:400]
        some = replace(seen, samples=seen.samples[at], inner=seen.inner[at], gauss_newton=seen.gauss_newton[at])
        value = measure(replace(one, probes={"gradients": some}))
        assert isinstance(value, Estimate)
        assert value.standard_error is not None
        values.append(value.value)
        squares.append(value.standard_error**2)
    assert math.sqrt(sum(squares) / 400) == pytest.approx(float(torch.tensor(values).std()), rel=0.15)


def test_weights_curvature_does_not_feel_a_rescaling_of_relu_layers() -> None:
    one, probe = probed_run(), find_probes()["gradients"]
    problem = load_problem(one.task, CPU, torch.float64)
    first, second = one.network.slices().values()
    scaled = one.weights.clone()
    scaled[first] *= 5
    scaled[second] /= 5
    subject = Subject(problem, one.task, 1, scaled, scaled, ())
    seen = probe.load(None, probe.measure(subject, one.task.probes.gradients))
    again = replace(one, weights=scaled, probes={"gradients": seen})
    assert value_of("weights_curvature", again) == pytest.approx(value_of("weights_curvature", one), rel=1e-9)
    assert value_of("fisher_trace", again) != pytest.approx(value_of("fisher_trace", one), rel=0.1)


@pytest.mark.parametrize("rate", [1e-6, 0.5, 1e3])
def test_critical_sharpness_of_a_quadratic_is_its_curvature(rate: float) -> None:
    # L = mean (x Σw − 1)²: along the gradient the curvature is 2 d mean x²
    one = line_run(learning_rate=rate)
    assert isinstance(one.network, Line)
    curvature = 2 * 5 * float(one.inputs.double().square().mean())
    assert value_of("critical_sharpness", one) == pytest.approx(curvature, rel=2e-3)


@pytest.mark.parametrize("case", CASES)
def test_critical_sharpness_is_that_of_a_search_over_a_fine_grid(case: str) -> None:
    one = probed_run(case)
    g = each_gradient(one).mean(0)
    steps = torch.logspace(-4, 5, 1500, dtype=torch.float64).tolist()
    start = float(one.batch_loss(one.weights, one.inputs, one.targets))
    rising = (s for s in steps if float(one.batch_loss(one.weights - s * g, one.inputs, one.targets)) > start)
    assert value_of("critical_sharpness", one) == pytest.approx(2 / next(rising), rel=0.02)


def test_critical_sharpness_is_had_in_float64_whatever_the_dtype_of_training() -> None:
    single = made_run(dtype=torch.float32)
    double = replace(single, weights=single.weights.double(), inputs=single.inputs.double())
    assert value_of("critical_sharpness", single) == value_of("critical_sharpness", double)


def test_a_loss_that_never_rises_has_no_critical_sharpness() -> None:
    with pytest.raises(ValueError, match="rises nowhere"):
        _least_rise(lambda step: False, 0.1)
    with pytest.raises(ValueError, match="rises at once"):
        _least_rise(lambda step: True, 0.1)
    for guess in (0.1, 1.0, 90.0):
        assert _least_rise(lambda step: step > 7.0, guess) == pytest.approx(7.0, rel=2e-3)


def test_without_a_gradient_there_is_no_value() -> None:
    one = probed_run()
    none = {f: torch.zeros_like(getattr(one.gradients, f)) for f in ("norm", "turned", "batches", "gauss_newton")}
    flat = replace(one, probes={"gradients": replace(one.gradients, **none)})
    for name in ("directional_sharpness", "gradient_hessian_alignment", "batch_sharpness", "takeuchi_ratio"):
        with pytest.raises(ValueError, match="is zero"):
            value_of(name, flat)
    line = line_run()
    fitted = replace(line, weights=torch.zeros(5), targets=torch.zeros(100))
    with pytest.raises(ValueError, match="gradient is zero"):
        value_of("critical_sharpness", fitted)
