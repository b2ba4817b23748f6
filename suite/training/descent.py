"""The step of plain gradient descent of a stack of perceptrons, by hand and in place."""

from __future__ import annotations

import torch

from suite.training.objective import losses_and_slopes
from suite.training.optimizers import Step
from suite.training.perceptron import Perceptrons, outer


def descent(network: Perceptrons, limit: float) -> Step:
    """The step of plain gradient descent, w ← w − η ∇L(w), in place: as in `stacked`, but half as many passes over w.

    Args:
        network: the stack.
        limit: a loss that is not below it freezes its cell: `before` stays what it was.
    """

    def step(w, before, state, alive, steps, losses, hyper, factor, inputs, targets):  # type: ignore[no-untyped-def]
        forward = network.forward(w, inputs)
        each, slopes = losses_and_slopes(network.objective, forward.logits, targets)
        loss = each.mean(-1)
        alive = alive & (loss < limit).unsqueeze(1)  # NaN compares false
        if not w.is_cuda and bool(alive.all()):  # asking a GPU would wait for it
            before.copy_(w)  # what follows does when all are alive, five times as fast
        else:
            torch.where(alive, w, before, out=before)
        rate = (hyper["learning_rate"] * factor / each.shape[-1]).unsqueeze(2)
        for layer, delta, x in network.backward(w, forward, slopes * rate):
            layer.weights(w).sub_(outer(delta, x))
            if layer.bias is not None:
                w[:, layer.bias].sub_(delta.sum(1))
        return w, before, state, alive, steps + alive[:, 0], losses + loss

    return step
