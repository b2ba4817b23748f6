"""The costs of an architecture without a formula: one run on torch's meta device, which allocates nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from suite.models.flat import flat_model
from suite.spec.base import ModelSpec, Shape


@dataclass(frozen=True)
class Counted:
    """Of one input: parameters, floating-point operations of matrix products, operations and the entries they make.

    Attributes:
        features, hidden: of a first layer that multiplies the raw inputs; 0 where there is none.
        head: entries of the last matrix, for each prediction.
        widest: of the widest activation.
    """

    parameters: int
    flops: int
    operations: int
    numbers: int
    features: int
    hidden: int
    head: int
    widest: int


class _Entries(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations and the entries of what they return, views left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations, self.numbers = 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        if not any(returned.alias_info for returned in func._schema.returns):
            self.operations += 1
            self.numbers += made.numel() if isinstance(made, Tensor) else 0
        return made


def count(spec: ModelSpec, shape: Shape) -> Counted:
    """The costs of one forward pass."""
    model = flat_model(spec, shape)
    dtype = torch.float32 if shape.encoding == "vectors" else torch.int64
    inputs = torch.zeros(1, shape.features, dtype=dtype, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as flops, _Entries() as entries:
        model.module(inputs)
    hidden, features = model.shapes[0] if model.linear_in_inputs else (0, 0)
    predictions = shape.features if shape.every_position else 1
    head = predictions * math.prod([(0,), *(one for one in model.shapes if len(one) > 1)][-1])
    widest = max(max(one) for one in model.shapes) * (1 if shape.encoding == "vectors" else shape.features)
    return Counted(
        model.size, flops.get_total_flops(), entries.operations, entries.numbers, features, hidden, head, widest
    )
