"""Which metrics can be told apart: paired comparisons of scores over tasks, groups, and intervals of ranks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr
from scipy.stats import rankdata

from suite.ranking.bootstrap import LEVEL
from suite.ranking.correlation import Vector, defined_mean
from suite.ranking.significance import holm


@dataclass(frozen=True)
class Scored:
    """The scores of M metrics on tasks, and their replicates from the same resamples.

    Attributes:
        values: `tasks × M`.
        replicates: one `M × R` per task.
        clusters: how many clusters each task's resamples were drawn from.
    """

    values: Vector
    replicates: Sequence[Vector]
    clusters: Sequence[int]

    @property
    def score(self) -> Vector:
        """The mean over tasks, `M`."""
        mean: Vector = self.values.mean(0)
        return mean


def compare(scored: Scored) -> Callable[[int, NDArray[np.intp]], Vector]:
    """Two-sided p-values of the paired difference of one metric's score and others'.

    t = difference / √(Σ over tasks of the variance of the difference of replicates) · tasks, with the degrees of
    freedom of Welch and Satterthwaite: the p at which the interval of `bootstrap.interval` just includes 0. 1 where
    two metrics always score the same; NaN where a task's spread is not known.

    Returns:
        A function of the metric's position and the others'.
    """
    spreads = [_covariance(made, k) for made, k in zip(scored.replicates, scored.clusters, strict=True)]
    covariances, freedoms = np.array(spreads), np.array(scored.clusters) - 1.0
    score = scored.score

    def against(one: int, others: NDArray[np.intp]) -> Vector:
        own = covariances[:, one, one][:, None] - 2 * covariances[:, one][:, others]
        variances = np.maximum(own + covariances[:, others, others], 0.0)
        difference = score[one] - score[others]
        total = variances.sum(0)
        # of covariances that cancel, rounding is left
        total = np.where(total < 1e-14, 0.0, total)
        with np.errstate(invalid="ignore", divide="ignore"):
            freedom = total**2 / (variances**2 / freedoms[:, None]).sum(0)
            t = np.abs(difference) * len(covariances) / np.sqrt(total)
            p = 2 * stdtr(freedom, -t)
        return np.where(total == 0, np.where(np.abs(difference) < 1e-9, 1.0, 0.0), p)

    return against


def _covariance(replicates: Vector, k: int) -> Vector:
    """As `bootstrap.spread`, of all metrics with one another; NaN where it is not known."""
    defined = np.isfinite(replicates).all(0)
    m = len(replicates)
    if k < 2 or defined.sum() < max(2, replicates.shape[1] / 2):
        return np.full((m, m), np.nan)
    return np.asarray(np.cov(replicates[:, defined]).reshape(m, m) * k / (k - 1), dtype=float)


def group(scored: Scored) -> NDArray[np.int64]:
    """The group of each metric, 1 the best.

    From the best down: the leader of a group is compared with every metric below it, with Holm's correction over these
    comparisons; those that follow belong to the group until the first that can be told apart, which leads the next. A
    metric of a lower group may be one that the leader above cannot be told from: groups are read from their leaders.
    """
    order = np.argsort(-scored.score, kind="stable")
    against = compare(scored)
    groups = np.zeros(len(order), dtype=np.int64)
    start, number = 0, 1
    while start < len(order):
        below = order[start + 1 :]
        apart = np.flatnonzero(holm(against(int(order[start]), below)) < 1 - LEVEL)
        end = start + 1 + int(apart[0]) if len(apart) else len(order)
        groups[order[start:end]] = number
        start, number = end, number + 1
    return groups


def rank_intervals(scored: Scored) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """95 % intervals of ranks: from the ranks in each replicate, `M` each; the metric's own rank is inside.

    Replicates of a task's score are spread about the score as widely as its interval says (× √(k / (k − 1))), so that
    metrics as good as one another change places, and a task of few settings counts for little. Metrics that score the
    same share the ranks from the first to the last of them. Where no replicate is defined, any rank is possible.
    """
    m = scored.values.shape[1]
    parts = [
        (made - defined_mean(made.T)[:, None]) * np.sqrt(k / max(k - 1, 1)) + value[:, None]
        for made, k, value in zip(scored.replicates, scored.clusters, scored.values, strict=True)
    ]
    means = np.mean(parts, axis=0)
    means = means[:, np.isfinite(means).all(0)]
    if min(scored.clusters) < 2 or not means.shape[1]:
        return np.ones(m, dtype=np.int64), np.full(m, m)
    own, drawn = np.round(-scored.score, 9), np.round(-means, 9)
    first, last = rankdata(drawn, "min", axis=0), rankdata(drawn, "max", axis=0)
    low = np.floor(np.quantile(first, (1 - LEVEL) / 2, axis=1))
    high = np.ceil(np.quantile(last, (1 + LEVEL) / 2, axis=1))
    return np.minimum(low, rankdata(own, "min")).astype(int), np.maximum(high, rankdata(own, "max")).astype(int)
