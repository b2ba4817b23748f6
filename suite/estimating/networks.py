"""What one input costs a network: parameters, floating-point operations, numbers kept, operations launched.

A multiply–add is two operations. Only matrix products are counted, as by torch's own counter, which the tests compare
with; element-wise work is in `numbers`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from suite.models.gpt2 import GPT2
from suite.models.mlp import MLP
from suite.models.transformer import Transformer
from suite.models.uniform_mlp import UniformMLP
from suite.spec.base import ModelSpec, Shape

_LOSS = 6
"""Operations of a loss, forward."""
_BLOCK = 34
"""Those of a decoder's block."""
_BENDS = {"relu": 5, "tanh": 6, "gelu": 8}
"""Entries that a perceptron's Hessian product writes, over those of a forward pass: counted in torch's dispatcher."""


@dataclass(frozen=True)
class Network:
    """The costs of one network.

    Attributes:
        parameters: d.
        forward: floating-point operations of a forward pass of one input.
        first: those of a layer on the raw inputs, which nothing is differentiated by.
        numbers: entries of activations that one input leaves behind.
        operations: tensor operations of a forward pass, however many inputs.
        counted: how the above was found: `formulas`, or `meta device` for architectures from outside.
        layers: linear layers, of a perceptron that is trained by hand-written gradients; else 0.
        features, hidden: sizes of the first layer, if it is on raw vectors: the span of few inputs makes it smaller.
        shapes: (outputs, inputs) of a perceptron's layers.
        head: entries of the last matrix, for each prediction of one input.
        widest: entries of the widest activation of one input, by which inputs are taken in pieces.
        bend: so many times `numbers` are written for a Hessian product: second derivatives of the activation too.
    """

    parameters: int
    forward: int
    first: int
    numbers: int
    operations: int
    counted: str = "formulas"
    layers: int = 0
    features: int = 0
    hidden: int = 0
    shapes: tuple[tuple[int, int], ...] = ()
    head: int = 0
    widest: int = 1
    bend: int = 9

    @property
    def gradient(self) -> int:
        """Operations of a loss's gradient for one input: two products back for each one forward, but to the inputs."""
        return 3 * self.forward - self.first

    @property
    def product(self) -> int:
        """Operations of a Hessian–vector product for one input, the gradient's graph kept: two for each of its own."""
        return 6 * self.forward - 4 * self.first

    def in_range(self, inputs: int) -> int:
        """Unknowns of a perceptron's spectrum on a few inputs, by way of the Hessian's range: half of its upper bound.

        The bound is `suite.curvature.subspace.reduced_size`; with ReLU about half of it is met.
        """
        most = [
            outputs * min(inputs, entering) + (min(inputs, outputs) * max(0, entering - inputs) if layer else 0)
            for layer, (outputs, entering) in enumerate(self.shapes)
        ]
        return sum(most) // 2

    def mixed(self, inputs: int) -> Iterator[tuple[int, int]]:
        """Sizes of the matrices whose spans give that range, a layer behind the first each; half of all units alive."""
        for outputs, entering in self.shapes[1:]:
            yield min(inputs, outputs) * max(0, entering - inputs), entering * min(inputs, outputs) // 2

    def in_span(self, inputs: int) -> Network:
        """The same network on the span of so many inputs: its first layer has no more features than they."""
        if not self.features or inputs >= self.features:
            return self
        left_out = (self.features - inputs) * self.hidden
        return replace(
            self,
            parameters=self.parameters - left_out,
            forward=self.forward - 2 * left_out,
            first=self.first - 2 * left_out,
            features=inputs,
        )


def network_of(spec: ModelSpec, shape: Shape) -> Network:
    """The costs of a spec's network for data of that shape; by formulas, without torch, where there are any."""
    if type(spec) is MLP:
        return _perceptron(spec.widths, spec, shape)
    if type(spec) is UniformMLP:
        return _perceptron([spec.width] * spec.depth, spec, shape)
    if type(spec) is Transformer:
        return _transformer(spec, shape)
    if type(spec) is GPT2:
        return _gpt2(spec, shape)
    return _counted(spec, shape)


def _perceptron(widths: Sequence[int], spec: MLP | UniformMLP, shape: Shape) -> Network:
    sizes = [shape.features, *widths, shape.outputs]
    pairs = list(itertools.pairwise(sizes))
    weights, out = sum(a * b for a, b in pairs), sum(sizes[1:])
    first, layers = sizes[0] * sizes[1], len(pairs)
    return Network(
        weights + (out if spec.bias else 0), 2 * weights, 2 * first, 2 * out, 2 * layers + _LOSS, layers=layers,
        features=shape.features, hidden=sizes[1], shapes=tuple((b, a) for a, b in pairs),
        head=sizes[-2] * sizes[-1], widest=max(sizes), bend=_BENDS[spec.activation],
    )  # fmt: skip


def _transformer(spec: Transformer, shape: Shape) -> Network:
    width, hidden, length = spec.width, spec.hidden_factor * spec.width, shape.features
    norm = 2 * width if spec.normalisation == "layer_norm" else 0
    block = 4 * width**2 + 4 * width + 2 * width * hidden + hidden + width + 2 * norm
    parameters = (shape.vocabulary + length) * width + spec.layers * block + norm + width * shape.outputs
    return _decoder(parameters, spec.layers, width, hidden, spec.heads, shape, 3)


def _gpt2(spec: GPT2, shape: Shape) -> Network:
    width, length = spec.width, shape.features
    parameters = (shape.vocabulary + length) * width + spec.layers * (12 * width**2 + 13 * width) + 2 * width
    return replace(_decoder(parameters, spec.layers, width, 4 * width, spec.heads, shape, 11), bend=5)


def _decoder(
    parameters: int, layers: int, width: int, hidden: int, heads: int, shape: Shape, activation: int
) -> Network:
    """Blocks of full (masked) attention and a two-layer network, and an output head.

    `activation` is how often the hidden layer's entries are written: GPT-2's GELU is made of eight operations.
    """
    length = shape.features
    predictions = length if shape.every_position else 1
    block = length * (4 * width**2 + 2 * width * hidden + 2 * length * width)
    head = predictions * width * shape.outputs
    numbers = (
        layers * length * (14 * width + activation * hidden + 3 * heads * length) + 3 * predictions * shape.outputs
    )
    operations, widest = layers * _BLOCK + 8 + _LOSS, length * max(shape.vocabulary, shape.outputs, hidden)
    return Network(parameters, 2 * (layers * block + head), 0, numbers, operations, head=head, widest=widest)


def _counted(spec: ModelSpec, shape: Shape) -> Network:
    """What has no formula here is run once on the meta device; only then is torch imported."""
    from suite.estimating.counting import count

    found = count(spec, shape)
    return Network(
        found.parameters, found.flops, 2 * found.features * found.hidden, found.numbers, found.operations + _LOSS,
        counted="meta device", features=found.features, hidden=found.hidden, head=found.head, widest=found.widest,
    )  # fmt: skip
