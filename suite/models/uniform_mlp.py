"""Perceptrons whose width, depth and initial scale are single numbers, so that a grid can vary them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from suite.spec.base import ModelSpec, Shape

if TYPE_CHECKING:
    from torch import nn


class UniformMLP(ModelSpec):
    """`depth` hidden layers of `width`, and all initial weights and biases times `scale`.

    With scale 1 it is `mlp` with that many equal widths. Large scales are poor starting points: such networks fit the
    training set with weights that hardly moved, and generalise worse (Chizat et al. 2019).
    """

    linear_in_inputs: ClassVar[bool] = True
    kind: Literal["uniform-mlp"] = "uniform-mlp"
    width: PositiveInt = Field(description="of every hidden layer")
    depth: Annotated[int, Field(ge=1, le=32, description="hidden layers")] = 2
    scale: PositiveFloat = Field(default=1.0, description="what PyTorch's initial weights are multiplied by")
    activation: Literal["relu", "gelu", "tanh"] = "relu"
    bias: bool = True

    def misfit(self, shape: Shape) -> str | None:
        """It takes vectors, as `mlp` does."""
        if shape.encoding != "vectors":
            return "model uniform-mlp takes vectors, the data give tokens (modular: set data.encoding to one_hot)"
        return None

    def build(self, shape: Shape) -> nn.Module:
        """`n × features` → logits `n × outputs`."""
        import torch

        from suite.models.networks.perceptron import perceptron

        sizes = [shape.features, *[self.width] * self.depth, shape.outputs]
        module = perceptron(sizes, self.activation, self.bias)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(self.scale)
        return module
