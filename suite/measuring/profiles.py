"""A spectrum in few numbers, for drawing: eigenvalues and exponents at some positions of their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from suite.curvature.jacobian import Step, log_singular_values
from suite.curvature.measure import SpectralMeasure
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum

_SIDE = 24
"""Positions on each half of the spectrum, closest at its ends, where the largest and the most negative are."""
_NO_EXPONENT = -1e3
"""Stands in a measure, which holds finite numbers only, for an exponent of −∞."""


def spectral_profile(spectrum: DenseSpectra | QuadratureSpectrum, learning_rate: float) -> list[tuple[float, ...]]:
    """Eigenvalues α of the minibatch Hessian and exponents ln|1 − ηα|, each in descending order, at some positions.

    Of exact spectra the k-th largest is averaged over the minibatches, as Def. 4.1 of Tuci et al. 2026 has it; of
    quadrature it is the quantile of the measure pooled over the runs, as the paper's SLQ has it.

    Args:
        spectrum: as stored by a spectral probe.
        learning_rate: η.

    Returns:
        Rows (k / d, α, exponent), at most 48, k / d ascending, in (0, 1]; rows with an exponent of −∞ are left out.
    """
    step = Step(learning_rate)
    places = _places(spectrum.size)
    if isinstance(spectrum, DenseSpectra):
        full = torch.nn.functional.pad(spectrum.eigenvalues, (0, spectrum.size - spectrum.eigenvalues.shape[1]))
        values = full.sort(1, descending=True).values.mean(0)[places - 1]
        exponents = spectrum.exponents(step).mean(0)[places - 1]
    else:
        values, exponents = _pooled(spectrum.measure, step, places)
    rows = torch.stack([places / spectrum.size, values, exponents], 1)
    return [tuple(row) for row in rows[rows.isfinite().all(1)].tolist()]


def _places(size: int) -> Tensor:
    """Some of 1 … d: spaced evenly in their logarithm from either end."""
    side = np.geomspace(1, (size + 1) // 2, _SIDE).round().astype(int)
    return torch.from_numpy(np.unique(np.concatenate([side, size + 1 - side])))


def _pooled(measure: SpectralMeasure, step: Step, places: Tensor) -> tuple[Tensor, Tensor]:
    # the k-th largest of d has (d − k) / d of the mass below it, and its own share up to (d − k + 1) / d
    levels = (measure.size - places + 0.5) / measure.size
    mapped = log_singular_values(measure.nodes, step).clamp(min=_NO_EXPONENT)
    exponents = replace(measure, nodes=mapped).quantile(levels)
    return measure.quantile(levels), torch.where(exponents > _NO_EXPONENT, exponents, -torch.inf)
