"""Runs whose loss is a given function of the weights alone, and runs changed in ways that metrics should not see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from suite.metrics import Run
from tests.metrics.made import small_task

Function = Callable[[Tensor], Tensor]


class Landscape:
    """A network whose every output is f(w)."""

    names = ("w",)

    def __init__(self, function: Function, size: int) -> None:
        self.function, self.shapes = function, ((size,),)

    def slices(self) -> dict[str, slice]:
        return {"w": slice(0, self.shapes[0][0])}

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        return {"w": flat}

    def __call__(self, flat: Tensor, inputs: Tensor) -> Tensor:
        return self.function(flat).expand(len(inputs), 1)


def landscape(function: Function, weights: Tensor, inputs: int = 600) -> Run:
    """A run at `weights` `[d]` whose loss is f(w) on every input."""
    return Run(
        key="landscape",
        task=small_task(),
        step=1,
        weights=weights,
        initial=torch.zeros_like(weights),
        network=Landscape(function, len(weights)),
        sample_loss=lambda outputs, targets: outputs[..., 0],
        whole=lambda w: torch.stack([torch.stack([function(one), torch.zeros_like(one[0])]) for one in w]).double(),
        inputs=torch.zeros(inputs, 1, dtype=weights.dtype),
        targets=torch.zeros(inputs, dtype=torch.int64),
    )


class Switches(Landscape):
    """A network of two classes that classifies input i, row i of the identity, by the sign of weight i alone."""

    def __init__(self, size: int) -> None:
        super().__init__(torch.sum, size)

    def __call__(self, flat: Tensor, inputs: Tensor) -> Tensor:
        chosen = inputs @ flat
        return torch.stack([chosen, torch.zeros_like(chosen)], -1)


def switches(weights: Tensor, initial: Tensor | None = None) -> Run:
    """A run of `Switches` at positive `weights` `[d]`: d inputs, all of class 0, all classified correctly."""
    size = len(weights)
    return dataclasses.replace(
        landscape(torch.sum, weights),
        network=Switches(size),
        sample_loss=lambda logits, targets: -logits.log_softmax(-1)[..., 0],
        inputs=torch.eye(size, dtype=weights.dtype),
        targets=torch.zeros(size, dtype=torch.int64),
        initial=torch.zeros_like(weights) if initial is None else initial,
    )


def rescaled(run: Run, factor: float) -> Run:
    """A two-layer ReLU network without biases, its first layer times `factor`, its second divided by it."""
    first, second = run.network.slices().values()
    weights = run.weights.clone()
    weights[first] *= factor
    weights[second] /= factor
    return dataclasses.replace(run, weights=weights)


class Louder:
    """A network with its logits times a factor."""

    def __init__(self, network: object, factor: float) -> None:
        self.network, self.factor = network, factor

    def __getattr__(self, name: str) -> object:
        return getattr(self.network, name)

    def __call__(self, flat: Tensor, inputs: Tensor) -> Tensor:
        return self.network(flat, inputs) * self.factor  # type: ignore[operator,no-any-return]


def louder(run: Run, factor: float) -> Run:
    """The run with its network's logits times `factor`."""
    return dataclasses.replace(run, network=Louder(run.network, factor))
