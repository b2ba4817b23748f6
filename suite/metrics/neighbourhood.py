"""The loss around a run's weights: fixed training inputs, noise common to all runs, many perturbed networks at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor
from torch.func import vmap

from suite.metrics.run import Run
from suite.spec.seeds import seed_of

INPUTS = 512
"""Training inputs that perturbed networks are evaluated on: those of `Run.minibatch(0, 512)`, or all if they are fewer.

They are the same for all runs of a task, so that runs are not told apart by the luck of the draw.
"""

_ACTIVATIONS = 2**23
"""Entries of the widest activation evaluated at once: a function of shapes alone, so that sums do not change."""

_NOISE = 2**24
"""Entries of noise held at once."""

SampleLoss = Callable[[Tensor, Tensor], Tensor]


def inputs_of(run: Run) -> tuple[Tensor, Tensor]:
    """The inputs and targets that perturbed networks are evaluated on."""
    return run.minibatch(0, INPUTS)


def noise(run: Run, draws: int, kind: Literal["normal", "uniform"] = "normal") -> Iterator[Tensor]:
    """Blocks `[k, d]` of `draws` rows in all of standard normal noise, or of noise uniform on [−1, 1].

    A function of the number of parameters alone: every run of a task meets the same draws.
    """
    size = len(run.weights)
    generator = torch.Generator().manual_seed(seed_of("metric noise", kind, size))
    block = max(1, _NOISE // size)
    for start in range(0, draws, block):
        shape = (min(block, draws - start), size)
        if kind == "normal":
            rows = torch.randn(shape, generator=generator, dtype=torch.float32)
        else:
            rows = 2 * torch.rand(shape, generator=generator, dtype=torch.float32) - 1
        yield rows.to(run.weights)


def normalised_logits(run: Run) -> SampleLoss:
    """The run's loss of logits that are centred and divided by their norm, prediction by prediction.

    The function of Andriushchenko et al. 2023 (their code floors the norm at 10⁻¹⁰; here that is added in squares):
    unchanged by a positive factor on the logits.
    """

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        centred = logits - logits.mean(-1, keepdim=True)
        return run.sample_loss(centred / (centred.square().sum(-1, keepdim=True) + 1e-20).sqrt(), targets)

    return loss


def losses_of(run: Run, weights: Tensor, sample_loss: SampleLoss | None = None) -> Tensor:
    """Mean loss of each of `[k, d]` networks on `inputs_of(run)`, float64 `[k]`.

    Args:
        run: the run.
        weights: flat parameters, a row a network.
        sample_loss: in place of the run's own.
    """
    return _mean_over_inputs(run, weights, sample_loss or run.sample_loss)


def accuracies_of(run: Run, weights: Tensor) -> Tensor:
    """The part of `inputs_of(run)` that each of `[k, d]` networks classifies correctly, float64 `[k]`.

    Where targets are probabilities, a hit counts as the probability of the class that was hit.
    """
    return _mean_over_inputs(run, weights, _hits)


def gradients_of(
    run: Run, weights: Tensor, inputs: Tensor, targets: Tensor, sample_loss: SampleLoss | None = None
) -> tuple[Tensor, Tensor]:
    """Mean loss and its gradient for each of `b` networks, each on a batch of its own.

    Args:
        run: the run.
        weights: `[b, d]`.
        inputs: `[b, n, …]`.
        targets: `[b, n, …]`.
        sample_loss: in place of the run's own.

    Returns:
        Losses, float64 `[b]`; gradients `[b, d]`.
    """
    of_predictions = sample_loss or run.sample_loss

    def loss(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return of_predictions(run.network(flat, x), y).mean()

    losses = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
    gradients, rows = torch.zeros_like(weights), _rows(run, len(weights))
    for x, y in zip(torch.split(inputs, rows, 1), torch.split(targets, rows, 1), strict=True):
        part = x.shape[1] / inputs.shape[1]
        variable = weights.detach().requires_grad_()
        values = vmap(loss)(variable, x, y)  # each network's own, so that the gradient of their sum is each one's too
        gradients += torch.autograd.grad(values.sum(), variable)[0] * part
        losses += values.detach().double() * part
    return losses, gradients


def pieces(run: Run, inputs: Tensor, targets: Tensor, networks: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets in pieces that fit into memory when evaluated by that many networks at once."""
    rows = _rows(run, networks)
    return zip(torch.split(inputs, rows), torch.split(targets, rows), strict=True)


def first_crossing(rises: Callable[[Tensor], Tensor], level: float, low: float, high: float) -> float:
    """The least r in [low, high], up to a grid, at which `rises` reaches `level`.

    32 values of r spaced geometrically, then twice 16 between the two that bracket the first crossing, and the straight
    line between the last two: three calls, whatever the function. From 10⁻⁶ to 10³ the last two differ by 0.3 %.

    Args:
        rises: values of r `[k]` → heights `[k]`.
        level: the height looked for.
        low: from where; positive.
        high: to where.

    Raises:
        ValueError: it is above the level at `low` already, or nowhere.
    """
    ends: tuple[Tensor, Tensor] | None = None
    for count in (32, 16, 16):
        places = torch.logspace(math.log10(low), math.log10(high), count, dtype=torch.float64)
        heights = rises(places).clone()
        if ends is not None:  # as they were: rounding may not take the bracket away
            heights[0], heights[-1] = ends
        at = int((heights >= level).double().argmax())
        if at == 0:
            raise ValueError(f"the level {level} is not crossed between {low:g} and {high:g}")
        low, high, ends = float(places[at - 1]), float(places[at]), (heights[at - 1], heights[at])
    left, right = float(heights[at - 1]), float(heights[at])
    return low + (high - low) * (level - left) / (right - left)


def _mean_over_inputs(run: Run, weights: Tensor, of_predictions: SampleLoss) -> Tensor:
    """The mean over inputs (and positions) of a function of logits and targets, for each network: float64 `[k]`."""
    inputs, targets = inputs_of(run)
    totals = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
    with torch.no_grad():
        for x, y in pieces(run, inputs, targets, len(weights)):
            values = vmap(lambda flat, x=x, y=y: of_predictions(run.network(flat, x), y))(weights)
            totals += values.double().flatten(1).mean(1) * (len(x) / len(inputs))
    return totals


def _hits(logits: Tensor, targets: Tensor) -> Tensor:
    guess = logits.argmax(-1)
    if targets.is_floating_point():
        hits = targets.gather(-1, guess.unsqueeze(-1)).squeeze(-1)
    else:
        hits = (guess == targets).to(logits.dtype)
    return torch.where(logits.isfinite().all(-1), hits, 0.0)


def _rows(run: Run, networks: int) -> int:
    widest = max(itertools.chain.from_iterable(run.network.shapes))
    positions = 1 if run.inputs.is_floating_point() else run.inputs.shape[1]
    return max(1, _ACTIVATIONS // (networks * widest * positions))
