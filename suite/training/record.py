"""What a trained run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Status = Literal["finished", "stopped", "diverged"]


@dataclass(frozen=True)
class Checkpoint:
    """Weights after `step` optimizer steps, with losses (nats or squared error) and accuracies (fractions)."""

    step: int
    weights: Tensor
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        status: `finished`; `stopped` by a stop rule; `diverged`: its loss went beyond `stop.diverged_above`.
        initial: weights before the first step, `[d]` on the CPU.
        checkpoints: by ascending step, each step once; the last is the end of the run. A diverged run ends at its last
            weights that are known to be of bounded loss: on the minibatch that was met there and on the training set.
        trajectory: the last iterates `[k, d]` on the CPU, oldest first, or None if none were asked for; a diverged run
            stays at its last weights.
    """

    status: Status
    initial: Tensor
    checkpoints: tuple[Checkpoint, ...]
    trajectory: Tensor | None
