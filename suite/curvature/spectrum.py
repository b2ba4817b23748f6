"""Spectra that metrics read: all eigenvalues of some minibatches, or quadrature measures of some probes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from suite.curvature.dimension import sharpness_dimension
from suite.curvature.jacobian import Step, log_singular_values


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error; None where there is one draw only."""

    value: float
    standard_error: float | None = None


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
        width = max(len(row) for row in rows)
        padded = [torch.cat([row.double(), torch.zeros(width - len(row), dtype=torch.float64)]) for row in rows]
        return cls(torch.stack(padded), size, torch.tensor(retried))

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

        return _jackknife(value, self.runs, without)

    def leading_exponent(self, step: Step) -> Estimate:
        """Mean over minibatches of the largest exponent."""
        return _mean(self.exponents(step)[:, 0])

    def trace(self) -> Estimate:
        """Mean over minibatches."""
        return _mean(self.eigenvalues.sum(1))

    def frobenius(self) -> Estimate:
        """Root mean square over minibatches."""
        return _root(_mean(self.eigenvalues.square().sum(1)))

    def largest(self) -> Estimate:
        """Mean over minibatches of max |α|."""
        return _mean(self.eigenvalues.abs().amax(1))

    def max_eigenvalue(self) -> Estimate:
        """Mean over minibatches of max α; the exact zeros count."""
        top = self.eigenvalues.amax(1)
        return _mean(top.clamp(min=0) if self.eigenvalues.shape[1] < self.size else top)


@dataclass(frozen=True)
class LanczosMeasure:
    """Quadrature measures of R runs, one probe and one minibatch a run.

    Attributes:
        nodes: Ritz values, float64 `[R, m]`.
        weights: float64 `[R, m]`, each row summing to 1; times d / R they are masses.
        size: d.
    """

    nodes: Tensor
    weights: Tensor
    size: int

    def to_arrays(self) -> dict[str, Tensor]:
        """As named tensors, to be stored."""
        return {"nodes": self.nodes, "weights": self.weights, "size": torch.tensor(self.size)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> LanczosMeasure:
        """The inverse of `to_arrays`."""
        return cls(arrays["nodes"], arrays["weights"], int(arrays["size"]))

    @property
    def runs(self) -> int:
        """Number of runs R."""
        return len(self.nodes)

    def sharpness_dimension(self, step: Step) -> Estimate:
        """Direct quadrature: Def. 4.2 on the pooled measure d/R Σ ω δ(α), without bins or bandwidth.

        Pooling over minibatches is not the averaging of Def. 4.2: with different minibatches it is never smaller.
        """
        exponents, factor = log_singular_values(self.nodes, step), step.state_factor
        masses = self.weights.repeat(1, factor) * self.size
        everyone = torch.ones(self.runs, dtype=torch.bool)

        def pooled(kept: Tensor) -> float:
            return sharpness_dimension(exponents[kept].reshape(-1), (masses[kept] / kept.sum()).reshape(-1))

        def without(run: int) -> float:
            kept = everyone.clone()
            kept[run] = False
            return pooled(kept)

        return _jackknife(pooled(everyone), self.runs, without)

    def leading_exponent(self, step: Step) -> Estimate:
        """Mean over runs of the largest exponent among the nodes."""
        return _mean(log_singular_values(self.nodes, step).amax(1))

    def trace(self) -> Estimate:
        """Hutchinson's estimator zᵀHz, mean over runs."""
        return _mean((self.nodes * self.weights).sum(1) * self.size)

    def frobenius(self) -> Estimate:
        """Root of the mean over runs of zᵀH²z."""
        return _root(_mean((self.nodes.square() * self.weights).sum(1) * self.size))

    def largest(self) -> Estimate:
        """Mean over runs of the largest |Ritz value|."""
        return _mean(self.nodes.abs().amax(1))

    def max_eigenvalue(self) -> Estimate:
        """Mean over runs of the largest Ritz value."""
        return _mean(self.nodes.amax(1))


def _mean(draws: Tensor) -> Estimate:
    count = len(draws)
    error = float(draws.std()) / math.sqrt(count) if count > 1 else None
    return Estimate(float(draws.mean()), error)


def _root(square: Estimate) -> Estimate:
    """√ of an estimate, its error by the delta method (none is given at zero, where that has no meaning)."""
    value = math.sqrt(max(0.0, square.value))
    if square.standard_error is None or value == 0:
        return Estimate(value, square.standard_error and None)
    return Estimate(value, square.standard_error / (2 * value))


def _jackknife(value: float, count: int, without: Callable[[int], float]) -> Estimate:
    """The delete-one jackknife's standard error of a statistic of `count` draws."""
    if count < 2:
        return Estimate(value)
    left = [without(k) for k in range(count)]
    middle = math.fsum(left) / count
    return Estimate(value, math.sqrt((count - 1) / count * math.fsum((x - middle) ** 2 for x in left)))
