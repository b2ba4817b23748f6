"""The local learning coefficient of landscapes where it is known: regular, singular, localised; and its diagnostics."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from suite.metrics import Estimate, Run, find_metrics
from tests.metrics.landscapes import landscape
from tests.metrics.made import made_run, value_of

COUNT = 20_000
HEAT = COUNT / math.log(COUNT)  # nβ, 2,020
STEP, LOCALISATION = 1e-4, 100.0


def at_zero(function: object, size: int) -> Run:
    return landscape(function, torch.zeros(size, dtype=torch.float64), COUNT)  # type: ignore[arg-type]


def test_a_regular_minimum_has_half_the_number_of_parameters() -> None:
    run = at_zero(lambda w: w.square().sum() / 2, 200)
    # SGLD at finite steps has variance 1/(a (1 − εa/4)) where the posterior has 1/a, a = nβ + γ
    a = HEAT + LOCALISATION
    exact = 100 * HEAT / a / (1 - STEP * a / 4)
    assert exact == pytest.approx(100, rel=0.01)
    found = find_metrics()["local_learning_coefficient"].measure(run)
    assert isinstance(found, Estimate)
    assert found.standard_error is not None
    assert found.value == pytest.approx(exact, rel=0.04)
    # 100 correlated draws are about 100 (1 − c²)/(1 + c²) independent ones, c = 1 − εa/2; half of a χ² each
    contraction = (1 - STEP * a / 2) ** 2
    independent = 100 * (1 - contraction) / (1 + contraction) * 4
    assert 0.3 < found.standard_error / (exact * math.sqrt(2 / 200 / independent)) < 2.5


def expected_of_pair(stiffness: float) -> float:
    """E nβL under exp(−nβL − γ/2 ‖w‖²), L = stiffness (w₁w₂)², on a grid: the value that one pair should have."""
    places = np.linspace(-0.6, 0.6, 2401)
    energy = HEAT * stiffness * np.outer(places, places) ** 2
    density = np.exp(-energy - LOCALISATION / 2 * (places[:, None] ** 2 + places**2))
    return float((energy * density).sum() / density.sum())


def test_a_singular_minimum_has_less() -> None:
    # of (w₁w₂)² λ is 1/2, where a regular minimum in two dimensions has 1; of 100 pairs it is 50
    run = at_zero(lambda w: 20 * (w[:100] * w[100:]).square().sum(), 200)
    expected = 100 * expected_of_pair(20)
    assert 25 < expected < 50  # multiplicity 2 and localisation take away from 50
    assert value_of("local_learning_coefficient", run) == pytest.approx(expected, rel=0.08)


def test_localisation_takes_the_flat_directions_out() -> None:
    curvature = torch.cat([torch.full((100,), 1.0), torch.full((100,), 1e-3)]).double()
    run = at_zero(lambda w: (curvature * w.square()).sum() / 2, 200)
    a = HEAT * curvature + LOCALISATION
    expected = float((HEAT * curvature / a / (1 - STEP * a / 4)).sum() / 2)
    assert value_of("local_learning_coefficient", run) == pytest.approx(expected, rel=0.05)


def test_minibatches_are_compared_with_themselves() -> None:
    # the loss of an input is ½ ‖w‖² plus a number of its own, a thousand times larger: no draw of inputs may show
    levels = 1000 * torch.randn(COUNT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain = at_zero(lambda w: w.square().sum() / 2, 50)
    noisy = dataclasses.replace(plain, targets=levels, sample_loss=lambda outputs, targets: outputs[..., 0] + targets)
    assert value_of("local_learning_coefficient", noisy) == pytest.approx(
        value_of("local_learning_coefficient", plain), rel=1e-6
    )


def test_sgld_that_diverges_is_said() -> None:
    for curvature in (100.0, 21.0):  # ε a/2 is 10, then 2.1: over the limit at once, and by and by
        with pytest.raises(ValueError, match="SGLD diverged"):
            value_of("local_learning_coefficient", at_zero(lambda w, h=curvature: h * w.square().sum() / 2, 50))


def test_a_loss_that_falls_along_the_chains_is_said() -> None:
    with pytest.raises(ValueError, match="negative beyond its error"):
        value_of("local_learning_coefficient", at_zero(lambda w: -0.02 * w.square().sum() / 2, 50))


def test_noise_is_common_to_all_runs_of_a_size() -> None:
    run = at_zero(lambda w: w.square().sum() / 2, 5)
    other = dataclasses.replace(run, key="another", step=7)
    assert value_of("local_learning_coefficient", other) == value_of("local_learning_coefficient", run)
    larger = at_zero(lambda w: w[:5].square().sum() / 2, 6)
    assert value_of("local_learning_coefficient", larger) != value_of("local_learning_coefficient", run)


def test_two_inputs_have_no_temperature() -> None:
    run = landscape(lambda w: w.square().sum(), torch.zeros(3, dtype=torch.float64), 1)
    with pytest.raises(ValueError, match="three training inputs"):
        value_of("local_learning_coefficient", run)


def longer_chains(run: Run, steps: int) -> float:
    """λ̂ of a network by plain full-batch Langevin dynamics, one chain, the first fifth left out."""
    heat = len(run.inputs) / math.log(len(run.inputs))

    def loss(w: Tensor) -> Tensor:
        return run.batch_loss(w, run.inputs, run.targets)

    generator = torch.Generator().manual_seed(1)
    weights, start, losses = run.weights, float(loss(run.weights)), []
    for _ in range(steps):
        slope, value = torch.func.grad_and_value(loss)(weights)
        losses.append(float(value))
        kick = torch.randn(len(weights), generator=generator, dtype=torch.float64)
        weights = weights - STEP / 2 * (heat * slope + LOCALISATION * (weights - run.weights)) + STEP**0.5 * kick
    return heat * (sum(losses[steps // 5 :]) / len(losses[steps // 5 :]) - start)


def test_a_networks_estimate_is_that_of_a_long_full_batch_chain() -> None:
    run = made_run(training={"steps": 800})
    run = dataclasses.replace(run, inputs=run.inputs[:200], targets=run.targets[:200])
    found = find_metrics()["local_learning_coefficient"].measure(run)
    assert isinstance(found, Estimate)
    assert found.standard_error is not None
    assert abs(found.value - longer_chains(run, 1500)) < 4 * found.standard_error + 0.05 * found.value
    single = dataclasses.replace(run, weights=run.weights.float(), inputs=run.inputs.float())
    assert value_of("local_learning_coefficient", single) == pytest.approx(found.value, rel=0.05)
