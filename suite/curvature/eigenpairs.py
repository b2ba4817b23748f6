"""Eigenpairs and whole spectra from Krylov spaces, with the reorthogonalisation that counting needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from suite.curvature.combined import DeflatedOperator
from suite.curvature.lanczos import Tridiagonal, lanczos, norms
from suite.curvature.operator import SymmetricOperator


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues of largest size and their vectors.

    Attributes:
        values: float64 `[k]`, by descending |α|.
        vectors: `[k, d]`, orthonormal, in the operator's dtype on its device.
        residuals: float64 `[k]`, ‖Hv − αv‖.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor


def top_eigenpairs(
    operator: SymmetricOperator, count: int, tolerance: float = 1e-6, most_steps: int = 1000, seed: int = 0
) -> Eigenpairs:
    """The eigenpairs of largest |α|, by Lanczos with full reorthogonalisation from one random vector.

    The Krylov space is doubled until all residuals are below `tolerance` times the largest |α|. Its basis is kept:
    `steps × d` numbers. A multiple eigenvalue is found once: one vector's Krylov space has one copy of it.

    Args:
        operator: symmetric.
        count: k ≥ 1.
        tolerance: relative; not below the dtype's rounding.
        most_steps: where to give up.
        seed: of the start vector.

    Raises:
        ValueError: not converged within `most_steps` (the residuals are told), or more pairs asked for than exist.
    """
    if not 1 <= count <= operator.size:
        raise ValueError(f"{count} eigenpairs of a {operator.size} × {operator.size} operator")
    steps = min(operator.size, max(20, 4 * count))
    while True:
        run = lanczos(operator, _random(operator, seed), steps, "full")
        pairs = _ritz(operator, run, count)
        worst = float(pairs.residuals.max() / pairs.values.abs().max().clamp(min=1e-300))
        if worst <= tolerance or bool(run.exhausted.all()):
            return pairs
        if steps >= min(operator.size, most_steps):
            raise ValueError(
                f"{count} eigenpairs have not converged to {tolerance:g} in {steps} steps (largest relative residual "
                f"{worst:.1e}): ask for fewer, allow more steps, or use float64"
            )
        steps = min(operator.size, most_steps, 2 * steps)


def krylov_spectrum(operator: SymmetricOperator, tolerance: float | None = None, seed: int = 0) -> Tensor:
    """All eigenvalues of a small operator that are not zero, from exhausted Krylov spaces: float64 `[r]` ascending.

    Lanczos with full reorthogonalisation runs until its space is invariant, then again from a fresh random vector in
    the orthogonal complement, until the operator vanishes there: multiple eigenvalues come with their multiplicity.
    Eigenvalues below `tolerance` of the largest (default: d units of rounding of the dtype) are taken for zero. Memory:
    up to 2·d² numbers.

    Raises:
        ValueError: a product is not finite.
    """
    found: list[Tensor] = []
    basis = torch.empty(0, operator.size, dtype=operator.dtype, device=operator.device)
    scale, part = 0.0, 0
    tolerance = operator.size * torch.finfo(operator.dtype).eps if tolerance is None else tolerance
    while len(basis) < operator.size:
        rest = DeflatedOperator(operator, basis)
        start = rest.project(rest.project(_random(operator, seed + part)))
        run = lanczos(rest, start, operator.size - len(basis), "full")
        length = int(run.live.sum())
        values = torch.linalg.eigvalsh(run.matrices()[0, :length, :length])
        scale, part = max(scale, float(values.abs().max())), part + 1
        if scale == 0 or float(values.abs().max()) <= tolerance * scale:
            break
        assert run.basis is not None  # kept by full reorthogonalisation
        found.append(values)
        basis = torch.linalg.qr(torch.cat([basis, run.basis[0, :length]]).T).Q.T
    everything = torch.cat(found) if found else torch.empty(0, dtype=torch.float64)
    return everything[everything.abs() > tolerance * scale].sort().values


def _random(operator: SymmetricOperator, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(1, operator.size, generator=generator, dtype=torch.float64)
    return vector.to(operator.device, operator.dtype)


def _ritz(operator: SymmetricOperator, run: Tridiagonal, count: int) -> Eigenpairs:
    length = int(run.live[0].sum())
    if length < count:
        raise ValueError(f"the operator has only {length} distinct eigenvalues in the start vector's Krylov space")
    values, inner = torch.linalg.eigh(run.matrices()[0, :length, :length])
    order = values.abs().argsort(descending=True)[:count]
    assert run.basis is not None  # kept by full reorthogonalisation
    vectors = inner[:, order].T.to(run.basis.device, run.basis.dtype) @ run.basis[0, :length]
    vectors = vectors / norms(vectors).to(vectors.dtype)
    values = values[order]
    left = operator @ vectors - values[:, None].to(vectors.device, vectors.dtype) * vectors
    return Eigenpairs(values, vectors, norms(left)[:, 0].cpu())
