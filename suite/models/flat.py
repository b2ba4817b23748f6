"""A network as a function of one flat parameter vector: what stacked training and curvature both work on."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from suite.spec.base import ModelSpec, Shape
from suite.spec.seeds import seed_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class FlatModel:
    """A stateless network. Parameters lie one after another in a flat vector, each row-major, in the module's order.

    Attributes:
        module: gives the forward pass; its own parameters (on the meta device) are never used.
        names: the parameters, in the order of the flat vector (tied parameters once).
        shapes: their shapes.
        linear_in_inputs: True if the first parameter is a weight `h × features` applied to the raw input vectors, so
            that the exact input-subspace reduction of the Hessian applies.
    """

    module: nn.Module
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    linear_in_inputs: bool

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of entries of each parameter."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """Number of parameters d."""
        return sum(self.sizes)

    def slices(self) -> dict[str, slice]:
        """Where each parameter lies in the flat vector."""
        ends = list(itertools.accumulate(self.sizes))
        return {n: slice(e - s, e) for n, s, e in zip(self.names, self.sizes, ends, strict=True)}

    def unflatten(self, flat: Tensor) -> dict[str, Tensor]:
        """The named parameters as views of the flat vector `[d]`."""
        import torch

        pieces = torch.split(flat, list(self.sizes))
        return {n: p.view(s) for n, p, s in zip(self.names, pieces, self.shapes, strict=True)}

    def __call__(self, flat: Tensor, inputs: Tensor) -> Tensor:
        """Logits of a batch of inputs under the parameters `flat` `[d]`."""
        from torch.func import functional_call

        logits: Tensor = functional_call(self.module, self.unflatten(flat), (inputs,))
        return logits

    def with_features(self, features: int) -> FlatModel:
        """The same network with its first weight `h × features`: the reduced network of an input subspace."""
        if not self.linear_in_inputs:
            raise ValueError("the first layer is not linear in the inputs")
        return replace(self, shapes=((self.shapes[0][0], features), *self.shapes[1:]))


def flat_model(spec: ModelSpec, shape: Shape) -> FlatModel:
    """The architecture of `spec` for data of that shape, without any weights."""
    import torch

    with torch.device("meta"):
        module = spec.build(shape).eval()
    parameters = dict(module.named_parameters())
    shapes = tuple(tuple(p.shape) for p in parameters.values())
    return FlatModel(module, tuple(parameters), shapes, spec.linear_in_inputs)


def initial_weights(spec: ModelSpec, shape: Shape, seed: int) -> Tensor:
    """Freshly initialised flat weights, float32 `[d]` on the CPU: the same for a seed on every device.

    Torch's initialisers draw from the global generator; it is seeded inside a fork, so that nobody else sees it.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of("initial weights", seed))
        module = spec.build(shape)
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])
