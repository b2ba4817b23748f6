"""Linear layers with an activation between them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from torch import nn

Activation = Literal["relu", "gelu", "tanh"]
_MODULES: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


def perceptron(sizes: Sequence[int], activation: Activation, bias: bool) -> nn.Sequential:
    """`n × sizes[0]` → logits `n × sizes[-1]`, in PyTorch's default initialisation."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, bias=bias), _MODULES[activation]()]
    return nn.Sequential(*layers[:-1])
