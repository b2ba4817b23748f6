"""Metrics of Lyapunov exponents: by hand, and on a trained network against its one-step exponents."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from suite.metrics import Estimate, Run, find_metrics
from suite.metrics.probed.exponents import Exponents
from suite.training.order import epoch_order
from tests.metrics.made import made_run, value_of


@cache
def trained() -> Run:
    """Far enough from the edge of stability for a top exponent above 1/30."""
    probes = {"exponents": {"steps": 30, "leading": "all"}, "spectrum": {"kind": "dense", "minibatches": 2}}
    training = {"optimizer": {"kind": "sgd", "learning_rate": 1.0}, "batch_size": 16, "steps": 30}
    return made_run("exponents", "spectrum", training=training, probes=probes)


def by_hand(exponents: list[float], size: int, steps: int = 100, error: float = 0.25) -> Run:
    values = torch.tensor(exponents, dtype=torch.float64)
    found = Exponents(values, torch.full_like(values, error), size, steps)
    return replace(trained(), probes={"exponents": found})


def test_top_exponent_and_its_error() -> None:
    value = find_metrics()["lyapunov_exponent"].measure(by_hand([0.5, -0.25], 9))
    assert value == Estimate(0.5, 0.25)
    assert find_metrics()["lyapunov_exponent"].measure(by_hand([0.5], 9, error=math.nan)) == Estimate(0.5, None)
    with pytest.raises(ValueError, match="annihilated"):
        find_metrics()["lyapunov_exponent"].measure(by_hand([-math.inf], 9))


def test_positive_are_those_that_the_trajectory_tells_from_zero() -> None:
    run = by_hand([0.5, 0.02, 0.009, 1e-17, -1e-17, -0.3], 9)
    assert value_of("lyapunov_expanding_directions", run) == 2
    assert value_of("lyapunov_entropy", run) == pytest.approx(0.52, rel=1e-15)
    longer = by_hand([0.5, 0.02, 0.009, 1e-17, -1e-17, -0.3], 9, steps=1000)
    assert value_of("lyapunov_expanding_directions", longer) == 3
    none = by_hand([-0.1, -0.2], 9)
    assert value_of("lyapunov_expanding_directions", none) == 0
    assert value_of("lyapunov_entropy", none) == 0


@pytest.mark.parametrize("name", ["lyapunov_expanding_directions", "lyapunov_entropy"])
def test_positive_ones_that_were_not_followed_are_not_left_out(name: str) -> None:
    with pytest.raises(ValueError, match="all 2 exponents that were followed are positive: follow more of the 9"):
        find_metrics()[name].measure(by_hand([0.5, 0.4], 9))
    assert value_of(name, by_hand([0.5, 0.4], 2)) > 0


def test_dimension_is_eq_70() -> None:
    # Λ_1 = 0.5, Λ_2 = 0.25, Λ_3 = −0.75: j = 2 and D_s = 2 + 0.25 / (0.25 + 0.75)
    assert value_of("lyapunov_dimension", by_hand([0.5, -0.25, -1.0], 9)) == pytest.approx(2.25)
    assert value_of("lyapunov_dimension", by_hand([-0.5, -0.6], 9)) == 0
    assert value_of("lyapunov_dimension", by_hand([0.5, -0.25], 2)) == 2
    with pytest.raises(ValueError, match="no negative sum"):
        find_metrics()["lyapunov_dimension"].measure(by_hand([0.5, -0.25], 9))


@pytest.mark.parametrize("top", ["-0.01", "-0.005", "-1e-17", "0", "1e-17", "0.005", "0.01"])
def test_a_top_exponent_within_a_step_in_all_of_zero_makes_no_dimension(top: str) -> None:
    # either sign alike: by the formula -0.005 makes 0 and 0.005 makes 2.02
    with pytest.raises(ValueError, match=f"100 steps do not tell the top exponent, {top}, from zero"):
        find_metrics()["lyapunov_dimension"].measure(by_hand([float(top), 0.0, -0.25], 3))


def test_beyond_that_the_dimension_is_the_formulas() -> None:
    assert value_of("lyapunov_dimension", by_hand([-0.011, -0.25], 3)) == 0
    assert value_of("lyapunov_dimension", by_hand([0.011, -0.25], 3)) == pytest.approx(1 + 0.011 / 0.25)


def test_several_steps_spread_no_more_than_one_at_a_time() -> None:
    """What one step's singular values bound along the same trajectory: Λ₁ ≤ λ₁ and D_s ≤ SD (App. B)."""
    run, weights, rows = trained(), trained().weights, []
    for step in range(30, 75):  # fifteen of warm-up
        inputs, targets = minibatch_of(run, step)
        loss = torch.func.grad(run.batch_loss)
        if step >= 45:
            hessian = torch.func.jacfwd(loss)(weights, inputs, targets)
            jacobian = torch.eye(296, dtype=torch.float64) - hessian
            rows.append(torch.linalg.svdvals(jacobian).log())
        weights = weights - loss(weights, inputs, targets)
    one_step = torch.stack(rows).mean(0)
    sums = one_step.cumsum(0)
    found = run.exponents.exponents
    assert bool((found.cumsum(0) <= sums + 1e-9).all())
    assert found.sum() == pytest.approx(float(sums[-1]), rel=1e-9)
    reached = int((sums >= 0).sum())
    bound = reached + float(sums[reached - 1]) / abs(float(one_step[reached])) if reached else 0.0
    assert 0 < value_of("lyapunov_dimension", run) <= bound
    assert value_of("lyapunov_exponent", run) == pytest.approx(float(found[0]))
    assert value_of("lyapunov_entropy", run) == pytest.approx(float(found[found > 1 / 30].sum()))


def minibatch_of(run: Run, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The minibatch of training's `step`-th step: this network's own order."""
    at = epoch_order(run.task.seed, 0, len(run.inputs))[step * 16 : step * 16 + 16]
    return run.inputs[at], run.targets[at]
