"""Stochastic Lanczos quadrature: the spectral measure of a symmetric operator as seen by random probes.

Three forms of reorthogonalisation. `none` keeps no basis, two vectors a probe: Ritz values repeat (ghosts) and share
their weight, so that quadrature stays right (Greenbaum 1989), but nothing may be counted by them. `partial` (Simon
1984) follows the loss of orthogonality by its recurrence and reorthogonalises when it passes √eps: Ritz values count.
`full` reorthogonalises twice in every step. Only `none` is needed for a measure, and it is the default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

Reorthogonalisation = Literal["none", "partial", "full"]

_BREAKDOWN = 1e-10
_BREAKDOWN_EPS = 16
"""A recurrence coefficient below this part of the operator's scale (as seen so far), or below so many units of rounding
of the vectors' dtype, ends a probe's run."""

_DOT = 2**14
"""Entries summed in the vectors' own dtype before float64 takes over."""

_STREAM = 8
"""Basis vectors moved at a time from a basis that is kept on another device or in another dtype."""


class Operator(Protocol):
    """What Lanczos needs: products with the rows of a block."""

    def __matmul__(self, vectors: Tensor) -> Tensor:
        """`[k, d]` → `[k, d]`."""


@dataclass(frozen=True)
class Tridiagonal:
    """What R runs of Lanczos leave.

    Attributes:
        diagonal: float64 `[R, m]`.
        off: float64 `[R, m]`: entry j couples steps j and j + 1; the last is the norm of what is left.
        live: float64 `[R, m]`, 1 while the run went on, 0 after its Krylov space was exhausted.
        basis: Lanczos vectors `[R, m, d]` where they were kept, else None.
    """

    diagonal: Tensor
    off: Tensor
    live: Tensor
    basis: Tensor | None

    @property
    def exhausted(self) -> Tensor:
        """Bool `[R]`: the Krylov space of that probe is invariant, its nodes are eigenvalues."""
        return (self.live[:, -1] == 0) | (self.off[:, -1] == 0)

    def matrices(self) -> Tensor:
        """The tridiagonal matrices, float64 `[R, m, m]`.

        Rows after a breakdown are decoupled; they are put at the first diagonal entry, where their weight of zero is
        no new extreme of the spectrum.
        """
        matrix = torch.diag_embed(torch.where(self.live > 0, self.diagonal, self.diagonal[:, :1]))
        if self.diagonal.shape[1] > 1:
            inner = self.off[:, :-1] * self.live[:, 1:]
            matrix = matrix + torch.diag_embed(inner, 1) + torch.diag_embed(inner, -1)
        return matrix

    def quadrature(self) -> tuple[Tensor, Tensor]:
        """Nodes (ascending) and weights, float64 `[R, m]`; each row of weights sums to 1."""
        nodes, vectors = torch.linalg.eigh(self.matrices())
        return nodes, vectors[:, 0].square()


