"""A small transformer decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveInt

from suite.models.attention import AttentionSpec
from suite.spec.base import Shape

if TYPE_CHECKING:
    from torch import nn


class Transformer(AttentionSpec):
    """Causal decoder (Vaswani et al. 2017): learned positions, pre-normalised blocks, plain attention, untied head.

    Twice differentiable everywhere with `gelu`; no dropout. Logits at the last position, or at every one where the
    data have a target for each token.
    """

    kind: Literal["transformer"] = "transformer"
    hidden_factor: PositiveInt = Field(default=4, description="hidden width of a block's network, in widths")
    activation: Literal["gelu", "relu"] = "gelu"
    normalisation: Literal["layer_norm", "none"] = "layer_norm"

    def misfit(self, shape: Shape) -> str | None:
        """A transformer takes tokens."""
        if shape.encoding != "tokens":
            return "model transformer takes tokens, the data give vectors (modular: set data.encoding to tokens)"
        return None

    def build(self, shape: Shape) -> nn.Module:
        """Tokens `n × features` → logits."""
        from torch import nn

        from suite.models.networks.decoder import Block, Decoder

        normalised = self.normalisation == "layer_norm"
        hidden = self.hidden_factor * self.width
        blocks = [
            Block(self.width, self.heads, hidden, nn.GELU() if self.activation == "gelu" else nn.ReLU(), normalised)
            for _ in range(self.layers)
        ]
        return Decoder(
            shape.vocabulary, shape.features, shape.outputs, self.width, blocks, normalised, shape.every_position
        )
