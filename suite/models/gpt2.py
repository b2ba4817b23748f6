"""GPT-2 (Radford et al. 2019), from a configuration, never pretrained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from suite.models.attention import AttentionSpec
from suite.spec.base import Shape

if TYPE_CHECKING:
    from torch import nn


class GPT2(AttentionSpec):
    """The architecture of `transformers`, with tied embeddings, attention in its plain ("eager") form and no dropout.

    The defaults with 1,024 positions and 50,257 tokens are GPT-2 small, 124,439,808 parameters. Positions and
    vocabulary come from the data.
    """

    kind: Literal["gpt2"] = "gpt2"
    layers: Annotated[int, Field(ge=1, le=64)] = 12
    width: PositiveInt = Field(default=768, description="of the residual stream")
    heads: PositiveInt = Field(default=12, description="attention heads; must divide width")

    def misfit(self, shape: Shape) -> str | None:
        """GPT-2 predicts the next token at every position."""
        if shape.encoding != "tokens" or not shape.every_position or shape.outputs != shape.vocabulary:
            return "model gpt2 predicts the next token at every position: use wikitext-2 or markov data"
        return None

    def build(self, shape: Shape) -> nn.Module:
        """Tokens `n × t` → logits `n × t × vocabulary`."""
        from suite.models.networks.gpt2 import network

        return network(self.layers, self.width, self.heads, shape.features, shape.vocabulary)
