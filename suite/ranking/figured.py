"""What published results say of a figure in a page of prose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd
from scipy.stats import binomtest

from suite.ranking.bootstrap import LEVEL
from suite.ranking.claims import Pool
from suite.ranking.edge import edge_counts
from suite.ranking.evidence import Evidence
from suite.ranking.findings import find
from suite.ranking.leaderboard import difference
from suite.ranking.tables import TaskResults
from suite.ranking.task import TaskRanking
from suite.ranking.trajectory import transitions

if TYPE_CHECKING:
    from suite.spec.figure import Figure

ALL, OF_RUNS = "all", ("lead", "edge", "edge_end")
"""As `suite.spec.figure` has them."""


@dataclass(frozen=True)
class Figured:
    """A figure and whether it lies on the side that is said.

    Attributes:
        value, low, high: the statistic and its 95 % interval; against a rival the difference.
        outcome: `holds`, `fails` or `open`.
        problem: why there is none, or why nothing is certain; empty where nothing stands in the way.
        note: of how many it is, where that is to be read with it.
    """

    value: float
    low: float
    high: float
    outcome: str
    problem: str = ""
    note: str = ""


def figured(figure: Figure, pool: Pool, overall: pd.DataFrame, rankings: Sequence[TaskRanking]) -> Figured:
    """The statistic of a figure.

    Args:
        figure: which.
        pool: the published tasks.
        overall: the table of `suite.ranking.leaderboard.rank_overall`.
        rankings: what it was made of.
    """
    if figure.task == ALL:
        return _overall(figure, overall, rankings)
    evidence = pool(figure.task, figure.ruled)
    if evidence is None:
        return _nothing(f"{figure.task} is not published")
    if figure.statistic == "lead":
        return _lead(figure, evidence.results, pool.resamples)
    if figure.statistic in ("edge", "edge_end"):
        return _edge(figure, evidence.results)
    if figure.statistic == "networks":
        return _networks(evidence.results)
    return _tested(figure, evidence)


def _tested(figure: Figure, evidence: Evidence) -> Figured:
    if figure.target is not None and figure.target not in evidence.results.targets:
        return _nothing(f"{figure.task} has no target {figure.target}")
    found = find(figure, figure.task, evidence, figure.target or "")
    if found.shown is None:
        return _nothing(found.problem)
    shown, effect = found.shown, found.shown.effect
    ends = (effect.value, effect.low, effect.high) if shown.rival else (shown.value, shown.low, shown.high)
    return Figured(*ends, found.outcome, found.problem)


def _nothing(problem: str) -> Figured:
    return Figured(float("nan"), float("nan"), float("nan"), "open", problem)


def _overall(figure: Figure, overall: pd.DataFrame, rankings: Sequence[TaskRanking]) -> Figured:
    name, rivals = str(figure.metric), list(figure.beats or [])  # of all tasks there is one metric's, and one rival's
    for one in (name, *rivals):
        if one not in overall.index or overall["score"].isna()[one]:
            return _nothing(f"{one} has no score over all tasks")
    if rivals:
        row = difference(rankings, name, rivals[0])
        return _beside(figure, row["score"], row["low"], row["high"])
    columns = ("rank", "rank_low", "rank_high") if figure.statistic == "rank" else ("score", "low", "high")
    value, low, high = (float(overall[column].astype(float)[name]) for column in columns)
    return _beside(figure, value, low, high)


def _lead(figure: Figure, results: TaskResults, resamples: int) -> Figured:
    if results.kind != "trajectory":
        return _nothing(f"{results.name} has no trajectories")
    name = str(figure.metric)  # a lead is of one metric
    alone = replace(results, metrics=results.metrics[results.metrics.index == name])
    row = transitions(alone, resamples).set_index("metric").to_dict("index").get(name, {})
    if not row.get("runs"):
        return _nothing(f"{name} changes in no run of {results.name} that groks")
    found = _beside(figure, float(row["lead"]), float(row["low"]), float(row["high"]))
    return replace(found, note=f"{row['runs']:.0f} of {row['grokked']:.0f} runs")


def _edge(figure: Figure, results: TaskResults) -> Figured:
    counts = edge_counts(results.edge)
    if counts is None or not counts.networks:
        return _nothing(f"no edge ratio was recorded along the training of {results.name}")
    beyond = counts.last if figure.statistic == "edge_end" else counts.ever
    ends = binomtest(beyond, counts.networks).proportion_ci(LEVEL, method="exact")
    return _beside(figure, beyond / counts.networks, float(ends.low), float(ends.high))


def _networks(results: TaskResults) -> Figured:
    kept, there = (frame["run_id"].nunique() for frame in (results.runs[results.included], results.runs))
    return Figured(float(kept), float(kept), float(kept), "holds", note=f"{kept} of {there}")


def _beside(figure: Figure, value: float, low: float, high: float) -> Figured:
    """On which side of the figure's number (a difference: of 0) an interval lies; without an interval it is open."""
    above = 0.0 if figure.beats is not None else figure.above
    if above is not None:
        outcome = "holds" if low > above else "fails" if high < above else "open"
    else:
        assert figure.below is not None  # these figures are above or below a number
        outcome = "holds" if high < figure.below else "fails" if low > figure.below else "open"
    return Figured(value, low, high, outcome)
