"""Exponents of an optimizer's one-step map: ln of its Jacobian's singular values, from the Hessian's spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One step of SGD on the state (w, v), or on w alone if μ = 0.

    With g = ∇L(w) + ω w and v' = μ v + g it is w' = w − η v' (heavy ball) or w' = w − η (g + μ v') (Nesterov's
    momentum in the form PyTorch gives it).

    Attributes:
        learning_rate: η ≥ 0.
        momentum: μ ≥ 0. Not zero: the state has 2d dimensions.
        weight_decay: ω, added to every Hessian eigenvalue.
        nesterov: which of the two; needs momentum.

    Raises:
        ValueError: a number is not finite, η or μ is negative, or Nesterov's momentum is zero.
    """

    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check_finite(self.learning_rate, self.momentum, self.weight_decay)
        if self.learning_rate < 0 or self.momentum < 0:
            raise ValueError(f"learning rate and momentum must not be negative: {self.learning_rate}, {self.momentum}")
        if self.nesterov and not self.momentum:
            raise ValueError("Nesterov's step needs a momentum above 0")

    @property
    def state_factor(self) -> int:
        """Dimensions of the state per parameter: 1, or 2 with momentum."""
        return 2 if self.momentum else 1


@dataclass(frozen=True)
class AdamStep:
    """One step of AdamW with its preconditioner P held fixed: m' = β₁ m + (1 − β₁) ∇L(w), w' = (1 − ηω) w − ηc P⁻¹ m'.

    What it leaves out is how P itself answers to a change of the weights; `maps.adamw_map` has the whole step.

    Attributes:
        learning_rate: η ≥ 0.
        beta1: 0 ≤ β₁ < 1. Not zero: the state (w, m) has 2d dimensions.
        weight_decay: ω, decoupled from the gradient.
        correction: c = 1/(1 − β₁ᵗ) ≥ 1 at step t; 1 long after the start.

    Raises:
        ValueError: a number is not finite or out of its range.
    """

    learning_rate: float
    beta1: float = 0.9
    weight_decay: float = 0.0
    correction: float = 1.0

    def __post_init__(self) -> None:
        _check_finite(self.learning_rate, self.beta1, self.weight_decay, self.correction)
        if self.learning_rate < 0 or not 0 <= self.beta1 < 1:
            raise ValueError(f"learning rate ≥ 0 and 0 ≤ beta1 < 1 expected: {self.learning_rate}, {self.beta1}")
        if self.correction < 1:
            raise ValueError(f"the bias correction 1/(1 − beta1^t) is at least 1, not {self.correction}")

    @property
    def state_factor(self) -> int:
        """Dimensions of the state per parameter: 2, or 1 if β₁ = 0."""
        return 2 if self.beta1 else 1


OptimizerStep = Step | AdamStep


def log_singular_values(eigenvalues: Tensor, step: OptimizerStep) -> Tensor:
    """Exponents ln σ of the one-step Jacobian for each eigenvalue of the (symmetric) Hessian on the same minibatch.

    Without momentum the Jacobian is (1 − ηω) I − ηH and σ = |1 − η(α + ω)| (Tuci et al. 2026, Def. 4.1). Otherwise it
    is block diagonal in the Hessian's eigenbasis, with a 2 × 2 block for each eigenvalue α (β = α + ω):

    - heavy ball: [[1 − ηβ, −ημ], [β, μ]], determinant μ;
    - Nesterov: [[1 − (1 + μ)ηβ, −ημ²], [β, μ]], determinant μ (1 − ηβ);
    - AdamW: [[1 − ηω − ηc(1 − β₁)α, −ηcβ₁], [(1 − β₁)α, β₁]], determinant β₁ (1 − ηω).

    σ₁ ± σ₂ follow without cancellation, σ₂ = |determinant| / σ₁.

    For AdamW the α must be the eigenvalues of P^-½ H P^-½, and the singular values are those in the metric of P: of the
    map on (P^½ w, P^-½ m). Lyapunov exponents do not depend on a (fixed) metric; one-step singular values do, so these
    are not those of the Jacobian on the plain (w, m). The same holds for (w, v) of SGD with momentum, whose v is taken
    in units of the gradient.

    Args:
        eigenvalues: `… × N`, any floating dtype.
        step: the optimizer's step.

    Returns:
        float64 `… × N`, or `… × 2N` where the state factor is 2 (σ₁ of every block, then σ₂). A direction annihilated
        in one step, as an eigenvalue of exactly 1/η is by plain SGD, gives −inf. Exponents near zero keep their
        relative accuracy: all of them without momentum, those of σ₁ with it.

    Raises:
        ValueError: an eigenvalue is NaN.

    >>> log_singular_values(torch.tensor([0.0, 2.0, 4.0]), Step(0.5)).tolist()
    [-0.0, -inf, 0.0]
    """
    if bool(eigenvalues.isnan().any()):
        raise ValueError("a Hessian eigenvalue is NaN")
    values = eigenvalues.double()
    if isinstance(step, AdamStep):
        return _adam(values, step)
    eta, mu = step.learning_rate, step.momentum
    shifted = values + step.weight_decay
    scaled = eta * shifted
    if not mu:
        return _log_distance_from_one(scaled)
    if step.nesterov:
        return _log_block((1 + mu) * scaled, -eta * mu**2, shifted, mu, scaled)
    return _log_block(scaled, -eta * mu, shifted, mu, torch.zeros_like(scaled))


