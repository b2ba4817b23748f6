"""Gradients of samples and of minibatches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Gradients:
    """What is kept of gradients at a checkpoint.

    Attributes:
        norm: of the gradient on the whole training set, scalar float64.
        samples: squared norms of the gradients of single inputs, float64 `[n]`.
    """

    norm: Tensor
    samples: Tensor

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> Gradients:
        """From what is stored."""
        return cls(**arrays)
