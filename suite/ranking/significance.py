"""Permutation p-values of scores, and Holm's correction of many of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from suite.ranking.correlation import LEAST, Numbers, Vector, worst_tau

PERMUTATIONS = 4999
"""The least p is 1 / 5,000: times 90 metrics that is 0.018, so that Holm can still reject. A thousand could not."""
MOST_FLIPPED = 12
"""Of up to so many settings, 4,096 flips, all flips are made; of more, random ones."""

_PAIRS, _ORDERS = 4096, 512
"""Pairs of networks, and orders, in one block: 8 MB of signs, about what a cache holds."""
_EQUAL = 1e-9
"""Values this close are one value computed in two orders."""


def cluster_permutations(numbers: Numbers, count: int, random: np.random.Generator) -> Numbers:
    """Orders in which whole clusters change places, their networks with them, `count × n`.

    A cluster takes the place of one of its own size: settings of which a run was left out change places among
    themselves, and a size that occurs once stays where it is.
    """
    rows = [np.flatnonzero(numbers == number) for number in range(int(numbers.max(initial=-1)) + 1)]
    sizes = np.array([len(positions) for positions in rows])
    orders = np.empty((count, len(numbers)), dtype=np.int64)
    for size in np.unique(sizes):
        places = np.array([positions for positions in rows if len(positions) == size])
        drawn = random.permuted(np.tile(np.arange(len(places)), (count, 1)), axis=1)
        orders[:, places.ravel()] = places[drawn].reshape(count, places.size)
    return orders


def permuted_kendall(x: Vector, y: Vector, orders: Numbers, tried: NDArray[np.bool_] | None = None) -> Vector:
    """What metrics score against permuted gaps, read with + and with − (`worst_tau`).

    Args:
        x: metrics, `M × n`; NaN where missing.
        y: gaps, `T × n`, finite; fewer than `LEAST` of them count as constant.
        orders: `P × n`, positions.
        tried: `M × n`, where the metric was asked for a value; None: everywhere.

    Returns:
        `2 × M × T × P`, float64; NaN where the gap is constant, 0 where the metric is.
    """
    y = y if y.shape[1] >= LEAST else np.zeros_like(y)
    said = _Said.of(x, np.ones(x.shape, dtype=bool) if tried is None else tried, len(y), len(orders))
    ranks = [rankdata(gap, method="dense").astype(np.float32) for gap in y]
    for start in range(0, len(orders), _ORDERS):
        chunk = slice(start, start + _ORDERS)
        permuted = [gap[orders[chunk].T] for gap in ranks]
        for block in _blocks(x.shape[1]):
            said.count(block, [_signs_of(gap, block) for gap in permuted], chunk)
    return said.scores()


_Block = list[tuple[int, int, int]]
"""Pairs of networks (i, i + lag): the lag, from which i, up to which i."""


def _blocks(n: int) -> Iterator[_Block]:
    """All pairs of n networks, at most `_PAIRS` at a time."""
    block, size = list[tuple[int, int, int]](), 0
    for lag in range(1, n):
        for start in range(0, n - lag, _PAIRS):
            stop = min(n - lag, start + _PAIRS)
            if block and size + stop - start > _PAIRS:
                yield block
                block, size = [], 0
            block.append((lag, start, stop))
            size += stop - start
    if block:
        yield block


def _signs_of(ranks: NDArray[np.float32], block: _Block) -> NDArray[np.float32]:
    """sign(r_{i+lag} − r_i) of permuted ranks, `n × P` to `pairs × P`."""
    signs = np.empty((sum(stop - start for _, start, stop in block), ranks.shape[1]), dtype=np.float32)
    done = 0
    for lag, start, stop in block:
        np.subtract(ranks[start + lag : stop + lag], ranks[start:stop], out=signs[done : done + stop - start])
        done += stop - start
    return np.clip(signs, -1, 1, out=signs)  # ranks are whole numbers


@dataclass(frozen=True)
class _Said:
    """What M metrics and T gaps in P orders say of pairs of networks, summed over the pairs that were counted.

    Sums within a block are exact in float32, and those of blocks in float64: all are whole numbers.

    Attributes:
        x: `n × M`, NaN where missing.
        tried: `n × M`.
        some, fewer: the metrics that lack a value somewhere, and those that were not tried somewhere.
        agree: `M × T × P`, Σ sign(Δx) sign(Δy).
        known, asked: of `some`, and of `fewer`, `… × T × P`: how many pairs the gap orders that both have values for,
            and that both were tried for.
        metric, missing: `M`, how many pairs each metric orders, and lacks though they were tried.
        total: `T`, how many pairs the gap orders.
    """

    x: Vector
    tried: NDArray[np.bool_]
    some: NDArray[np.intp]
    fewer: NDArray[np.intp]
    agree: Vector
    known: Vector
    asked: Vector
    metric: Vector
    missing: Vector
    total: Vector

    @classmethod
    def of(cls, x: Vector, tried: NDArray[np.bool_], gaps: int, orders: int) -> _Said:
        """Nothing yet."""
        finite = np.isfinite(x)
        some, fewer = np.flatnonzero(~finite.all(1)), np.flatnonzero(~tried.all(1))
        rows = np.ascontiguousarray(np.where(finite, x, np.nan).T)
        agree, known, asked = (np.zeros((count, gaps, orders)) for count in (len(x), len(some), len(fewer)))
        metric, missing = np.zeros((2, len(x)))
        return cls(rows, tried.T, some, fewer, agree, known, asked, metric, missing, np.zeros(gaps))

    def count(self, block: _Block, gaps: list[NDArray[np.float32]], chunk: slice) -> None:
        """Add a block of pairs, with the signs of each gap in some of the orders, `pairs × P`."""
        signs = np.concatenate([np.sign(self.x[a + lag : b + lag] - self.x[a:b]) for lag, a, b in block])
        known = np.isfinite(signs)
        asked = known | np.concatenate([self.tried[a + lag : b + lag] & self.tried[a:b] for lag, a, b in block])
        signs = np.nan_to_num(signs)
        if not chunk.start:  # each pair once, whatever the orders
            self.metric[:] += np.abs(signs).sum(0)
            self.missing[:] += asked.sum(0) - known.sum(0)
        rows = signs.T.astype(np.float32)
        some, fewer = known.T[self.some].astype(np.float32), asked.T[self.fewer].astype(np.float32)
        for t, gap in enumerate(gaps):
            self.agree[:, t, chunk] += rows @ gap
            ordered = np.abs(gap, out=gap)
            self.known[:, t, chunk] += some @ ordered
            self.asked[:, t, chunk] += fewer @ ordered
            if not chunk.start:
                self.total[t] += ordered[:, 0].sum(dtype=float)

    def scores(self) -> Vector:
        """`2 × M × T × P`, once all pairs were counted."""
        known, asked = (np.broadcast_to(self.total[:, None], self.agree.shape).copy() for _ in range(2))
        known[self.some], asked[self.fewer] = self.known, self.asked
        tied = self.missing[:, None, None] - (asked - known)
        return worst_tau(self.agree, self.metric[:, None, None], known, asked, tied, self.total[:, None])


def sign_flips(k: int, count: int, random: np.random.Generator) -> Vector:
    """Signs of k clusters, `count × k`: all 2^k flips equally often (as the count allows), or random ones.

    Of 4 clusters every sixteenth flip is the observed one: no p-value can be below 1/16.
    """
    every = 2 ** min(k, MOST_FLIPPED)
    if k > MOST_FLIPPED or every > count:
        return np.asarray(random.choice([-1.0, 1.0], size=(count, k)))
    drawn = np.concatenate([np.tile(np.arange(every), count // every), random.permutation(every)[: count % every]])
    return np.asarray(1.0 - 2.0 * (random.permutation(drawn)[:, None] >> np.arange(k) & 1), dtype=float)


def flipped_scores(scores: Vector, numbers: Numbers, flips: Vector) -> Vector:
    """The mean of scores within runs where the gap of each cluster's runs is turned upside down or is not.

    Of a metric that has nothing to do with the gap, τ within the runs of a setting is as likely positive as negative,
    however smooth both are in time, and whatever runs of one setting share; settings are independent. Nothing else is
    assumed, so the unit is the setting. What is tested is the mean: a trend that all settings share, such as the number
    of steps, is found.

    Args:
        scores: `runs × 2 × M × T`, read with + and with −; NaN where the gap is constant.
        numbers: cluster of each run.
        flips: `P × k`, +1 or −1.

    Returns:
        `2 × M × T × P`.
    """
    defined = np.isfinite(scores)
    known = np.where(defined, scores, 0.0)
    plus, minus = (known.sum(1) / 2)[:, None], (known[:, 0] - known[:, 1])[:, None] / 2
    turned = np.tensordot(np.concatenate([minus, -minus], axis=1), flips[:, numbers], (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        made: Vector = (plus.sum(0)[..., None] + turned) / defined.sum(0)[..., None]
    return made


def p_value(observed: float, permuted: Vector) -> float:
    """(1 + how many permutations reach the observed) / (1 + permutations); NaN where the observed is undefined."""
    if not np.isfinite(observed) or not len(permuted):
        return float("nan")
    return float((1 + (permuted >= observed - _EQUAL).sum()) / (1 + len(permuted)))


def holm(p: Vector) -> Vector:
    """Holm's step-down correction: the family-wise error is held whatever the dependence; NaN stays NaN."""
    corrected = np.full(len(p), np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return corrected
