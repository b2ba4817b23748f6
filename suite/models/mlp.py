"""Multi-layer perceptron, the paper's MLP-3 and MLP-5 among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt

from suite.spec.base import ModelSpec, Shape

if TYPE_CHECKING:
    from torch import nn


class MLP(ModelSpec):
    """Linear layers with an activation between them; `widths` are the hidden ones.

    The paper's MLP-3 on MNIST is `widths: [16, 16], bias: false` (12,960 parameters), its MLP-5
    `widths: [200, 200, 200, 200], bias: false` (278,800). PyTorch's default initialisation: U(±1/√fan_in).
    """

    linear_in_inputs: ClassVar[bool] = True
    kind: Literal["mlp"] = "mlp"
    widths: Annotated[list[PositiveInt], Field(max_length=32, description="hidden widths, input side first")]
    activation: Literal["relu", "gelu", "tanh"] = "relu"
    bias: bool = True

    def misfit(self, shape: Shape) -> str | None:
        """An MLP takes vectors, one target each."""
        if shape.encoding != "vectors":
            return "model mlp takes vectors, the data give tokens (modular: set data.encoding to one_hot)"
        return None

    def build(self, shape: Shape) -> nn.Module:
        """`n × features` → logits `n × outputs`."""
        from suite.models.networks.perceptron import perceptron

        sizes = [shape.features, *self.widths, shape.outputs]
        return perceptron(sizes, self.activation, self.bias)
