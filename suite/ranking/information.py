"""Conditional mutual information between what a metric and a gap say of pairs of networks (Jiang et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.ranking.bootstrap import setting_numbers
from suite.ranking.correlation import Numbers, Vector, defined_mean

LARGEST = 2
"""Hyperparameters that are held fixed at once, at most: Jiang et al. 2019, section 2.2.3."""
NULLS = 10
_CHUNK = 1_000_000
"""Pairs in one block: 4 MB of int32, what a cache holds."""
_EXACT = 2**24
"""Whole numbers below this are exact in float32, and twice as fast."""


def subsets(hyperparameters: list[str], largest: int = LARGEST) -> list[tuple[str, ...]]:
    """The sets S: of at most `largest` hyperparameters, ∅ among them, and never all that vary.

    With all of them fixed nothing differs but the seed, and the score would be how well a metric guesses seeds. Jiang
    et al. vary seven hyperparameters and never come to it; a grid of two does.
    """
    sizes = range(min(largest, max(0, len(hyperparameters) - 1)) + 1)
    return [chosen for size in sizes for chosen in combinations(hyperparameters, size)]


def cells(frame: pd.DataFrame, hyperparameters: list[str], largest: int = LARGEST) -> list[Numbers]:
    """The cell 0 … K − 1 of each network for every S of `subsets`, each `n`."""
    varied = [name for name in hyperparameters if frame[name].nunique(dropna=False) > 1]
    return [setting_numbers(frame, list(chosen)) for chosen in subsets(varied, largest)]


def conditional_information(x: Vector, y: Vector, sets: list[Numbers]) -> Vector:
    """The minimum over S of I(V_g; V_μ | U_S) / H(V_g | U_S) (Jiang et al. 2019, equations 9 to 11).

    Over ordered pairs (i, j) of different networks with g_i ≠ g_j: V_g = sign(g_i − g_j), V_μ = sign(μ_i − μ_j), ties
    of the metric a third symbol; U_S is the pair's values of the hyperparameters in S, and its cells weigh as many
    pairs as they hold. 0: for some S the metric says nothing more of the gap; 1: it tells all, whatever is held fixed.
    It does not see the sign of the relation.

    From few pairs it is biased upwards (by about (3 − 1)(2 − 1) / 2N nats a cell of N independent pairs): read it
    against `null_information`, of the same cells, and not as it stands.

    Args:
        x: metrics, `M × n`; pairs without values are left out.
        y: a gap, `n`.
        sets: the cell of each network for each S.

    Returns:
        `M`, in [0, 1]; NaN where no pair is left.
    """
    atoms = _Atoms.of(sets)
    x, y = np.ascontiguousarray(x[:, atoms.order]), y[atoms.order]
    above = y[:, None] > y[None, :]
    everyone = _by_cell(above[None], atoms)
    size = max(1, _CHUNK // max(1, len(y) ** 2))
    made = [_information(x[start : start + size], above, atoms, everyone) for start in range(0, len(x), size)]
    return np.concatenate(made) if made else np.zeros(0)


def _information(x: Vector, above: NDArray[np.bool_], atoms: _Atoms, everyone: list[Vector]) -> Vector:
    known = np.isfinite(x)
    # of metrics without a gap the pairs are those of all networks
    total = everyone if known.all() else _by_cell(known[:, :, None] & known[:, None, :] & above, atoms)
    more = _by_cell((x[:, :, None] > x[:, None, :]) & above, atoms)
    equal = (x[:, :, None] == x[:, None, :]) & above
    # most metrics have no ties, and to count none is what takes time
    tied = _by_cell(equal, atoms) if equal.any() else [np.zeros_like(part) for part in more]
    scores = []
    for all_pairs, upper, ties in zip(total, more, tied, strict=True):
        # rows: g_i > g_j; the pair (j, i), in the mirrored cell, says the same with everything turned round
        symbols = np.stack([upper, ties, all_pairs - upper - ties], axis=-1)
        scores.append(_ratio(np.stack([symbols, symbols.swapaxes(1, 2)[..., ::-1]], axis=-2)))
    return np.min(scores, axis=0) if scores else np.full(len(x), np.nan)


@dataclass(frozen=True)
class _Atoms:
    """What no set of cells divides further: networks that are together in all of them.

    Attributes:
        order: of the networks, those of an atom side by side.
        starts, sizes: the first network of each of A atoms in that order, and how many it has.
        belongs: of each set, which atoms are in which cell, `A × K`.
        exact: a dtype in which there is no rounding where pairs are counted that one atom has with a cell.
    """

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]
    belongs: list[NDArray[np.float32]]
    exact: type[np.floating[Any]]

    @classmethod
    def of(cls, sets: list[Numbers]) -> _Atoms:
        """Of the cell of each network for each set."""
        codes = np.array(sets)
        order = np.lexsort(codes) if codes.size else np.zeros(0, dtype=np.intp)
        sorted_codes = codes[:, order]
        differs = (
            np.append(True, (np.diff(sorted_codes, axis=1) != 0).any(0)) if codes.size else np.zeros(0, dtype=bool)
        )
        starts = np.flatnonzero(differs)
        sizes = np.diff(starts, append=len(order))
        belongs = [
            (own[starts][:, None] == np.arange(int(own.max(initial=-1)) + 1)).astype(np.float32) for own in sorted_codes
        ]
        small = int(sizes.max(initial=0)) * len(order) < _EXACT
        return cls(order, starts, sizes, belongs, np.float32 if small else np.float64)


def _by_cell(pairs: NDArray[np.bool_], atoms: _Atoms) -> list[Vector]:
    """How many pairs `M × n × n`, in the order of `atoms`, are in each cell of two networks, `M × K × K` a set."""
    m, n, _ = pairs.shape
    rows = np.zeros((m, len(atoms.starts), n), dtype=np.int32)
    for place in range(int(atoms.sizes.max(initial=0))):
        has = atoms.sizes > place
        if has.all():
            rows += pairs[:, atoms.starts + place]
        else:
            rows[:, has] += pairs[:, atoms.starts[has] + place]
    summed = np.add.reduceat(rows, atoms.starts, axis=2) if n else rows
    wide = np.concatenate(atoms.belongs, axis=1, dtype=atoms.exact)
    height, width = m * summed.shape[1], summed.shape[2]  # said outright: either may be 0
    spread = (summed.reshape(height, width).astype(atoms.exact) @ wide).reshape(m, summed.shape[1], wide.shape[1])
    parts = np.split(spread, np.cumsum([own.shape[1] for own in atoms.belongs])[:-1], axis=2)
    return [own.T.astype(float) @ part.astype(float) for own, part in zip(atoms.belongs, parts, strict=True)]


def _ratio(counts: Vector) -> Vector:
    """Σ_cells p(cell) I / Σ_cells p(cell) H(V_g), from counts `M × K × K × 2 × symbols`."""
    gap, metric, both = counts.sum(-1), counts.sum(-2), counts.sum((-1, -2))
    entropy = _total(both) - _total(gap)
    information = _total(counts) - _total(gap) - _total(metric) + _total(both)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = information / entropy
    # cells in which the gap is always on one side have nothing to tell: no entropy, no information
    flat = entropy <= 1e-9 * np.maximum(1.0, both.sum((-1, -2)))
    return np.where(both.sum((-1, -2)) == 0, np.nan, np.where(flat, 0.0, np.clip(ratio, 0.0, 1.0)))


def _total(counts: Vector) -> Vector:
    """Σ c ln c over all but the first axis."""
    logs = np.log(counts, out=np.zeros_like(counts), where=counts > 0)
    total: Vector = (counts * logs).reshape(len(counts), -1).sum(1)
    return total


def null_information(x: Vector, y: Vector, sets: list[Numbers], orders: Numbers) -> Vector:
    """The mean of `conditional_information` of each metric with its networks permuted: what chance alone scores.

    Args:
        x: metrics, `M × n`.
        y: a gap, `n`.
        sets: the cell of each network for each S.
        orders: permutations, `P × n`.
    """
    return defined_mean(np.array([conditional_information(x[:, order], y, sets) for order in orders]))


def pgdl_score(x: Vector, y: Vector, sets: list[Numbers]) -> Vector:
    """The score of the PGDL competition (Jiang et al. 2020): 100 · min_S mean over cells of I / mean over cells of H.

    As `conditional_information`, but over all ordered pairs, V = 1[· > ·] (a tie, and a network with itself, is "not
    more"), and every occupied cell weighs alike. The competition takes |S| = 2 alone: pass these sets.

    Args:
        x: metrics, `M × n`, without missing values.
        y: a gap, `n`.
        sets: the cell of each network for each S.
    """
    atoms = _Atoms.of(sets)
    x, y = x[:, atoms.order], y[atoms.order]
    gap, metric = y[:, None] > y[None, :], x[:, :, None] > x[:, None, :]
    parts = [gap & metric, gap & ~metric, ~gap & metric, ~gap & ~metric]
    scores = []
    for quarters in zip(*[_by_cell(part, atoms) for part in parts], strict=True):
        counts = np.stack(quarters, axis=-1)
        occupied = counts.sum(-1, keepdims=True)
        shares = np.divide(counts, occupied, out=np.zeros_like(counts), where=occupied > 0)
        scores.append(_ratio(shares.reshape(*shares.shape[:-1], 2, 2)))
    least: Vector = np.min(scores, axis=0)
    return 100 * least
