"""Topology of the trajectory: what the distances between iterates say, before the end of training and beyond it.

`backward` are the last iterates of training, `forward` those of training that goes on from the checkpoint. Distances
are Euclidean, or the mean over training inputs of the change of their losses (Dupuis et al. 2023, normalised by their
number). The authors know a thousand iterates or more; a task keeps as many as its `points`, and subset sizes that the
authors give for a thousand are then the same parts of those that there are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from suite.curvature.estimate import Estimate
from suite.metrics.registry import metric
from suite.metrics.run import Run
from suite.spec.seeds import seed_of

Matrix = NDArray[np.float64]

BIRDAL = tuple(range(200, 1000, 50))
"""Subset sizes of Birdal et al. 2021 (their code: from 200 to below 1,000, every 50), for 1,000 iterates."""

DUPUIS = tuple(range(200, 961, 40))
"""Subset sizes of Dupuis et al. 2023, for 1,000 iterates."""

_ITERATES = 1000
_LEAST = 20
"""Iterates with which the sizes of `BIRDAL` are still different from one another."""


@metric(
    title="PH dimension, forward",
    family="topology",
    source="Birdal et al. 2021, Alg. 1",
    sign=1,
    probes=("forward",),
)
def ph_dimension_forward(run: Run) -> Estimate:
    """PH dimension 1 / (1 − μ), μ the slope of ln E_1(n) on ln n over subsets of 20 %, 25 %, …, 95 % of next iterates.

    E_1(n) is the sum of the lifetimes in degree 0 of n random iterates under the Euclidean distance.
    """
    return ph_dimension(run.forward.euclidean, BIRDAL)


@metric(
    title="PH dimension, backward",
    family="topology",
    source="Birdal et al. 2021, Alg. 1",
    sign=1,
    probes=("backward",),
)
def ph_dimension_backward(run: Run) -> Estimate:
    """PH dimension 1 / (1 − μ), μ the slope of ln E_1(n) on ln n over subsets of 20 %, 25 %, …, 95 % of last iterates.

    Of training, with E_1(n) as in `ph_dimension_forward`; its authors take the last 1,000 iterates.
    """
    return ph_dimension(run.backward.euclidean, BIRDAL)


@metric(
    title="Data-dependent PH dimension, forward",
    family="topology",
    source="Dupuis et al. 2023, §5",
    sign=1,
    probes=("forward",),
)
def loss_ph_dimension_forward(run: Run) -> Estimate:
    """PH dimension α / (1 − μ), α = 1, μ the slope of ln E_α(n) on ln n over subsets of 20 %, …, 96 % of next iterates.

    E_α(n) is the sum of the lifetimes to the power α in degree 0 of n random iterates, under the mean absolute
    difference of their losses.
    """
    return ph_dimension(run.forward.losses, DUPUIS)


@metric(
    title="Data-dependent PH dimension, backward",
    family="topology",
    source="Dupuis et al. 2023, §5",
    sign=1,
    probes=("backward",),
)
def loss_ph_dimension_backward(run: Run) -> Estimate:
    """PH dimension α / (1 − μ), α = 1, μ the slope of ln E_α(n) on ln n over subsets of 20 %, …, 96 % of last iterates.

    Of training, with E_α(n) as in `loss_ph_dimension_forward`; its authors take iterates after training accuracy 1.
    """
    return ph_dimension(run.backward.losses, DUPUIS)


@metric(
    title="Lifetime sum E_1, forward",
    family="topology",
    source="Andreeva et al. 2024, E_α with α = 1",
    sign=1,
    probes=("forward",),
)
def lifetime_sum_forward(run: Run) -> float:
    """E_1 = Σ ℓ over the lifetimes ℓ in degree 0 of the next iterates under the Euclidean distance."""
    return lifetime_sum(run.forward.euclidean)


@metric(
    title="Lifetime sum E_1, backward",
    family="topology",
    source="Andreeva et al. 2024, E_α with α = 1",
    sign=1,
    probes=("backward",),
)
def lifetime_sum_backward(run: Run) -> float:
    """E_1 = Σ ℓ over the lifetimes ℓ in degree 0 of training's last iterates under the Euclidean distance.

    It is the length of their minimum spanning tree, at most that of the way through them in turn. Where no two are
    nearer to each other than the longest step between them, the tree is the way, and this is `mean_step_length` but
    for a constant factor.
    """
    return lifetime_sum(run.backward.euclidean)


@metric(
    title="Data-dependent lifetime sum E_1, forward",
    family="topology",
    source="Andreeva et al. 2024, E_α with α = 1",
    sign=1,
    probes=("forward",),
)
def loss_lifetime_sum_forward(run: Run) -> float:
    """E_1 = Σ ℓ over the lifetimes ℓ in degree 0 of the next iterates, under the mean absolute difference of losses."""
    return lifetime_sum(run.forward.losses)


@metric(
    title="Data-dependent lifetime sum E_1, backward",
    family="topology",
    source="Andreeva et al. 2024, E_α with α = 1",
    sign=1,
    probes=("backward",),
)
def loss_lifetime_sum_backward(run: Run) -> float:
    """E_1 = Σ ℓ over the lifetimes ℓ in degree 0 of training's last iterates, under the mean |difference of losses|."""
    return lifetime_sum(run.backward.losses)


