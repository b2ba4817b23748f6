"""Rank correlations as the field uses them, of all metrics at once, with every degenerate case defined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Numbers = NDArray[np.int64]

LEAST = 3
"""Fewer points than this have no τ: two are always ±1."""

_CHUNK = 4_000_000
"""Bytes ÷ 8 of one block of pairs."""
_PAIRS = 4096
"""Pairs of clusters in one block: weights of 1,000 resamples are 16 or 32 MB."""
_EXACT = 2**24
"""Whole numbers below this are exact in float32, and twice as fast."""


@dataclass(frozen=True)
class Pairs:
    """What pairs of networks say, summed over pairs of clusters: τ of any resample of clusters follows from it.

    P pairs of clusters (each with itself among them), M metrics, T gaps. Both orders of a pair are counted.

    Attributes:
        agree: `M × T × P`, Σ sign(x_i − x_j) sign(y_i − y_j).
        metric: `M × P`, how many pairs the metric orders.
        total: `T × P`, how many pairs the gap orders.
        lacking: `L`, the metrics of which a value is missing.
        gap: `L × T × P`, how many pairs the gap orders that the metric has values for; of the others: `total`.
        tried: `L × T × P`, how many pairs the gap orders of which both values were tried.
        tied: `L × T × P`, how many pairs the gap does not order that were tried and lack a value.
        few: `M`, whether fewer than `LEAST` networks have a value.
        first, second: `P`, the two clusters.
        most: no resample has more pairs of networks.
    """

    agree: Vector
    metric: Vector
    total: Vector
    lacking: NDArray[np.intp]
    gap: Vector
    tried: Vector
    tied: Vector
    few: NDArray[np.bool_]
    first: Numbers
    second: Numbers
    most: int


@dataclass(frozen=True)
class Draws:
    """τ-b and what the metric scores in each of R resamples.

    Attributes:
        tau: `M × T × R`; NaN where the gap is constant among the networks with a value or these are too few, 0 where
            only the metric is constant (it predicts nothing).
        scores: `2 × M × T × R`, `worst_tau` read with + and read with −; NaN only where the gap is constant for all.
    """

    tau: Vector
    scores: Vector


def pair_signs(x: Vector) -> Vector:
    """sign(x_i − x_j) for all pairs, `… × n × n`; 0 where a value is missing."""
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(np.sign(x[..., :, None] - x[..., None, :]))


def worst_tau(agree: Vector, metric: Vector, gap: Vector, tried: Vector, tied: Vector, total: Vector) -> Vector:
    """What a metric scores: ± τ-b, where missing values could not have been worse, read with + and with −.

    Every pair that was tried and lacks a value counts as the metric ordering it the wrong way round: W of those that
    the gap orders. Of those that the gap does not order, the metric is taken to order all (they make τ-b smaller) where
    the rest is right more often than wrong, and none elsewhere. That is the least τ-b over all that the metric could
    have said of each such pair by itself, so a value more never lowers a score, and failing never raises one. A rule
    of which the latter holds for every metric can be no milder than the worst the missing values could have been.

    A pair of which a value was never tried (the task asks for no such probe there) says nothing, right or wrong: τ-b
    is multiplied by the share of pairs that were tried.

        (± agree − W) / √((metric + W + tied or 0) · tried) · tried / total,  W = tried − gap

    Args:
        agree: as in `Pairs`, of all metrics, summed; like all others of shapes that broadcast.
        metric: how many pairs the metric orders.
        gap: how many the gap orders that the metric has values for.
        tried: how many the gap orders that were tried.
        tied: how many the gap does not order that were tried and lack a value.
        total: how many the gap orders.

    Returns:
        Of the signs + and −: `2 × …`; NaN where `total` is 0, 0 where there is nothing the metric orders.
    """
    wrong, read = tried - gap, []
    for sign in (1, -1):
        right = sign * agree - wrong
        ordered = metric + wrong + np.where(right > 0, tied, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            made = np.where(ordered == 0, 0.0, right * np.sqrt(tried) / np.sqrt(ordered) / total)
        read.append(np.where(total == 0, np.nan, made))
    return np.array(read)


def count_pairs(x: Vector, y: Vector, numbers: Numbers, tried: NDArray[np.bool_] | None = None) -> Pairs:
    """Compare all pairs of networks.

    Args:
        x: metrics, `M × n`; what is not finite is missing.
        y: gaps, `T × n`, finite. Fewer than `LEAST` of them say nothing and count as constant.
        numbers: cluster (0 … k − 1) of each network.
        tried: `M × n`, where the metric was asked for a value; None: everywhere.
    """
    y = y if y.shape[1] >= LEAST else np.zeros_like(y)
    order = np.argsort(numbers, kind="stable")
    x, y = np.ascontiguousarray(np.where(np.isfinite(x), x, np.nan)[:, order]), np.ascontiguousarray(y[:, order])
    starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
    first, second = np.triu_indices(len(starts))
    known = np.isfinite(x)
    asked = known | (np.ones_like(known) if tried is None else tried[:, order])
    lacking = np.flatnonzero(~known.all(1))
    agree, metric = np.empty((len(x), len(y), len(first))), np.empty((len(x), len(first)))
    total, missing = np.empty((len(y), len(first))), np.empty((3, len(lacking), len(y), len(first)))
    for fold in _folds(starts, x.shape[1]):
        y_signs = fold.signs(y)
        total[:, fold.pairs] = fold(np.abs(y_signs))
        for m, values in enumerate(x):
            signs = fold.signs(values)
            agree[m, :, fold.pairs], metric[m, fold.pairs] = fold(signs * y_signs), fold(np.abs(signs))
        for row, one in enumerate(lacking):
            missing[:, row, :, fold.pairs] = _of_missing(np.abs(y_signs), known[one], asked[one], fold)
    most = (len(starts) * int(np.bincount(numbers).max(initial=0))) ** 2
    few = known.sum(1) < LEAST
    gap, reached, tied = missing
    return Pairs(agree, metric, total, lacking, gap, reached, tied, few, first, second, most)


def _of_missing(ordered: Vector, known: NDArray[np.bool_], asked: NDArray[np.bool_], fold: _Fold) -> list[Vector]:
    """`gap`, `tried` and `tied` of one metric; a network drawn twice is no pair."""
    both, all_asked = fold.outer(known), fold.outer(asked)
    untied = (1 - ordered) * (all_asked & ~both & ~fold.same)
    return [fold(ordered * both), fold(ordered * all_asked), fold(untied)]


def _folds(starts: Numbers, n: int) -> Iterator[_Fold]:
    """All pairs of n networks, those of some clusters with themselves and all later ones at a time."""
    ends, begun, done = np.append(starts[1:], n), 0, 0
    while begun < len(starts):
        size = _CHUNK // 4 // (n - int(starts[begun]))  # of rows
        stop = max(begun + 1, int(np.searchsorted(ends, starts[begun] + size, side="right")))
        count = sum(len(starts) - cluster for cluster in range(begun, stop))
        yield _Fold(starts[begun:], stop - begun, int(ends[stop - 1]), slice(done, done + count), n)
        begun, done = stop, done + count


@dataclass(frozen=True)
class _Fold:
    """Sums over pairs of clusters, both orders together, of what `rows × columns` networks say of their pairs.

    Attributes:
        starts: the first network of each cluster, from the first cluster of these rows on.
        clusters: how many of them are rows.
        stop: the network after the last row.
        pairs: where these pairs of clusters are among all.
        n: how many networks there are.
    """

    starts: Numbers
    clusters: int
    stop: int
    pairs: slice
    n: int

    @property
    def _rows(self) -> slice:
        return slice(int(self.starts[0]), self.stop)

    def signs(self, x: Vector) -> Vector:
        """sign(x_i − x_j), `… × rows × columns`; 0 where a value is missing."""
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(np.sign(x[..., self._rows, None] - x[..., None, self._rows.start :]))

    def outer(self, kind: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which pairs are of two networks of a kind."""
        return np.outer(kind[self._rows], kind[self._rows.start :])

    @property
    def same(self) -> NDArray[np.bool_]:
        """Which pairs are of a network with itself."""
        return np.eye(self.stop - self._rows.start, self.n - self._rows.start, dtype=bool)

    def __call__(self, matrix: Vector) -> Vector:
        """`… × rows × columns`, of a symmetric matrix, to `… × pairs of clusters`."""
        starts = self.starts - self.starts[0]
        if len(starts) < matrix.shape[-1]:
            matrix = np.add.reduceat(np.add.reduceat(matrix, starts, axis=-1), starts[: self.clusters], axis=-2)
        first, second, orders = self._clusters
        folded: Vector = matrix[..., first, second] * orders
        return folded

    @cached_property
    def _clusters(self) -> tuple[Numbers, Numbers, Numbers]:
        """The two clusters of each pair, and in how many orders it occurs; once for all metrics."""
        first, second = np.triu_indices(self.clusters, m=len(self.starts))
        return first, second, np.where(first == second, 1, 2)


