"""What a trained run leaves behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Status = Literal["finished", "stopped", "diverged"]


@dataclass(frozen=True)
class Checkpoint:
    """Weights after `step` optimizer steps, with losses (nats or squared error) and accuracies (fractions).

    `state` is the optimizer's, as `stacked_optimizer` orders it, without the axis of cells: heavy-ball SGD's velocity
    `[d]`; AdamW's two moments `[d]` and the powers of β₁ and β₂ `[1]`; nothing of plain SGD's.
    """

    step: int
    weights: Tensor
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    state: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        status: `finished`; `stopped` by a stop rule; `diverged`: its loss went beyond `stop.diverged_above`.
        initial: weights before the first step, `[d]` on the CPU.
        checkpoints: by ascending step, each step once; the last is the end of the run. A diverged run ends at its last
            weights that are known to be of bounded loss: on the minibatch that was met there and on the training set.
        trajectory: every so many-th of the last iterates `[k, d]` on the CPU, oldest first, none after the last
            checkpoint's step; None if none were asked for. Fewer than asked for where the run was short or diverged.
        sharpness: λ_max of the Hessian at some steps, ascending, as `suite.training.sharpness` has it; NaN after the
            last checkpoint of a diverged run. Empty if it was not asked for.
        curve: mean loss of the minibatches met in each whole epoch, float32 `[epochs]`, up to the last checkpoint.
    """

    status: Status
    initial: Tensor
    checkpoints: tuple[Checkpoint, ...]
    trajectory: Tensor | None
    curve: Tensor
    sharpness: tuple[tuple[int, float], ...] = ()
