"""Operators made of operators: sums over micro-batches, preconditioning, deflation, a count of products."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suite.curvature.hessian import StackedHessian
from suite.curvature.operator import SymmetricOperator

Make = Callable[[int, int], SymmetricOperator]


def _plain(operator: SymmetricOperator) -> SymmetricOperator:
    """Whose rows may be multiplied in any grouping.

    Raises:
        ValueError: a stack, whose rows belong to networks by their place.
    """
    if isinstance(operator, StackedHessian):
        raise ValueError("a stack of networks cannot be combined: take one HessianOperator a network")
    return operator


class MicroBatchedOperator(SymmetricOperator):
    """The operator of a batch's mean loss as the weighted sum of its micro-batches' operators.

    Every micro-batch weighs by its number of samples, so unequal ones are right. A batch whose graph does not fit is
    handled by building one micro-batch's graph at a time, for every product anew (`keep=False`: the check of the loss
    and the gradient's graph come on top of every product); with `keep=True` all graphs are built once.

    Args:
        make: (first sample, one past the last) → the operator of that part's mean loss; give it its `rows`, or each
            part is measured before it is used.
        batch: number of samples n.
        micro: samples of a micro-batch; the last one may be smaller.
        keep: whether the parts' graphs are kept.

    Raises:
        ValueError: sizes below one.
    """

    def __init__(self, make: Make, batch: int, micro: int, keep: bool = False) -> None:
        if batch < 1 or micro < 1:
            raise ValueError(f"a batch of {batch} in parts of {micro}: both must be at least 1")
        self._parts = [(start, min(start + micro, batch)) for start in range(0, batch, micro)]
        self._make, self._batch = make, batch
        first = _plain(make(*self._parts[0]))
        if first.zeros:
            raise ValueError("micro-batches that are each reduced to a space of their own cannot be added")
        super().__init__(first.size, first.dtype, first.device)
        self.rows, self.choice = first.rows, f"{len(self._parts)} micro-batches; {first.choice}"
        self._kept = [first, *(make(*p) for p in self._parts[1:])] if keep else None

    def _product(self, block: Tensor) -> Tensor:
        total = torch.zeros_like(block)
        for i, (start, stop) in enumerate(self._parts):
            part = self._kept[i] if self._kept else self._make(start, stop)
            total.add_(part @ block, alpha=(stop - start) / self._batch)
        return total


class PreconditionedOperator(SymmetricOperator):
    """P^-½ H P^-½ for a positive diagonal P: the curvature that a preconditioned optimizer such as AdamW meets.

    Args:
        operator: H.
        diagonal: of P, `[d]`.

    Raises:
        ValueError: an entry of P is not positive and finite.
    """

    def __init__(self, operator: SymmetricOperator, diagonal: Tensor) -> None:
        if diagonal.shape != (operator.size,) or not bool((diagonal > 0).all() & diagonal.isfinite().all()):
            raise ValueError(f"a preconditioner has {operator.size} positive, finite entries")
        if operator.zeros:
            raise ValueError("a preconditioner does not keep the space that a reduced operator lives in")
        super().__init__(operator.size, operator.dtype, operator.device)
        self.rows, self.choice = operator.rows, operator.choice
        self._operator, self._root = _plain(operator), diagonal.double().rsqrt().to(operator.device, operator.dtype)

    def _product(self, block: Tensor) -> Tensor:
        return (self._operator @ (block * self._root)).mul_(self._root)


class DeflatedOperator(SymmetricOperator):
    """(I − QQᵀ) H (I − QQᵀ): H without an invariant subspace whose eigenpairs are known.

    Args:
        operator: H.
        vectors: `[k, d]`, orthonormal rows.
    """

    def __init__(self, operator: SymmetricOperator, vectors: Tensor) -> None:
        super().__init__(operator.size, operator.dtype, operator.device)
        self.rows, self.choice, self.zeros = operator.rows, operator.choice, operator.zeros
        self._operator, self._vectors = _plain(operator), vectors.to(operator.device, operator.dtype)

    def project(self, block: Tensor) -> Tensor:
        """The rows of a block `[k, d]` without their parts in the known subspace."""
        return block - (block @ self._vectors.T) @ self._vectors

    def _product(self, block: Tensor) -> Tensor:
        return self.project(self._operator @ self.project(block))


class CountedOperator(SymmetricOperator):
    """H itself, saying after every block how many vectors were multiplied: the progress of a long Lanczos run.

    Args:
        operator: H.
        count: is told the rows of each block.
    """

    def __init__(self, operator: SymmetricOperator, count: Callable[[int], None]) -> None:
        super().__init__(operator.size, operator.dtype, operator.device)
        self.rows, self.choice, self.zeros = operator.rows, operator.choice, operator.zeros
        self._operator, self._count = _plain(operator), count

    def _product(self, block: Tensor) -> Tensor:
        product = self._operator @ block
        self._count(len(block))
        return product