def draw_kendall(pairs: Pairs, counts: Vector, chosen: NDArray[np.bool_] | None = None) -> Draws:
    """τ-b of resampled data: cluster c occurs `counts[r, c]` times in resample r.

    scipy has no such thing, and resampling one at a time takes minutes; the tests hold values against scipy's on the
    resampled points.

    Args:
        pairs: of M metrics and T gaps.
        counts: `R × k`; a row of ones is the data themselves.
        chosen: `P`, which pairs of clusters count; None: all.
    """
    chosen = np.ones(len(pairs.first), dtype=bool) if chosen is None else chosen
    sums = (pairs.agree, pairs.metric[:, None], pairs.total[None], pairs.gap, pairs.tried, pairs.tied)
    agree, metric, total, *missing = _weighted(pairs, sums, counts, chosen)
    gap, tried = np.broadcast_to(total, agree.shape).copy(), np.broadcast_to(total, agree.shape).copy()
    tied = np.zeros_like(agree)
    gap[pairs.lacking], tried[pairs.lacking], tied[pairs.lacking] = missing
    tau = tau_b(agree, metric, gap)
    tau[pairs.few] = np.nan
    return Draws(tau, worst_tau(agree, metric, gap, tried, tied, total))


def tau_b(agree: Vector, metric: Vector, gap: Vector) -> Vector:
    """τ-b from sums over pairs; NaN where the gap orders none, 0 where only the metric does not."""
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = agree / np.sqrt(metric * gap)
    return np.where(gap == 0, np.nan, np.where(metric == 0, 0.0, tau))


