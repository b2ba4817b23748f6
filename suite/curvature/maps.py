"""An optimizer's step on one minibatch as a map of one flat state vector, differentiable by `torch.func.jvp`.

This is φ(1, ω, ·) of Tuci et al. 2026: a training run is a product of such maps, one per minibatch drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor
from torch.func import grad

from suite.curvature.hessian import Loss
from suite.curvature.jacobian import Step

StateMap = Callable[[Tensor], Tensor]


def sgd_map(loss: Loss, step: Step) -> StateMap:
    """SGD on the state w, or with momentum on [w, v], as `torch.optim.SGD` steps (dampening 0).

    Args:
        loss: of the minibatch, `[d] → scalar`.
        step: learning rate, momentum (heavy ball or Nesterov), weight decay.

    Returns:
        The map `[d] → [d]`, or `[2d] → [2d]` with momentum. It raises ValueError on a state of odd length then.
    """
    gradient = cast(StateMap, grad(loss))
    eta, mu = step.learning_rate, step.momentum

    def force(w: Tensor) -> Tensor:
        return gradient(w) + step.weight_decay * w

    def plain(state: Tensor) -> Tensor:
        return state - eta * force(state)

    def with_momentum(state: Tensor) -> Tensor:
        w, v = _parts(state, 2)
        g = force(w)
        v = mu * v + g
        return torch.cat([w - eta * (g + mu * v if step.nesterov else v), v])

    return with_momentum if mu else plain


def adamw_map(
    loss: Loss,
    learning_rate: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    t: int = 1,
) -> StateMap:
    """The whole step of AdamW on the state [w, m, s], as `torch.optim.AdamW` takes it; nothing is held fixed.

    A parameter whose gradient has been zero at every step (a pixel that is always black) has s = 0, where √s has no
    derivative. Its m is then zero too, so that no perturbation of s moves w to first order: the derivative of √s is
    taken as 0 there. In a state that no run from zero buffers reaches (s = 0, m ≠ 0) the map has no derivative.

    Args:
        loss: of the minibatch, `[d] → scalar`.
        learning_rate: η.
        beta1: β₁, the average of gradients.
        beta2: β₂, the average of squared gradients.
        epsilon: ε, added to the root.
        weight_decay: ω, decoupled.
        t: the step's number, from 1: the averages are divided by 1 − βᵗ.

    Returns:
        The map `[3d] → [3d]`. It raises ValueError on a state whose length is no multiple of 3.

    Raises:
        ValueError: a number out of its range.
    """
    if not (0 <= beta1 < 1 and 0 <= beta2 < 1 and epsilon >= 0 and t >= 1):
        raise ValueError(f"betas in [0, 1), epsilon ≥ 0 and t ≥ 1 expected: {beta1}, {beta2}, {epsilon}, {t}")
    gradient = cast(StateMap, grad(loss))
    rate, correction = learning_rate / (1 - beta1**t), 1 - beta2**t

    def move(state: Tensor) -> Tensor:
        w, m, s = _parts(state, 3)
        g = gradient(w)
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * g * g
        w = (1 - learning_rate * weight_decay) * w - rate * m / (_root(s / correction) + epsilon)
        return torch.cat([w, m, s])

    return move


def initial_state(params: Tensor, buffers: int) -> Tensor:
    """The state before the first step: the parameters `[d]`, then zeros for each of the optimizer's buffers.

    Args:
        params: `[d]`.
        buffers: 0 for SGD, 1 with momentum (v), 2 for AdamW (m and s).

    Returns:
        `[(1 + buffers) d]` in the dtype of `params`.

    Raises:
        ValueError: parameters that are not a flat vector, or a negative number of buffers.

    >>> initial_state(torch.tensor([1.0, 2.0]), 1).tolist()
    [1.0, 2.0, 0.0, 0.0]
    """
    if params.ndim != 1 or buffers < 0:
        raise ValueError(f"a flat parameter vector and buffers ≥ 0 expected: {list(params.shape)}, {buffers}")
    return torch.cat([params.detach(), params.new_zeros(buffers * len(params))])


def simulate(maps: Iterable[StateMap], state: Tensor, keep_every: int = 1) -> Tensor:
    """A forward trajectory, in snapshots: points that stand for the attractor in Def. 4.1's supremum.

    Args:
        maps: one per step.
        state: where it starts, `[n]`.
        keep_every: steps between snapshots.

    Returns:
        `[1 + steps // keep_every, n]`: the state before the first step, then after every `keep_every` steps.

    Raises:
        ValueError: `keep_every` < 1, or the state is not finite after a step (the message has its number, from 1).
    """
    if keep_every < 1:
        raise ValueError(f"keep_every must be at least 1, not {keep_every}")
    current = state.detach()
    kept = [current]
    for number, move in enumerate(maps, 1):
        current = move(current).detach()
        check_state(current, number)
        if number % keep_every == 0:
            kept.append(current)
    return torch.stack(kept)


def check_state(state: Tensor, number: int) -> None:
    """A ValueError that names the step, if the state after it is not finite."""
    if not bool(state.isfinite().all()):
        raise ValueError(f"the trajectory diverged: the state is not finite after step {number}")


def _parts(state: Tensor, count: int) -> tuple[Tensor, ...]:
    if state.ndim != 1 or len(state) % count:
        raise ValueError(f"a flat state of {count} equal parts expected, not one of shape {list(state.shape)}")
    return state.chunk(count)


def _root(x: Tensor) -> Tensor:
    """√x whose derivative at 0 is taken as 0. In reverse mode ∞ · 0 would come back from a single selection."""
    positive = x > 0
    return torch.where(positive, torch.where(positive, x, torch.ones_like(x)).sqrt(), torch.zeros_like(x))
