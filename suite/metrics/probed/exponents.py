"""Lyapunov exponents along the optimizer's trajectory."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Exponents:
    """Finite-time Lyapunov exponents of the optimizer's own map.

    Attributes:
        exponents: per step, descending, float64 `[k]`.
        size: dimension of the state space.
        steps: of the trajectory.
    """

    exponents: Tensor
    size: int
    steps: int

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> Exponents:
        """From what is stored."""
        return cls(arrays["exponents"], int(arrays["size"]), int(arrays["steps"]))
