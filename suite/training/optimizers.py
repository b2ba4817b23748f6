"""Optimizers as functions of stacked flat weights: every cell has its own hyperparameters, `[cells, 1]` each.

One step is `w, state ← update(w, gradient, state, hyper, factor)`; nothing is mutated, so a step can be traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from suite.spec.training import SGD, AdamW, Schedule

State = tuple[Tensor, ...]
Hyper = dict[str, Tensor]
Step = Callable[..., tuple[Tensor, Tensor, State, Tensor, Tensor, Tensor]]
"""A step of a whole stack: see `suite.training.stacked`."""
Update = Callable[[Tensor, Tensor, State, Hyper, Tensor], tuple[Tensor, State]]


def hyperparameters(optimizers: Sequence[SGD | AdamW], like: Tensor) -> Hyper:
    """Each numeric field of the cells' optimizers as a column `[cells, 1]`."""
    fields = [name for name in type(optimizers[0]).model_fields if name != "kind"]
    return {
        name: torch.tensor([[getattr(o, name)] for o in optimizers], dtype=like.dtype, device=like.device)
        for name in fields
    }


def stacked_optimizer(optimizers: Sequence[SGD | AdamW], weights: Tensor) -> tuple[Update, State]:
    """The update rule of a stack and its initial state, for weights `[cells, d]`."""
    if isinstance(optimizers[0], AdamW):
        # four tensors of their own: tracing takes one tensor given twice for one argument
        powers = (torch.ones_like(weights[:, :1]), torch.ones_like(weights[:, :1]))
        return _adamw, (torch.zeros_like(weights), torch.zeros_like(weights), *powers)
    if any(o.momentum for o in optimizers if isinstance(o, SGD)):
        return _heavy_ball, (torch.zeros_like(weights),)
    return _sgd, ()


def is_descent(optimizers: Sequence[SGD | AdamW]) -> bool:
    """Whether the update is w − η ∇L and nothing else."""
    return all(isinstance(o, SGD) and not o.momentum and not o.weight_decay for o in optimizers)


def _sgd(w: Tensor, gradient: Tensor, state: State, hyper: Hyper, factor: Tensor) -> tuple[Tensor, State]:
    return w - hyper["learning_rate"] * factor * (gradient + hyper["weight_decay"] * w), state


def _heavy_ball(w: Tensor, gradient: Tensor, state: State, hyper: Hyper, factor: Tensor) -> tuple[Tensor, State]:
    v = hyper["momentum"] * state[0] + gradient + hyper["weight_decay"] * w
    return w - hyper["learning_rate"] * factor * v, (v,)


def _adamw(w: Tensor, gradient: Tensor, state: State, hyper: Hyper, factor: Tensor) -> tuple[Tensor, State]:
    first, second, power1, power2 = state
    first = hyper["beta1"] * first + (1 - hyper["beta1"]) * gradient
    second = hyper["beta2"] * second + (1 - hyper["beta2"]) * gradient * gradient
    power1, power2 = power1 * hyper["beta1"], power2 * hyper["beta2"]
    rate = hyper["learning_rate"] * factor
    direction = (first / (1 - power1)) / ((second / (1 - power2)).sqrt() + hyper["epsilon"])
    return w - rate * (direction + hyper["weight_decay"] * w), (first, second, power1, power2)


def schedule_factors(schedule: Schedule, total: int) -> list[float]:
    """What the learning rate is multiplied by at each of `total` steps."""
    return [schedule.factor(step, total) for step in range(total)]
