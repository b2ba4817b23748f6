"""Scalars of the minibatch Hessian's spectrum, of the whole training set's, and of the preconditioned one.

α are the eigenvalues of a Hessian, all d of them, exact zeros included; E is the mean over minibatches (over the probes
of Lanczos too, and over them alone on the whole set). A functional of several expectations, such as a ratio, is the
functional of the means, with the jackknife's error: a mean of ratios would move with the noise of single probes.
Where a count is over Lanczos nodes it is over their masses: nodes repeat, masses do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from suite.curvature.estimate import Estimate
from suite.curvature.spectrum import Number
from suite.metrics.registry import metric
from suite.metrics.run import Run
from suite.spec.training import AdamW

_OUTLIER = 0.1
"""An outlier is above this part of the largest eigenvalue. Ours: the papers look for the gap by eye."""
_PRIOR_PRECISION = 1.0
"""z of Maddox et al. 2020, and the inverse variance of the Gaussian that log_determinant compares with."""


@metric(
    title="Hessian trace", family="spectrum", source="Tuci et al. 2026, §5 (competitor)", sign=1, probes=("spectrum",)
)
def hessian_trace(run: Run) -> Estimate:
    """E tr H_B over minibatches."""
    return run.spectrum.trace()


@metric(
    title="Largest |eigenvalue|",
    family="spectrum",
    source="Tuci et al. 2026, §5 (competitor)",
    sign=1,
    probes=("spectrum",),
)
def largest_eigenvalue(run: Run) -> Estimate:
    """E max |α| over the eigenvalues α of H_B."""
    return run.spectrum.largest()


@metric(
    title="Hessian Frobenius norm",
    family="spectrum",
    source="Bisla et al. 2022 (LPF-SGD), Table 1",
    sign=1,
    probes=("spectrum",),
)
def hessian_frobenius(run: Run) -> Estimate:
    """√(E ‖H_B‖²_F) over minibatches."""
    return run.spectrum.frobenius()


@metric(
    title="Edge ratio η (λ_max + ω) / 2 (1 + μ)",
    family="spectrum",
    source="Cohen et al. 2021, §2 and App. B (edge of stability: 1)",
    sign=1,
    version=2,
    probes=("spectrum",),
    optimizers=("sgd",),
)
def edge_ratio(run: Run) -> Estimate:
    """How far from the edge of stability the largest eigenvalue of H_B is: 1 at the edge, beyond it above.

    SGD with heavy-ball momentum μ and weight decay ω is stable on a quadratic up to η (λ + ω) = 2 (1 + μ). AdamW's
    edge is one of its preconditioned Hessian: `preconditioned_edge_ratio`. η is what the schedule made of the learning
    rate at the step that led to the checkpoint (at the first step, for a checkpoint before it).
    """
    top, step = run.spectrum.max_eigenvalue(), run.optimizer_step
    return _scaled(top, _rate(run) / (2 * (1 + step.momentum)), step.weight_decay)


@metric(
    title="Preconditioned edge ratio",
    family="spectrum",
    source="Cohen et al. 2022 (Adaptive gradient methods at the edge of stability): 38/η at β₁ = 0.9",
    sign=1,
    probes=("optimizer",),
    optimizers=("adamw",),
)
def preconditioned_edge_ratio(run: Run) -> Estimate:
    """η (1 − β₁) λ_max / (1 + β₁) (2 − ηω), λ_max of P^-½ H_B P^-½: how far AdamW is from its edge, 1 at it.

    With its preconditioner P held fixed, AdamW is stable on a quadratic up to λ_max = 2 (1 + β₁) / (1 − β₁) η without
    weight decay; decoupled decay ω lowers that by the factor 1 − ηω/2. E λ_max is over the probe's minibatches, η
    the learning rate at the checkpoint, as for `edge_ratio`.

    Raises:
        ValueError: the optimizer is not AdamW.
    """
    optimizer = run.task.training.optimizer
    if not isinstance(optimizer, AdamW):
        raise ValueError(f"{optimizer.kind} has no preconditioner: see edge_ratio")
    eta, beta = _rate(run), optimizer.beta1
    scale = eta * (1 - beta) / ((1 + beta) * (2 - eta * optimizer.weight_decay))
    return _scaled(run.preconditioned.max_eigenvalue(), scale)


@metric(
    title="Largest eigenvalue λ_max",
    family="spectrum",
    source="Cohen et al. 2021, §2 (sharpness); Jastrzębski et al. 2020",
    sign=1,
    probes=("spectrum",),
)
def max_eigenvalue(run: Run) -> Estimate:
    """E max α with its sign: not the largest |α| where negative curvature dominates. Below it for Lanczos nodes."""
    return run.spectrum.max_eigenvalue()


@metric(
    title="Least eigenvalue λ_min",
    family="spectrum",
    source="Alain, Le Roux, Manzagol 2019 (Negative eigenvalues of the Hessian in deep neural networks)",
    sign=-1,
    probes=("spectrum",),
)
def min_eigenvalue(run: Run) -> Estimate:
    """E min α, at most 0 where an eigenvalue is an exact zero. The authors tell of descent; the sign is ours."""
    return run.spectrum.min_eigenvalue()


@metric(
    title="Largest eigenvalue on the whole set",
    family="spectrum",
    source="Cohen et al. 2021, §2 (sharpness of the training loss)",
    sign=1,
    probes=("whole",),
)
def whole_max_eigenvalue(run: Run) -> Estimate:
    """Max α of the Hessian of the whole training set's loss."""
    return run.whole_spectrum.max_eigenvalue()


