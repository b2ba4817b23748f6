"""The Hessian of a loss on a flat parameter vector: as an operator linearised once, of a stack, and as a matrix.

At points where the loss has no second derivative (ReLU kinks) a product is that of the linear piece that torch takes
the point to belong to: for ReLU at exactly 0 the piece of slope 0. Such points have measure zero, but they are met:
a unit that is dead on the whole batch, or weights that are exactly zero, lie on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from suite.curvature.normalisation import PlainNormalisation
from suite.curvature.operator import MEMORY, SymmetricOperator, bytes_of_temporaries

Loss = Callable[[Tensor], Tensor]


class HessianOperator(SymmetricOperator):
    """H of `loss` at `params`, by products. The gradient's graph is built once and kept (reverse over reverse).

    H is symmetric, so the transposed product that reverse mode gives is the product. It costs what
    `torch.func.linearize` does (about one gradient a vector) and takes milliseconds to set up, not 200 ms or more.

    Args:
        loss: `[d] → scalar`.
        params: where, `[d]`, float32 or float64.
        rows: rows multiplied at once; None chooses by a short measurement (`choice` says what came of it), so that
            rounding may differ from one construction to the next.
        memory: bytes that the temporaries of a block may take.
        compiled: fuse the product by `torch.compile`, for blocks of `rows` (1 if None). It takes tens of seconds and,
            on a CPU, a C++ compiler; it pays for thousands of products of a network with much element-wise work.
        zeros: eigenvalues known to be exactly zero that a reduction of `loss` has left out.

    Raises:
        ValueError: the loss is not finite there, or differs between two evaluations (dropout left on).
    """

    def __init__(
        self,
        loss: Loss,
        params: Tensor,
        rows: int | None = None,
        memory: int = MEMORY,
        compiled: bool = False,
        zeros: int = 0,
    ) -> None:
        params = params.detach()
        check_loss(loss, params)
        super().__init__(len(params), params.dtype, params.device)
        self.zeros = zeros
        self._pull = cast(Callable[[Tensor], tuple[Tensor]], vjp(grad(loss), params)[1])
        self._fused: Callable[[Tensor], Tensor] | None = None
        if compiled:
            self._choose_rows(rows or 1, memory)
            self._fused = _fused(self._eager, self._zeros(self.rows))
            self.choice = f"{self.rows} rows, compiled"
        else:
            self._choose_rows(rows, memory)

    def _zeros(self, rows: int) -> Tensor:
        return torch.zeros(rows, self.size, dtype=self.dtype, device=self.device)

    def _product(self, block: Tensor) -> Tensor:
        if self._fused is None:
            return self._eager(block)
        if len(block) == self.rows:
            return self._fused(block)
        return self._fused(torch.cat([block, self._zeros(self.rows - len(block))]))[: len(block)]

    def _eager(self, block: Tensor) -> Tensor:
        if len(block) == 1:
            return self._pull(block[0])[0][None]
        return vmap(lambda v: self._pull(v)[0])(block)


def _fused(product: Callable[[Tensor], Tensor], example: Tensor) -> Callable[[Tensor], Tensor]:
    """The product as one compiled graph of plain tensor operations, for blocks of the example's shape."""
    with torch.no_grad():
        # a plain function: make_fx counts the arguments of a bound method wrongly
        compiled = torch.compile(make_fx(lambda block: product(block))(example), dynamic=False)  # noqa: PLW0108
        compiled(example)

    def run(block: Tensor) -> Tensor:
        with torch.no_grad():
            return cast(Tensor, compiled(block))

    return run


