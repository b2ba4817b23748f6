"""λ_max along training: the largest eigenvalue of the Hessian of the training loss, on a fixed sample of its inputs.

At full batch the loss of gradient descent stops falling steadily where η λ_max / 2 passes 1 (Cohen et al. 2021); at
small batches λ_max of the whole training set's loss, which the sample stands for, stays below that. The sample is drawn
from the training inputs by a seed of its own and is the same for all runs on a data set; no test data are in reach.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from suite.curvature import HessianOperator, MicroBatchedOperator, SymmetricOperator, lanczos_quadrature
from suite.spec.seeds import seed_of
from suite.spec.training import SGD, AdamW, TrainingSpec
from suite.training.evaluate import samples_at_once
from suite.training.problem import Problem, Split

_MOST_NUMBERS = 2**21
"""Activations of a layer whose graph is kept: several times as many live at once. A function of shapes only."""


class LargestEigenvalue:
    """λ_max at given weights, by Lanczos from a fixed vector: the same weights give the same bits.

    Lanczos keeps no basis: Ritz values may repeat, but never exceed λ_max by more than rounding. They reach it from
    below, the sooner the further it is from the bulk. On the paper's MLP-3 ten iterations give five digits.

    Args:
        problem: network, loss and training set.
        samples: training inputs of the loss: all, if there are fewer.
        iterations: Lanczos steps.
        limit: a loss that is not below it has no eigenvalue.
    """

    def __init__(self, problem: Problem, samples: int, iterations: int, limit: float) -> None:
        self._problem, self._iterations, self._limit = problem, iterations, limit
        train = problem.train
        at = sample(len(train), samples).to(train.inputs.device)
        self._sample = Split(train.inputs[at], train.targets[at])
        self._chunk = samples_at_once(problem, 1, self._sample, _MOST_NUMBERS)

    @classmethod
    def of(cls, problem: Problem, training: TrainingSpec) -> LargestEigenvalue | None:
        """As a spec asks for it; None where it does not."""
        asked = training.sharpness
        return None if asked is None else cls(problem, asked.samples, asked.iterations, training.stop.diverged_above)

    def __call__(self, weights: Tensor) -> float:
        """The algebraically largest eigenvalue at flat weights `[d]`, which stay as they are.

        NaN where the loss on the sample is not below the limit, or the Hessian is not finite.
        """
        if not self._loss(weights) < self._limit:  # NaN compares false
            return math.nan
        operator = self._operator(weights)
        generator = torch.Generator().manual_seed(seed_of("sharpness probe"))
        probe = torch.randn(1, len(weights), generator=generator).to(weights)
        try:
            nodes, _ = lanczos_quadrature(operator, probe, self._iterations)
        except ValueError:  # a product is not finite: there is nothing else here that Lanczos could refuse
            return math.nan
        return float(nodes[0, -1])

    def _loss(self, weights: Tensor) -> float:
        """The mean loss of the sample; unlike a whole graph's, its chunks' memory is bounded."""
        total = 0.0
        with torch.no_grad():
            for start, stop in self._parts():
                total += (stop - start) * float(self._part(weights, start, stop))
        return total / len(self._sample)

    def _parts(self) -> list[tuple[int, int]]:
        size = len(self._sample)
        return [(start, min(start + self._chunk, size)) for start in range(0, size, self._chunk)]

    def _part(self, flat: Tensor, start: int, stop: int) -> Tensor:
        return self._problem.loss(flat, self._sample.inputs[start:stop], self._sample.targets[start:stop])

    def _operator(self, weights: Tensor) -> SymmetricOperator:
        def hessian(start: int, stop: int) -> HessianOperator:
            return HessianOperator(lambda flat: self._part(flat, start, stop), weights, rows=1)

        size = len(self._sample)
        return hessian(0, size) if size <= self._chunk else MicroBatchedOperator(hessian, size, self._chunk)


def sample(size: int, count: int) -> Tensor:
    """Which of `size` training inputs are looked at, int64 on the CPU: all of them, in order, if there are no more."""
    if count >= size:
        return torch.arange(size)
    generator = torch.Generator().manual_seed(seed_of("sharpness samples", size))
    return torch.randperm(size, generator=generator)[:count]


def edge_ratio(top: float, optimizer: SGD | AdamW, rate: float) -> float | None:
    """η (λ_max + ω) / 2 (1 + μ), as the metric of that name: 1 at the edge of stability; None of AdamW.

    Args:
        top: λ_max.
        optimizer: with its momentum μ and weight decay ω.
        rate: the scheduled learning rate η.
    """
    if not isinstance(optimizer, SGD):
        return None
    return rate * (top + optimizer.weight_decay) / (2 * (1 + optimizer.momentum))