def rademacher(count: int, size: int, seed: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Probes `[count, size]` of independent signs, the same on every device; row k does not depend on `count`."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8) for _ in range(count)]
    return (torch.stack(rows) * 2 - 1).to(device, dtype)


def lanczos_quadrature(
    operator: Operator, probes: Tensor, steps: int, reorthogonalisation: Reorthogonalisation = "none"
) -> tuple[Tensor, Tensor]:
    """Gauss quadrature of the measure Σ (uᵢᵀz)² δ(αᵢ) / ‖z‖² for each probe z, exact for polynomials up to 2·steps − 1.

    Args, errors: as for `lanczos`.

    Returns:
        Nodes and weights, float64 `[R, m]` on the CPU; each row of weights sums to 1.
    """
    return lanczos(operator, probes, steps, reorthogonalisation).quadrature()


def lanczos(
    operator: Operator,
    probes: Tensor,
    steps: int,
    reorthogonalisation: Reorthogonalisation = "none",
    basis_dtype: torch.dtype | None = None,
    basis_device: torch.device | str | None = None,
) -> Tridiagonal:
    """The Lanczos recurrence from each probe, all probes at once.

    Vectors are in the dtype of `probes`; recurrence coefficients are float64, inner products as `dots` says.
    A probe whose Krylov space is exhausted goes on with zeros: its nodes are then exact and the others have weight
    zero. Memory: two vectors a probe besides the probe itself, plus `steps` vectors a probe in `basis_dtype` on
    `basis_device` unless `reorthogonalisation` is `none`; a basis elsewhere is streamed through in small pieces.

    Args:
        operator: symmetric, `d × d`.
        probes: `[R, d]`, none of them zero.
        steps: m ≥ 1; more than d are cut to d.
        reorthogonalisation: see the module; `partial` asks the device once a step whether it is time.
        basis_dtype: of the kept basis, default that of the probes (bfloat16 halves it: orthogonality to about 1e-2).
        basis_device: where it is kept, default where the probes are.

    Raises:
        ValueError: a product is not finite, a probe is zero, no steps, or an unknown form.
    """
    if reorthogonalisation not in ("none", "partial", "full"):
        raise ValueError(f"reorthogonalisation {reorthogonalisation!r}: none, partial or full is meant")
    if steps < 1 or probes.ndim != 2 or not bool((probes != 0).any(1).all()):
        raise ValueError("Lanczos takes at least one step from probes [R, d], none of them zero")
    steps = min(steps, probes.shape[1])
    if reorthogonalisation == "none":
        return _Recurrence(operator, probes, steps, None).run()
    basis = _Basis(probes, steps, basis_dtype or probes.dtype, torch.device(basis_device or probes.device))
    simon = _Simon(probes, steps, basis.dtype) if reorthogonalisation == "partial" else None
    return _Recurrence(operator, probes, steps, basis, simon).run()


class _Recurrence:
    """The three-term recurrence of R probes."""

    def __init__(
        self, operator: Operator, probes: Tensor, steps: int, basis: _Basis | None, simon: _Simon | None = None
    ) -> None:
        self.operator, self.steps, self.basis, self.simon = operator, steps, basis, simon
        self.current = probes / norms(probes).to(probes.dtype)
        self.previous = torch.zeros_like(self.current)
        self.beta = torch.zeros(len(probes), 1, dtype=torch.float64, device=probes.device)
        self.breakdown = max(_BREAKDOWN, _BREAKDOWN_EPS * torch.finfo(probes.dtype).eps)
        self.scale, self.alive = torch.zeros_like(self.beta), torch.ones_like(self.beta)

    def run(self) -> Tridiagonal:
        diagonal, off, live = [], [], []
        for step in range(self.steps):
            live.append(self.alive)
            with torch.no_grad():
                alpha = self._advance(step)
            diagonal.append(alpha)
            off.append(self.beta)
        columns = [torch.cat(part, 1).cpu() for part in (diagonal, off, live)]
        if not all(bool(column.isfinite().all()) for column in columns):
            raise ValueError("a Hessian-vector product is not finite")
        return Tridiagonal(columns[0], columns[1], columns[2], None if self.basis is None else self.basis.vectors)

    def _advance(self, step: int) -> Tensor:
        """One step; no decision is taken on the host unless `partial` asks for it."""
        kind = self.current.dtype
        if self.basis is not None:
            self.basis.append(step, self.current)
        new = self._product_less_previous(self.beta.to(kind))
        alpha = dots(new, self.current)
        new.addcmul_(self.current, alpha.to(kind), value=-1)
        if self.basis is not None and (
            self.simon is None or self.simon.due(step, alpha, self.beta, norms(new) * self.alive)
        ):
            self.basis.remove_from(new, step + 1)
        norm = norms(new)
        self.scale = torch.maximum(self.scale, alpha.abs() + self.beta + norm)
        # a probe that broke down stays broken
        self.alive = self.alive * (norm > self.breakdown * self.scale)
        self.beta = norm * self.alive
        new.mul_(torch.where(self.alive > 0, 1 / norm, 0.0).to(kind))
        # a broken product (0 · NaN) must not hide: the norm went into the coefficients before
        self.previous, self.current = self.current, new
        return alpha

    def _product_less_previous(self, beta: Tensor) -> Tensor:
        """H q_j − β q_{j−1}, into the place of q_{j−1}: block by block, so that no third vector a probe is needed."""
        blocks = getattr(self.operator, "blocks", None)
        for part in blocks(len(self.current)) if blocks else [slice(None)]:
            self.previous[part].mul_(beta[part]).neg_().add_(self.operator @ self.current[part])
        return self.previous


class _Basis:
    """The Lanczos vectors so far, `[R, m, d]`, in a dtype and on a device of their own."""

    def __init__(self, probes: Tensor, steps: int, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.vectors = torch.empty(len(probes), steps, probes.shape[1], dtype=dtype, device=device)

    def append(self, step: int, vectors: Tensor) -> None:
        self.vectors[:, step] = vectors.to(self.vectors.device, self.dtype)

    def remove_from(self, vectors: Tensor, count: int) -> None:
        """Gram–Schmidt against the first `count` basis vectors, twice ("twice is enough", Parlett 1998, §6.9)."""
        here = self.dtype == vectors.dtype and self.vectors.device == vectors.device
        width = count if here else _STREAM
        for _ in range(2):
            for start in range(0, count, width):
                part = self.vectors[:, start : min(start + width, count)].to(vectors.device, vectors.dtype)
                for row, basis in zip(vectors, part, strict=True):
                    row.addmv_(basis.T, basis @ row, alpha=-1)


class _Simon:
    """Simon's recurrence for the inner products of the next Lanczos vector with all before it (Simon 1984, eq. 2.7)."""

    def __init__(self, probes: Tensor, steps: int, dtype: torch.dtype) -> None:
        self.eps = max(torch.finfo(probes.dtype).eps, torch.finfo(dtype).eps)
        self.rounding = self.eps * math.sqrt(probes.shape[1])
        self.omega = torch.zeros(len(probes), steps + 2, dtype=torch.float64)
        self.before = torch.zeros_like(self.omega)
        self.omega[:, 0] = 1.0  # the first vector with itself
        self.alphas, self.betas = torch.zeros_like(self.omega), torch.zeros_like(self.omega)
        self.again = False

    def due(self, step: int, alpha: Tensor, beta: Tensor, left: Tensor) -> bool:
        """Whether the vector after `step` must be reorthogonalised: this one and the next, whenever √eps is passed."""
        self.alphas[:, step], self.betas[:, step] = alpha[:, 0].cpu(), beta[:, 0].cpu()
        new = self._estimate(step, left[:, 0].cpu())
        worst = float(new[:, : step + 1].abs().max())
        due = self.again or worst > math.sqrt(self.eps)
        self.again = due and not self.again
        if due:
            new[:, : step + 1] = self.eps
        self.before, self.omega = self.omega, new
        return due

    def _estimate(self, step: int, left: Tensor) -> Tensor:
        """ω of step + 1 with steps 0 … step, from those of step and step − 1."""
        j, a, b, new = step, self.alphas, self.betas, torch.zeros_like(self.omega)
        if j > 0:
            # b[:, k] couples k − 1 and k
            inner = b[:, 1 : j + 1] * self.omega[:, 1 : j + 1] + (a[:, :j] - a[:, j : j + 1]) * self.omega[:, :j]
            inner[:, 1:] += b[:, 1:j] * self.omega[:, : j - 1]
            inner -= b[:, j : j + 1] * self.before[:, :j]
            # a probe whose space is exhausted has nothing left to lose
            inner = torch.where(left[:, None] > 0, inner / left.clamp(min=1e-300)[:, None], 0.0)
            new[:, :j] = inner + inner.sign() * self.rounding
        new[:, j], new[:, j + 1] = self.rounding, 1.0
        return new


def dots(a: Tensor, b: Tensor) -> Tensor:
    """Row-wise inner products, float64 `[R, 1]`: of float32 rows, short sums in their dtype and their sum in float64.

    The error is that of sums of 16,384 terms, whatever d is; converting whole rows would cost thirty times as much.
    """
    if a.dtype == torch.float64:
        return cast(Tensor, torch.linalg.vecdot(a, b))[:, None]
    if a.device.type != "cpu":  # row by row: the product of whole blocks would be one more vector a probe
        return torch.stack([(x * y).sum(dtype=torch.float64) for x, y in zip(a, b, strict=True)])[:, None]
    if a.shape[1] <= _DOT:
        return cast(Tensor, torch.linalg.vecdot(a, b)).double()[:, None]
    pairs = [zip(x.split(_DOT), y.split(_DOT), strict=True) for x, y in zip(a, b, strict=True)]
    sums = torch.stack([torch.dot(x, y) for row in pairs for x, y in row])
    return sums.double().view(len(a), -1).sum(1, keepdim=True)


def norms(a: Tensor) -> Tensor:
    """Row-wise Euclidean norms, float64 `[R, 1]`."""
    return dots(a, a).sqrt()
