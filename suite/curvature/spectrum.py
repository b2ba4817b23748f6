"""Spectra that metrics read: all eigenvalues of some minibatches, or quadrature measures of some probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from suite.curvature.bootstrap import jackknife_error
from suite.curvature.dense import padded
from suite.curvature.dimension import sharpness_dimension
from suite.curvature.estimate import Estimate, jackknife, mean_of, root_of
from suite.curvature.estimators import Quadrature
from suite.curvature.jacobian import Step, log_singular_values
from suite.curvature.measure import SpectralMeasure

Number = Callable[[Tensor, Tensor], Tensor]
"""One number of each run: nodes and masses `[R, M]` (how many eigenvalues each node stands for) → `[R]`."""


class Spectrum(Protocol):
    """The minibatch Hessian's spectrum at some weights. Expectations are over minibatches (and probes)."""

    @property
    def size(self) -> int:
        """Number of parameters d."""

    @property
    def runs(self) -> int:
        """Number of draws."""

    def sharpness_dimension(self, step: Step) -> Estimate:
        """SD of a step's map; its standard error by the delete-one jackknife over draws."""

    def leading_exponent(self, step: Step) -> Estimate:
        """λ_1: mean over draws of the largest exponent."""

    def trace(self) -> Estimate:
        """E tr H_B."""

    def frobenius(self) -> Estimate:
        """√(E ‖H_B‖²_F)."""

    def largest(self) -> Estimate:
        """E max |α|."""

    def max_eigenvalue(self) -> Estimate:
        """E max α."""

    def min_eigenvalue(self) -> Estimate:
        """E min α."""

    def integral(self, f: Callable[[Tensor], Tensor]) -> Estimate:
        """E Σ f(α) over all d eigenvalues, the exact zeros among them; f works entry by entry and is finite on them."""

    def statistic(self, combine: Callable[..., float], *numbers: Number) -> Estimate:
        """`combine` of the expectations of some numbers, such as a ratio of two; its error by the jackknife."""


@dataclass(frozen=True)
class DenseSpectra:
    """All eigenvalues of the Hessian on each of k minibatches.

    Attributes:
        eigenvalues: float64 `[k, N]`; the other d − N of each minibatch are exact zeros.
        size: d.
        retried: bool `[k]`, True where float32 LAPACK failed and float64 was used.
    """

    eigenvalues: Tensor
    size: int
    retried: Tensor

    @classmethod
    def of(cls, rows: list[Tensor], size: int, retried: list[bool]) -> DenseSpectra:
        """From one vector of eigenvalues per minibatch, exact zeros left out (their numbers may differ)."""
        return cls(padded(rows), size, torch.tensor(retried))

    def to_arrays(self) -> dict[str, Tensor]:
        """As named tensors, to be stored."""
        return {"eigenvalues": self.eigenvalues, "size": torch.tensor(self.size), "retried": self.retried}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> DenseSpectra:
        """The inverse of `to_arrays`."""
        return cls(arrays["eigenvalues"], int(arrays["size"]), arrays["retried"])

    @property
    def runs(self) -> int:
        """Number of minibatches k."""
        return len(self.eigenvalues)

    @cached_property
    def measure(self) -> SpectralMeasure:
        """The same as a spectral measure: mass 1 at every eigenvalue, the rest at zero."""
        return SpectralMeasure.of_eigenvalues(self.eigenvalues, self.size)

    def exponents(self, step: Step) -> Tensor:
        """Exponents, descending within each minibatch, the exact zeros' among them: float64 `[k, d]` (2d: momentum)."""
        full = torch.nn.functional.pad(self.eigenvalues, (0, self.size - self.eigenvalues.shape[1]))
        return log_singular_values(full, step).sort(1, descending=True).values

    def sharpness_dimension(self, step: Step) -> Estimate:
        """Def. 4.2 to the letter: exponents sorted in each draw, averaged over draws, then summed."""
        exponents = self.exponents(step)
        value = sharpness_dimension(exponents.sum(0) / self.runs)

        def without(k: int) -> float:
            # summed anew: of a total of −inf nothing can be subtracted
            return sharpness_dimension(torch.cat([exponents[:k], exponents[k + 1 :]]).sum(0) / (self.runs - 1))

        return jackknife(value, self.runs, without)

    def leading_exponent(self, step: Step) -> Estimate:
        """Mean over minibatches of the largest exponent."""
        return mean_of(self.exponents(step)[:, 0])

    def trace(self) -> Estimate:
        """Mean over minibatches."""
        return mean_of(self.eigenvalues.sum(1))

    def frobenius(self) -> Estimate:
        """Root mean square over minibatches."""
        return root_of(mean_of(self.eigenvalues.square().sum(1)))

    def largest(self) -> Estimate:
        """Mean over minibatches of max |α|."""
        return mean_of(self.eigenvalues.abs().amax(1))

    def max_eigenvalue(self) -> Estimate:
        """Mean over minibatches of max α; the exact zeros count."""
        top = self.eigenvalues.amax(1)
        return mean_of(top.clamp(min=0) if self.eigenvalues.shape[1] < self.size else top)

    def min_eigenvalue(self) -> Estimate:
        """Mean over minibatches of min α; the exact zeros count."""
        return self.measure.mean(self.measure.nodes.amin(1))

    def integral(self, f: Callable[[Tensor], Tensor]) -> Estimate:
        """Mean over minibatches of Σ f(α) over all d eigenvalues."""
        return self.measure.integral(f)

    def statistic(self, combine: Callable[..., float], *numbers: Number) -> Estimate:
        """`combine` of means over minibatches."""
        return _statistic(self.measure, combine, numbers)


