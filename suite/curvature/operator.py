"""A symmetric linear operator on flat parameter vectors: all that Lanczos and deflation see of a curvature matrix."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator

MEMORY = 2**30
"""Bytes that the temporaries of one block may take, if nothing else is said."""

_BLOCKS = (1, 4, 8)
_WORTH = 0.95
"""A larger block must cost less than this part of the smaller one's time per vector to be chosen."""


class SymmetricOperator(ABC):
    """A symmetric `size × size` matrix by its products with the rows of a block.

    A subclass fixes everything that does not depend on the vectors at construction (one network evaluation, one
    graph) and implements `_product`. Blocks are cut to `rows` rows; where the device runs out of memory inside a
    product, the block is halved and tried again, down to one row.

    Attributes:
        size: d, the number of parameters.
        dtype: of the vectors that it takes and gives.
        device: where they lie.
        rows: most rows of a block that are multiplied at once.
        choice: how `rows` came about, in words.
        zeros: eigenvalues known to be exactly zero that the operator leaves out, set by whoever reduced it (for
            instance `ReducedInputs.zeros`); a spectral measure puts them back.
    """

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self.size, self.dtype, self.device = size, dtype, device
        self.rows, self.choice, self.zeros = 1, "one row at a time", 0

    @abstractmethod
    def _product(self, block: Tensor) -> Tensor:
        """`[k, d]` → `[k, d]`, k at most `rows`."""

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """The product with `[d]`, or with each row of `[k, d]`; same shape, dtype and device.

        Raises:
            ValueError: the vectors have another length, dtype or device.
            torch.OutOfMemoryError: one row alone does not fit.
        """
        self._check(vectors)
        if vectors.ndim == 1:
            return self._product(vectors[None])[0]
        return self._in_blocks(vectors)

    def blocks(self, count: int) -> list[slice]:
        """How `count` rows are cut: what Lanczos multiplies at a time."""
        return [slice(start, start + self.rows) for start in range(0, count, self.rows)]

    def to_scipy(self) -> LinearOperator:
        """The operator for `scipy.sparse.linalg`: numpy vectors in, numpy vectors out (needs scipy)."""
        import numpy as np
        from scipy.sparse.linalg import LinearOperator

        def product(x: Any) -> Any:
            columns = torch.as_tensor(np.ascontiguousarray(x.reshape(self.size, -1).T)).to(self.device, self.dtype)
            return (self @ columns).cpu().numpy().T.reshape(x.shape)

        kind = np.dtype(str(self.dtype).removeprefix("torch."))
        return LinearOperator((self.size, self.size), product, product, product, kind, product)

    def _check(self, vectors: Tensor) -> None:
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != self.size:
            raise ValueError(f"vectors of shape {tuple(vectors.shape)} for an operator on {self.size} parameters")
        if vectors.dtype != self.dtype or vectors.device != self.device:
            raise ValueError(
                f"vectors are {vectors.dtype} on {vectors.device}, the operator {self.dtype} on {self.device}"
            )

    def _in_blocks(self, vectors: Tensor) -> Tensor:
        if len(vectors) <= self.rows:
            return self._halving(vectors)
        out, start = torch.empty_like(vectors), 0
        while start < len(vectors):  # `rows` may shrink on the way
            part = vectors[start : start + self.rows]
            out[start : start + len(part)] = self._halving(part)
            start += len(part)
        return out

    def _halving(self, block: Tensor) -> Tensor:
        try:
            return self._product(block)
        except torch.OutOfMemoryError:
            if len(block) == 1:
                raise
        # outside the handler: the failed attempt's tensors are gone before the next one starts
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.rows = len(block) // 2
        self.choice = f"{self.rows} rows: more did not fit"
        return self._in_blocks(block)

    def _choose_rows(self, rows: int | None, memory: int) -> None:
        """Set `rows`: as told, or the fastest by a short measurement among those whose temporaries fit `memory`."""
        if rows is not None:
            if rows < 1:
                raise ValueError(f"rows: {rows}; a block has at least one row")
            self.rows, self.choice = rows, f"{rows} rows, as told"
            return
        probe = torch.ones(1, self.size, dtype=self.dtype, device=self.device)
        need = bytes_of_temporaries(lambda: self._product(probe))
        fitting = [k for k in _BLOCKS if k == 1 or k * need <= memory]
        best, cost = 1, self._seconds(1)
        for k in fitting[1:]:
            seconds = self._seconds(k)
            if seconds < _WORTH * cost:
                best, cost = k, seconds
            elif seconds > cost:
                break
        self.rows = best
        self.choice = f"{best} rows, {1e3 * cost:.3g} ms a product (of {fitting} by measurement)"

    def _seconds(self, rows: int) -> float:
        """Seconds a vector, the best of three products (a device that runs out of memory cannot be chosen)."""
        block = torch.ones(rows, self.size, dtype=self.dtype, device=self.device)
        times = []
        try:
            for _ in range(3):
                start = time.perf_counter()
                self._product(block)
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)
                times.append(time.perf_counter() - start)
        except torch.OutOfMemoryError:
            return float("inf")
        return min(times) / rows


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of every tensor that is made, views not counted."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func._schema.is_mutable and not any(a.alias_info for a in func._schema.arguments):
            made = out if isinstance(out, tuple | list) else (out,)
            self.bytes += sum(t.numel() * t.element_size() for t in made if isinstance(t, Tensor))
        return out


def bytes_of_temporaries(function: Callable[[], object]) -> int:
    """Bytes of all tensors that a computation makes: an upper bound on what lives at once."""
    counter = _Counter()
    with counter:
        function()
    return counter.bytes