def preconditioner(second_moment: Tensor, epsilon: float, beta2: float, step: int) -> Tensor:
    """The diagonal of AdamW's preconditioner P: √(s / (1 − β₂ᵗ)) + ε, by which the step divides the momentum.

    Args:
        second_moment: s after t updates, `[d]`: PyTorch's `exp_avg_sq`.
        epsilon: ε ≥ 0.
        beta2: 0 ≤ β₂ < 1.
        step: t ≥ 1, the number of updates that s has had.

    Returns:
        float64 `[d]`, all positive.

    Raises:
        ValueError: an argument out of its range, or an entry of P that would not be a positive number.
    """
    if not 0 <= beta2 < 1 or not epsilon >= 0 or step < 1:
        raise ValueError(f"0 ≤ beta2 < 1, epsilon ≥ 0 and step ≥ 1 expected: {beta2}, {epsilon}, {step}")
    diagonal = torch.sqrt(second_moment.double() / (1 - beta2**step)) + epsilon
    if not bool((diagonal.isfinite() & (diagonal > 0)).all()):
        raise ValueError(
            "the preconditioner has entries that are not positive numbers: negative or NaN second moments?"
        )
    return diagonal


def supremum_over_points(exponents: Tensor) -> Tensor:
    """Def. 4.1 (Tuci et al. 2026) from a sample: λ_k = mean over draws of the maximum over points of ln σ_k.

    The points stand for the random attractor A(ω); a sample's maximum is a lower bound of the supremum, and it is never
    below what one point alone gives.

    Args:
        exponents: `[points, draws, d]`, ln σ of the one-step map of each draw at each point, in any order along d; −inf
            allowed.

    Returns:
        float64 `[d]`, descending.

    Raises:
        ValueError: another number of dimensions, an empty one, or NaN.

    >>> supremum_over_points(torch.tensor([[[0.5, -1.0]], [[0.25, -0.5]]])).tolist()
    [0.5, -0.5]
    """
    if exponents.ndim != 3 or not exponents.numel():
        raise ValueError(f"exponents of shape [points, draws, d] expected, not {list(exponents.shape)}")
    if bool(exponents.isnan().any()):
        raise ValueError("an exponent is NaN")
    ordered = exponents.double().sort(-1, descending=True).values
    return ordered.amax(0).mean(0)


def _adam(values: Tensor, step: AdamStep) -> Tensor:
    decay, rate = step.learning_rate * step.weight_decay, step.learning_rate * step.correction
    lower = (1 - step.beta1) * values
    if not step.beta1:
        return _log_distance_from_one(decay + rate * values)
    return _log_block(decay + rate * lower, -rate * step.beta1, lower, step.beta1, torch.full_like(values, decay))


def _log_block(u: Tensor, b: float, c: Tensor, m: float, r: Tensor) -> Tensor:
    """The values ln σ₁, then ln σ₂ of blocks [[1 − u, b], [c, m]] whose determinant is known to be m (1 − r)."""
    a = 1 - u
    upper = torch.as_tensor(b, dtype=u.dtype, device=u.device)
    total = torch.hypot(a + m, upper - c)  # σ₁ + σ₂
    difference = torch.hypot(a - m, upper + c)  # σ₁ − σ₂
    # Near σ₁ = 1 the logarithm needs y = σ₁² − 1 itself. It solves y² + (2 − T) y = E, with T the sum of the squared
    # entries and E = T − 1 − determinant², here written without the ones that cancel.
    excess = b * b + c * c - u * (2 - u) + m * m * r * (2 - r)
    determinant = m * (1 - r)
    trace = excess - (1 - determinant) * (1 + determinant)  # T − 2
    root = total * difference
    y = torch.where(trace < 0, 2 * excess / (root - trace), (root + trace) / 2)
    largest = (total + difference) / 2
    first = torch.where(y.abs() < 0.5, torch.log1p(y) / 2, torch.log(largest))
    return torch.cat([first, torch.log(determinant.abs() / largest)], -1)


def _log_distance_from_one(x: Tensor) -> Tensor:
    """The function ln |1 − x|, accurate near x = 0 (log1p(−x)) and near x = 2 (log1p(x − 2)); −inf at x = 1."""
    below = torch.log1p(-x.clamp(max=1.0))
    above = torch.log1p(x.clamp(min=1.0) - 2)
    return torch.where(x < 1, below, above)


def _check_finite(*numbers: float) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"the numbers of an optimizer's step must be finite, not {numbers}")