@metric(
    title="Magnitude at √n, forward",
    family="topology",
    source="Andreeva et al. 2024, Mag(√n); Leinster 2013",
    sign=1,
    probes=("forward",),
)
def magnitude_forward(run: Run) -> float:
    """Mag = Σ β with Z β = 1, Z = exp(−t d), t = √n, n the training inputs, d the Euclidean distance of next iterates.

    That n counts the training inputs, and all else but the formula, is our reading: the authors' settings were not at
    hand.
    """
    return magnitude(run.forward.euclidean, _scale(run))


@metric(
    title="Magnitude at √n, backward",
    family="topology",
    source="Andreeva et al. 2024, Mag(√n); Leinster 2013",
    sign=1,
    probes=("backward",),
)
def magnitude_backward(run: Run) -> float:
    """Mag = Σ β with Z β = 1, Z = exp(−√n d), d the Euclidean distance of the last iterates, n training inputs."""
    return magnitude(run.backward.euclidean, _scale(run))


@metric(
    title="Data-dependent magnitude at √n, forward",
    family="topology",
    source="Andreeva et al. 2024, Mag(√n); Leinster 2013",
    sign=1,
    probes=("forward",),
)
def loss_magnitude_forward(run: Run) -> float:
    """Mag = Σ β with Z β = 1, Z = exp(−t d), t = √n, d the mean absolute difference of losses of next iterates."""
    return magnitude(run.forward.losses, _scale(run))


@metric(
    title="Data-dependent magnitude at √n, backward",
    family="topology",
    source="Andreeva et al. 2024, Mag(√n); Leinster 2013",
    sign=1,
    probes=("backward",),
)
def loss_magnitude_backward(run: Run) -> float:
    """Mag = Σ β with Z β = 1, Z = exp(−√n d), d the mean |difference of losses| of training's last iterates."""
    return magnitude(run.backward.losses, _scale(run))


@metric(
    title="Positive magnitude at √n, forward",
    family="topology",
    source="Andreeva et al. 2024, PMag(√n)",
    sign=1,
    probes=("forward",),
)
def positive_magnitude_forward(run: Run) -> float:
    """PMag = Σ max(β, 0) of the weights β of `magnitude_forward`: Z β = 1, Z = exp(−√n d)."""
    return positive_magnitude(run.forward.euclidean, _scale(run))


@metric(
    title="Positive magnitude at √n, backward",
    family="topology",
    source="Andreeva et al. 2024, PMag(√n)",
    sign=1,
    probes=("backward",),
)
def positive_magnitude_backward(run: Run) -> float:
    """PMag = Σ max(β, 0) of the weights β of `magnitude_backward`: Z β = 1, Z = exp(−√n d)."""
    return positive_magnitude(run.backward.euclidean, _scale(run))


@metric(
    title="Data-dependent positive magnitude at √n, forward",
    family="topology",
    source="Andreeva et al. 2024, PMag(√n)",
    sign=1,
    probes=("forward",),
)
def loss_positive_magnitude_forward(run: Run) -> float:
    """PMag = Σ max(β, 0) of the weights β of `loss_magnitude_forward`: Z β = 1, Z = exp(−√n d)."""
    return positive_magnitude(run.forward.losses, _scale(run))


@metric(
    title="Data-dependent positive magnitude at √n, backward",
    family="topology",
    source="Andreeva et al. 2024, PMag(√n)",
    sign=1,
    probes=("backward",),
)
def loss_positive_magnitude_backward(run: Run) -> float:
    """PMag = Σ max(β, 0) of the weights β of `loss_magnitude_backward`: Z β = 1, Z = exp(−√n d)."""
    return positive_magnitude(run.backward.losses, _scale(run))


