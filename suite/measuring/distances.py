"""Distances between iterates of training: of their weights, and of the losses they give to the training inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.spec.seeds import seed_of
from suite.training.objective import sample_losses
from suite.training.problem import Problem


def trajectory_distances(problem: Problem, iterates: Tensor, samples: int, every: int) -> dict[str, Tensor]:
    """Both distances between all pairs of iterates, as tensors to store (`suite.metrics.probed.distances.Distances`).

    Args:
        problem: network, loss and training set.
        iterates: flat weights `[k, d]`, oldest first.
        samples: training inputs whose losses are compared, the same for every run: all, if there are fewer.
        every: optimizer steps from one iterate to the next.
    """
    losses = _losses(problem, iterates, samples)
    return {
        "euclidean": torch.pdist(iterates.double()).float().cpu(),
        "losses": (torch.pdist(losses.double(), p=1) / losses.shape[1]).float().cpu(),
        "every": torch.tensor(every),
    }


def _losses(problem: Problem, iterates: Tensor, samples: int) -> Tensor:
    """Losses of the sampled inputs under each iterate, `[k, n]`."""
    size = len(problem.train)
    generator = torch.Generator().manual_seed(seed_of("trajectory samples", size))
    at = torch.randperm(size, generator=generator)[:samples].to(problem.train.inputs.device)
    inputs, targets = problem.train.inputs[at], problem.train.targets[at]
    rows = []
    with torch.no_grad():
        for weights in iterates.to(inputs.device):
            losses = sample_losses(problem.objective, problem.model(weights, inputs), targets)
            rows.append(losses.reshape(len(losses), -1).mean(1))
    return torch.stack(rows)
