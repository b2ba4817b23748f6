"""Worst-case sharpness: exact maxima of quadratics, all corners of boxes, plain projected ascent, closed forms."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor

from suite.metrics import Estimate, Run, find_metrics
from suite.metrics.ascent import Ball, ascend
from tests.metrics.landscapes import Switches, landscape, louder, rescaled, switches
from tests.metrics.made import made_run, value_of

SIZE = 9


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(seed: int, definite: bool, steepness: float, curvature: float) -> tuple[Run, Tensor, Tensor]:
    """A run at the centre of gᵀδ + ½ δᵀHδ + 1, with g and H."""
    root = random(seed, SIZE, SIZE)
    hessian = curvature * (root @ root.T if definite else root + root.T) / SIZE
    slope, centre = steepness * random(seed + 1, SIZE), random(seed + 2, SIZE)

    def loss(w: Tensor) -> Tensor:
        return 1 + slope @ (w - centre) + (w - centre) @ hessian @ (w - centre) / 2

    return landscape(loss, centre), slope, hessian


def largest_in_ball(slope: Tensor, hessian: Tensor, radius: float) -> float:
    """The maximum of gᵀδ + ½ δᵀHδ over ‖δ‖ ≤ radius, on whose sphere (λ I − H) δ = g with λ ≥ λ_max (Moré 1983)."""
    values, vectors = np.linalg.eigh(hessian.numpy())
    along: NDArray[np.float64] = vectors.T @ slope.numpy()
    top = max(0.0, float(values[-1]))
    assert np.linalg.norm(along / (top + 1e-9 - values)) > radius, "the maximum is on the sphere"
    shift = brentq(lambda x: np.linalg.norm(along / (top + x - values)) - radius, 1e-9, 1e9, xtol=1e-14)
    delta = along / (top + shift - values)
    return float(along @ delta + delta @ (values * delta) / 2)


def largest_in_box(slope: Tensor, hessian: Tensor, sides: Tensor) -> float:
    """The same over |δᵢ| ≤ sidesᵢ for a convex function: it is at a corner."""
    corners = torch.tensor([*itertools.product([-1.0, 1.0], repeat=SIZE)], dtype=torch.float64) * sides
    return float((corners @ slope + ((corners @ hessian) * corners).sum(1) / 2).max())


@pytest.mark.parametrize("definite", [True, False])
@pytest.mark.parametrize("curvature", [1.0, 30.0])
@pytest.mark.parametrize(("name", "radius", "adaptive"), [
    ("worst_case_l2", 0.05, False),
    ("adaptive_worst_case_l2", 0.5, True),
])  # fmt: skip
def test_worst_case_in_a_ball_is_the_quadratics_maximum(
    name: str, radius: float, adaptive: bool, definite: bool, curvature: float
) -> None:
    run, slope, hessian = quadratic(0, definite, 1.0, curvature)
    scale = run.weights.abs() if adaptive else torch.ones(SIZE, dtype=torch.float64)
    largest = largest_in_ball(scale * slope, scale[:, None] * hessian * scale, radius)
    # at most that: the ball is centred on the weights given, not on where the ascent has got to; above 0: it ascends
    assert 0.99 * largest <= value_of(name, run) <= largest * (1 + 1e-9)


@pytest.mark.parametrize("curvature", [0.1, 10.0])
def test_worst_case_in_a_box_is_at_the_best_corner(curvature: float) -> None:
    run, slope, hessian = quadratic(3, True, 1.0, curvature)
    for name, sides in [
        ("worst_case_linf", torch.full((SIZE,), 1e-3, dtype=torch.float64)),
        ("adaptive_worst_case_linf", 1e-2 * run.weights.abs()),
    ]:
        largest = largest_in_box(slope, hessian, sides)
        assert 0.99 * largest <= value_of(name, run) <= largest * (1 + 1e-9)
    keskar = 100 * largest_in_box(slope, hessian, 1e-3 * (run.weights.abs() + 1)) / (1 + 1)  # the loss here is 1
    assert value_of("keskar_sharpness", run) == pytest.approx(keskar, rel=0.01)


def test_one_step_of_sam_by_hand() -> None:
    run, slope, hessian = quadratic(5, True, 1.0, 3.0)
    step = 0.05 * slope / slope.norm()
    assert value_of("sam_sharpness", run) == pytest.approx(float(slope @ step + step @ hessian @ step / 2), rel=1e-9)
    scaled = run.weights.abs() * slope
    step = run.weights.abs() * 0.5 * scaled / scaled.norm()
    by_hand = float(slope @ step + step @ hessian @ step / 2)
    assert value_of("adaptive_sam_sharpness", run) == pytest.approx(by_hand, rel=1e-9)


WORST = [
    "sam_sharpness", "adaptive_sam_sharpness", "worst_case_l2", "worst_case_linf", "adaptive_worst_case_l2",
    "adaptive_worst_case_linf", "keskar_sharpness",
]  # fmt: skip


@pytest.mark.parametrize("name", WORST)
def test_staying_is_a_candidate(name: str) -> None:
    # so concave that every step of full length goes down, and a point without slope: the gradient's norm is 0 there
    steep = landscape(lambda w: 1e-4 * w[0] - 1e4 * (w - 1).square().sum(), torch.ones(4, dtype=torch.float64))
    flat = landscape(lambda w: (w * 0).sum(), torch.ones(4, dtype=torch.float64))
    assert value_of(name, steep) >= 0
    assert value_of(name, flat) == 0


@cache
def network() -> Run:
    return made_run()


def batches(run: Run) -> list[tuple[Tensor, Tensor]]:
    inputs, targets = run.minibatch(0, 512)
    return [*zip(inputs.split(128), targets.split(128), strict=True)]


def by_plain_ascent(
    run: Run,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    project: Callable[[Tensor], Tensor],
    step: Tensor,
    sign: bool,
) -> float:
    """The mean over the batches of the best of 100 steps of projected ascent whose length shrinks to zero."""
    rises = []
    for inputs, targets in batches(run):
        start = best = float(loss(run.weights, inputs, targets))
        delta = torch.zeros_like(run.weights)
        for k in range(100):
            slope = torch.func.grad(loss)(run.weights + delta, inputs, targets) * step
            direction = slope.sign() if sign else slope / slope.norm()
            delta = project(delta + step * direction * (1 - k / 100))
            best = max(best, float(loss(run.weights + delta, inputs, targets)))
        rises.append(best - start)
    return sum(rises) / len(rises)


def in_ball(radius: float, scale: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda delta: delta * min(1.0, radius / float((delta / scale).norm()))


def test_worst_case_of_a_network_is_what_long_plain_ascent_finds() -> None:
    run, ones = network(), torch.ones_like(network().weights)
    found = by_plain_ascent(run, run.batch_loss, in_ball(0.05, ones), 0.02 * ones, False)
    assert value_of("worst_case_l2", run) == pytest.approx(found, rel=0.01)
    size = run.weights.abs()
    found = by_plain_ascent(run, run.batch_loss, in_ball(0.5, size), size.clone(), False)
    assert value_of("adaptive_worst_case_l2", run) == pytest.approx(found, rel=0.03)
    found = by_plain_ascent(run, run.batch_loss, lambda d: d.clamp(-1e-3, 1e-3), 2e-4 * ones, True)
    assert value_of("worst_case_linf", run) == pytest.approx(found, rel=0.01)


def test_normalised_worst_case_is_that_of_centred_unit_logits() -> None:
    run = network()

    def loss(flat: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
        logits = run.network(flat, inputs)
        return run.sample_loss(torch.nn.functional.normalize(logits - logits.mean(1, keepdim=True)), targets).mean()

    sides = 1e-2 * run.weights.abs()
    found = by_plain_ascent(run, loss, lambda d: d.maximum(-sides).minimum(sides), sides / 5, True)
    assert value_of("normalised_worst_case_linf", run) == pytest.approx(found, rel=0.01)


def test_more_than_any_random_direction_and_one_step_give() -> None:
    run = network()
    directions = random(7, 200, len(run.weights))
    directions *= 0.05 / directions.norm(dim=1, keepdim=True)
    rises = [
        max(float(run.batch_loss(run.weights + d, x, y)) for d in directions) - float(run.batch_loss(run.weights, x, y))
        for x, y in batches(run)
    ]
    assert value_of("worst_case_l2", run) > value_of("sam_sharpness", run) > sum(rises) / len(rises)


@pytest.mark.parametrize("name", [*WORST, "normalised_worst_case_linf", "magnitude_sharpness"])
def test_what_claims_invariance_has_it_and_the_rest_does_not(name: str) -> None:
    run, claims = network(), find_metrics()[name].invariances
    value = value_of(name, run)
    # a power of two, so that no rounding differs
    assert (value_of(name, rescaled(run, 8.0)) == pytest.approx(value, rel=1e-6)) == ("rescaling" in claims)
    assert (value_of(name, louder(run, 8.0)) == pytest.approx(value, rel=1e-6)) == ("logit scale" in claims)


def with_offsets(weights: Tensor, offsets: Tensor) -> Run:
    """Switches of which the i-th is on while weight i is above offset i."""

    class Shifted(Switches):
        def __call__(self, flat: Tensor, inputs: Tensor) -> Tensor:
            return super().__call__(flat - offsets, inputs)

    return dataclasses.replace(switches(weights), network=Shifted(len(weights)))


def test_magnitude_sharpness_is_where_a_tenth_of_the_switches_are_off() -> None:
    # switch i is off when (1 − α) wᵢ < cᵢ, so at α = 1 − cᵢ / wᵢ: the tenth of a hundred at 0.05, whatever the weights
    thresholds, weights = torch.arange(1, 101, dtype=torch.float64) / 200, 0.5 + random(1, 100).abs()
    run = with_offsets(weights, (1 - thresholds) * weights)
    assert value_of("magnitude_sharpness", run) == pytest.approx(1 / 0.05**2, rel=0.02)
    for left in (1 - 1e-6, -1.0):  # off at an α of 10⁻⁶, and of 2
        with pytest.raises(ValueError, match="does not fall"):
            value_of("magnitude_sharpness", with_offsets(weights, left * weights))


def test_the_ascent_stays_in_its_ball_and_says_where_the_maximum_is() -> None:
    hessian = torch.diag(torch.tensor([1.0, 3.0, -2.0], dtype=torch.float64))

    def climb(u: Tensor) -> tuple[Tensor, Tensor]:
        return ((u @ hessian) * u).sum(1) / 2 + u.sum(1), u @ hessian + 1

    for norm, corner in [("l2", None), ("linf", [0.7, 0.7, 0.5])]:
        top = ascend(climb, torch.zeros(2, 3, dtype=torch.float64), Ball(0.7, norm), 20)  # type: ignore[arg-type]
        sizes = top.points.norm(dim=1) if norm == "l2" else top.points.abs().amax(1)
        assert float(sizes.max()) <= 0.7 * (1 + 1e-12)
        assert torch.allclose(climb(top.points)[0], top.height)
        if corner:
            assert top.points[0].tolist() == pytest.approx(corner, abs=0.02)


def test_flat_networks_are_not_lost_to_a_floor() -> None:
    # a loss of 1e-30 in float32: its gradient's square is 0 there, and any absolute floor would end the ascent
    weights = torch.tensor([1.0, 2.0])
    run = landscape(lambda w: 1e-30 * (3 * w[0] + 4 * w[1]), weights)
    assert value_of("worst_case_l2", run) == pytest.approx(1e-30 * 5 * 0.05, rel=1e-3, abs=0)
    assert value_of("sam_sharpness", run) == pytest.approx(1e-30 * 5 * 0.05, rel=1e-3, abs=0)


def test_a_loss_that_is_not_finite_is_said() -> None:
    run = landscape(lambda w: w.sum() * float("nan"), torch.ones(3))
    with pytest.raises(ValueError, match="not finite"):
        value_of("worst_case_l2", run)


@pytest.mark.parametrize("name", ["worst_case_l2", "adaptive_worst_case_linf", "keskar_sharpness"])
def test_single_precision_finds_the_same(name: str) -> None:
    run = network()
    single = dataclasses.replace(
        run, weights=run.weights.float(), initial=run.initial.float(), inputs=run.inputs.float()
    )
    assert value_of(name, single) == pytest.approx(value_of(name, run), rel=1e-3)


def test_the_error_is_that_of_the_batches() -> None:
    run = network()
    one = find_metrics()["sam_sharpness"].measure(run)
    rises = []
    for x, y in batches(run):
        slope = torch.func.grad(run.batch_loss)(run.weights, x, y)
        there = run.weights + 0.05 * slope / slope.norm()
        rises.append(float(run.batch_loss(there, x, y) - run.batch_loss(run.weights, x, y)))
    assert isinstance(one, Estimate)
    assert one.value == pytest.approx(np.mean(rises), rel=1e-9)
    assert one.standard_error == pytest.approx(np.std(rises, ddof=1) / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("count", "sizes"), [(200, [100, 100]), (129, [65, 64]), (511, [128, 128, 128, 127]), (9, [9])]
)
def test_no_input_is_left_out_of_the_batches(count: int, sizes: list[int]) -> None:
    whole = network()
    run = dataclasses.replace(whole, inputs=whole.inputs[:count], targets=whole.targets[:count])
    inputs, targets = run.minibatch(0, 512)
    rises, worst = [], []
    for x, y in zip(inputs.split(sizes), targets.split(sizes), strict=True):
        slope = torch.func.grad(run.batch_loss)(run.weights, x, y)
        start = run.batch_loss(run.weights, x, y)
        rises.append(float(run.batch_loss(run.weights + 0.05 * slope / slope.norm(), x, y) - start))
        alone = dataclasses.replace(run, inputs=x, targets=y)
        worst.append(value_of("worst_case_linf", alone))
    assert value_of("sam_sharpness", run) == pytest.approx(np.mean(rises), rel=1e-9)
    assert value_of("worst_case_linf", run) == pytest.approx(np.mean(worst), rel=1e-9)
