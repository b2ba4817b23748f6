"""Stochastic Lanczos quadrature: the spectral measure of a symmetric operator as seen by random probes.

No basis is kept: three vectors a probe. Without reorthogonalisation Ritz values repeat (ghosts) and share their weight,
so that quadrature stays right (Greenbaum 1989); never count eigenvalues by them.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

_BREAKDOWN = 1e-10
"""A recurrence coefficient below this part of the operator's scale (as seen so far) ends a probe's run."""


class Operator(Protocol):
    """What Lanczos needs: products with the rows of a block."""

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """`[k, d]` → `[k, d]`."""


def rademacher(count: int, size: int, seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Probes `[count, size]` of independent signs, the same on every device; row k does not depend on `count`."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8) for _ in range(count)]
    return (torch.stack(rows) * 2 - 1).to(device, dtype)


def lanczos_quadrature(operator: Operator, probes: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Gauss quadrature of the measure Σ (uᵢᵀz)² δ(αᵢ) / ‖z‖² for each probe z, exact for polynomials up to 2·steps − 1.

    Vectors are in the dtype of `probes`, inner products and recurrence coefficients in float64. A probe whose Krylov
    space is exhausted goes on with zeros: its nodes are then exact and the remaining ones have weight zero.

    Args:
        operator: symmetric, `d × d`.
        probes: `[R, d]`, none of them zero.
        steps: m ≥ 1; more than d are cut to d.

    Returns:
        Nodes and weights, float64 `[R, m]` on the CPU; each row of weights sums to 1.

    Raises:
        ValueError: a product is not finite.
    """
    steps = min(steps, probes.shape[1])
    current = probes / _norm(probes).to(probes.dtype)
    previous = torch.zeros_like(current)
    beta = scale = torch.zeros(len(probes), 1, dtype=torch.float64, device=probes.device)
    alive = torch.ones_like(beta)
    diagonal, off, live = [], [], []
    for _ in range(steps):
        product = operator @ current - beta.to(current.dtype) * previous
        alpha = _dot(product, current)
        product = product - alpha.to(current.dtype) * current
        norm = _norm(product)
        scale = torch.maximum(scale, alpha.abs() + beta + norm)
        diagonal.append(alpha)
        live.append(alive)
        # a probe that broke down stays broken; no decision is taken on the host
        alive = alive * (norm > _BREAKDOWN * scale)
        beta = norm * alive
        off.append(beta)
        previous, current = current, product / torch.where(alive > 0, norm, 1.0).to(current.dtype)
        current = current * alive.to(current.dtype)
    return _quadrature(torch.cat(diagonal, 1).cpu(), torch.cat(off, 1).cpu(), torch.cat(live, 1).cpu())


def _quadrature(diagonal: Tensor, off: Tensor, live: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the tridiagonal matrices with these diagonals `[R, m]`."""
    if not bool(diagonal.isfinite().all() & off.isfinite().all()):
        raise ValueError("a Hessian-vector product is not finite")
    # rows after a breakdown are decoupled: they are put at the first diagonal entry, where their weight of zero is
    # no new extreme of the spectrum
    diagonal = torch.where(live > 0, diagonal, diagonal[:, :1])
    matrix = torch.diag_embed(diagonal)
    if diagonal.shape[1] > 1:
        inner = off[:, :-1]
        matrix = matrix + torch.diag_embed(inner, 1) + torch.diag_embed(inner, -1)
    nodes, vectors = torch.linalg.eigh(matrix)
    return nodes, vectors[:, 0].square()


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() * b.double()).sum(1, keepdim=True)


def _norm(a: Tensor) -> Tensor:
    return _dot(a, a).sqrt()
