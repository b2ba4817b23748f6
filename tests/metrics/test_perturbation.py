"""Average-case sharpness, smoothed losses, Fisher–Rao norm, relative flatness: moments, closed forms, dense ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from statistics import stdev

import pytest
import torch
from torch import Tensor

from suite.metrics import Estimate, Run, find_metrics
from suite.metrics.neighbourhood import accuracies_of, first_crossing, gradients_of, inputs_of, losses_of, noise
from tests.metrics.landscapes import landscape, louder, rescaled
from tests.metrics.made import made_run, value_of

DIAGONAL = torch.linspace(0.5, 4.0, 60, dtype=torch.float64)
CENTRE = torch.linspace(-2.0, 1.0, 60, dtype=torch.float64)

TOKENS = {
    "data": {"kind": "markov", "vocabulary": 5, "order": 1, "length": 4, "sequences": 200, "concentration": 0.5},
    "model": {"kind": "transformer", "layers": 1, "width": 8, "heads": 2},
    "training": {"steps": 20},
}
GELU = {"model": {"kind": "mlp", "widths": [4], "activation": "gelu", "bias": True}}


@cache
def network() -> Run:
    return made_run()


@cache
def of_kind(kind: str) -> Run:
    """An MLP, a decoder with a target a position, an MLP with probabilities as targets."""
    if kind == "tokens":
        return made_run(**TOKENS)
    run = made_run(**GELU)
    if kind == "probabilities":
        wanted = torch.nn.functional.one_hot(run.targets, 10).double() * 0.8 + 0.02
        return dataclasses.replace(run, targets=wanted)
    return run


KINDS = ["vectors", "tokens", "probabilities"]


def bowl() -> Run:
    return landscape(lambda w: 3 + (DIAGONAL * (w - CENTRE).square()).sum() / 2, CENTRE)


@pytest.mark.parametrize(("name", "expected"), [
    ("average_sharpness", 0.1**2 / 2 * DIAGONAL.sum()),
    ("adaptive_average_sharpness", 0.1**2 / 2 * (DIAGONAL * CENTRE.square()).sum()),
    ("adaptive_uniform_sharpness", 0.1**2 / 6 * (DIAGONAL * CENTRE.square()).sum()),
    ("low_pass_loss", 3 + 0.01**2 / 2 * DIAGONAL.sum()),
])  # fmt: skip
def test_means_over_noise_are_the_traces_of_a_quadratic(name: str, expected: Tensor) -> None:
    found = find_metrics()[name].measure(bowl())
    assert isinstance(found, Estimate)
    assert found.standard_error is not None
    # the sum of 60 squares has a relative spread of about √(2/60), its mean over 50 draws one of 3 %
    assert found.standard_error < 0.06 * float(expected)
    assert abs(found.value - float(expected)) < 4 * found.standard_error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["average_sharpness", "adaptive_average_sharpness", "normalised_average_sharpness"])
def test_average_case_of_networks_is_that_of_draws_of_our_own(name: str, kind: str) -> None:
    run = of_kind(kind)
    inputs, targets = run.minibatch(0, 512)
    scale = 0.1 * (torch.ones_like(run.weights) if name == "average_sharpness" else run.weights.abs())

    def loss(flat: Tensor) -> Tensor:
        logits = run.network(flat, inputs)
        if name == "normalised_average_sharpness":
            logits = torch.nn.functional.normalize(logits - logits.mean(-1, keepdim=True), dim=-1)
        return run.sample_loss(logits, targets).mean()

    generator = torch.Generator().manual_seed(5)
    draws = torch.randn(300, len(run.weights), generator=generator, dtype=torch.float64)
    rises = torch.func.vmap(loss)(run.weights + scale * draws) - loss(run.weights)
    found = find_metrics()[name].measure(run)
    assert isinstance(found, Estimate)
    assert found.standard_error is not None
    error = math.hypot(found.standard_error, float(rises.std()) / math.sqrt(300))
    assert abs(found.value - float(rises.mean())) < 3.5 * error


@pytest.mark.parametrize("kind", KINDS)
def test_many_networks_at_once_are_each_one_alone(kind: str) -> None:
    run = of_kind(kind)
    inputs, targets = inputs_of(run)
    assert len(inputs) == min(512, len(run.inputs))
    weights = run.weights + 0.1 * torch.cat([*noise(run, 3)])
    alone = [float(run.batch_loss(one, inputs, targets)) for one in weights]
    assert losses_of(run, weights).tolist() == pytest.approx(alone, rel=1e-12)
    losses, slopes = gradients_of(run, weights, inputs.expand(3, *inputs.shape), targets.expand(3, *targets.shape))
    assert losses.tolist() == pytest.approx(alone, rel=1e-12)
    for one, slope in zip(weights, slopes, strict=True):
        assert torch.allclose(slope, torch.func.grad(run.batch_loss)(one, inputs, targets), atol=1e-13)
    best = run.network(weights[0], inputs).argmax(-1)
    hits = targets.gather(-1, best[..., None]) if targets.is_floating_point() else (best == targets).double()
    assert float(accuracies_of(run, weights)[0]) == pytest.approx(float(hits.mean()), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [
    "average_sharpness", "adaptive_average_sharpness", "adaptive_uniform_sharpness", "normalised_average_sharpness",
    "low_pass_loss",
])  # fmt: skip
def test_means_over_noise_are_those_of_its_rows_to_the_last_digit(name: str, kind: str) -> None:
    run = of_kind(kind)
    inputs, targets = run.minibatch(0, 512)
    rows = torch.cat(
        [*noise(run, 100 if name == "low_pass_loss" else 50, "uniform" if "uniform" in name else "normal")]
    )

    def loss(flat: Tensor) -> float:
        logits = run.network(flat, inputs)
        if name.startswith("normalised"):
            logits = torch.nn.functional.normalize(logits - logits.mean(-1, keepdim=True), dim=-1)
        logarithms = logits.log_softmax(-1)
        wanted = targets if kind == "probabilities" else torch.nn.functional.one_hot(targets, logits.shape[-1])
        return float(-(wanted * logarithms).sum(-1).mean())

    if name == "low_pass_loss":
        values = [loss(run.weights + 0.01 * row) for row in rows]
    else:
        sizes = torch.ones_like(run.weights) if name == "average_sharpness" else run.weights.abs()
        values = [loss(run.weights + 0.1 * sizes * row) - loss(run.weights) for row in rows]
    found = find_metrics()[name].measure(run)
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(sum(values) / len(values), rel=1e-9)
    assert found.standard_error == pytest.approx(stdev(values) / math.sqrt(len(values)), rel=1e-9)


def test_pieces_that_fit_into_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = of_kind("tokens")
    inputs, targets = inputs_of(run)
    whole, slopes = gradients_of(run, run.weights[None], inputs[None], targets[None])
    fisher, flatness = value_of("fisher_rao_norm", run), value_of("relative_flatness", run)
    losses = losses_of(run, run.weights[None])
    monkeypatch.setattr("suite.metrics.neighbourhood._ACTIVATIONS", 24 * 4 * 30)  # 30 inputs at once
    in_pieces, slopes_in_pieces = gradients_of(run, run.weights[None], inputs[None], targets[None])
    assert torch.allclose(in_pieces, whole, rtol=1e-12)
    assert torch.allclose(slopes_in_pieces, slopes, atol=1e-13)
    assert torch.allclose(losses_of(run, run.weights[None]), losses, rtol=1e-12)
    assert value_of("fisher_rao_norm", run) == pytest.approx(fisher, rel=1e-12)
    assert value_of("relative_flatness", run) == pytest.approx(flatness, rel=1e-12)


def test_noise_is_standard_and_common_to_runs_of_any_precision() -> None:
    run = network()
    rows = torch.cat([*noise(run, 200)])
    assert rows.shape == (200, len(run.weights))
    count = rows.numel()
    assert abs(float(rows.mean())) < 4 / math.sqrt(count)
    assert abs(float(rows.var()) - 1) < 4 * math.sqrt(2 / count)
    flat = torch.cat([*noise(run, 200, "uniform")])
    assert float(flat.abs().max()) <= 1
    assert abs(float(flat.var()) - 1 / 3) < 4 * math.sqrt(4 / 45 / count)
    other = dataclasses.replace(run, weights=run.weights.float() * 2, key="another", step=7)
    assert torch.equal(torch.cat([*noise(other, 200)]).double(), rows)


def test_epsilon_sharpness_is_one_over_the_distance_to_a_rise_of_a_tenth() -> None:
    weights = torch.tensor([0.3, -0.4], dtype=torch.float64)
    run = landscape(lambda w: 5 * w.square().sum(), weights)
    # along the gradient: 5 ((0.5 + r)² − 0.5²) = 0.1
    distance = math.sqrt(0.25 + 0.02) - 0.5
    assert value_of("epsilon_sharpness", run) == pytest.approx(1 / distance, rel=1e-5)


def test_what_differentiates_costs_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counted(run: Run, *given: Tensor) -> tuple[Tensor, Tensor]:
        asked.append(given)
        return gradients_of(run, *given)

    monkeypatch.setattr("suite.metrics.perturbation.gradients_of", counted)
    value_of("epsilon_sharpness", network())
    assert asked
    assert find_metrics()["epsilon_sharpness"].cost == "gradient"


def test_epsilon_sharpness_needs_a_slope_and_a_rise() -> None:
    weights = torch.tensor([0.3, -0.4], dtype=torch.float64)
    with pytest.raises(ValueError, match="gradient is zero"):
        value_of("epsilon_sharpness", landscape(lambda w: (w * 0).sum(), weights))
    with pytest.raises(ValueError, match="not crossed"):
        value_of("epsilon_sharpness", landscape(lambda w: 0.01 * torch.tanh(w).sum(), weights))


def test_the_first_of_several_crossings_is_found() -> None:
    assert first_crossing(torch.sin, 0.5, 1e-6, 1e3) == pytest.approx(math.pi / 6, rel=1e-4)
    with pytest.raises(ValueError, match="not crossed"):
        first_crossing(lambda r: r, 0.5, 1.0, 10.0)


def test_a_crossing_on_the_grid_itself_is_not_lost_to_rounding() -> None:
    grid = torch.logspace(-6, 3, 32, dtype=torch.float64)
    for place in grid[1:].tolist():
        assert first_crossing(lambda r: r, place, 1e-6, 1e3) == pytest.approx(place, rel=1e-9)
    calls = []

    def shaken(r: Tensor) -> Tensor:  # every call a little lower than the one before
        calls.append(len(r))
        return r - 1e-7 * len(calls)

    assert first_crossing(shaken, float(grid[20]) - 1e-7, 1e-6, 1e3) == pytest.approx(float(grid[20]), rel=1e-5)
    assert calls == [32, 16, 16]


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_rao_norm_is_that_of_gradients_of_single_inputs(kind: str) -> None:
    run = of_kind(kind)

    def losses(flat: Tensor) -> Tensor:
        return run.sample_loss(run.network(flat, run.inputs[:150]), run.targets[:150]).reshape(150, -1).mean(1)

    gradients = torch.func.jacrev(losses)(run.weights)
    fisher = gradients.T @ gradients / 150
    short = dataclasses.replace(run, inputs=run.inputs[:150], targets=run.targets[:150])
    assert value_of("fisher_rao_norm", short) == pytest.approx(
        float(run.weights @ fisher @ run.weights) ** 0.5, rel=1e-9
    )


def test_fisher_rao_norm_of_a_relu_network_without_biases_in_closed_form() -> None:
    run = network()
    logits = run.logits()
    slopes = logits.softmax(1) - torch.nn.functional.one_hot(run.targets, 10)
    # Liang et al. 2019, Thm. 3.1: the number of layers times √E ⟨∂ℓ/∂z, z⟩²
    closed = 2 * float((slopes * logits).sum(1).square().mean().sqrt())
    assert value_of("fisher_rao_norm", run) == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_relative_flatness_is_the_dense_hessians(kind: str) -> None:
    run = of_kind(kind)
    name = [n for n, s in zip(run.network.names, run.network.shapes, strict=True) if len(s) == 2][-1]
    where, rows = run.network.slices()[name], dict(zip(run.network.names, run.network.shapes, strict=True))[name][0]

    def loss(last: Tensor) -> Tensor:
        flat = torch.cat([run.weights[: where.start], last, run.weights[where.stop :]])
        return run.batch_loss(flat, run.inputs, run.targets)

    last = run.weights[where]
    hessian = torch.func.hessian(loss)(last).view(rows, len(last) // rows, rows, len(last) // rows)
    traces = torch.einsum("sjtj->st", hessian)
    gram = last.view(rows, -1) @ last.view(rows, -1).T
    assert value_of("relative_flatness", run) == pytest.approx(float((gram * traces).sum()), rel=1e-9)


def test_relative_flatness_needs_a_linear_last_layer() -> None:
    class Tied:
        names, shapes = ("a",), ((3, 3),)

        def slices(self) -> dict[str, slice]:
            return {"a": slice(0, 9)}

        def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
            return {"a": flat.view(3, 3)}

        def __call__(self, flat: Tensor, inputs: Tensor) -> Tensor:
            return inputs[:, :3] @ flat.view(3, 3).T @ flat.view(3, 3)

    run = network()
    tied = dataclasses.replace(run, network=Tied(), weights=run.weights[:9], targets=run.targets % 3)
    with pytest.raises(ValueError, match="not linear"):
        value_of("relative_flatness", tied)
    with pytest.raises(ValueError, match="does not give the logits"):
        value_of("relative_flatness", twice(run))


def twice(run: Run) -> Run:
    """The network with its logits said twice."""

    class Twice:
        names, shapes = run.network.names, run.network.shapes
        slices, unflatten = run.network.slices, run.network.unflatten

        def __call__(self, flat: Tensor, inputs: Tensor) -> Tensor:
            return run.network(flat, inputs).repeat(1, 2)

    return dataclasses.replace(run, network=Twice())


CLAIMS: dict[str, Callable[[Run], Run]] = {
    "rescaling": lambda run: rescaled(run, 8.0),  # a power of two, so that no rounding differs
    "logit scale": lambda run: louder(run, 8.0),
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("name", [
    "average_sharpness", "adaptive_average_sharpness", "adaptive_uniform_sharpness", "normalised_average_sharpness",
    "low_pass_loss", "epsilon_sharpness", "fisher_rao_norm", "relative_flatness", "pac_bayes_flatness",
    "magnitude_pac_bayes_flatness",
])  # fmt: skip
def test_what_claims_invariance_has_it_and_the_rest_does_not(name: str, claim: str) -> None:
    run = network()
    same = value_of(name, CLAIMS[claim](run)) == pytest.approx(value_of(name, run), rel=1e-6)
    assert same == (claim in find_metrics()[name].invariances)


@pytest.mark.parametrize(
    "name", ["average_sharpness", "low_pass_loss", "fisher_rao_norm", "relative_flatness", "epsilon_sharpness"]
)
def test_single_precision_finds_the_same(name: str) -> None:
    run = network()
    single = dataclasses.replace(
        run, weights=run.weights.float(), initial=run.initial.float(), inputs=run.inputs.float()
    )
    assert value_of(name, single) == pytest.approx(value_of(name, run), rel=1e-4)
