"""Permutation p-values of scores, and Holm's correction of many of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from suite.ranking.correlation import LEAST, Numbers, Vector, worst_tau

PERMUTATIONS = 4999
"""The least p is 1 / 5,000: times 90 metrics that is 0.018, so that Holm can still reject. A thousand could not."""
MOST_FLIPPED = 12
"""Of up to so many settings, 4,096 flips, all flips are made; of more, random ones."""

_CHUNK = 2_000_000
"""Signs in one block: 8 MB, about what a cache holds."""
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
    pairs = _lagged(x, np.ones(x.shape, dtype=bool) if tried is None else tried)
    size = max(1, _CHUNK // max(1, pairs.signs.shape[1]))
    result = np.empty((2, len(x), len(y), len(orders)))
    for t, gap in enumerate(y):
        ranks = rankdata(gap, method="dense").astype(np.float32)
        for start in range(0, len(orders), size):
            chunk = slice(start, start + size)
            result[:, :, t, chunk] = pairs.scores(_signs_of(ranks[orders[chunk].T]))
    return result


@dataclass(frozen=True)
class _Lagged:
    """What M metrics say of all pairs of networks, by lag, then position: float32 (exact up to 2^24: 5,792 networks).

    Attributes:
        signs: `M × pairs`, sign(x_{i+d} − x_i); 0 where missing.
        known, asked: `M × pairs`, 1 where both have values, and where both were tried.
    """

    signs: NDArray[np.float32]
    known: NDArray[np.float32]
    asked: NDArray[np.float32]

    def scores(self, gaps: NDArray[np.float32]) -> Vector:
        """Scores against gaps' signs, `pairs × P`: `2 × M × P`."""
        ordered = np.abs(gaps)
        agree = (self.signs @ gaps).astype(float)
        total = ordered[:, 0].sum(dtype=float)
        known, asked = (np.full(agree.shape, total) for _ in range(2))
        some, fewer = self._incomplete
        if len(some):
            known[some] = self.known[some] @ ordered
        if len(fewer):
            asked[fewer] = self.asked[fewer] @ ordered
        metric, missing = self._counts
        return worst_tau(agree, metric, known, asked, missing - (asked - known), np.asarray(total))

    @cached_property
    def _incomplete(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The metrics that lack a value somewhere, and those that were not tried somewhere."""
        return np.flatnonzero((self.known == 0).any(1)), np.flatnonzero((self.asked == 0).any(1))

    @cached_property
    def _counts(self) -> tuple[Vector, Vector]:
        """How many pairs each metric orders, and lacks though they were tried: `M × 1` each."""
        missing = self.asked.sum(1, dtype=float) - self.known.sum(1, dtype=float)
        return np.abs(self.signs).sum(1, dtype=float)[:, None], missing[:, None]


def _lagged(x: Vector, tried: NDArray[np.bool_]) -> _Lagged:
    finite = np.where(np.isfinite(x), x, np.nan)
    made = [np.sign(finite[:, d:] - finite[:, :-d]) for d in range(1, x.shape[1])]
    both = [tried[:, d:] & tried[:, :-d] for d in range(1, x.shape[1])]
    signs = np.concatenate(made, axis=1) if made else np.zeros((len(x), 0))
    known = np.isfinite(signs)
    asked = known | (np.concatenate(both, axis=1) if both else known)
    return _Lagged(np.nan_to_num(signs).astype(np.float32), known.astype(np.float32), asked.astype(np.float32))


def _signs_of(ranks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same of permuted ranks, `n × P` to `pairs × P`."""
    n, count = ranks.shape
    signs = np.empty((n * (n - 1) // 2, count), dtype=np.float32)
    start = 0
    for d in range(1, n):
        np.subtract(ranks[d:], ranks[:-d], out=signs[start : start + n - d])
        start += n - d
    return np.clip(signs, -1, 1, out=signs)  # ranks are whole numbers


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
