"""Training that goes on from a checkpoint, one network at a time, exactly as it would have gone on in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.func import grad_and_value
from torch.fx.experimental.proxy_tensor import make_fx

from suite.measuring.probes.base import Subject
from suite.training.optimizers import State, hyperparameters, schedule_factors, stacked_optimizer
from suite.training.order import minibatches

_Step = Callable[..., tuple[Tensor, State]]


def simulate(subject: Subject, steps: int, every: int) -> Iterator[Tensor]:
    """Weights `[d]` after every `every` of `steps` further steps of the run's own training.

    The optimizer goes on with its stored state, the minibatches come in the run's own order from the checkpoint's place
    in its epoch on, the learning rate follows the schedule; after the schedule's end its last factor goes on. Stop
    rules stop nothing here.

    Args:
        subject: the checkpoint; weights, state and data on one device, in the dtype of training.
        steps: how many steps to take.
        every: how many of them lie between two yielded weights.

    Yields:
        ⌊steps / every⌋ tensors of their own, the first `every` steps after the checkpoint.

    Raises:
        ValueError: the optimizer has a state and the checkpoint has none (its run diverged); or, while iterating,
            weights are not finite, at the step that the message names.
    """
    optimizer = subject.task.training.optimizer
    _, fresh = stacked_optimizer([optimizer], subject.weights[None])
    # a cell without momentum has an idle velocity where others of its stack have momentum
    state = subject.state if fresh else ()
    if len(state) != len(fresh):
        raise ValueError(
            f"step {subject.step}: training cannot go on, {optimizer.kind} has no state here: the run diverged"
        )
    return _weights(subject, tuple(s[None].to(subject.weights) for s in state), steps, every)


def _weights(subject: Subject, state: State, steps: int, every: int) -> Iterator[Tensor]:
    weights, factors = subject.weights[None], factors_from(subject, steps)
    step: _Step | None = None
    for done, batch in enumerate(batches(subject, steps), 1):
        now = (weights, state, factors[done - 1], *batch)
        with torch.no_grad():  # never around a yield: it would hold for whoever iterates
            step = step or _trace(subject, now)
            weights, state = step(*now)
        if done % every == 0:
            if not bool(weights.isfinite().all()):
                raise ValueError(
                    f"the trajectory leaves to infinity: weights at step {subject.step + done} are not finite"
                )
            yield weights[0]


def _trace(subject: Subject, now: tuple[object, ...]) -> _Step:
    """One step of training as plain tensor operations: torch.func's bookkeeping costs more than a small network."""
    optimizer, problem = subject.task.training.optimizer, subject.problem
    update, _ = stacked_optimizer([optimizer], subject.weights[None])
    hyper = hyperparameters([optimizer], subject.weights)
    gradient = grad_and_value(problem.loss)

    def step(weights: Tensor, state: State, factor: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, State]:
        slope, _ = gradient(weights[0], inputs, targets)
        return update(weights, slope[None], state, hyper, factor)

    traced: _Step = make_fx(step)(*now)
    return traced


def factors_from(subject: Subject, steps: int) -> Tensor:
    """What the learning rate is multiplied by in each of the steps from the checkpoint on."""
    training = subject.task.training
    total = training.total_steps(len(subject.problem.train))
    whole = schedule_factors(training.schedule, total)
    factors = whole[subject.step : subject.step + steps]
    factors += whole[-1:] * (steps - len(factors))
    return torch.tensor(factors, dtype=subject.weights.dtype, device=subject.weights.device)


def batches(subject: Subject, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The minibatches of the run's steps from the checkpoint on."""
    return minibatches(subject.problem.train, subject.task.seed, subject.batch, subject.step, steps)
