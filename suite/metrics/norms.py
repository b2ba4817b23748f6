"""Norms of the weights."""

from __future__ import annotations

from suite.metrics.registry import metric
from suite.metrics.run import Run


@metric(title="Weight norm", family="norms", source="Dziugaite et al. 2020, ‖w‖", sign=1, cost="free")
def weight_norm(run: Run) -> float:
    """Euclidean norm of all parameters."""
    return float(run.weights.double().norm())


@metric(
    title="Distance from initialisation",
    family="norms",
    source="Dziugaite et al. 2020, ‖w − w₀‖",
    sign=1,
    cost="free",
    trivial=True,
)
def distance_from_initialisation(run: Run) -> float:
    """Euclidean distance of the parameters from where training began."""
    return float((run.weights.double() - run.initial.double()).norm())
