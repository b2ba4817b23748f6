"""Permutation p-values of scores, and Holm's correction of many of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from suite.ranking.correlation import LEAST, Numbers, Vector
from suite.ranking.within import Run, shifts, turned, turned_mean

PERMUTATIONS = 4999
"""The least p is 1 / 5,000: times 90 metrics that is 0.018, so that Holm can still reject. A thousand could not."""

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


def permuted_kendall(x: Vector, y: Vector, orders: Numbers) -> Vector:
    """τ-b times coverage between metrics and permuted gaps.

    Args:
        x: metrics, `M × n`; NaN where missing.
        y: gaps, `T × n`, finite; fewer than `LEAST` of them count as constant.
        orders: `P × n`, positions.

    Returns:
        `M × T × P`, float64; NaN where the gap is constant, 0 where the metric is.
    """
    y = y if y.shape[1] >= LEAST else np.zeros_like(y)
    signs, known = _lagged(x)
    # float32 counts pairs exactly up to 2^24 of them, 5,792 networks
    signs, known = signs.astype(np.float32), known.astype(np.float32)
    missing = (known == 0).any(1)
    ordered = np.abs(signs).sum(1, dtype=float)[:, None]
    size = max(1, _CHUNK // max(1, signs.shape[1]))
    result = np.empty((len(x), len(y), len(orders)))
    for t, gap in enumerate(y):
        ranks = rankdata(gap, method="dense").astype(np.float32)
        for start in range(0, len(orders), size):
            pairs = _signs_of(ranks[orders[start : start + size].T])
            agree = (signs @ pairs).astype(float)
            total = np.abs(pairs[:, 0]).sum(dtype=float)
            covered = np.full(agree.shape, total)
            if missing.any():
                covered[missing] = known[missing] @ np.abs(pairs)
            with np.errstate(invalid="ignore", divide="ignore"):
                made = np.where(ordered == 0, 0.0, agree * np.sqrt(covered) / np.sqrt(ordered) / total)
            result[:, t, start : start + size] = made if total else np.nan
    return result


def _lagged(x: Vector) -> tuple[Vector, NDArray[np.bool_]]:
    """sign(x_{i+d} − x_i) by lag d, then i: `M × pairs`, 0 where missing; and which pairs have values."""
    made = [np.sign(x[:, d:] - x[:, :-d]) for d in range(1, x.shape[1])]
    signs = np.concatenate(made, axis=1) if made else np.zeros((len(x), 0))
    return np.nan_to_num(signs), np.isfinite(signs)


def _signs_of(ranks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same of permuted ranks, `n × P` to `pairs × P`."""
    n, count = ranks.shape
    signs = np.empty((n * (n - 1) // 2, count), dtype=np.float32)
    start = 0
    for d in range(1, n):
        np.subtract(ranks[d:], ranks[:-d], out=signs[start : start + n - d])
        start += n - d
    return np.clip(signs, -1, 1, out=signs)  # ranks are whole numbers


def shifted_kendall(runs: list[Run], numbers: Numbers, count: int, random: np.random.Generator) -> Vector:
    """The mean over runs of τ-b times coverage when the gap of each run is turned round in time, `M × T × P`.

    Turning keeps the autocorrelation of both. The runs of a setting are turned alike, for they are not independent.
    What is tested is that the metric moves with the gap at its own time, in each setting anew; a trend that all runs
    share, such as the number of steps, passes.
    """
    uniform = random.random((count, int(numbers.max(initial=-1)) + 1))
    tables = [permuted_kendall(run.x, run.y, turned(run)) for run in runs]
    return turned_mean(tables, shifts(runs, numbers, uniform))


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
