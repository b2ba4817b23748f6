"""Gradients of single inputs and of minibatches, and the curvature along them.

All in float64, whatever training's dtype: where a network fits an input all but perfectly its gradient is a difference
of nearly equal probabilities, of which float32 keeps no digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from suite.curvature.combined import MicroBatchedOperator
from suite.curvature.gauss_newton import Pull
from suite.curvature.hessian import HessianOperator
from suite.measuring.probes.base import Probe, Subject
from suite.measuring.probes.spectrum import minibatch
from suite.metrics.probed.gradients import Gradients
from suite.spec.probes import Gradients as GradientsSpec
from suite.spec.seeds import seed_of
from suite.training.objective import Loss
from suite.training.problem import Problem, Split

_NUMBERS = 2**20
"""Entries of the gradients (or of the widest activation) held at once: a function of shapes alone, never n × d."""
_OUTPUTS = 16
"""Outputs of one input up to which its Gauss–Newton trace is exact: one backward pass each."""
_VECTORS = 8
"""Random vectors of an input beyond that."""


def gradients_probe(subject: Subject, spec: GradientsSpec) -> dict[str, Tensor]:
    """The tensors of `Gradients`, to store.

    Args:
        subject: the checkpoint.
        spec: how many inputs and minibatches.

    Raises:
        ValueError: loss or gradient is not finite.
    """
    problem = _in_float64(subject.problem)
    weights, count = subject.weights.double(), len(problem.train)
    slope = _gradient(problem, weights, problem.train)
    if not bool(slope.isfinite().all()):
        raise ValueError("the gradient is not finite")
    found = _of_samples(problem, weights, slope, _drawn(spec.samples, count))
    turned, moved = _products(problem, problem.train, weights, torch.stack([slope, weights]))
    found |= {"norm": slope.norm(), "curvature": slope @ turned, "turned": turned.norm()}
    found |= {"weights_curvature": weights @ moved}
    if subject.batch == count:
        found |= _rows([(slope, turned)], slope)
    else:
        draws = (_part(problem.train, minibatch(k, subject.batch, count)) for k in range(spec.minibatches))
        found |= _rows([_both(problem, weights, batch) for batch in draws], slope)
    return found | {"size": torch.tensor(count)}


def _load(spec: GradientsSpec, tensors: dict[str, Tensor]) -> Gradients:
    return Gradients.from_arrays(tensors)


PROBES = (Probe("gradients", 2, gradients_probe, _load),)


def _in_float64(problem: Problem) -> Problem:
    def double(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    train = problem.train
    return replace(problem, train=Split(double(train.inputs), double(train.targets)), dtype=torch.float64)


def _drawn(samples: int, count: int) -> Tensor:
    """Which inputs: a function of sizes alone, so that runs are not told apart by the luck of the draw."""
    generator = torch.Generator().manual_seed(seed_of("probe samples", count))
    return torch.randperm(count, generator=generator)[:samples]


def _part(split: Split, at: Tensor) -> Split:
    at = at.to(split.inputs.device)
    return Split(split.inputs[at], split.targets[at])


def _pieces(split: Split, rows: int) -> Iterator[Split]:
    yield from (piece for _, piece in _numbered(split, rows))


def _numbered(split: Split, rows: int) -> Iterator[tuple[int, Split]]:
    """Pieces with the number of their first input.

    What is found of a piece goes into a tensor that is there beforehand: thousands of small ones, each kept where the
    large ones before it were freed, leave holes between them in a CPU's heap that nothing else fits (20 GB of them).
    """
    for start in range(0, len(split), rows):
        yield start, Split(split.inputs[start : start + rows], split.targets[start : start + rows])


def _activation(problem: Problem) -> int:
    """Entries of the widest activation of one input, roughly."""
    inputs = problem.train.inputs
    positions = 1 if inputs.is_floating_point() else inputs.shape[1]
    return positions * max(max(shape) for shape in problem.model.shapes)


def _gradient(problem: Problem, weights: Tensor, split: Split) -> Tensor:
    """Gradient of the mean loss, piece by piece, each weighing by its number of inputs: `[d]`."""
    total = torch.zeros_like(weights)
    for piece in _pieces(split, max(1, _NUMBERS // _activation(problem))):
        total += grad(problem.loss)(weights, piece.inputs, piece.targets) * (len(piece) / len(split))
    return total


def _products(problem: Problem, split: Split, weights: Tensor, vectors: Tensor) -> Tensor:
    """The Hessian of the mean loss at the weights times vectors `[k, d]`, piece by piece, one vector at a time."""

    def part(start: int, stop: int) -> HessianOperator:
        inputs, targets = split.inputs[start:stop], split.targets[start:stop]
        return HessianOperator(lambda w: problem.loss(w, inputs, targets), weights, rows=1)

    micro = max(1, _NUMBERS // _activation(problem))
    return MicroBatchedOperator(part, len(split), micro, keep=len(split) <= micro) @ vectors


def _both(problem: Problem, weights: Tensor, batch: Split) -> tuple[Tensor, Tensor]:
    slope = _gradient(problem, weights, batch)
    return slope, _products(problem, batch, weights, slope[None])[0]


def _rows(pairs: list[tuple[Tensor, Tensor]], slope: Tensor) -> dict[str, Tensor]:
    return {
        "batches": torch.stack([g @ g for g, _ in pairs]),
        "batch_curvatures": torch.stack([g @ h for g, h in pairs]),
        "batch_inner": torch.stack([g @ slope for g, _ in pairs]),
    }


def _of_samples(problem: Problem, weights: Tensor, slope: Tensor, at: Tensor) -> dict[str, Tensor]:
    """Squared norms of single inputs' gradients, their parts along the whole gradient, Gauss–Newton traces."""
    split = _part(problem.train, at)
    single = vmap(grad(lambda w, x, y: problem.loss(w, x[None], y[None])), (None, 0, 0))
    norms, inner = (torch.empty(len(split), dtype=weights.dtype, device=weights.device) for _ in range(2))
    for start, piece in _numbered(split, _at_once(problem, 1)):
        gradients = single(weights, piece.inputs, piece.targets)
        norms[start : start + len(piece)] = gradients.square().sum(1)
        inner[start : start + len(piece)] = gradients @ slope
    traces, exact = gauss_newton_traces(problem, weights, split)
    return {"samples": norms, "inner": inner, "gauss_newton": traces, "exact": exact}