def _weighted(pairs: Pairs, sums: Sequence[Vector], counts: Vector, chosen: NDArray[np.bool_]) -> list[Vector]:
    """Σ over pairs of clusters of `counts[r, first] · counts[r, second]` times each of the sums: `… × R`."""
    kind = np.float32 if pairs.most < _EXACT else np.float64
    first, second = pairs.first[chosen], pairs.second[chosen]
    sizes = [int(np.prod(part.shape[:-1])) for part in sums]
    drawn = np.ascontiguousarray(counts.T.astype(kind))
    made = np.zeros((sum(sizes), len(counts)))
    for start in range(0, len(first), _PAIRS):
        block = slice(start, start + _PAIRS)
        columns = np.flatnonzero(chosen)[block]
        stacked = np.concatenate(
            [part[..., columns].reshape(rows, len(columns)) for part, rows in zip(sums, sizes, strict=True)]
        )
        made += stacked.astype(kind) @ (drawn[first[block]] * drawn[second[block]])
    split = np.split(made, np.cumsum(sizes)[:-1])
    return [rows.reshape(*part.shape[:-1], len(counts)) for rows, part in zip(split, sums, strict=True)]


def defined_mean(values: Vector) -> Vector:
    """Mean over the first axis of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: Vector = np.where(defined, values, 0.0).sum(0) / defined.sum(0)
    return mean
