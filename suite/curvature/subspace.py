"""All eigenvalues of the minibatch Hessian of a multi-layer perceptron, by way of the Hessian's range.

In a layer the gradient is Σ_i δ_i x_iᵀ over the samples of the batch (x_i what enters the layer, 1 appended where there
are biases; δ_i what comes back to its units). Its derivative in any direction is Σ_i (dδ_i) x_iᵀ + δ_i (dx_i)ᵀ, where

- (dδ_i)_j = 0 at a unit j with φ' = 0 and φ'' · (what comes back) = 0 at sample i: row j is in the span of the x_i at
  whose samples unit j is alive;
- (dx_i)_k = 0 at a unit k of the layer below with φ' = 0 at sample i, and for data and biases: column k is in the span
  of the δ_i at whose samples unit k moves;
- at the outputs δ_i and dδ_i are in the column space of the criterion's Hessian and gradient (for cross-entropy the
  vectors that sum to zero).

The range is in the sum of the row-structured and the column-structured space, of which an orthonormal basis B is made;
Bᵀ H B has all eigenvalues of H but d − D exact zeros. It is assembled from the batch's signals (dW x_i carried forward
and back through the net); no vector with d entries is formed. The derivation is ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.func import grad, jacrev
from torch.nn.functional import pad

Activation = Callable[[Tensor], Tensor]
Criterion = Callable[[Tensor], Tensor]
Shapes = Sequence[tuple[int, int]]

_EPS = torch.finfo(torch.float64).eps
_RANK_SLACK = 10  # sines of angles between subspaces below this many times the usual rounding floor are zero
_BLOCK_NUMBERS = 2**20  # entries of one block of signals, a function of shapes only


class MLPBatch:
    """One forward and backward pass of a multi-layer perceptron on a batch, in float64, with what its Hessian needs.

    Args:
        params: flat `[d]`: for each layer the weight, row-major, then the bias if there are biases (PyTorch's order).
        shapes: (outputs, inputs) of each layer, input side first.
        inputs: `[b, n_0]`.
        activation: elementwise, between layers; twice differentiable by torch (at kinks, torch's linear piece).
        criterion: outputs `[b, n_L]` → scalar, the mean loss over the batch.
        bias: whether each layer has one.

    Raises:
        ValueError: shapes that do not follow one another or do not fit `params` and `inputs`; no samples; outputs or
            derivatives that are not finite.

    Attributes:
        layer_inputs: `[b, m]` for each layer, m its inputs and 1 for the bias.
        slopes: φ' `[b, n]` at each hidden layer; bends: φ'' · (what comes back).
        deltas: ∂ loss / ∂ (what leaves the layer, before the activation) `[b, n]` for each layer.
        output_curvature: ∂² loss / ∂ outputs², `[b n_L, b n_L]`.
    """

    def __init__(
        self, params: Tensor, shapes: Shapes, inputs: Tensor, activation: Activation, criterion: Criterion, bias: bool
    ) -> None:
        _check_shapes(params, shapes, inputs, bias)
        self.shapes, self.bias, self.size, self.batch = tuple(shapes), bias, len(params), len(inputs)
        self.matrices = _matrices(params.detach().double(), shapes, bias)
        self.weights = [m[:, :-1] if bias else m for m in self.matrices]
        self.layer_inputs: list[Tensor] = []
        self.slopes: list[Tensor] = []
        self.bends: list[Tensor] = []
        outputs, second = self._forward(inputs.detach().double(), activation)
        # reverse over reverse: forward mode fails in torch's own mse_loss
        self.output_curvature = jacrev(grad(criterion))(outputs).reshape(outputs.numel(), -1)
        self.deltas = self._backward(grad(criterion)(outputs), second)
        measured = [outputs, self.output_curvature, *self.deltas, *self.bends]
        if not all(bool(values.isfinite().all()) for values in measured):
            raise ValueError("the network's outputs or their derivatives are not finite at these parameters")

    def _forward(self, values: Tensor, activation: Activation) -> tuple[Tensor, list[Tensor]]:
        second = []
        for matrix in self.matrices[:-1]:
            self.layer_inputs.append(pad(values, (0, int(self.bias)), value=1.0))
            before = self.layer_inputs[-1] @ matrix.T
            values = activation(before)
            slope = grad(lambda z: activation(z).sum())
            self.slopes.append(slope(before))
            second.append(grad(lambda z, slope=slope: slope(z).sum())(before))
        self.layer_inputs.append(pad(values, (0, int(self.bias)), value=1.0))
        return self.layer_inputs[-1] @ self.matrices[-1].T, second

    def _backward(self, delta: Tensor, second: list[Tensor]) -> list[Tensor]:
        deltas = [delta]
        for slope, bend, weight in zip(self.slopes[::-1], second[::-1], self.weights[:0:-1], strict=True):
            back = deltas[0] @ weight
            self.bends.insert(0, bend * back)
            deltas.insert(0, slope * back)
        return deltas

    def tangents(self, layer: int, outward: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """How signals move along directions dW in one layer's weights (biases included), at this layer and above.

        From what directions dW send on, dW x_i `[c, b, n_l]`; dWᵀ δ_i only moves what is below, which symmetry gives.
        Returns dδ `[c, b, n]` of this layer and of each above, and dx (what enters) of each above.
        """
        before, moved = [outward], []
        for slope, weight in zip(self.slopes[layer:], self.weights[layer + 1 :], strict=True):
            moved.append(before[-1] * slope)
            before.append(moved[-1] @ weight.T)
        deltas = [(before[-1].flatten(1) @ self.output_curvature).view_as(before[-1])]
        for k in range(len(self.slopes) - 1, layer - 1, -1):
            back = deltas[0] @ self.weights[k + 1]
            deltas.insert(0, self.slopes[k] * back + self.bends[k] * before[k - layer])
        return deltas, moved


class _LayerBasis:
    """An orthonormal basis of the range in one layer's matrices M `[n, m]` (m: inputs, and 1 for a bias).

    In three steps, all orthonormal: M = Z (A Xᵀ + P C Yᵀ), X the span of the inputs, Y the rest of the units that move,
    P the span of the signals that come back, Z the rows there are at all; then each row of A in its own frame, of which
    the first vectors span the inputs seen while that unit is alive ("own") and the others do not ("rest"); then, in the
    space of the rest and of C together, the span of what the column-structured matrices have there ("mixed").

    Takes x `[b, m]`, δ `[b, n]`, Z `[n, z]`, and where dδ `[b, z]` and dx `[b, m]` can be anything but zero (bool).
    """

    def __init__(self, entering: Tensor, deltas: Tensor, rows: Tensor, alive: Tensor, moving: Tensor) -> None:
        self.entering, self.deltas, self.rows = entering, deltas @ rows, rows
        self.inputs, self.others = _input_frames(entering, moving.any(0))
        signals = _unit_rows(self.deltas) * moving.any(1)[:, None]
        self.signals = _span(signals.T)
        self.frames, ranks = _masked_frames((_unit_rows(entering) @ self.inputs).T, alive.T)
        own = torch.arange(self.inputs.shape[1], device=entering.device) < ranks[:, None]
        across = self.signals.shape[1] * self.others.shape[1]
        rest = pad((~own & alive.any(0)[:, None]).flatten(), (0, across), value=True)
        self.own, self.rest = own.flatten().nonzero()[:, 0], rest.nonzero()[:, 0]
        self.mixed = self._mixed_span((signals @ self.signals).T, moving.T)
        self.length = len(rest)
        self.size = len(self.own) + (len(self.rest) if self.mixed is None else self.mixed.shape[1])

    def _mixed_span(self, signals: Tensor, moving: Tensor) -> Tensor | None:
        """Orthonormal `[rest, t]`; None for all of it, where there are no fewer column-structured matrices than that.

        The singular values are the sines of the angles between the column-structured and the row-structured space.
        """
        frames, ranks = _masked_frames(signals, moving)
        column, which = (torch.arange(signals.shape[0], device=ranks.device) < ranks[:, None]).nonzero().T
        if len(column) >= len(self.rest):
            return None
        vectors = frames[column, :, which]
        framed = torch.einsum("kr,jrt->kjt", self.inputs, self.frames)[column]
        across = vectors[:, :, None] * self.others[column][:, None, :]
        upper = (vectors @ self.signals.T)[:, :, None] * framed
        outside = torch.cat([upper.flatten(1), across.flatten(1)], 1)[:, self.rest].T
        span, sines, _ = torch.linalg.svd(outside, full_matrices=False)
        return span[:, : int((sines > _RANK_SLACK * len(outside) * _EPS).sum())]  # type: ignore[no-any-return]

    def _framed(self, coords: Tensor) -> tuple[Tensor, Tensor]:
        """A `[c, z, r]` and C `[c, p, y]` of coordinates `[c, D]`."""
        own, mixed = coords[:, : len(self.own)], coords[:, len(self.own) :]
        flat = torch.zeros(len(coords), self.length, dtype=coords.dtype, device=coords.device)
        flat[:, self.own] = own
        flat[:, self.rest] = mixed if self.mixed is None else mixed @ self.mixed.T
        rows, rank = self.frames.shape[:2]
        upper, across = flat[:, : rows * rank].view(len(flat), rows, rank), flat[:, rows * rank :]
        a = torch.einsum("cjt,jrt->cjr", upper, self.frames)
        return a, across.view(len(flat), self.signals.shape[1], self.others.shape[1])

    def _coordinates(self, a: Tensor, c: Tensor) -> Tensor:
        """The transpose of `_framed`."""
        flat = torch.cat([torch.einsum("cjr,jrt->cjt", a, self.frames).flatten(1), c.flatten(1)], 1)
        rest = flat[:, self.rest]
        return torch.cat([flat[:, self.own], rest if self.mixed is None else rest @ self.mixed], 1)

    def expand(self, coords: Tensor) -> Tensor:
        """`[c, D]` → `[c, n, m]`."""
        a, c = self._framed(coords)
        return self.rows @ (a @ self.inputs.T + self.signals @ c @ self.others.T)

    def restrict(self, matrices: Tensor) -> Tensor:
        """`[c, n, m]` → `[c, D]`."""
        kept = self.rows.T @ matrices
        return self._coordinates(kept @ self.inputs, self.signals.T @ kept @ self.others)

    def outward(self, coords: Tensor) -> Tensor:
        """What directions dW `[c, D]` send on: dW x_i `[c, b, n]`."""
        a, _ = self._framed(coords)
        return (self.entering @ self.inputs) @ a.mT @ self.rows.T

    def restrict_tangents(self, deltas: Tensor, moved: Tensor | None) -> Tensor:
        """Coordinates `[c, D]` of Σ_i dδ_i x_iᵀ + δ_i dx_iᵀ from dδ `[c, b, n]` and dx `[c, b, m]` (None: zero)."""
        a = (deltas @ self.rows).mT @ (self.entering @ self.inputs)
        if moved is None:
            return self._coordinates(a, a.new_zeros(len(a), self.signals.shape[1], self.others.shape[1]))
        moved = pad(moved, (0, len(self.inputs) - moved.shape[2]))
        c = (self.deltas @ self.signals).T @ (moved @ self.others)
        return self._coordinates(a + self.deltas.T @ (moved @ self.inputs), c)


class RangeBasis:
    """An orthonormal basis of the range of the Hessian of a perceptron's loss on one batch (or of a little more).

    Attributes:
        size: D, the dimension.
        zeros: d − D, eigenvalues that are exactly zero.
    """

    def __init__(self, net: MLPBatch) -> None:
        self.net, self.layers = net, _layer_bases(net)
        self.size = sum(layer.size for layer in self.layers)
        self.zeros = net.size - self.size

    def expand(self, coords: Tensor) -> Tensor:
        """Coordinates float64 `[…, D]` as directions of the flat parameters, `[…, d]`."""
        rows = coords.reshape(math.prod(coords.shape[:-1]), self.size)
        parts = torch.split(rows, [layer.size for layer in self.layers], 1)
        flat = [_flat(layer.expand(part), self.net.bias) for layer, part in zip(self.layers, parts, strict=True)]
        return torch.cat(flat, 1).view(*coords.shape[:-1], self.size + self.zeros)

    def restrict(self, directions: Tensor) -> Tensor:
        """The transpose of `expand`: `[…, d]` → `[…, D]`; of an expanded vector its coordinates."""
        matrices = _matrices(directions.reshape(-1, self.net.size), self.net.shapes, self.net.bias)
        coords = [layer.restrict(matrix) for layer, matrix in zip(self.layers, matrices, strict=True)]
        return torch.cat(coords, 1).view(*directions.shape[:-1], self.size)


def projected_hessian(basis: RangeBasis) -> Tensor:
    """Bᵀ H B of the basis's own batch, float64 `[D, D]`: directions of one layer at a time, in blocks."""
    net = basis.net
    matrix = torch.empty(basis.size, basis.size, dtype=torch.float64, device=net.deltas[0].device)
    widest = max(*(net.batch * n for n, _ in net.shapes), *_layer_sizes(net.shapes, net.batch, net.bias))
    rows, start = max(1, _BLOCK_NUMBERS // widest), 0
    for k, layer in enumerate(basis.layers):
        stop = start + layer.size
        for first in range(0, layer.size, rows):
            block = matrix[start + first : min(start + first + rows, stop), start:]
            units = torch.eye(len(block), layer.size, dtype=matrix.dtype, device=matrix.device).roll(first, 1)
            deltas, moved = net.tangents(k, layer.outward(units))
            above = zip(basis.layers[k:], deltas, [None, *moved], strict=True)
            torch.cat([upper.restrict_tangents(delta, dx) for upper, delta, dx in above], 1, out=block)
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        start = stop
    return matrix


def exact_eigenvalues(basis: RangeBasis, memory: int) -> Tensor:
    """The eigenvalues of the Hessian of the loss on the basis's batch, but for `basis.zeros` exact zeros.

    Args:
        basis: of an `MLPBatch`.
        memory: bytes this may take: the matrix, LAPACK's copy of it, blocks of signals, and the basis.

    Returns:
        float64 `[D]` ascending; some of them may be zero to rounding.

    Raises:
        ValueError: it would take more memory than that. Found before anything is assembled.
    """
    net = basis.net
    mixed = sum(layer.mixed.numel() for layer in basis.layers if layer.mixed is not None)
    needed = _bytes(basis.size, mixed, net.shapes, net.batch)
    if needed > memory:
        fits = largest_batch(net.shapes, memory, bias=net.bias)
        raise ValueError(
            f"all {basis.size} eigenvalues on a batch of {net.batch} take {needed / 1e9:.3g} GB (float64 matrix and "
            f"workspace), more than the {memory / 1e9:.3g} GB allowed: "
            + (f"a batch of {fits} is certain to fit" if fits else "not even a batch of 1 is certain to fit")
        )
    return torch.linalg.eigvalsh(projected_hessian(basis))  # type: ignore[no-any-return]


def reduced_size(shapes: Shapes, batch: int, *, bias: bool = False) -> int:
    """An upper bound of D from shapes alone; with ReLU about half of it is reached.

    >>> reduced_size([(200, 784), (200, 200), (200, 200), (200, 200), (10, 200)], 8)
    12624
    """
    return sum(_layer_sizes(shapes, batch, bias))


def largest_batch(shapes: Shapes, memory: int, *, bias: bool = False) -> int:
    """The largest batch of which `exact_eigenvalues` certainly fits this many bytes; 0 if none does.

    >>> largest_batch([(200, 784), (200, 200), (200, 200), (200, 200), (10, 200)], 8 * 10**9)
    14
    """

    def fits(batch: int) -> bool:
        sizes = _layer_sizes(shapes, batch, bias)
        return _bytes(sum(sizes), sum(size**2 for size in sizes[1:]), shapes, batch) <= memory

    return next(batch for batch in itertools.count() if not fits(batch + 1))


def _layer_sizes(shapes: Shapes, batch: int, bias: bool) -> list[int]:
    sizes = []
    for k, (outputs, inputs) in enumerate(shapes):
        rank, signals = min(batch, inputs + bias), min(batch, outputs) if k else 0
        sizes.append(outputs * rank + signals * (inputs + bias - rank))
    return sizes


def _bytes(size: int, mixed: int, shapes: Shapes, batch: int) -> int:
    curvature = 3 * (batch * shapes[-1][0]) ** 2
    blocks = (3 * len(shapes) + 8) * max(_BLOCK_NUMBERS, batch * max(outputs for outputs, _ in shapes))
    return 8 * (2 * size**2 + mixed + curvature + blocks)


def _layer_bases(net: MLPBatch) -> list[_LayerBasis]:
    rows = [torch.eye(d.shape[1], dtype=d.dtype, device=d.device) for d in net.deltas[:-1]] + [_output_rows(net)]
    alive, moving = _live_units(net, rows[-1].shape[1])
    parts = zip(net.layer_inputs, net.deltas, rows, alive, moving, strict=True)
    return [_LayerBasis(*part) for part in parts]


def _live_units(net: MLPBatch, outputs: int) -> tuple[list[Tensor], list[Tensor]]:
    """For each layer where dδ `[b, n]` and where dx `[b, m]` can be anything but zero.

    A sample that meets a dead layer moves no signal below that layer, and one that brings nothing moves none above.
    """
    alive = [torch.ones(net.batch, outputs, dtype=torch.bool, device=net.deltas[0].device)]
    for slope, bend in zip(net.slopes[::-1], net.bends[::-1], strict=True):
        alive.insert(0, ((slope != 0) | (bend != 0)) & alive[0].any(1, keepdim=True))
    moving = [torch.zeros_like(net.layer_inputs[0], dtype=torch.bool)]
    for slope, entering in zip(net.slopes, net.layer_inputs, strict=False):
        moves = (slope != 0) & ((entering != 0) | moving[-1]).any(1, keepdim=True)
        moving.append(pad(moves, (0, int(net.bias)), value=False))
    return alive, moving


def _output_rows(net: MLPBatch) -> Tensor:
    """Orthonormal `[n_L, z]`: where the output signals and their derivatives are."""
    outputs = net.deltas[-1].shape[1]
    columns = net.output_curvature.view(net.batch, outputs, -1).transpose(0, 1).flatten(1)
    return _span(torch.cat([_unit_rows(columns.T), _unit_rows(net.deltas[-1])]).T)


def _input_frames(entering: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
    """X `[m, r]`, the span of the inputs `[b, m]`, and Y `[m, y]`, the rest of the units that are there or move."""
    units = (moves | (entering != 0).any(0)).nonzero()[:, 0]
    vectors = _unit_rows(entering)[:, units].T
    left, singular, _ = torch.linalg.svd(vectors, full_matrices=bool(moves.any()))
    rank = _rank(singular, max(vectors.shape))
    frames = torch.zeros(len(moves), left.shape[1], dtype=left.dtype, device=left.device)
    frames[units] = left
    return frames[:, :rank], frames[:, rank:] if moves.any() else frames[:, :0]


def _masked_frames(vectors: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """For each mask `[q, b]` a frame `[q, r, r]` whose first k vectors span the masked `vectors` `[r, b]`; k `[q]`."""
    patterns, inverse = torch.unique(masks, dim=0, return_inverse=True)
    frames, singular, _ = torch.linalg.svd(vectors * patterns[:, None, :], full_matrices=True)
    floor = max(vectors.shape) * _EPS * singular[:, :1]
    return frames[inverse], (singular > floor).sum(1)[inverse]


def _span(vectors: Tensor) -> Tensor:
    """Orthonormal columns that span those of `vectors`."""
    left, singular, _ = torch.linalg.svd(vectors, full_matrices=False)
    return left[:, : _rank(singular, max(vectors.shape))]  # type: ignore[no-any-return]


def _rank(singular: Tensor, size: int) -> int:
    """How many of these descending singular values are above rounding level."""
    return int((singular > size * _EPS * singular[:1]).sum())


def _unit_rows(vectors: Tensor) -> Tensor:
    """Rows at length 1, zeros left: a span must not depend on how strong a sample's signal is."""
    norms = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(norms > 0, norms, 1.0)


def _matrices(flat: Tensor, shapes: Shapes, bias: bool) -> list[Tensor]:
    """Layer matrices `[…, n, m + bias]` of flat parameters `[…, d]`, the bias as last column."""
    sizes = [size for outputs, inputs in shapes for size in (outputs * inputs, outputs * bias)]
    parts = torch.split(flat, sizes, -1)
    lead = flat.shape[:-1]
    return [
        torch.cat([weight.reshape(*lead, outputs, inputs), b.reshape(*lead, outputs, int(bias))], -1)
        for (outputs, inputs), weight, b in zip(shapes, parts[::2], parts[1::2], strict=True)
    ]


def _flat(matrices: Tensor, bias: bool) -> Tensor:
    """The inverse of `_matrices` for one layer: `[c, n, m + bias]` → `[c, …]`."""
    weights = matrices.shape[2] - bias
    return torch.cat([matrices[:, :, :weights].flatten(1), matrices[:, :, weights:].flatten(1)], 1)


def _check_shapes(params: Tensor, shapes: Shapes, inputs: Tensor, bias: bool) -> None:
    chain = [inputs.shape[-1], *(n for n, _ in shapes)]
    if inputs.ndim != 2 or not len(inputs) or not shapes or [m for _, m in shapes] != chain[:-1] or min(chain) < 1:
        raise ValueError(
            f"shapes are (outputs, inputs) of each layer, and inputs one or more rows that the first one takes; "
            f"given {list(shapes)} and inputs {list(inputs.shape)}"
        )
    size = sum(n * (m + bias) for n, m in shapes)
    if params.shape != (size,):
        raise ValueError(f"layers of shapes {list(shapes)} have {size} parameters, not {list(params.shape)}")
