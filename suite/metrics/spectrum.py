"""Scalars of the minibatch Hessian's spectrum."""

from __future__ import annotations

from suite.curvature.estimate import Estimate
from suite.metrics.registry import metric
from suite.metrics.run import Run


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
)
def edge_ratio(run: Run) -> Estimate:
    """How far from the edge of stability the largest eigenvalue of H_B is: 1 at the edge, beyond it above.

    SGD with heavy-ball momentum μ and weight decay ω is stable on a quadratic up to η (λ + ω) = 2 (1 + μ). AdamW's edge
    is one of its preconditioned Hessian: there is no value there.
    """
    top, step = run.spectrum.max_eigenvalue(), run.optimizer_step
    scale = step.learning_rate / (2 * (1 + step.momentum))
    error = None if top.standard_error is None else scale * top.standard_error
    return Estimate(scale * (top.value + step.weight_decay), error)
