"""The exact reduction of a minibatch Hessian to the span of its inputs.

For a network whose first layer multiplies the inputs by a weight W (h × f), the loss on a batch X (b × f) depends on W
only through X Wᵀ, so on W Q, where the columns of Q are an orthonormal basis of the row space of X. With X Q in the
place of X and W Q in the place of W the Hessian keeps all its eigenvalues but h (f − r) exact zeros, r = rank X.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def input_basis(inputs: Tensor) -> Tensor:
    """An orthonormal basis of the row space of `inputs` `[b, f]`: `[f, r]` in their dtype, computed in float64.

    Directions whose singular value is at rounding level (max(b, f) · 2⁻⁵² of the largest) are not in the span.
    """
    _, singular, rows = torch.linalg.svd(inputs.double(), full_matrices=False)
    floor = max(inputs.shape) * torch.finfo(torch.float64).eps * singular.amax()
    rank = int((singular > floor).sum())
    basis: Tensor = rows[:rank].T.to(inputs.dtype)
    return basis


_TALL = 8
"""Inputs per feature from which a batch's basis is kept: a whole training set, whose decomposition takes seconds."""


@dataclass(frozen=True)
class _Span:
    """A batch `[b, f]`, its basis `[f, r]` and its coordinates `[b, r]`."""

    inputs: Tensor
    basis: Tensor
    coordinates: Tensor

    @classmethod
    def of(cls, inputs: Tensor) -> _Span:
        basis = input_basis(inputs)
        return cls(inputs, basis, inputs @ basis)

    def spans(self, inputs: Tensor) -> bool:
        """Whether it is that batch's, entry by entry."""
        mine = self.inputs
        same = (mine.shape, mine.dtype, mine.device) == (inputs.shape, inputs.dtype, inputs.device)
        return same and torch.equal(mine, inputs)


_last_tall: list[_Span] = []


def _span_of(inputs: Tensor) -> _Span:
    """The batch's span; that of a tall batch is kept until another comes: the runs of a task share the whole set."""
    if len(inputs) < _TALL * inputs.shape[1]:
        return _Span.of(inputs)
    if not (_last_tall and _last_tall[0].spans(inputs)):
        _last_tall[:] = [_Span.of(inputs.clone())]  # whoever changes their batch does not change ours
    return _last_tall[0]


class ReducedInputs:
    """A batch and flat parameters in the span of the batch.

    Args:
        inputs: `[b, f]`.
        first_layer: where the weight `[h, f]` lies in the flat parameters, row-major.
        out_features: h.

    Attributes:
        basis: `[f, r]`.
        inputs: the batch in that basis, `[b, r]`.
        zeros: eigenvalues of the Hessian that are exactly zero for lack of inputs: h (f − r).
    """

    def __init__(self, inputs: Tensor, first_layer: slice, out_features: int) -> None:
        span = _span_of(inputs)
        self.basis, self.inputs = span.basis, span.coordinates
        self.zeros = out_features * (self.basis.shape[0] - self.basis.shape[1])
        self._first, self._rows = first_layer, out_features

    def reduce(self, params: Tensor) -> Tensor:
        """Flat parameters `[d]` of the full network as those of the reduced one, `[d − zeros]`."""
        weight = params[self._first].view(self._rows, -1) @ self.basis
        return torch.cat([params[: self._first.start], weight.reshape(-1), params[self._first.stop :]])
