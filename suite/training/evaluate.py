"""Loss and accuracy of a stack of networks on a whole split."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vmap

from suite.training.objective import sample_hits, sample_losses
from suite.training.problem import Problem, Split

_MOST_NUMBERS = 2**23
"""Activations of one chunk, roughly: a function of shapes only, so that results do not depend on free memory."""


def evaluate(problem: Problem, weights: Tensor, split: Split) -> Tensor:
    """Mean loss and accuracy of each network of a stack.

    Args:
        problem: the network and its loss.
        weights: `[cells, d]`.
        split: the data, shared by all cells.

    Returns:
        float64 `[cells, 2]` on the weights' device: loss, accuracy; accumulated in float64.
    """
    totals = torch.zeros(len(weights), 2, dtype=torch.float64, device=weights.device)
    step = samples_at_once(problem, len(weights), split)
    for start in range(0, len(split), step):
        part = slice(start, start + step)
        logits = vmap(problem.model, (0, None))(weights, split.inputs[part])
        targets = split.targets[part]
        losses = vmap(lambda z, t=targets: sample_losses(problem.objective, z, t))(logits)
        hits = vmap(lambda z, t=targets: sample_hits(z, t))(logits)
        both = torch.stack([losses, hits], 1).double()
        if both.ndim > 3:  # one target per position: their mean is the sequence's
            both = both.mean(-1)
        totals += both.sum(-1) if split.weights is None else both @ split.weights[part].double()
    return totals if split.weights is not None else totals / len(split)


def samples_at_once(problem: Problem, cells: int, split: Split, numbers: int = _MOST_NUMBERS) -> int:
    """How many inputs a chunk has, so that the widest layer of a stack makes about so many numbers of them."""
    widest = max(max(shape) for shape in problem.model.shapes)
    positions = 1 if split.inputs.is_floating_point() else split.inputs.shape[1]
    return max(1, numbers // (cells * widest * positions))
