"""The exact reduction of a minibatch Hessian to the span of its inputs.

For a network whose first layer multiplies the inputs by a weight W (h × f), the loss on a batch X (b × f) depends on W
only through X Wᵀ, so on W Q, where the columns of Q are an orthonormal basis of the row space of X. With X Q in the
place of X and W Q in the place of W the Hessian keeps all its eigenvalues but h (f − r) exact zeros, r = rank X.
"""

from __future__ import annotations

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
        self.basis = input_basis(inputs)
        self.inputs = inputs @ self.basis
        self.zeros = out_features * (self.basis.shape[0] - self.basis.shape[1])
        self._first, self._rows = first_layer, out_features

    def reduce(self, params: Tensor) -> Tensor:
        """Flat parameters `[d]` of the full network as those of the reduced one, `[d − zeros]`."""
        weight = params[self._first].view(self._rows, -1) @ self.basis
        return torch.cat([params[: self._first.start], weight.reshape(-1), params[self._first.stop :]])
