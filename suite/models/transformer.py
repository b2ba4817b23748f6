"""A small transformer decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from suite.spec.base import ModelSpec, Shape

if TYPE_CHECKING:
    from torch import nn


class Transformer(ModelSpec):
    """Causal decoder (Vaswani et al. 2017): learned positions, pre-normalised blocks, plain attention, untied head.

    Twice differentiable everywhere with `gelu`; no dropout. Logits at the last position, or at every one where the
    data have a target for each token.
    """

    kind: Literal["transformer"] = "transformer"
    layers: Annotated[int, Field(ge=1, le=64)]
    width: PositiveInt = Field(description="of the residual stream")
    heads: PositiveInt = Field(description="attention heads; must divide width")
    hidden_factor: PositiveInt = Field(default=4, description="hidden width of a block's network, in widths")
    activation: Literal["gelu", "relu"] = "gelu"
    normalisation: Literal["layer_norm", "none"] = "layer_norm"

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self

    def misfit(self, shape: Shape) -> str | None:
        """A transformer takes tokens."""
        if shape.encoding != "tokens":
            return "model transformer takes tokens, the data give vectors (modular: set data.encoding to tokens)"
        return None

    def build(self, shape: Shape) -> nn.Module:
        """Tokens `n × features` → logits."""
        from torch import nn

        from suite.models.decoder import Block, Decoder

        normalised = self.normalisation == "layer_norm"
        hidden = self.hidden_factor * self.width
        blocks = [
            Block(self.width, self.heads, hidden, nn.GELU() if self.activation == "gelu" else nn.ReLU(), normalised)
            for _ in range(self.layers)
        ]
        return Decoder(
            shape.vocabulary, shape.features, shape.outputs, self.width, blocks, normalised, shape.every_position
        )
