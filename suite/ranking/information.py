"""Conditional mutual information between what a metric and a gap say of pairs of networks (Jiang et al. 2019)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.ranking.bootstrap import setting_numbers
from suite.ranking.correlation import Numbers, Vector, defined_mean

LARGEST = 2
"""Hyperparameters that are held fixed at once, at most: Jiang et al. 2019, section 2.2.3."""
NULLS = 10
_CHUNK = 1_000_000
"""Pairs in one block: 4 MB of float32, what a cache holds."""


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
    x = np.ascontiguousarray(x)  # what is compared takes the layout of x, and is summed by rows
    size = max(1, _CHUNK // max(1, len(y) ** 2))
    made = [_information(x[start : start + size], y, sets) for start in range(0, len(x), size)]
    return np.concatenate(made) if made else np.zeros(0)


def _information(x: Vector, y: Vector, sets: list[Numbers]) -> Vector:
    above, known = y[:, None] > y[None, :], np.isfinite(x)
    every = known[:, :, None] & known[:, None, :] if not known.all() else np.ones((1, 1, 1), dtype=bool)
    total = _by_cell(every & above, sets)
    more = _by_cell((x[:, :, None] > x[:, None, :]) & above, sets)
    equal = (x[:, :, None] == x[:, None, :]) & above
    # most metrics have no ties, and to count none is what takes time
    tied = _by_cell(equal, sets) if equal.any() else [np.zeros_like(part) for part in more]
    scores = []
    for all_pairs, upper, ties in zip(total, more, tied, strict=True):
        # rows: g_i > g_j; the pair (j, i), in the mirrored cell, says the same with everything turned round
        symbols = np.stack([upper, ties, all_pairs - upper - ties], axis=-1)
        scores.append(_ratio(np.stack([symbols, symbols.swapaxes(1, 2)[..., ::-1]], axis=-2)))
    return np.min(scores, axis=0) if scores else np.full(len(x), np.nan)


def _by_cell(pairs: NDArray[np.bool_], sets: list[Numbers]) -> list[Vector]:
    """How many pairs `M × n × n` are in each cell of two networks, `M × K × K` for each set."""
    m, n, _ = pairs.shape
    belongs = [(codes[:, None] == np.arange(int(codes.max(initial=-1)) + 1)).astype(np.float32) for codes in sets]
    summed = pairs.reshape(m * n, n).astype(np.float32) @ np.concatenate(belongs, axis=1)
    parts = np.split(summed.reshape(m, n, summed.shape[1]), np.cumsum([part.shape[1] for part in belongs])[:-1], axis=2)
    return [np.asarray(own.T @ part, dtype=float) for own, part in zip(belongs, parts, strict=True)]


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
    gap, metric = y[:, None] > y[None, :], x[:, :, None] > x[:, None, :]
    parts = [gap & metric, gap & ~metric, ~gap & metric, ~gap & ~metric]
    scores = []
    for quarters in zip(*[_by_cell(part, sets) for part in parts], strict=True):
        counts = np.stack(quarters, axis=-1)
        occupied = counts.sum(-1, keepdims=True)
        shares = np.divide(counts, occupied, out=np.zeros_like(counts), where=occupied > 0)
        scores.append(_ratio(shares.reshape(*shares.shape[:-1], 2, 2)))
    least: Vector = np.min(scores, axis=0)
    return 100 * least
