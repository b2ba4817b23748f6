"""All eigenvalues of a minibatch Hessian."""

from __future__ import annotations

import torch
from torch import Tensor

from suite.curvature.hessian import Loss, dense_hessian


def padded(rows: list[Tensor]) -> Tensor:
    """Eigenvalues of several minibatches, exact zeros left out, as float64 `[k, N]`: shorter rows end in zeros."""
    return torch.nn.utils.rnn.pad_sequence([row.double() for row in rows], batch_first=True)


def minibatch_eigenvalues(loss: Loss, params: Tensor) -> tuple[Tensor, bool]:
    """The eigenvalues of the Hessian of `loss` at `params`, and whether they had to be computed a second time.

    LAPACK's symmetric solver can fail to converge in float32 on the all but vanishing Hessian of a dead network; it is
    then given the same matrix in float64.

    Eigenvalues at rounding level (`without_rounding`) are returned as exact zeros:
    they cannot be told from zero, and where nothing else expands (a dead network) their signs would decide SD.

    Returns:
        float64 `[d]` ascending; True if the matrix was retried.

    Raises:
        ValueError: the Hessian is not finite.
    """
    hessian = dense_hessian(loss, params)
    try:
        values, retried = torch.linalg.eigvalsh(hessian).double(), False
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        values, retried = torch.linalg.eigvalsh(hessian.double()), True
    return without_rounding(values, len(values), hessian.dtype), retried


def without_rounding(values: Tensor, size: int, computed: torch.dtype = torch.float64) -> Tensor:
    """Eigenvalues with those at rounding level as exact zeros: size · eps · max |α|, eps of the dtype computed in.

    Args:
        values: float64 `[n]`; none, where the network is dead.
        size: of the matrix.
        computed: in which dtype they were found.
    """
    if not len(values):
        return values
    floor = size * torch.finfo(computed).eps * values.abs().max()
    return torch.where(values.abs() > floor, values, 0.0)
