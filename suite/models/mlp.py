"""Multi-layer perceptron."""
from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from suite.spec.base import ModelSpec


class MLP(ModelSpec):
    """Linear layers with an activation between them."""

    kind: Literal["mlp"] = "mlp"
    widths: Annotated[list[PositiveInt], Field(max_length=32)] = []
    activation: Literal["relu", "gelu", "tanh"] = "relu"
    bias: bool = False
