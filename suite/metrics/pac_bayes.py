"""PAC-Bayes flatness and bounds: how much Gaussian noise on the weights the training accuracy bears."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from suite.curvature.estimate import Estimate, mean_of
from suite.metrics.neighbourhood import accuracies_of, noise
from suite.metrics.registry import metric
from suite.metrics.run import Run

_DROP, _LARGEST = 0.1, 2.0
_BISECTIONS, _DRAWS = 15, 10
_EPSILON = 1e-3
"""Dziugaite et al. 2020: the standard deviation that the magnitude-aware noise has at a weight of zero."""

_DZIUGAITE = "Dziugaite et al. 2020 (search for σ as in their code)"


@metric(
    title="PAC-Bayes flatness 1/σ²",
    family="perturbation",
    source=f"Jiang et al. 2019, Eq. 53; {_DZIUGAITE}",
    sign=1,
    cost="search",
    invariances=("logit scale",),
)
def pac_bayes_flatness(run: Run) -> Estimate:
    """1/σ² for the σ at which noise N(0, σ² I) on all weights takes 0.1 of training accuracy away on average.

    σ is the noise's standard deviation. It is bisected on [0, 2] in 15 steps (to 6 · 10⁻⁵) on the mean of 10 draws that
    all runs and all σ share, on 512 fixed training inputs. Theirs draws anew at each step and stops within 0.01 of 0.1.
    """
    return _through(lambda sigma: 1 / sigma**2, _sigma(run))


@metric(
    title="PAC-Bayes bound from initialisation",
    family="perturbation",
    source=f"Jiang et al. 2019, Eq. 48; {_DZIUGAITE}",
    sign=1,
    cost="search",
    invariances=("logit scale",),
)
def pac_bayes_initialisation(run: Run) -> Estimate:
    """√(v/m), v = ‖w − w₀‖²/(4σ²) + ln(m/σ) + 10, m training inputs, σ as in `pac_bayes_flatness`."""
    return _bound(run, run.weights - run.initial)


@metric(
    title="PAC-Bayes bound from the origin",
    family="perturbation",
    source=f"Jiang et al. 2019, Eq. 49; {_DZIUGAITE}",
    sign=1,
    cost="search",
    invariances=("logit scale",),
)
def pac_bayes_origin(run: Run) -> Estimate:
    """√(v/m), v = ‖w‖²/(4σ²) + ln(m/σ) + 10, m training inputs, σ as in `pac_bayes_flatness`."""
    return _bound(run, run.weights)


@metric(
    title="Magnitude-aware PAC-Bayes flatness 1/σ²",
    family="perturbation",
    source=f"Jiang et al. 2019, Eq. 61; {_DZIUGAITE}",
    sign=1,
    cost="search",
    invariances=("logit scale",),
)
def magnitude_pac_bayes_flatness(run: Run) -> Estimate:
    """1/σ² as in `pac_bayes_flatness`, but of noise N(0, σ² wᵢ² + ε²) on weight i, ε = 10⁻³."""
    return _through(lambda sigma: 1 / sigma**2, _sigma(run, _EPSILON))


@metric(
    title="Magnitude-aware PAC-Bayes bound from initialisation",
    family="perturbation",
    source=f"Jiang et al. 2019, Eq. 56; {_DZIUGAITE}",
    sign=1,
    cost="search",
    invariances=("logit scale",),
)
def magnitude_pac_bayes_initialisation(run: Run) -> Estimate:
    """√(v/m), v = ¼ Σᵢ ln[(ε² + (σ² + 1) ‖w − w₀‖²/d) / (ε² + σ² (wᵢ − w₀ᵢ)²)] + ln(m/σ) + 10.

    d weights, m training inputs, σ and ε as in `magnitude_pac_bayes_flatness`.
    """
    return _magnitude_bound(run, run.weights - run.initial)


@metric(
    title="Magnitude-aware PAC-Bayes bound from the origin",
    family="perturbation",
    source=f"Jiang et al. 2019, Eq. 57; {_DZIUGAITE}",
    sign=1,
    cost="search",
    invariances=("logit scale",),
)
def magnitude_pac_bayes_origin(run: Run) -> Estimate:
    """As `magnitude_pac_bayes_initialisation`, with ‖w‖² in the numerator; the denominator keeps w − w₀.

    Raises:
        ValueError: v is negative: then the weights moved by more than their own norm.
    """
    return _magnitude_bound(run, run.weights)


def _bound(run: Run, reference: Tensor) -> Estimate:
    square, count = float(reference.double().square().sum()), len(run.inputs)
    return _through(lambda sigma: _root(square / (4 * sigma**2) + math.log(count / sigma) + 10, count), _sigma(run))


def _magnitude_bound(run: Run, reference: Tensor) -> Estimate:
    mean = float(reference.double().square().mean())
    moved, count = (run.weights - run.initial).double().square(), len(run.inputs)

    def bound(sigma: float) -> float:
        above = math.log(_EPSILON**2 + (sigma**2 + 1) * mean)
        logarithms = above - (_EPSILON**2 + sigma**2 * moved).log()
        return _root(float(logarithms.sum()) / 4 + math.log(count / sigma) + 10, count)

    return _through(bound, _sigma(run, _EPSILON))


def _root(v: float, count: int) -> float:
    if v < 0:
        raise ValueError("the bound is the root of a negative number")
    return math.sqrt(v / count)


def _through(function: Callable[[float], float], sigma: Estimate) -> Estimate:
    """A smooth function of an estimate, its error from the values one error to either side; unknown stays unknown."""
    if sigma.standard_error is None:
        return Estimate(function(sigma.value))
    error = min(sigma.standard_error, sigma.value / 2)
    spread = abs(function(sigma.value + error) - function(sigma.value - error)) / 2
    return Estimate(function(sigma.value), spread)


def _sigma(run: Run, epsilon: float | None = None) -> Estimate:
    """The standard deviation of noise at which accuracy has fallen by 0.1 on average over the draws.

    Args:
        run: the run.
        epsilon: None for σ on all weights, else √(σ² wᵢ² + ε²) on weight i.

    Returns:
        σ; its error is that of the mean drop there, over the slope of the drop in σ (by the values at 0.9 σ and 1.1 σ).

    Raises:
        ValueError: accuracy has not fallen by 0.1 at σ = 2, or has fallen by it at σ = 0 already.
    """
    before = accuracies_of(run, run.weights[None])

    def drops(sigma: float) -> Tensor:
        scale = sigma if epsilon is None else (sigma**2 * run.weights.square() + epsilon**2).sqrt()
        return before - torch.cat([accuracies_of(run, run.weights + scale * xi) for xi in noise(run, _DRAWS)])

    low, high = 0.0, _LARGEST
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if float(drops(middle).mean()) >= _DROP - 1e-9 else (middle, high)
    if low == 0 or high == _LARGEST:
        raise ValueError(f"training accuracy does not fall by {_DROP} at a σ between 0 and {_LARGEST}")
    sigma = (low + high) / 2
    slope = float((drops(1.1 * sigma) - drops(0.9 * sigma)).mean()) / (0.2 * sigma)
    error = mean_of(drops(sigma)).standard_error
    return Estimate(sigma, error / slope if error and slope > 0 else None)