@dataclass(frozen=True)
class QuadratureSpectrum:
    """The spectrum as Lanczos quadrature sees it.

    Attributes:
        measure: nodes and masses of every run.
    """

    measure: SpectralMeasure

    def to_arrays(self) -> dict[str, Tensor]:
        """As named tensors, to be stored."""
        return self.measure.to_arrays()

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> QuadratureSpectrum:
        """The inverse of `to_arrays`."""
        return cls(SpectralMeasure.from_arrays(arrays))

    @property
    def size(self) -> int:
        """Number of parameters d."""
        return self.measure.size

    @property
    def runs(self) -> int:
        """Number of runs R."""
        return self.measure.runs

    def sharpness_dimension(self, step: Step) -> Estimate:
        """Direct quadrature: Def. 4.2 on the pooled measure, without bins or bandwidth; its jackknife error.

        Pooling over minibatches is not the averaging of Def. 4.2: with different minibatches it is never smaller
        (`AveragedQuantiles` is to the letter, and wants several probes a minibatch).
        """
        estimator = Quadrature(step)
        if self.runs == 1:
            return Estimate(estimator(self.measure))
        return Estimate(estimator(self.measure), jackknife_error(self.measure, estimator))

    def leading_exponent(self, step: Step) -> Estimate:
        """Mean over runs of the largest exponent among the nodes."""
        return self.measure.mean(log_singular_values(self.measure.nodes, step).amax(1))

    def trace(self) -> Estimate:
        """Hutchinson's estimator zᵀHz, mean over runs."""
        return self.measure.trace()

    def frobenius(self) -> Estimate:
        """Root of the mean over runs of zᵀH²z."""
        return self.measure.frobenius()

    def largest(self) -> Estimate:
        """Mean over runs of the largest |Ritz value|: a lower bound of the largest |eigenvalue|."""
        return self.measure.mean(self.measure.nodes.abs().amax(1))

    def max_eigenvalue(self) -> Estimate:
        """Mean over runs of the largest Ritz value: a lower bound of the largest eigenvalue."""
        return self.measure.mean(self.measure.nodes.amax(1))

    def min_eigenvalue(self) -> Estimate:
        """Mean over runs of the least Ritz value: an upper bound of the least eigenvalue."""
        return self.measure.mean(self.measure.nodes.amin(1))

    def integral(self, f: Callable[[Tensor], Tensor]) -> Estimate:
        """Mean over runs of the quadrature d Σ ω f(α̃), the eigenvalues known to be zero among it."""
        return self.measure.integral(f)

    def statistic(self, combine: Callable[..., float], *numbers: Number) -> Estimate:
        """`combine` of means over minibatches, and over the runs of one."""
        return _statistic(self.measure, combine, numbers)


def _statistic(measure: SpectralMeasure, combine: Callable[..., float], numbers: tuple[Number, ...]) -> Estimate:
    """Of the means over independent units (minibatches, or the runs of a single one); without one of them each."""
    rows = torch.stack([number(measure.nodes, measure.masses) for number in numbers], 1)
    unit = measure.unit_index
    count = int(unit.max()) + 1
    sums = torch.zeros(count, len(numbers), dtype=torch.float64).index_add(0, unit, rows)
    means = sums / torch.bincount(unit)[:, None]

    def without(k: int) -> float:
        return combine(*torch.cat([means[:k], means[k + 1 :]]).mean(0).tolist())

    return jackknife(combine(*means.mean(0).tolist()), count, without)
