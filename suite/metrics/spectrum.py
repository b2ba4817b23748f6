"""Scalars of the minibatch Hessian's spectrum."""

from __future__ import annotations

from suite.curvature.spectrum import Estimate
from suite.metrics.registry import metric
from suite.metrics.run import Run


@metric(title="Hessian trace", family="spectrum", source="Tuci et al. 2026, §5 (competitor)", sign=1)
def hessian_trace(run: Run) -> Estimate:
    """E tr H_B over minibatches."""
    return run.spectrum.trace()


@metric(title="Largest |eigenvalue|", family="spectrum", source="Tuci et al. 2026, §5 (competitor)", sign=1)
def largest_eigenvalue(run: Run) -> Estimate:
    """E max |α| over the eigenvalues α of H_B."""
    return run.spectrum.largest()


@metric(title="Hessian Frobenius norm", family="spectrum", source="Bisla et al. 2022 (LPF-SGD), Table 1", sign=1)
def hessian_frobenius(run: Run) -> Estimate:
    """√(E ‖H_B‖²_F) over minibatches."""
    return run.spectrum.frobenius()


@metric(title="Edge ratio η λ_max / 2", family="spectrum", source="Cohen et al. 2021 (edge of stability: 1)", sign=1)
def edge_ratio(run: Run) -> Estimate:
    """How far from the edge of stability the largest eigenvalue of H_B is: 1 at the edge, beyond it above."""
    top = run.spectrum.max_eigenvalue()
    scale = run.learning_rate / 2
    return Estimate(scale * top.value, None if top.standard_error is None else scale * top.standard_error)
