"""Distances between iterates of training: of their weights, and of the losses they give to the training inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.spec.seeds import seed_of
from suite.training.objective import sample_losses
from suite.training.problem import Problem

_BLOCK_NUMBERS = 2**20
"""Entries of one block of columns in float64: 8 MiB, which stays in a cache."""


def trajectory_distances(problem: Problem, iterates: Tensor, samples: int, every: int) -> dict[str, Tensor]:
    """Both distances between all pairs of iterates, as tensors to store (`suite.metrics.probed.distances.Distances`).

    They are computed in float64 from the iterates as they are, and stored so: of iterates near one another beside far
    ones, rounding to float32 changes positive magnitudes by tens of percent. Beside the iterates this takes one block
    of their columns and one network at a time, and `k × samples` losses. Where a loss is not finite, neither are its
    distances.

    Args:
        problem: network, loss and training set.
        iterates: flat weights `[k, d]`, oldest first, k from 0.
        samples: training inputs whose losses are compared, the same for every run: all, if there are fewer.
        every: optimizer steps from one iterate to the next.
    """
    return {
        "euclidean": _euclidean(iterates, problem.train.inputs.device).cpu(),
        "losses": _of_losses(_losses(problem, iterates, samples)).cpu(),
        "every": torch.tensor(every),
    }


def _euclidean(iterates: Tensor, device: torch.device) -> Tensor:
    """`‖w_i − w_j‖` for i < j, float64, from differences: inner products lose nearby iterates far from the origin."""
    count = len(iterates)
    total = torch.zeros(count * (count - 1) // 2, dtype=torch.float64, device=device)
    for columns in torch.split(iterates, max(1, _BLOCK_NUMBERS // max(1, count)), dim=1):
        total += torch.pdist(columns.to(device, torch.float64).contiguous()).square()
    return total.sqrt()


def _of_losses(losses: Tensor) -> Tensor:
    """Mean over the samples of `|ℓ_i − ℓ_j|` for i < j: a mean, so that it does not grow with their number."""
    return torch.pdist(losses, p=1) / losses.shape[1]


def _losses(problem: Problem, iterates: Tensor, samples: int) -> Tensor:
    """Losses of the sampled inputs under each iterate, float64 `[k, n]`.

    Evaluated in float64: a float32 logarithm of a probability near 1 keeps no digit of what a step changes in it.
    """
    size = len(problem.train)
    generator = torch.Generator().manual_seed(seed_of("trajectory samples", size))
    at = torch.randperm(size, generator=generator)[:samples].to(problem.train.inputs.device)
    inputs, targets = _precise(problem.train.inputs[at]), _precise(problem.train.targets[at])
    rows = inputs.new_empty(len(iterates), len(at), dtype=torch.float64)
    with torch.no_grad():
        for row, weights in zip(rows, iterates, strict=True):
            flat = weights.to(rows)
            row[:] = sample_losses(problem.objective, problem.model(flat, inputs), targets).reshape(len(at), -1).mean(1)
    return rows


def _precise(numbers: Tensor) -> Tensor:
    return numbers.double() if numbers.is_floating_point() else numbers
