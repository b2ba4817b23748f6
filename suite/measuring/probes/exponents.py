"""Lyapunov exponents of the optimizer's own map along the training that goes on from a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from suite.curvature.jacobian import Step
from suite.curvature.lyapunov import lyapunov_exponents
from suite.curvature.maps import StateMap, adamw_map, sgd_map
from suite.measuring.probes.base import Probe, Subject
from suite.measuring.simulation import batches, factors_from
from suite.metrics.probed.exponents import Exponents
from suite.spec import probes as spec
from suite.spec.training import AdamW

_WARMUP = 0.5
"""So many times as many steps come first, to turn the frame into place, and are not counted. With momentum μ a random
frame first grows by up to 1 / (1 − μ), as velocities turn into displacements: that is no exponent."""


def _measure(subject: Subject, budget: spec.Exponents) -> dict[str, Tensor]:
    """Benettin's exponents over `steps` steps of the run's own training, after a warm-up of half as many.

    The state is the optimizer's: w, (w, v) with momentum, (w, m, s) of AdamW, each as the checkpoint has it. The maps
    are those of the run's own minibatches, in its order, at the learning rates of its schedule: these are the exponents
    of their product.

    Raises:
        ValueError: the checkpoint has no state (its run diverged), the trajectory or a derivative leaves to infinity,
            or all exponents are asked for of too large a state.
    """
    warmup = int(budget.steps * _WARMUP)
    state = optimizer_state(subject, getattr(torch, budget.dtype))
    count = None if budget.leading == "all" else min(budget.leading, len(state))
    maps = optimizer_maps(subject, budget.steps + warmup, state.dtype)
    found = lyapunov_exponents(maps, state, count, warmup, seed=subject.seed("exponents"))
    numbers = {"size": torch.tensor(len(state)), "steps": torch.tensor(found.steps)}
    return {"exponents": found.exponents, "standard_error": found.standard_error, **numbers}


def optimizer_state(subject: Subject, dtype: torch.dtype) -> Tensor:
    """The weights and what the optimizer keeps of their size, one after another."""
    optimizer = subject.task.training.optimizer
    buffers = 2 if isinstance(optimizer, AdamW) else int(optimizer.momentum > 0)
    if len(subject.state) < buffers:
        raise ValueError(f"step {subject.step}: {optimizer.kind} has no state here: the run diverged")
    # AdamW keeps powers behind its moments; without momentum a velocity may be idle, where others of a stack have one
    return torch.cat([subject.weights, *subject.state[:buffers]]).detach().to(dtype)


def optimizer_maps(subject: Subject, steps: int, dtype: torch.dtype) -> Iterator[StateMap]:
    """The maps of the coming steps."""
    rates = factors_from(subject, steps).double().tolist()
    for done, (inputs, targets) in enumerate(batches(subject, steps)):
        loss = _loss(subject, _cast(inputs, dtype), _cast(targets, dtype))
        yield _map(subject, loss, rates[done], subject.step + done + 1)


def _map(subject: Subject, loss: Callable[[Tensor], Tensor], factor: float, number: int) -> StateMap:
    """The optimizer's step, the run's `number`-th, on one minibatch."""
    optimizer = subject.task.training.optimizer
    rate = optimizer.learning_rate * factor
    if isinstance(optimizer, AdamW):
        betas = (optimizer.beta1, optimizer.beta2)
        return adamw_map(loss, rate, *betas, optimizer.epsilon, optimizer.weight_decay, number)
    return sgd_map(loss, Step(rate, optimizer.momentum, optimizer.weight_decay))


def _loss(subject: Subject, inputs: Tensor, targets: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda flat: subject.problem.loss(flat, inputs, targets)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _load(budget: spec.Exponents, tensors: dict[str, Tensor]) -> Exponents:
    return Exponents.from_arrays(tensors)


PROBES = (Probe("exponents", 1, _measure, _load),)
