"""Losses and accuracies, per sample, for class indices and for exact target probabilities."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from torch import Tensor

Loss = Literal["cross_entropy", "mse"]


def sample_losses(loss: Loss, logits: Tensor, targets: Tensor) -> Tensor:
    """The loss of each prediction.

    Args:
        loss: `cross_entropy` (nats), or `mse`: ½ Σ_classes (logit − one-hot target)², as in Cohen et al. 2021.
        logits: `… × classes`.
        targets: int64 `…`, or probabilities `… × classes`.

    Returns:
        `…`, in the dtype of the logits.
    """
    exact = targets.is_floating_point()
    if loss == "mse":
        wanted = targets if exact else _one_hot(targets, logits)
        return 0.5 * (logits - wanted).square().sum(-1)
    log_probabilities = F.log_softmax(logits, -1)
    if exact:
        return -(targets * log_probabilities).sum(-1)
    # a plain gather: F.cross_entropy's handling of ignored classes costs as much as a small network's whole step
    return -log_probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def losses_and_slopes(loss: Loss, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """`sample_losses`, and their derivatives by the logits, of the logits' shape.

    Args:
        loss: as in `sample_losses`.
        logits: `… × classes`.
        targets: as in `sample_losses`; axes may be missing in front, where the targets are shared.
    """
    exact = targets.is_floating_point()
    if loss == "mse":
        difference = logits - (targets if exact else _one_hot(targets, logits))
        return 0.5 * difference.square().sum(-1), difference
    log_probabilities = F.log_softmax(logits, -1)
    if exact:
        slopes = log_probabilities.exp() * targets.sum(-1, keepdim=True) - targets
        return -(targets * log_probabilities).sum(-1), slopes
    at = targets.expand(logits.shape[:-1]).unsqueeze(-1)
    losses = -log_probabilities.gather(-1, at).squeeze(-1)
    return losses, log_probabilities.exp().scatter_add(-1, at, -torch.ones_like(losses).unsqueeze(-1))


def mean_loss(loss: Loss, logits: Tensor, targets: Tensor) -> Tensor:
    """The mean of `sample_losses`, a scalar."""
    return sample_losses(loss, logits, targets).mean()


def sample_hits(logits: Tensor, targets: Tensor) -> Tensor:
    """1 where the largest logit is the target's class (or that class's probability), else 0; shape `…`.

    Logits that are not finite hit nothing.
    """
    guess = logits.argmax(-1)
    if targets.is_floating_point():
        hits = targets.gather(-1, guess.unsqueeze(-1)).squeeze(-1)
    else:
        hits = (guess == targets).to(logits.dtype)
    return torch.where(logits.isfinite().all(-1), hits, 0.0)


def _one_hot(targets: Tensor, logits: Tensor) -> Tensor:
    """`F.one_hot` for use under vmap, where that function cannot look at its largest index."""
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return (targets.unsqueeze(-1) == classes).to(logits.dtype)
