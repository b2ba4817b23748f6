"""Which metrics say the same of the same networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from suite.ranking.correlation import LEAST, Vector
from suite.ranking.tables import TaskResults

DUPLICATE = 0.99
"""Least |τ-b| on every task of a metric that says what another one says."""
FEWEST = 10
"""Fewer networks than this are ordered alike by chance too often, with as many metrics to compare with as there are."""


def names_of(metric: str, results: TaskResults) -> list[str]:
    """What a metric is called among a task's: by its name, or by those of its components."""
    return [str(n) for n in results.metrics.index if n == metric or str(n).startswith(f"{metric}.")]


def nearest_metrics(metric: str, results: list[TaskResults]) -> list[dict[str, Any]]:
    """One row for each component and other metric: τ-b and ρ on each task, nearest first.

    Over the networks (the checkpoints, of trajectories) that are usable and have both values; how many these are is
    said where they are not all. Nearness is the least |τ-b| over the tasks. A task where either is constant has none.
    """
    rows = sorted(_all_pairs(metric, results), key=lambda row: -_nearness(row[2]))
    return [_row(metric, own, other, pairs) for own, other, pairs in rows]


def duplicates(metric: str, results: list[TaskResults]) -> list[str]:
    """The metrics that order the networks of every task as this one does, or the other way round.

    Tasks on which both are constant say nothing, nor do fewer than `FEWEST` networks. One where a single one varies, or
    one of them has no value for more than a tenth of the other's networks, tells them apart. A metric of several
    components is a duplicate only if each of them is one.
    """
    found: dict[str, list[str]] = {}
    for own, other, pairs in _all_pairs(metric, results):
        twins = found.setdefault(own, [])
        known = [pair for pair in pairs.values() if pair.shared >= FEWEST and not (pair.constant and pair.constants)]
        if known and all(pair.alike for pair in known):
            twins.append(other)
    if not found or not all(found.values()):
        return []
    return sorted({twin for twins in found.values() for twin in twins})


@dataclass(frozen=True)
class _Pair:
    """Two metrics on one task: τ-b and ρ (NaN where either is constant), and how many networks have both, or either."""

    tau: float
    rho: float
    shared: int
    either: int
    constant: bool
    constants: bool

    @property
    def alike(self) -> bool:
        """Whether they order the same networks alike."""
        return abs(self.tau) >= DUPLICATE and self.shared >= 0.9 * self.either

    def __str__(self) -> str:
        if np.isnan(self.tau):
            return "–"
        some = f" of {self.shared}" if self.shared < self.either else ""
        return f"τ {self.tau:+.2f} ρ {self.rho:+.2f}{some}"


_Pairs = dict[str, _Pair]


def _all_pairs(metric: str, results: list[TaskResults]) -> list[tuple[str, str, _Pairs]]:
    names = list(dict.fromkeys(str(name) for r in results for name in r.metrics.index))
    own = list(dict.fromkeys(name for r in results for name in names_of(metric, r)))
    tables = [(r.name, _columns(r)) for r in results]
    return [
        (mine, other, {task: _pair(t[mine], t[other]) for task, t in tables if mine in t and other in t})
        for mine in own
        for other in names
        if other not in own
    ]


def _columns(results: TaskResults) -> dict[str, Vector]:
    frame = results.wide()[results.usable]
    return {str(name): frame[name].to_numpy(float) for name in results.metrics.index}


def _pair(x: Vector, y: Vector) -> _Pair:
    known = np.isfinite(x), np.isfinite(y)
    both, either = known[0] & known[1], int((known[0] | known[1]).sum())
    x, y = x[both], y[both]
    constant = [len(values) == 0 or bool(np.ptp(values) == 0) for values in (x, y)]
    if len(x) < LEAST or any(constant):
        return _Pair(float("nan"), float("nan"), len(x), either, *constant)
    tau, rho = float(kendalltau(x, y).statistic), float(spearmanr(x, y).statistic)
    return _Pair(tau, rho, len(x), either, *constant)


def _nearness(pairs: _Pairs) -> float:
    return min((abs(pair.tau) for pair in pairs.values() if not np.isnan(pair.tau)), default=-1.0)


def _row(metric: str, own: str, other: str, pairs: _Pairs) -> dict[str, Any]:
    row: dict[str, Any] = {"component": own.removeprefix(f"{metric}.")} if own != metric else {}
    return row | {"metric": other} | {task: str(pair) for task, pair in pairs.items()}