class StackedHessian(SymmetricOperator):
    """Hessians of S losses of one shape, each at its own parameters, as one block-diagonal operator.

    One call advances every (network, minibatch, probe) triple, so that small networks fill a device. Vectors are
    `[S·k, d]`: the k probes of the first network, then those of the second.

    Args:
        loss: (flat `[d]`, *batch) → scalar, for one network.
        params: `[S, d]`.
        batch: tensors `[S, …]`: what each network's minibatch is made of.
        memory: bytes that the temporaries of a block may take; the graph itself takes what S gradients take.

    Raises:
        ValueError: sizes that do not fit, or a loss that is not finite or not deterministic.
    """

    def __init__(self, loss: Callable[..., Tensor], params: Tensor, *batch: Tensor, memory: int = MEMORY) -> None:
        if params.ndim != 2 or any(len(b) != len(params) for b in batch):
            shapes = [tuple(t.shape) for t in (params, *batch)]
            raise ValueError(f"a stack is parameters [S, d] and a batch of [S, …], found {shapes}")
        params = params.detach()
        check_loss(lambda w: vmap(loss)(w, *batch).sum(), params)
        super().__init__(params.shape[1], params.dtype, params.device)
        self.stack = len(params)
        with PlainNormalisation():
            self._pull = cast(Callable[[Tensor], tuple[Tensor]], vjp(lambda w: vmap(grad(loss))(w, *batch), params)[1])
        self._check_against_loop(loss, params, batch)
        self._fit(memory)

    def _check_against_loop(self, loss: Callable[..., Tensor], params: Tensor, batch: tuple[Tensor, ...]) -> None:
        """One product of the last network alone: torch's batched derivatives of an operation may be wrong."""
        vector, last = torch.ones(self.size, dtype=self.dtype, device=self.device), [b[-1] for b in batch]

        def own(flat: Tensor) -> Tensor:
            return loss(flat, *last)

        alone = cast(Callable[[Tensor], tuple[Tensor]], vjp(grad(own), params[-1])[1])(vector)[0]
        stacked = self._pull(torch.ones_like(params))[0][-1]
        slack = 1e4 * torch.finfo(self.dtype).eps * float(alone.abs().max())
        if not bool((stacked - alone).abs().max() <= slack):
            raise ValueError(
                "torch differentiates some operation of this network wrongly when networks are stacked: "
                "use one HessianOperator a network"
            )

    def _fit(self, memory: int) -> None:
        one = torch.ones(self.stack, self.size, dtype=self.dtype, device=self.device)
        probes = max(1, memory // max(1, bytes_of_temporaries(lambda: self._pull(one)[0])))
        self.rows = self.stack * probes
        self.choice = f"{probes} probes of {self.stack} networks at once"

    def blocks(self, count: int) -> list[slice]:
        """All rows at once: which network a row belongs to follows from its place among all."""
        return [slice(0, count)]

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """H_s v for the k rows of each network s: `[S·k, d]` → `[S·k, d]`."""
        self._check(vectors)
        if vectors.ndim != 2 or len(vectors) % self.stack:
            raise ValueError(f"{tuple(vectors.shape)} is not the shape of k vectors for each of {self.stack} networks")
        blocks = vectors.view(self.stack, -1, self.size)
        step = max(1, self.rows // self.stack)
        pieces = [self._product(blocks[:, i : i + step]) for i in range(0, blocks.shape[1], step)]
        return torch.cat(pieces, 1).reshape(vectors.shape)

    def _product(self, block: Tensor) -> Tensor:
        """`[S, k, d]` → `[S, k, d]`, halving k where the device runs out of memory."""
        try:
            if block.shape[1] == 1:
                return self._pull(block[:, 0])[0][:, None]
            return vmap(lambda v: self._pull(v)[0], in_dims=1, out_dims=1)(block)
        except torch.OutOfMemoryError:
            if block.shape[1] == 1:
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        half = block.shape[1] // 2
        self.rows, self.choice = self.stack * half, f"{half} probes of {self.stack} networks: more did not fit"
        return torch.cat([self._product(part) for part in torch.split(block, half, 1)], 1)


def dense_hessian(loss: Loss, params: Tensor, chunk: int = 64) -> Tensor:
    """The full matrix, symmetrised, by batched products with unit vectors of one retained gradient graph.

    Args:
        loss: `[d] → scalar`.
        params: `[d]`.
        chunk: columns at a time.

    Returns:
        `[d, d]` in the dtype of `params`.

    Raises:
        ValueError: as for `HessianOperator`, or an entry is not finite.
    """
    check_loss(loss, params)
    size = len(params)
    columns = torch.empty(size, size, dtype=params.dtype, device=params.device)
    pull = cast(Callable[[Tensor], tuple[Tensor]], vjp(grad(loss), params)[1])
    with torch.no_grad():
        for start in range(0, size, chunk):
            width = min(chunk, size - start)
            units = torch.zeros(width, size, dtype=params.dtype, device=params.device)
            units[:, start : start + width].fill_diagonal_(1)
            columns[start : start + width] = vmap(lambda v: pull(v)[0])(units)
    if not bool(columns.isfinite().all()):
        raise ValueError("the Hessian has entries that are not finite")
    return (columns + columns.T) / 2


def check_loss(loss: Loss, params: Tensor) -> None:
    """Two evaluations must agree and be finite: a network in training mode is found before anything is measured."""
    with torch.no_grad():
        first, second = loss(params), loss(params)
    if not bool(first.isfinite()):
        raise ValueError(f"the loss is {float(first)} at these parameters")
    if not bool(first == second):
        raise ValueError(
            f"the loss is not deterministic ({float(first)} and {float(second)} at the same parameters): "
            "put the network in evaluation mode"
        )
