"""Lyapunov exponents along training's own trajectory: what the one-step exponents of Tuci et al. 2026 bound.

The map is the optimizer's own on its whole state (heavy ball's velocity, AdamW's moments) along the steps that follow
the checkpoint, on the run's own minibatches. Exponents are rates per step, of finite time: the choice of the first
frame moves each by O(1 / steps).
"""

from __future__ import annotations

import math

from suite.curvature.estimate import Estimate
from suite.curvature.lyapunov import multi_step_dimension
from suite.metrics.probed.exponents import Exponents
from suite.metrics.registry import metric
from suite.metrics.run import Run
from suite.spec.task import TaskSpec

_FAMILY = "sharpness dimension"


@metric(
    title="Top Lyapunov exponent",
    family=_FAMILY,
    source="Benettin, Galgani, Giorgilli, Strelcyn 1980; Tuci et al. 2026, App. B",
    sign=1,
    probes=("exponents",),
)
def lyapunov_exponent(run: Run) -> Estimate:
    """The mean over steps of ln of the growth of a small perturbation of the optimizer's state.

    Its standard error is that of the mean over time, by batch means.

    Raises:
        ValueError: every perturbation was annihilated.
    """
    found = run.exponents
    value, error = float(found.exponents[0]), float(found.standard_error[0])
    if value == -math.inf:
        raise ValueError("every direction that was followed is annihilated")
    return Estimate(value, None if math.isnan(error) else error)


@metric(
    title="Lyapunov-expanding directions",
    family=_FAMILY,
    source="Benettin, Galgani, Giorgilli, Strelcyn 1980; the number of positive exponents",
    sign=1,
    probes=("exponents",),
)
def lyapunov_expanding_directions(run: Run) -> float:
    """How many Lyapunov exponents are positive: above 1 / steps, an expansion by a factor e over the trajectory.

    That is what a trajectory of this length can tell from zero: directions in which the loss is flat have exponents of
    exactly zero, and a finite trajectory gives them either sign.

    Raises:
        ValueError: all exponents that were followed are positive, and the state has more.
    """
    return float(len(_positive(run.exponents)))


@metric(
    title="Σ of positive Lyapunov exponents",
    family=_FAMILY,
    source="Pesin 1977 (the entropy of a smooth invariant measure)",
    sign=1,
    probes=("exponents",),
)
def lyapunov_entropy(run: Run) -> float:
    """Σ λ_i over the positive λ_i, the rate at which volumes in the expanding directions grow; 0 if there are none.

    Positive are those above 1 / steps, as for `lyapunov_expanding_directions`.

    Raises:
        ValueError: all exponents that were followed are positive, and the state has more.
    """
    return math.fsum(_positive(run.exponents))


def _all_exponents(task: TaskSpec) -> bool:
    """Whether a task follows all exponents: of a few the sum hardly ever turns negative, and D_s is not known."""
    return task.probes.exponents is not None and task.probes.exponents.leading == "all"


@metric(
    title="Multi-step dimension D_s",
    family=_FAMILY,
    source="Tuci et al. 2026, Eq. 70 (Kaplan, Yorke 1979)",
    sign=1,
    probes=("exponents",),
    applies=_all_exponents,
)
def lyapunov_dimension(run: Run) -> float:
    """D_s = j + Λ_j / (Λ_j − Λ_{j+1}): Λ_j the sum of the j leading exponents, j the last of Λ_j ≥ 0; 0 if λ₁ < 0.

    The Kaplan–Yorke dimension, by its formula; the dimension of the whole state if no Λ_j is negative.

    Raises:
        ValueError: the exponents that were followed are not all and have no negative sum yet; or λ₁ is within 1 / steps
            of zero: a flat direction, whose exponent is zero, would decide between 0 and a large number by its sign.
    """
    found = run.exponents
    if abs(top := float(found.exponents[0])) <= 1 / found.steps:
        raise ValueError(f"{found.steps} steps do not tell the top exponent, {top:.2g}, from zero")
    return multi_step_dimension(found.exponents, found.size)


def _positive(found: Exponents) -> list[float]:
    """The exponents that are positive as far as the trajectory can tell.

    Raises:
        ValueError: all that were followed are, and the state has more.
    """
    positive: list[float] = found.exponents[found.exponents > 1 / found.steps].tolist()
    if len(positive) == len(found.exponents) < found.size:
        raise ValueError(
            f"all {len(positive)} exponents that were followed are positive: follow more of the {found.size}"
        )
    return positive