@metric(
    title="Hessian trace on the whole set",
    family="spectrum",
    source="Tuci et al. 2026, §5 (competitor), on the whole training set; Yao et al. 2020 (PyHessian)",
    sign=1,
    probes=("whole",),
)
def whole_trace(run: Run) -> Estimate:
    """Σ α of the Hessian of the whole training set's loss."""
    return run.whole_spectrum.trace()


@metric(
    title="Hessian trace at the common batch size",
    family="spectrum",
    source="Tuci et al. 2026, §5 (competitor), at one batch size for all cells",
    sign=1,
    probes=("common",),
)
def common_trace(run: Run) -> Estimate:
    """E tr H_B at the batch size that all cells share: the training batch size has no part in it."""
    return run.common.trace()


@metric(
    title="Largest eigenvalue at the common batch size",
    family="spectrum",
    source="Cohen et al. 2021, §2, at one batch size for all cells",
    sign=1,
    probes=("common",),
)
def common_max_eigenvalue(run: Run) -> Estimate:
    """E max α at the batch size that all cells share: that of the training batch size grows as batches shrink."""
    return run.common.max_eigenvalue()


@metric(
    title="log det (I + n H₊)",
    family="spectrum",
    source="MacKay 1992 (Occam factor of Laplace's approximation); Smith & Le 2018, the same for networks",
    sign=1,
    probes=("spectrum",),
)
def log_determinant(run: Run) -> Estimate:
    """E Σ ln(1 + n max(α, 0)): twice the log of the Occam factor of a posterior under a Gaussian prior.

    The posterior's precision is n H₊ + I: n α are the curvatures of the summed loss of the n training inputs, the
    prior's variance is 1. Negative eigenvalues, which Laplace's approximation has no place for, count as zeros. H is
    that of minibatches. Lanczos resolves what happens within 1/n of zero with many steps only.
    """
    count = len(run.inputs) / _PRIOR_PRECISION
    return run.spectrum.integral(lambda a: torch.log1p(count * a.clamp(min=0)))


@metric(
    title="Effective dimensionality",
    family="spectrum",
    source="Maddox, Benton, Wilson 2020 (N_eff of the Hessian); MacKay 1992 (γ)",
    sign=1,
    probes=("spectrum",),
)
def effective_dimensionality(run: Run) -> Estimate:
    """E Σ nα / (nα + z), z = 1, over positive α: how many directions the n training inputs determine.

    The function turns within 1/n of zero, which Lanczos resolves with many steps only: with 40 steps at d = 296 the
    value is a fifth too large, with 160 right. The standard error does not know of that.
    """
    count = len(run.inputs) / _PRIOR_PRECISION

    def determined(a: Tensor) -> Tensor:
        scaled = count * a.clamp(min=0)
        return scaled / (scaled + 1)

    return run.spectrum.integral(determined)


@metric(
    title="Effective rank",
    family="spectrum",
    source="Roy & Vetterli 2007 (erank)",
    sign=1,
    probes=("spectrum",),
)
def effective_rank(run: Run) -> Estimate:
    """Exponential of the entropy of p = |α| / Σ|α|, |α| being the Hessian's singular values: between 1 and d.

    The entropy is ln S + T/S with S = E Σ|α| and T = −E Σ|α| ln |α|. The paper does not speak of the gap; more
    directions of curvature are more that is determined by the data (Maddox et al. 2020).
    """
    return run.spectrum.statistic(lambda s, t: math.exp(_entropy(s, t)), _sum(torch.abs), _sum(_absolute_entropy))


