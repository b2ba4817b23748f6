"""GPT-2 (Radford et al. 2019), from a configuration, never pretrained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from suite.spec.base import ModelSpec, Shape

if TYPE_CHECKING:
    from torch import nn


class GPT2(ModelSpec):
    """The architecture of `transformers`, with tied embeddings, attention in its plain ("eager") form and no dropout.

    The defaults with 1,024 positions and 50,257 tokens are GPT-2 small, 124,439,808 parameters. Positions and
    vocabulary come from the data.
    """

    kind: Literal["gpt2"] = "gpt2"
    layers: Annotated[int, Field(ge=1, le=64)] = 12
    width: PositiveInt = 768
    heads: PositiveInt = 12

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self

    def misfit(self, shape: Shape) -> str | None:
        """GPT-2 predicts the next token at every position."""
        if shape.encoding != "tokens" or not shape.every_position or shape.outputs != shape.vocabulary:
            return "model gpt2 predicts the next token at every position: use wikitext-2 or markov data"
        return None

    def build(self, shape: Shape) -> nn.Module:
        """Tokens `n × t` → logits `n × t × vocabulary`."""
        from suite.models.gpt2_network import network

        return network(self.layers, self.width, self.heads, shape.features, shape.vocabulary)