def ph_dimension(distances: Matrix, sizes: Sequence[int], alpha: float = 1.0) -> Estimate:
    """α / (1 − μ) with μ the least-squares slope of ln E_α(n) on ln n, one random subset of n of the last points each.

    The subsets are the same for all runs of as many points. The error is that of the slope, by its residuals: of the
    choice of subsets, and of ln E_α not being linear.

    Args:
        distances: `[k, k]`, oldest point first.
        sizes: of the subsets where there are 1,000 points, of which the last 1,000 are taken; in proportion for fewer.
        alpha: the power of the lifetimes.

    Raises:
        ValueError: fewer than 20 points; some subset's points are all the same; μ ≥ 1.
    """
    count = min(len(_checked(distances)), _ITERATES)
    if count < _LEAST:
        raise ValueError(f"{count} iterates: a PH dimension needs {_LEAST}")
    last = distances[-count:, -count:]
    scaled = [round(size * count / _ITERATES) for size in sizes]
    sums = [float((lifetimes(last[np.ix_(at, at)]) ** alpha).sum()) for at in _subsets(count, scaled)]
    if min(sums) == 0:
        raise ValueError("the iterates of a subset are all the same point")
    slope, error = _slope(np.log(scaled), np.log(sums))
    if slope >= 1:
        raise ValueError(f"the lifetime sums grow like n^{slope:.3g}: there is a PH dimension below n^1 only")
    return Estimate(alpha / (1 - slope), alpha * error / (1 - slope) ** 2)


def lifetime_sum(distances: Matrix, alpha: float = 1.0) -> float:
    """E_α = Σ ℓ^α over all lifetimes in degree 0; 0 where all points are the same.

    Raises:
        ValueError: fewer than two points, or distances that are not finite.
    """
    return float((lifetimes(_checked(distances)) ** alpha).sum())


def lifetimes(distances: Matrix) -> Matrix:
    """The k − 1 finite lifetimes in degree 0 of the Vietoris–Rips filtration of k points, in no order.

    All components are born at 0 and die at the lengths of a minimum spanning tree's edges, which Prim's algorithm finds
    on the full matrix, row by row: points at distance zero are edges like any other.
    """
    count = len(distances)
    found, outside, nearest = np.zeros(count - 1), np.ones(count, dtype=bool), distances[0].copy()
    outside[0], nearest[0] = False, np.inf
    for edge in range(count - 1):
        new = nearest.argmin()
        found[edge] = nearest[new]
        outside[new], nearest[new] = False, np.inf
        np.minimum(nearest, distances[new], out=nearest, where=outside)
    return found


def magnitude(distances: Matrix, scale: float) -> float:
    """The magnitude of the points at a scale; see `weighting` for errors."""
    return float(weighting(distances, scale).sum())


def positive_magnitude(distances: Matrix, scale: float) -> float:
    """The sum of the positive weights of the points at a scale; see `weighting` for errors."""
    return float(weighting(distances, scale).clip(min=0).sum())


def weighting(distances: Matrix, scale: float) -> Matrix:
    """β with Σ_j exp(−t d_ij) β_j = 1 for all i, of points that differ: those at distance zero are one point.

    Raises:
        ValueError: fewer than two points, distances that are not finite, or a matrix that is not positive definite:
            points so near at this scale that rounding decides.
    """
    _checked(distances)
    own = (distances == 0).argmax(1) == np.arange(len(distances))  # the first of those at distance zero
    similarity = np.exp(-scale * distances[np.ix_(own, own)])
    try:
        weights: Matrix = cho_solve(cho_factor(similarity), np.ones(len(similarity)))
    except LinAlgError:
        raise ValueError(f"iterates are too near for a magnitude at scale {scale:.4g}: rounding decides") from None
    return weights


def _checked(distances: Matrix) -> Matrix:
    if len(distances) < 2:
        raise ValueError("there are fewer than two iterates")
    if not np.isfinite(distances).all():
        raise ValueError("a distance is not finite: the losses of an iterate are not")
    return distances


def _scale(run: Run) -> float:
    return math.sqrt(len(run.inputs))


def _subsets(count: int, sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    generator = torch.Generator().manual_seed(seed_of("persistent homology", count))
    return [torch.randperm(count, generator=generator)[:size].numpy() for size in sizes]


def _slope(x: Matrix, y: Matrix) -> tuple[float, float]:
    """The least-squares slope of y on x and its standard error."""
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    rest = dy - slope * dx
    return slope, math.sqrt(float(rest @ rest) / (len(x) - 2) / float(dx @ dx))
