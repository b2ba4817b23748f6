"""Gradients of samples and of minibatches."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from suite.curvature.estimate import Estimate, mean_of


@dataclass(frozen=True)
class Gradients:
    """What is kept of gradients at a checkpoint; all float64, all at the checkpoint's weights.

    L is the mean loss of the whole training set of n inputs, g its gradient and H its Hessian. ℓᵢ is the loss of one
    input (the mean over its positions where it has several), gᵢ its gradient; `s` inputs are drawn without
    replacement, the same for all runs of a task. g_B and H_B are those of a minibatch B of the training batch size;
    where the batch is the whole set there is one.

    Attributes:
        norm: ‖g‖, a scalar.
        curvature: gᵀHg, a scalar.
        turned: ‖Hg‖, a scalar.
        weights_curvature: wᵀHw, a scalar.
        samples: ‖gᵢ‖² `[s]`.
        inner: gᵢ·g `[s]`.
        gauss_newton: trace of each input's generalized Gauss–Newton matrix Jᵢᵀ (∇²ℓᵢ) Jᵢ `[s]`: exact, or unbiased
            over random vectors. For both losses there are it is the mean over the input's predictions of the trace of
            the true Fisher information too (`suite.curvature.true_fisher`): where P positions have a target it is 1/P
            of that of all together, while `samples` goes like 1/P² of the squared gradient of all together.
        batches: ‖g_B‖² `[k]`.
        batch_curvatures: g_Bᵀ H_B g_B `[k]`.
        batch_inner: g_B·g `[k]`.
        size: n.
        exact: whether `gauss_newton` is exact.
    """

    norm: Tensor
    curvature: Tensor
    turned: Tensor
    weights_curvature: Tensor
    samples: Tensor
    inner: Tensor
    gauss_newton: Tensor
    batches: Tensor
    batch_curvatures: Tensor
    batch_inner: Tensor
    size: int
    exact: bool

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> Gradients:
        """From what is stored."""
        tensors = {name: tensor for name, tensor in arrays.items() if name not in ("size", "exact")}
        return cls(**tensors, size=int(arrays["size"]), exact=bool(arrays["exact"]))

    def mean(self, values: Tensor) -> Estimate:
        """The mean over the training set of a number known of `s` of its inputs `[s]`, and its standard error.

        The inputs are drawn without replacement: the error is s-th of the population's, by √(1 − s/n) smaller, and 0
        where all inputs are taken.
        """
        plain = mean_of(values)
        error = None if plain.standard_error is None else plain.standard_error * math.sqrt(1 - len(values) / self.size)
        return Estimate(plain.value, error)

    def second_moment_trace(self) -> Estimate:
        """Trace of E gᵢ gᵢᵀ, the empirical Fisher: the mean of ‖gᵢ‖²."""
        return self.mean(self.samples)

    def covariance_trace(self) -> Estimate:
        """Trace of the covariance of gᵢ over the training set: the mean of ‖gᵢ − g‖² (divisor n)."""
        return self.mean(self.samples - 2 * self.inner + self.norm.square())

    def gauss_newton_trace(self) -> Estimate:
        """Trace of the generalized Gauss–Newton matrix of L; its error holds that of random vectors where there are."""
        return self.mean(self.gauss_newton) if self.exact else mean_of(self.gauss_newton)
