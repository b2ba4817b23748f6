"""The sharpness dimension family (Tuci et al. 2026)."""

from __future__ import annotations

from suite.curvature.estimate import Estimate
from suite.metrics.registry import metric
from suite.metrics.run import Run

_PAPER = "Tuci, Korkmaz, Şimşekli, Birdal 2026 (arXiv:2604.19740)"


@metric(
    title="Sharpness dimension",
    family="sharpness dimension",
    source=f"{_PAPER}, Def. 4.2",
    sign=1,
    probes=("spectrum",),
)
def sharpness_dimension(run: Run) -> Estimate:
    """SD of the map w − η ∇L_B(w)."""
    return run.spectrum.sharpness_dimension(run.gradient_step)


@metric(
    title="Codimension d − SD",
    family="sharpness dimension",
    source=f"{_PAPER}, Def. 4.2; d − SD",
    sign=-1,
    probes=("spectrum",),
)
def codimension(run: Run) -> Estimate:
    """The directions that SD leaves out: the signal, where SD is within a few per cent of d."""
    sd = run.spectrum.sharpness_dimension(run.gradient_step)
    return Estimate(run.spectrum.size - sd.value, sd.standard_error)


@metric(
    title="RDS sharpness λ₁", family="sharpness dimension", source=f"{_PAPER}, Def. 4.1", sign=1, probes=("spectrum",)
)
def rds_sharpness(run: Run) -> Estimate:
    """E ln σ₁ of the one-step Jacobian I − η H_B."""
    return run.spectrum.leading_exponent(run.gradient_step)
