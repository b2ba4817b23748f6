"""The local learning coefficient, sampled by stochastic gradient Langevin dynamics."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.curvature.estimate import Estimate, mean_of
from suite.metrics.neighbourhood import gradients_of
from suite.metrics.registry import metric
from suite.metrics.run import Run
from suite.spec.seeds import seed_of

_CHAINS, _BATCH = 4, 32
_BURN_IN, _DRAWS = 150, 100
_STEP = 1e-4
_LOCALISATION = 100.0


@metric(
    title="Local learning coefficient λ̂",
    family="perturbation",
    source="Lau et al. 2023, λ̂(w*) by SGLD",
    sign=1,
    cost="search",
)
def local_learning_coefficient(run: Run) -> Estimate:
    """λ̂ = nβ (E L_n(w) − L_n(w*)), nβ = n/ln n for n training inputs, w* the run's weights.

    The expectation is over exp(−nβ L_n(w) − γ/2 ‖w − w*‖²) with γ = 100, sampled by SGLD on minibatches of 32 (or n):
    w ← w − ε/2 (nβ ∇L_B(w) + γ (w − w*)) + √ε N(0, I), ε = 10⁻⁴, 4 chains from w*, 150 steps of burn-in and 100 draws.
    L_n(w) − L_n(w*) at a draw is that difference on the draw's minibatch. Noise and minibatches are the same for all
    runs of a size. The error is that of the mean over chains. γ is that of devinterp's examples, the rest is ours; γ
    holds directions of curvature below γ/nβ back: λ̂ counts the others. A direction of curvature h is sampled while
    ε (nβ h + γ) < 4.

    Raises:
        ValueError: SGLD diverged: in some chain λ̂ is not finite, or above d, twice the largest possible λ. Or λ̂ is
            below 0 by more than twice its error: w* is no minimum.
    """
    if len(run.inputs) < 3:
        raise ValueError("n/ln n needs three training inputs or more")
    chains, largest = _chains(run), len(run.weights) / 2
    found = mean_of(chains)
    if not bool((chains <= 2 * largest).all()):
        raise ValueError(f"SGLD diverged at ε = {_STEP:g}: λ̂ = {found.value:.3g}, where λ is at most d/2 = {largest:g}")
    if found.value < -2 * (found.standard_error or 0.0):
        raise ValueError(f"λ̂ = {found.value:.3g} is negative beyond its error: the loss falls along the chains")
    return found


def _chains(run: Run) -> Tensor:
    """λ̂ of each chain, float64 `[chains]`."""
    heat = len(run.inputs) / math.log(len(run.inputs))
    generator = torch.Generator().manual_seed(seed_of("SGLD", len(run.weights), len(run.inputs)))
    at_start = run.sample_losses().double()
    weights = run.weights.expand(_CHAINS, -1)
    total = torch.zeros(_CHAINS, dtype=torch.float64, device=run.weights.device)
    for step in range(_BURN_IN + _DRAWS):
        rows = _minibatches(run, generator)
        loss, gradient = gradients_of(run, weights, run.inputs[rows], run.targets[rows])
        if step >= _BURN_IN:
            total += loss - at_start[rows].mean(1)
        kicks = torch.randn(weights.shape, generator=generator, dtype=torch.float32).to(weights)
        drift = heat * gradient + _LOCALISATION * (weights - run.weights)
        weights = weights - _STEP / 2 * drift + math.sqrt(_STEP) * kicks
    return heat * total / _DRAWS


def _minibatches(run: Run, generator: torch.Generator) -> Tensor:
    """Rows of a minibatch for each chain `[chains, b]`: drawn with replacement, or all where there are no more."""
    count = len(run.inputs)
    if count <= _BATCH:
        return torch.arange(count, device=run.inputs.device).expand(_CHAINS, -1)
    return torch.randint(count, (_CHAINS, _BATCH), generator=generator).to(run.inputs.device)
