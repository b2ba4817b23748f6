"""Lyapunov exponents of a product of optimizer steps, and the multi-step dimension of Tuci et al. (2026, Eq. 70).

The exponents are those of the tangent dynamics along one trajectory, by orthonormalisation (Benettin et al. 1980).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import torch
from torch import Tensor
from torch.func import jvp, vmap

from suite.curvature.dimension import Numbers, as_array, sharpness_dimension
from suite.curvature.maps import StateMap, check_state

MAX_DENSE_SIZE = 4096
"""The largest state for which all directions are followed, or a dense Jacobian is formed: n² float64 numbers."""

_CHUNK = 256
"""Tangent vectors pushed at a time; within a chunk the loss is evaluated once."""


@dataclass(frozen=True)
class LyapunovExponents:
    """Growth rates per step, the fastest first.

    Attributes:
        exponents: `[k]` float64, descending; −inf where a direction was annihilated.
        standard_error: `[k]` float64, by means over ⌊√r⌋ batches (at least 2) of the r orthonormalisations, which
            allows for correlation in time; NaN if r < 2 or the exponent is −inf. What is left of the transient is not
            in it.
        steps: how many the rates are averages of (without the warm-up).
        state: `[n]`, after the last step.
    """

    exponents: Tensor
    standard_error: Tensor
    steps: int
    state: Tensor


@dataclass(frozen=True)
class _Orbit:
    """A point of the trajectory after `step` steps with its orthonormal tangent frame.

    `owner[i]` says to which exponent row i of the frame belongs: rows change places when one of them is annihilated.
    """

    state: Tensor
    frame: Tensor
    owner: Tensor
    step: int


def lyapunov_exponents(
    maps: Iterable[StateMap],
    state: Tensor,
    count: int | None = None,
    warmup: int = 0,
    interval: int = 1,
    seed: int = 0,
) -> LyapunovExponents:
    """The leading Lyapunov exponents along the trajectory of `state` under `maps`.

    A random orthonormal frame is pushed by the maps' derivatives at the true trajectory points and orthonormalised
    every `interval` steps by QR; an exponent is the mean of ln |R_ii| per step. If within an interval directions
    collapse onto one another so far that rounding decides, the interval is gone through again in halves.

    A direction counts as annihilated, its exponent as −inf, if one single step sends it into the span of the faster
    ones or to zero, up to a relative perturbation of 4 √n ε (ε the rounding of the state's dtype); the others do not
    notice. Only if it is the slowest of all, so that nothing tells noise from a strong contraction, may such a
    direction be reported as what rounding leaves of it (about −36 a step). Use float64 where one step spreads lengths
    by 1e5.

    Args:
        maps: one per step, `[n] → [n]`; the draws of minibatches are the caller's.
        state: `[n]`, float64 if small exponents matter; the frame and the QR are float64 in any case.
        count: how many exponents; all n if None.
        warmup: steps at first over which the frame turns into place and nothing is counted.
        interval: steps between orthonormalisations.
        seed: of the first frame.

    Returns:
        The exponents; for finite time they depend on the first frame as O(1/steps). The first frame of `count`
        directions is the beginning of that of any greater count.

    Raises:
        ValueError: `count` None and n > 4096, an argument out of its range, no steps after the warm-up, or a state or
            derivative that is not finite (with the step's number, from 1, warm-up included).
    """
    k = _checked(state, count, warmup, interval)
    orbit = _Orbit(state.detach(), _random_frame(k, state, seed), torch.arange(k, device=state.device), 0)
    steps = iter(maps)
    for block in _blocks(islice(steps, warmup), interval):
        orbit, _ = _stretch(orbit, block)
    rows, lengths = [], []
    for block in _blocks(steps, interval):
        orbit, logs = _stretch(orbit, block)
        rows.append(logs)
        lengths.append(len(block))
    if not rows:
        raise ValueError(f"no steps are left to measure after a warm-up of {warmup}")
    growth, time = torch.stack(rows), torch.tensor(lengths, dtype=torch.float64, device=state.device)
    exponents, order = (growth.sum(0) / time.sum()).sort(descending=True)
    return LyapunovExponents(exponents, _batch_means_error(growth, time)[order], sum(lengths), orbit.state)


def multi_step_dimension(exponents: Numbers, size: int | None = None) -> float:
    """The dimension D_s of Eq. 70 (Tuci et al. 2026) from Lyapunov exponents.

    With Λ_j the sum of the j leading exponents and j the last index of Λ_j ≥ 0, D_s = j + Λ_j / (Λ_j − Λ_{j+1}). As
    Λ_{j+1} = Λ_j + λ_{j+1}, the denominator is −λ_{j+1} = |λ_{j+1}|: Definition 4.2's formula with multi-step in the
    place of one-step exponents, the Kaplan–Yorke dimension. Its ends are those of Def. 4.2 too: 0 if λ_1 < 0, all n if
    no Λ_j is negative.

    D_s ≤ SD for the same steps: |R_ii| over any j rows of one step multiply to at most σ_1 ⋯ σ_j of its Jacobian, and
    the dimension rises with the partial sums.

    Args:
        exponents: `[k]`, in any order; −inf allowed.
        size: n, the dimensions of the state, if the exponents may be the leading ones only.

    Raises:
        ValueError: as `sharpness_dimension`; more exponents than `size`, or fewer with a sum that is not negative yet.

    >>> multi_step_dimension([0.5, -0.25, -1.0])
    2.25
    """
    values = as_array(exponents).reshape(-1)
    if size is not None and len(values) > size:
        raise ValueError(f"{len(values)} exponents for a state of {size} dimensions")
    dimension = sharpness_dimension(values)
    if size is not None and len(values) < size and math.fsum(values) >= 0:
        raise ValueError(f"the {len(values)} leading exponents have no negative sum: follow more of the {size}")
    return dimension


def one_step_exponents(maps: Iterable[StateMap], states: Iterable[Tensor]) -> Tensor:
    """The mean over steps of the sorted ln singular values of each map's dense Jacobian at its state.

    This is Def. 4.1 with the trajectory's own points in the place of the supremum; what multi-step exponents of the
    same steps are compared with.

    Args:
        maps: one per step, `[n] → [n]`, n ≤ 4096.
        states: `[n]` each (or the rows of a tensor), the point at which each step is taken:
            `simulate(maps, state)[:-1]`.

    Returns:
        `[n]` float64, descending; −inf where a singular value is zero in some step.

    Raises:
        ValueError: none, or not as many maps as states; n > 4096; a Jacobian that is not finite.
    """
    pairs = enumerate(zip(maps, states, strict=True), 1)
    logs = [_singular_values(move, state.detach(), number).log() for number, (move, state) in pairs]
    if not logs:
        raise ValueError("no steps")
    return torch.stack(logs).mean(0)


def _singular_values(move: StateMap, state: Tensor, number: int) -> Tensor:
    """Those of the map's dense Jacobian, `[n]` float64, descending."""
    if state.ndim != 1 or len(state) > MAX_DENSE_SIZE:
        raise ValueError(f"a flat state of at most {MAX_DENSE_SIZE} numbers expected, not {list(state.shape)}")
    transposed = _push(move, state, torch.eye(len(state), dtype=torch.float64, device=state.device), number)
    return cast(Tensor, torch.linalg.svdvals(transposed))


def _checked(state: Tensor, count: int | None, warmup: int, interval: int) -> int:
    """How many directions to follow."""
    if state.ndim != 1 or not len(state):
        raise ValueError(f"a flat state expected, not one of shape {list(state.shape)}")
    if count is None and len(state) > MAX_DENSE_SIZE:
        raise ValueError(
            f"all exponents of {len(state)} dimensions are too many (at most {MAX_DENSE_SIZE}): give count"
        )
    if count is not None and not 1 <= count <= len(state):
        raise ValueError(f"count must be from 1 to {len(state)}, not {count}")
    if warmup < 0 or interval < 1:
        raise ValueError(f"warmup ≥ 0 and interval ≥ 1 expected: {warmup}, {interval}")
    return len(state) if count is None else count


def _random_frame(k: int, state: Tensor, seed: int) -> Tensor:
    """Orthonormal rows `[k, n]`, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randn(len(state), generator=generator, dtype=torch.float64) for _ in range(k)]
    return cast(Tensor, torch.linalg.qr(torch.stack(rows).T).Q.T.to(state.device))


def _blocks(maps: Iterator[StateMap], interval: int) -> Iterator[list[StateMap]]:
    while block := list(islice(maps, interval)):
        yield block


def _stretch(orbit: _Orbit, block: Sequence[StateMap]) -> tuple[_Orbit, Tensor]:
    """The orbit after a block of steps, its frame orthonormal, and ln |R_ii| of each exponent `[k]`."""
    state, frame = orbit.state, orbit.frame
    for number, move in enumerate(block, orbit.step + 1):
        frame = _push(move, state, frame, number)
        state = move(state).detach()
        check_state(state, number)
    frame, logs, order = _orthonormalise(frame, 4 * math.sqrt(len(state)) * torch.finfo(state.dtype).eps)
    if len(block) > 1 and bool(logs.isinf().any()):
        orbit, first = _stretch(orbit, block[: len(block) // 2])
        orbit, second = _stretch(orbit, block[len(block) // 2 :])
        return orbit, first + second
    owner = orbit.owner[order]
    return _Orbit(state, frame, owner, orbit.step + len(block)), torch.empty_like(logs).index_copy_(0, owner, logs)


def _push(move: StateMap, state: Tensor, frame: Tensor, number: int) -> Tensor:
    """The map's derivative at the state, applied to each row: `[k, n]` float64."""

    def derivative(vector: Tensor) -> Tensor:
        return cast(Tensor, jvp(move, (state,), (vector,))[1])

    pushed = vmap(derivative, chunk_size=_CHUNK)(frame.to(state.dtype)).detach().double()
    if not bool(pushed.isfinite().all()):
        raise ValueError(f"the derivative of step {number} is not finite (within an interval: shorten it)")
    return pushed


def _orthonormalise(frame: Tensor, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Orthonormal rows, ln |R_ii| (−inf if annihilated) and which row of `frame` each of them comes from.

    Annihilated rows go to the end. In their place QR would put arbitrary directions, and take from the rows behind them
    what lies along those.
    """
    lengths = torch.linalg.vector_norm(frame, dim=1)
    scale = torch.where(lengths > 0, lengths, 1.0)
    order, alive = torch.arange(len(frame), device=frame.device), len(frame)
    while True:
        q, r = torch.linalg.qr(frame[order].T)
        dead = _lost(r[:alive, :alive], scale[order[:alive]], tolerance)
        if not bool(dead.any()):
            break
        order = torch.cat([order[:alive][~dead], order[alive:], order[:alive][dead]])
        alive -= int(dead.sum())
    logs = r.diagonal().abs().log()
    logs[alive:] = -math.inf
    return q.T, logs, order


def _lost(r: Tensor, lengths: Tensor, tolerance: float) -> Tensor:
    """Which columns are surely in the span of those before them, or zero, up to rounding.

    At the first such column QR has taken an arbitrary direction, which spoils the later pivots: of the later columns
    only those are told that lie in the span of the columns before the first.
    """
    unit = r / lengths
    tiny = torch.finfo(r.dtype).tiny
    pivots = torch.where(unit.diagonal().abs() > tiny, unit.diagonal(), tiny)
    filled = unit - torch.diag(unit.diagonal()) + torch.diag(pivots)
    inverse = torch.linalg.solve_triangular(filled, torch.eye(len(r), dtype=r.dtype, device=r.device), upper=True)
    # Column i of the inverse is (−x, 1) / r_ii with x its coefficients in the columns before. Their rounding moves what
    # is left of column i by |x| times as much, so that it is nothing if |r_ii| ≤ tolerance · √(1 + |x|²). A zero pivot
    # gives inf or NaN.
    dependent = ~(torch.linalg.vector_norm(inverse, dim=0) < 1 / tolerance)
    lost = torch.nonzero(dependent | _drowned(r, tolerance))
    dead = torch.zeros_like(dependent)
    if len(lost):
        first = int(lost[0])
        size = torch.linalg.vector_norm(inverse[:first, :first] @ unit[:first, first:], dim=0)
        left = torch.linalg.vector_norm(unit[first:, first:], dim=0)
        dead[first:] = left <= tolerance * torch.hypot(size, torch.ones_like(size))
        dead[first] = True
    return dead


def _drowned(r: Tensor, tolerance: float) -> Tensor:
    """Which columns have less left of them than rounding of the frame has put in from a later column."""
    largest = r.abs().max() if len(r) else r.new_ones(())
    squares = (r / torch.where(largest > 0, largest, 1.0)) ** 2
    left = squares.flip(0).cumsum(0).flip(0)  # [i, j]: of column j, orthogonal to the columns before i
    later = left.triu(1).sum(1)
    return squares.diagonal() < tolerance**2 * later


def _batch_means_error(growth: Tensor, time: Tensor) -> Tensor:
    """Standard errors of the rates from the scatter of batch means. `growth`: `[r, k]` over `time`: `[r]`."""
    if len(time) < 2:
        return torch.full_like(growth[0], math.nan)
    batches = max(2, math.isqrt(len(time)))
    sums = zip(growth.tensor_split(batches), time.tensor_split(batches), strict=True)
    means = torch.stack([rows.sum(0) / steps.sum() for rows, steps in sums])
    return means.std(0) / math.sqrt(batches)
