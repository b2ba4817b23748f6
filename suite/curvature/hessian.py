"""The Hessian of a loss on a flat parameter vector: as an operator linearised once, and as a matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp, vmap

Loss = Callable[[Tensor], Tensor]

_BLOCK_NUMBERS = 2**24
"""Entries of one block of vectors: a function of shapes only, so that results do not depend on free memory."""


class HessianOperator:
    """H of `loss` at `params`, by products. The gradient's graph is built once and kept (reverse over reverse).

    H is symmetric, so the transposed product that reverse mode gives is the product. On two CPU cores it costs what
    `torch.func.linearize` does (about one gradient a vector) and takes 2 ms to set up, not 200 ms or more.

    At points where the loss has no second derivative (ReLU kinks) the product is that of the linear piece that torch
    takes the point to belong to.

    Args:
        loss: `[d] → scalar`.
        params: where, `[d]`, float32 or float64.

    Raises:
        ValueError: the loss is not finite there, or differs between two evaluations (dropout left on).
    """

    def __init__(self, loss: Loss, params: Tensor) -> None:
        check_loss(loss, params)
        self._product = cast(Callable[[Tensor], tuple[Tensor]], vjp(grad(loss), params)[1])
        self.size = len(params)
        self.dtype, self.device = params.dtype, params.device

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """H v for `[d]`, or for each row of `[k, d]`."""
        if vectors.ndim == 1:
            return self._product(vectors)[0]
        rows = max(1, _BLOCK_NUMBERS // self.size)
        return torch.cat([vmap(lambda v: self._product(v)[0])(block) for block in torch.split(vectors, rows)])


def dense_hessian(loss: Loss, params: Tensor, chunk: int = 256) -> Tensor:
    """The full matrix, symmetrised, by batched forward-over-reverse products with unit vectors.

    Args:
        loss: `[d] → scalar`.
        params: `[d]`.
        chunk: columns at a time; within a chunk the network is evaluated once.

    Returns:
        `[d, d]` in the dtype of `params`.

    Raises:
        ValueError: as for `HessianOperator`, or an entry is not finite.
    """
    check_loss(loss, params)
    size = len(params)
    columns = torch.empty(size, size, dtype=params.dtype, device=params.device)

    def product(vector: Tensor) -> Tensor:
        return cast(Tensor, jvp(grad(loss), (params,), (vector,))[1])

    for start in range(0, size, chunk):
        width = min(chunk, size - start)
        units = torch.zeros(width, size, dtype=params.dtype, device=params.device)
        units[:, start : start + width].fill_diagonal_(1)
        columns[start : start + width] = vmap(product)(units)
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
