"""What the specs of all transformers have in common."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from suite.spec.base import ModelSpec


class AttentionSpec(ModelSpec):
    """Blocks of attention on a residual stream. A base of architectures, not one itself: it has no kind."""

    layers: Annotated[int, Field(ge=1, le=64)]
    width: PositiveInt = Field(description="of the residual stream")
    heads: PositiveInt = Field(description="attention heads; must divide width")

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
