"""Stacks of perceptrons by hand: losses and gradients as batched matrix products, without autograd.

At small batches a step of a small network costs what its tensor operations cost to launch, and autograd under `vmap`
launches several times as many as the arithmetic needs. The formulas are those of backpropagation (Rumelhart et al.
1986); the tests hold them against `torch.func`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from suite.models.flat import FlatModel
from suite.training.objective import Loss, losses_and_slopes

_aten = torch.ops.aten


@dataclass(frozen=True)
class _Activation:
    """A function of z; the product of its derivative and δ, from δ and what is kept of z: its value, or z itself."""

    value: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor, Tensor], Tensor]
    keeps_value: bool


_ACTIVATIONS: dict[type[nn.Module], _Activation] = {
    nn.ReLU: _Activation(torch.relu, lambda delta, value: _aten.threshold_backward(delta, value, 0), True),
    nn.Tanh: _Activation(torch.tanh, _aten.tanh_backward, True),
    nn.GELU: _Activation(nn.functional.gelu, _aten.gelu_backward, False),
}


@dataclass(frozen=True)
class Layer:
    """Where a layer's weight, `out × in`, and its bias lie in the flat vector."""

    weight: slice
    shape: tuple[int, ...]
    bias: slice | None

    def weights(self, flat: Tensor) -> Tensor:
        """`cells × out × in`, a view of the flat vectors `[cells, d]`."""
        return flat[:, self.weight].view(-1, *self.shape)


@dataclass(frozen=True)
class Forward:
    """A stack's forward pass: each layer's inputs, what is kept of each activation, `cells × n × classes` logits."""

    inputs: list[Tensor]
    kept: list[Tensor]
    logits: Tensor


@dataclass(frozen=True)
class Perceptrons:
    """A stack of perceptrons of one shape: linear layers with activations of one kind between them."""

    layers: tuple[Layer, ...]
    activation: _Activation
    objective: Loss

    @classmethod
    def of(cls, model: FlatModel, objective: Loss, inputs: Tensor) -> Perceptrons | None:
        """The network, if it is one: linear layers, one kind of activation between them, vectors as inputs."""
        parts = list(model.module) if type(model.module) is nn.Sequential else []
        linear, between = parts[::2], parts[1::2]
        kinds = {type(part) for part in between} or {nn.ReLU}
        plain = len(parts) % 2 == 1 and all(type(part) is nn.Linear for part in linear)
        exact = all(part.approximate == "none" for part in between if isinstance(part, nn.GELU))
        if not plain or not exact or len(kinds) > 1 or inputs.ndim != 2 or not inputs.is_floating_point():
            return None
        activation = _ACTIVATIONS.get(kinds.pop())
        where, shapes = model.slices(), dict(zip(model.names, model.shapes, strict=True))
        names = [f"{2 * number}" for number in range(len(linear))]
        layers = [Layer(where[f"{n}.weight"], shapes[f"{n}.weight"], where.get(f"{n}.bias")) for n in names]
        return None if activation is None else cls(tuple(layers), activation, objective)

    def gradients(self, flat: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients `[cells, d]` and mean losses `[cells]`; nothing is changed, so that it can be traced.

        Args:
            flat: parameters `[cells, d]`.
            inputs: `cells × n × features`; or `n × features`, shared by all cells.
            targets: class indices `cells × n`, or probabilities `cells × n × classes`; shared as the inputs are.
        """
        forward = self.forward(flat, inputs)
        losses, slopes = losses_and_slopes(self.objective, forward.logits, targets)
        parts: list[Tensor] = []
        for layer, delta, x in self.backward(flat, forward, slopes / losses.shape[-1]):
            own = [outer(delta, x).flatten(1), *([delta.sum(1)] if layer.bias else [])]
            parts = own + parts
        return torch.cat(parts, 1), losses.mean(-1)

    def forward(self, flat: Tensor, inputs: Tensor) -> Forward:
        """The logits, and what the backward pass needs."""
        entering, kept = [inputs], []
        for number, layer in enumerate(self.layers):
            z = _product(entering[-1], layer.weights(flat))
            if layer.bias is not None:
                z = z + flat[:, layer.bias].unsqueeze(1)
            if number + 1 == len(self.layers):
                break
            entering.append(self.activation.value(z))
            kept.append(entering[-1] if self.activation.keeps_value else z)
        return Forward(entering, kept, z)

    def backward(self, flat: Tensor, forward: Forward, delta: Tensor) -> Iterator[tuple[Layer, Tensor, Tensor]]:
        """Each layer from the last, its δ `cells × n × out` and its inputs: their products are the gradient.

        A layer's weights are not needed any more when it is given.

        Args:
            flat: parameters `[cells, d]`.
            forward: their forward pass.
            delta: the loss differentiated by the logits, `cells × n × classes`.
        """
        for number in reversed(range(len(self.layers))):
            layer, mine = self.layers[number], delta
            if number:
                delta = self.activation.pull(torch.bmm(mine, layer.weights(flat)), forward.kept[number - 1])
            yield layer, mine, forward.inputs[number]


def _product(x: Tensor, weights: Tensor) -> Tensor:
    """The product x Wᵀ of every cell, `cells × n × out`; of shared inputs as one matrix product."""
    if x.ndim == 3:
        return torch.bmm(x, weights.transpose(1, 2))
    cells, out, _ = weights.shape
    return (x @ weights.reshape(cells * out, -1).T).view(-1, cells, out).transpose(0, 1)


def outer(delta: Tensor, x: Tensor) -> Tensor:
    """The product δᵀ x of every cell, `cells × out × in`; of shared inputs as one matrix product."""
    if x.ndim == 3:
        return torch.bmm(delta.transpose(1, 2), x)
    cells, _, out = delta.shape
    return (delta.transpose(0, 1).reshape(-1, cells * out).T @ x).view(cells, out, -1)
