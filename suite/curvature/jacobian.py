"""Exponents of an optimizer's one-step map: ln of its Jacobian's singular values, from the Hessian's spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One step of SGD: v ← μ v + ∇L(w) + ω w, w ← w − η v, on the state (w, v); on w alone if μ = 0.

    Attributes:
        learning_rate: η.
        momentum: μ (heavy ball). Not zero: the state has 2d dimensions.
        weight_decay: ω, added to every Hessian eigenvalue.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    @property
    def state_factor(self) -> int:
        """Dimensions of the state per parameter: 1, or 2 with momentum."""
        return 2 if self.momentum else 1


def log_singular_values(eigenvalues: Tensor, step: Step) -> Tensor:
    """Exponents ln σ of the one-step Jacobian for each eigenvalue of the (symmetric) Hessian on the same minibatch.

    Without momentum the Jacobian is (1 − ηω) I − ηH and σ = |1 − η(α + ω)| (Tuci et al. 2026, Def. 4.1). With momentum
    it is block diagonal in the Hessian's eigenbasis, a block [[1 − ηβ, −ημ], [β, μ]] for each β = α + ω, whose
    determinant is μ: σ₁ ± σ₂ follow without cancellation and σ₂ = μ / σ₁.

    Args:
        eigenvalues: `… × N`, any floating dtype.
        step: the optimizer's step.

    Returns:
        float64 `… × N`, or `… × 2N` with momentum (σ₁ of every block, then σ₂). An eigenvalue of exactly 1/η gives
        −inf: that direction is annihilated in one step. Exponents near zero keep their relative accuracy.

    Raises:
        ValueError: an eigenvalue is NaN.
    """
    if bool(eigenvalues.isnan().any()):
        raise ValueError("a Hessian eigenvalue is NaN")
    shifted = eigenvalues.double() + step.weight_decay
    scaled = step.learning_rate * shifted
    if not step.momentum:
        return _log_distance_from_one(scaled)
    a, b, c, d = 1 - scaled, -step.learning_rate * step.momentum, shifted, step.momentum
    total = torch.sqrt((a + d) ** 2 + (b - c) ** 2)  # σ₁ + σ₂
    difference = torch.sqrt((a - d) ** 2 + (b + c) ** 2)  # σ₁ − σ₂
    first = torch.log((total + difference) / 2)
    return torch.cat([first, math.log(d) - first], -1)


def _log_distance_from_one(x: Tensor) -> Tensor:
    """The function ln |1 − x|, accurate near x = 0 (log1p(−x)) and near x = 2 (log1p(x − 2)); −inf at x = 1."""
    below = torch.log1p(-x.clamp(max=1.0))
    above = torch.log1p(x.clamp(min=1.0) - 2)
    return torch.where(x < 1, below, above)
