"""Power laws in the spectra of the weight matrices (heavy-tailed self-regularisation).

The spectrum of a layer W is that of WᵀW, not divided by anything, as WeightWatcher has it. Matrices of rank below 10
are left out: fewer eigenvalues tell nothing of a tail. WeightWatcher's authors ask for 50 before an exponent is to be
trusted, which no layer of a small network has: on small layers the exponents are noisy.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.metrics.registry import metric
from suite.metrics.run import Run

_LEAST = 10
"""Eigenvalues that a layer must have."""

Values = NDArray[np.float64]


def eigenvalues(matrix: Tensor) -> Values:
    """Eigenvalues of WᵀW that are not zero by the rounding of the matrix's own dtype, ascending, float64."""
    singular = torch.linalg.svdvals(matrix.double()).flip(0).cpu()
    least = singular[-1] * max(matrix.shape) * torch.finfo(matrix.dtype).eps
    kept: Values = singular[singular > least].square().numpy()
    return kept


def power_law(values: Values) -> tuple[float, float]:
    """Exponent α and start x_min of a density ∝ x^−α on x ≥ x_min (Clauset et al. 2009, §3).

    α = 1 + n / Σ ln(x / x_min) over the n values from x_min on, its maximum-likelihood estimate; x_min is the value
    that makes the Kolmogorov–Smirnov distance between the tail and its fit the least. The empirical distribution is
    taken as (0, 1, … n − 1) / n, as the authors' program does. The largest value is no candidate.

    Args:
        values: positive, ascending.

    Raises:
        ValueError: all values are alike.
    """
    logs = np.log(values)
    best = (math.inf, math.nan, math.nan)
    for first in range(len(values) - 1):
        tail = logs[first:] - logs[first]
        if tail[-1] <= 0:
            break
        slope = len(tail) / tail.sum()
        empirical = np.arange(len(tail)) / len(tail)
        distance = float(np.abs(1 - np.exp(-slope * tail) - empirical).max())
        best = min(best, (distance, 1 + slope, float(values[first])))
    if not math.isfinite(best[0]):
        raise ValueError("all eigenvalues are alike: there is no tail")
    return best[1], best[2]


def _spectra(run: Run) -> list[Values]:
    """The spectra of the layers that are large enough.

    Raises:
        ValueError: none is.
    """
    found = [eigenvalues(matrix) for matrix in run.matrices().values() if min(matrix.shape) >= _LEAST]
    spectra = [values for values in found if len(values) >= _LEAST]
    if not spectra:
        raise ValueError(f"no weight matrix of rank {_LEAST} or more")
    return spectra


@metric(
    title="Power-law exponent α of weights",
    family="heavy tails",
    source="Martin & Mahoney 2021 (JMLR 22); Martin et al. 2021; fit: Clauset et al. 2009, §3",
    sign=1,
    cost="free",
    invariances=("rescaling", "last layer"),
)
def power_law_alpha(run: Run) -> float:
    """Mean over layers of α, the spectral density being ∝ λ^−α from x_min on: heavy tails (small α) generalize."""
    return float(np.mean([power_law(values)[0] for values in _spectra(run)]))


@metric(
    title="Weighted α",
    family="heavy tails",
    source="Martin et al. 2021 (Nature Communications 12:4122), α̂",
    sign=1,
    cost="free",
)
def weighted_alpha(run: Run) -> float:
    """Mean over layers of α log₁₀ λ_max."""
    return float(np.mean([power_law(values)[0] * math.log10(values[-1]) for values in _spectra(run)]))


@metric(
    title="Log α-norm",
    family="heavy tails",
    source="Martin et al. 2021 (Nature Communications 12:4122), log α-norm",
    sign=1,
    cost="free",
)
def log_alpha_norm(run: Run) -> float:
    """Mean over layers of log₁₀ Σ λ^α, over the whole spectrum."""
    spectra = _spectra(run)
    return float(np.mean([_log_norm(values, power_law(values)[0]) for values in spectra]))


def _log_norm(values: Values, alpha: float) -> float:
    """log₁₀ Σ λ^α, the largest term taken out so that a large α cannot overflow."""
    top = float(values[-1])
    return alpha * math.log10(top) + math.log10(float(((values / top) ** alpha).sum()))