def _at_once(problem: Problem, vectors: int) -> int:
    """How many inputs are differentiated at once, for so many vectors each."""
    return max(1, _NUMBERS // (vectors * max(problem.model.size, _activation(problem))))


def gauss_newton_traces(problem: Problem, weights: Tensor, split: Split) -> tuple[Tensor, Tensor]:
    """The trace of Jᵢᵀ Mᵢ Jᵢ of each input: Jᵢ of its outputs, Mᵢ the Hessian of its loss in them.

    With a root S of M = SSᵀ it is the sum over r of ‖Jᵀ S r‖², r the unit vectors, one for each output, up to 16
    outputs. With more, r are 8 Rademacher vectors of each input's own, whose mean is unbiased. Roots spread the noise
    over all outputs; a label sampled from the network's own distribution, the other unbiased way, is nearly always the
    one whose gradient is nothing once the network is sure.

    Args:
        problem: network and loss, in float64.
        weights: `[d]`.
        split: the inputs.

    Returns:
        float64 `[n]`, and whether they are exact: a bool scalar.
    """
    with torch.no_grad():
        shape = problem.model(weights, split.inputs[:1]).shape[1:]
    outputs = shape.numel()
    exact = outputs <= _OUTPUTS
    generator = torch.Generator().manual_seed(seed_of("probe output vectors", len(split), *shape))
    count = outputs if exact else _VECTORS
    one = _trace_of_one(problem, weights)
    traces = torch.empty(len(split), dtype=weights.dtype, device=weights.device)
    for start, piece in _numbered(split, _at_once(problem, count)):
        if exact:  # a language model's unit vectors would be terabytes
            units = torch.eye(outputs, dtype=weights.dtype, device=weights.device).view(outputs, *shape)
            traces[start : start + len(piece)] = vmap(one, (0, None))(piece.inputs, units)
        else:
            signs = torch.randint(2, (len(piece), count, *shape), generator=generator).to(weights) * 2 - 1
            traces[start : start + len(piece)] = vmap(one)(piece.inputs, signs) / count
    return traces, torch.tensor(exact)


def _trace_of_one(problem: Problem, weights: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """One input and vectors `[k, outputs…]` → Σ_r ‖Jᵀ S r‖²."""

    def trace(inputs: Tensor, vectors: Tensor) -> Tensor:
        outputs, pull = cast(tuple[Tensor, Pull], vjp(lambda w: problem.model(w, inputs[None])[0], weights))
        positions = max(1, outputs[..., 0].numel())
        pulled: Tensor = vmap(lambda r: pull(_root(problem.objective, outputs, r))[0])(vectors)
        return pulled.square().sum() / positions

    return trace


def _root(loss: Loss, outputs: Tensor, vectors: Tensor) -> Tensor:
    """S r with SSᵀ the Hessian of each prediction's loss in its outputs: diag p − ppᵀ, or I for squared errors."""
    if loss == "mse":
        return vectors
    p = outputs.softmax(-1)
    return p.sqrt() * vectors - p * (p.sqrt() * vectors).sum(-1, keepdim=True)