@metric(
    title="Spectral entropy",
    family="spectrum",
    source="Alter, Brown, Botstein 2000 (normalised entropy of squared singular values)",
    sign=1,
    probes=("spectrum",),
)
def spectral_entropy(run: Run) -> Estimate:
    """Entropy of p = α² / Σα², divided by ln d: 0 for a single eigenvalue, 1 for d equal ones.

    As for the effective rank sums are expectations. That weighs by |α|, this by α²: the bulk has less part in it.
    """
    most = math.log(run.spectrum.size)
    squares = _sum(lambda a: torch.special.entr(a.square()))
    return run.spectrum.statistic(lambda s, t: _entropy(s, t) / most, _sum(torch.square), squares)


@metric(
    title="Stable rank",
    family="spectrum",
    source="Rudelson & Vershynin 2007 (numerical rank ‖A‖²_F / ‖A‖²)",
    sign=1,
    probes=("spectrum",),
)
def stable_rank(run: Run) -> Estimate:
    """E ‖H_B‖²_F / (E ‖H_B‖₂)²: how many eigenvalues as large as the largest make the Frobenius norm."""

    def ratio(square: float, largest: float) -> float:
        if not largest > 0:
            raise ValueError("the Hessian is zero")
        return square / largest / largest

    return run.spectrum.statistic(ratio, _sum(torch.square), lambda nodes, masses: nodes.abs().amax(1))


@metric(
    title="Outlier eigenvalues",
    family="spectrum",
    source="Sagun et al. 2018; Papyan 2019 (outliers beyond the bulk)",
    sign=1,
    probes=("spectrum",),
)
def outlier_eigenvalues(run: Run) -> Estimate:
    """E of the number of α above λ_max / 10 of the same minibatch.

    The papers find about as many outliers as classes, by eye; the tenth is ours. So is the sign.

    Raises:
        ValueError: no eigenvalue is positive.
    """

    def above(nodes: Tensor, masses: Tensor) -> Tensor:
        top = nodes.amax(1, keepdim=True)
        if not bool((top > 0).all()):
            raise ValueError("a minibatch's Hessian has no positive eigenvalue")
        return (masses * (nodes > _OUTLIER * top)).sum(1)

    return run.spectrum.statistic(float, above)


@metric(
    title="Negative part of the spectrum",
    family="spectrum",
    source="Ghorbani, Krishnan, Xiao 2019 (L1 energy of the negative eigenvalues)",
    sign=1,
    probes=("spectrum",),
)
def negative_curvature(run: Run) -> Estimate:
    """E Σ max(−α, 0) / E Σ|α|: 0 at a minimum, a half where the trace is zero. The sign is ours."""

    def part(negative: float, whole: float) -> float:
        if not whole > 0:
            raise ValueError("the Hessian is zero")
        return negative / whole

    return run.spectrum.statistic(part, _sum(lambda a: (-a).clamp(min=0)), _sum(torch.abs))


def _rate(run: Run) -> float:
    """The learning rate of the last step behind the weights; of the first where there is none."""
    training = run.task.training
    total = training.total_steps(len(run.inputs))
    return training.optimizer.learning_rate * training.schedule.factor(max(0, run.step - 1), total)


def _scaled(value: Estimate, scale: float, added: float = 0.0) -> Estimate:
    """An estimate plus a number, times a positive scale."""
    error = None if value.standard_error is None else scale * value.standard_error
    return Estimate(scale * (value.value + added), error)


def _sum(f: Callable[[Tensor], Tensor]) -> Number:
    """Σ f(α) over the eigenvalues of each run."""
    return lambda nodes, masses: (masses * f(nodes)).sum(1)


def _absolute_entropy(values: Tensor) -> Tensor:
    terms: Tensor = torch.special.entr(values.abs())
    return terms


def _entropy(total: float, terms: float) -> float:
    """−Σ p ln p of p = x / Σx, from Σx and −Σ x ln x.

    Raises:
        ValueError: the sum is zero.
    """
    if not total > 0:
        raise ValueError("the Hessian is zero")
    return math.log(total) + terms / total
