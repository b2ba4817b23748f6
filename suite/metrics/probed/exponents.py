"""Lyapunov exponents along the optimizer's trajectory."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Exponents:
    """Finite-time Lyapunov exponents of the optimizer's own map.

    Attributes:
        exponents: per step, descending, float64 `[k]`; −inf where a direction was annihilated.
        standard_error: float64 `[k]`, of each exponent over the trajectory's time; NaN where it has none.
        size: dimension of the state space.
        steps: that the exponents are means of.
    """

    exponents: Tensor
    standard_error: Tensor
    size: int
    steps: int

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> Exponents:
        """The inverse of `to_arrays`."""
        return cls(arrays["exponents"], arrays["standard_error"], int(arrays["size"]), int(arrays["steps"]))
