"""Spectra of the minibatch Hessian: of minibatches as in training, at a common size, on the whole training set."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suite.curvature.dense import minibatch_eigenvalues, without_rounding
from suite.curvature.hessian import HessianOperator, Loss
from suite.curvature.operator import SymmetricOperator
from suite.curvature.quadrature import spectral_measure
from suite.curvature.reduction import ReducedInputs
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum
from suite.curvature.subspace import MLPBatch, RangeBasis, exact_eigenvalues
from suite.measuring.probes.base import Probe, Subject
from suite.models.flat import FlatModel
from suite.spec.probes import DenseSpectrum, LanczosSpectrum
from suite.spec.seeds import seed_of
from suite.training.objective import mean_loss
from suite.training.perceptron import Perceptrons
from suite.training.problem import Problem

_BLOCK_NUMBERS = 2**24
"""Entries of one block of vectors."""

_MATRIX = 2**14
"""Unknowns, after the reduction to the span of the inputs, of the largest Hessian of a perceptron that is written down
(2 GiB); the spectrum of a larger one is found by way of its range."""

_RANGE_MEMORY = 2**32
"""Bytes that this may take."""


def spectral_probe(
    problem: Problem, weights: Tensor, spec: DenseSpectrum | LanczosSpectrum, batch: int
) -> dict[str, Tensor]:
    """The spectrum of the minibatch Hessian at flat `weights` `[d]`, as tensors to store.

    Args:
        problem: network, loss and training set.
        weights: flat parameters on the problem's device.
        spec: which probe, at what budget, in which dtype.
        batch: the training batch size, for `batch_size: training`.

    Raises:
        ValueError: the Hessian is not finite.
    """
    size = batch_size(problem, spec, batch)
    weights = weights.to(getattr(torch, spec.dtype))
    if isinstance(spec, DenseSpectrum):
        return _dense(problem, weights, spec, size)
    return lanczos_measure(problem, spec, size, lambda draw: _hessian(problem, weights, draw, size)).to_arrays()


def batch_size(problem: Problem, spec: DenseSpectrum | LanczosSpectrum, training: int) -> int:
    """The number of inputs in a probe's minibatch, given that of training."""
    return int({"training": training, "full": len(problem.train)}.get(str(spec.batch_size), spec.batch_size))


def lanczos_measure(
    problem: Problem, spec: LanczosSpectrum, batch: int, operator: Callable[[int], SymmetricOperator]
) -> QuadratureSpectrum:
    """One probe a run; `share` runs share a minibatch, all of them a full batch: one operator, its products together.

    Args:
        problem: whose training set it is.
        spec: the budget.
        batch: inputs in a minibatch.
        operator: the number of a minibatch → the operator on it.
    """
    whole = batch == len(problem.train)
    source = operator(0) if whole else operator
    return QuadratureSpectrum(spectral_measure(source, spec.runs, spec.steps, probes_per_draw=spec.share))


def load_spectrum(
    spec: DenseSpectrum | LanczosSpectrum, tensors: dict[str, Tensor]
) -> DenseSpectra | QuadratureSpectrum:
    """The stored form of `spectral_probe` as the object that metrics read."""
    if isinstance(spec, DenseSpectrum):
        return DenseSpectra.from_arrays(tensors)
    return QuadratureSpectrum.from_arrays(tensors)


def retried(tensors: dict[str, Tensor]) -> str:
    """What a stored probe has to say of itself: whether the solver failed in its dtype, and how often; else nothing."""
    flags = tensors.get("retried")
    if flags is None or not bool(flags.any()):
        return ""
    return f"{int(flags.sum())} of {len(flags)} spectra computed again in float64: the solver did not converge"


def _probe(subject: Subject, spec: DenseSpectrum | LanczosSpectrum) -> dict[str, Tensor]:
    return spectral_probe(subject.problem, subject.weights, spec, subject.batch)


PROBES = tuple(Probe(name, 5, _probe, load_spectrum, retried, "spectrum") for name in ("spectrum", "common", "whole"))


def minibatch(draw: int, batch: int, size: int) -> Tensor:
    """Indices of a probe's minibatch, int64 on the CPU: a function of the draw and the sizes alone.

    All runs of a task meet the same minibatches, so that they are not told apart by the luck of the draw.
    """
    generator = torch.Generator().manual_seed(seed_of("probe minibatch", draw, batch, size))
    return torch.randperm(size, generator=generator)[:batch]


def probe_batch(problem: Problem, draw: int, batch: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Inputs (in the dtype, if they are vectors) and targets of a probe's minibatch."""
    train = problem.train
    at = minibatch(draw, batch, len(train)).to(train.inputs.device)
    inputs = train.inputs[at]
    return inputs.to(dtype) if inputs.is_floating_point() else inputs, train.targets[at]


def _dense(problem: Problem, weights: Tensor, spec: DenseSpectrum, batch: int) -> dict[str, Tensor]:
    draws = [
        _eigenvalues(problem, weights, *probe_batch(problem, k, batch, weights.dtype)) for k in range(spec.minibatches)
    ]
    return DenseSpectra.of([e.cpu() for e, _ in draws], len(weights), [retried for _, retried in draws]).to_arrays()


def _eigenvalues(problem: Problem, weights: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, bool]:
    """Eigenvalues on one minibatch without the exact zeros that the reduction takes out, and whether it was retried."""
    loss, reduced, _ = reduced_loss(problem, weights, inputs, targets)
    network = Perceptrons.of(problem.model, problem.objective, inputs) if len(reduced) > _MATRIX else None
    if network is None:
        return minibatch_eigenvalues(loss, reduced)
    return _range_eigenvalues(network, weights, inputs, targets), False


def _range_eigenvalues(network: Perceptrons, weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    """Those of a perceptron that is too large for a matrix, but for exact zeros: on small batches they are few."""
    shapes = [(layer.shape[0], layer.shape[1]) for layer in network.layers]
    batch = MLPBatch(
        weights, shapes, inputs, network.activation.value, lambda z: mean_loss(network.objective, z, targets),
        network.layers[0].bias is not None,
    )  # fmt: skip
    return without_rounding(exact_eigenvalues(RangeBasis(batch), _RANGE_MEMORY), len(weights))


def _hessian(problem: Problem, weights: Tensor, draw: int, batch: int) -> HessianOperator:
    loss, at, zeros = reduced_loss(problem, weights, *probe_batch(problem, draw, batch, weights.dtype))
    return HessianOperator(loss, at, rows=block_rows(len(at)), zeros=zeros)


def block_rows(size: int) -> int:
    """Rows of a block: depends on shapes alone, since which block is fastest would differ from run to run."""
    return max(1, _BLOCK_NUMBERS // size)


def reduced_loss(problem: Problem, weights: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Loss, Tensor, int]:
    """The loss on a minibatch in the span of its inputs where that is exact, the weights there, the zeros left out.

    Args:
        problem: network and loss.
        weights: flat `[d]`.
        inputs: of the minibatch, in the weights' dtype if they are vectors.
        targets: of the minibatch.
    """
    model, zeros = problem.model, 0
    if model.linear_in_inputs:
        reduced = ReducedInputs(inputs, next(iter(model.slices().values())), model.shapes[0][0])
        model = model.with_features(reduced.inputs.shape[1])
        inputs, weights, zeros = reduced.inputs, reduced.reduce(weights), reduced.zeros
    return _loss(problem, model, inputs, targets), weights, zeros


def _loss(problem: Problem, model: FlatModel, inputs: Tensor, targets: Tensor) -> Loss:
    return lambda flat: mean_loss(problem.objective, model(flat, inputs), targets)
