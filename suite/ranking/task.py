"""The ranking of one task: τ-b of every metric with every target, ψ and Ψ, and a score, each with an interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from suite.ranking import bootstrap
from suite.ranking.bootstrap import interval, mean_replicates, spread
from suite.ranking.correlation import LEAST, Vector, coverage, defined_mean, kendall, weighted_kendall
from suite.ranking.granulated import columns, granulated_kendall, granulated_replicates
from suite.ranking.tables import TaskResults


@dataclass(frozen=True)
class Score:
    """What a metric scores on a task, and its bootstrap replicates; NaN where no target can be scored."""

    value: float
    replicates: Vector


@dataclass(frozen=True)
class TaskRanking:
    """One task's ranking.

    Attributes:
        results: what was ranked.
        rows: one per metric and target: tau, low, high, tau_all (no inclusion rule), n, failed, sign, score
            (sign · τ · coverage); on grid tasks ψ of each hyperparameter (`psi:<factor>`, `psi_low:…`, `psi_high:…`,
            `settings:…`, of how many settings it is the mean) and their mean `Psi`, `Psi_low`, `Psi_high`.
        scores: of each metric, the mean over targets.
        clusters: how many settings (or runs) the intervals were made from.
        drawn: `settings` or `runs`.
        left_out: rows of `runs` that the inclusion rule or divergence left out.
    """

    results: TaskResults
    rows: pd.DataFrame
    scores: dict[str, Score]
    clusters: int
    drawn: str
    left_out: int

    @property
    def scored(self) -> bool:
        """Whether any metric could be scored."""
        return any(np.isfinite(score.value) for score in self.scores.values())

    @property
    def why_unscored(self) -> str:
        """What stands in the way of any score; empty where nothing does."""
        if self.scored:
            return ""
        kept = self.results.runs[self.results.included]
        if self.results.kind == "trajectory":
            if kept.groupby("run_id").size().max() >= LEAST:
                return "the gap is the same at all checkpoints of every run"
            return f"no run has the {LEAST} checkpoints that a τ needs"
        if len(kept) >= LEAST:
            return "the gap is the same for all networks"
        return f"{len(kept)} of {len(self.results.runs)} networks can be ranked, a τ needs {LEAST}"

    def has_values(self, metric: str) -> bool:
        """Whether the metric was measured on the task and has a value somewhere in it."""
        return bool((self.rows.loc[self.rows["metric"] == metric, "n"] > 0).any())

    def lacks_values(self, metric: str) -> bool:
        """Whether a value of the metric is missing somewhere, or all of them are."""
        return not self.has_values(metric) or bool((self.rows.loc[self.rows["metric"] == metric, "failed"] > 0).any())


@dataclass(frozen=True)
class _Sample:
    """The rows that are ranked, and how often each (of a grid) or each run (of trajectories) is drawn."""

    frame: pd.DataFrame
    within_runs: bool
    counts: Vector


@dataclass(frozen=True)
class _Association:
    """τ, and τ times coverage, with their replicates."""

    tau: float
    taus: Vector
    covered: float
    covereds: Vector


def rank_task(results: TaskResults, resamples: int = bootstrap.RESAMPLES) -> TaskRanking:
    """Rank the metrics of a task.

    Grid tasks: τ-b over all included runs. Trajectory tasks: τ-b over the checkpoints of each run, then the mean over
    runs, as Tuci et al. 2026 do. Intervals by drawing settings again, the same draws for all metrics and targets:
    differences are paired, and the targets of a task, being gaps of the same runs, are not taken for independent.
    """
    frame = results.wide()
    included, everyone = frame[results.included], frame[results.usable]
    within = results.kind == "trajectory"
    points = included.drop_duplicates("run_id") if within else included
    numbers, drawn = bootstrap.clusters(points, results.hyperparameters)
    k = int(numbers.max(initial=-1)) + 1
    counts = bootstrap.cluster_counts(numbers, resamples, bootstrap.generator(results.name))
    sample = _Sample(included, within, counts)
    whole = _Sample(everyone, within, np.zeros((0, everyone["run_id"].nunique() if within else len(everyone))))
    rows, scores = [], {}
    for metric in map(str, results.metrics.index):
        found = {target: _associate(sample, metric, target) for target in results.targets}
        sign, scores[metric] = _score(results, metric, list(found.values()))
        for target, association in found.items():
            row = {"metric": metric, "target": target, "sign": sign, "score": sign * association.covered}
            row |= _described(association, included[metric], k)
            row["tau_all"] = _associate(whole, metric, target).tau
            rows.append(row | ({} if within else _granulated(results, sample, metric, target, k)))
    return TaskRanking(results, pd.DataFrame(rows), scores, k, drawn, len(frame) - len(included))


def _score(results: TaskResults, metric: str, found: list[_Association]) -> tuple[int, Score]:
    """The sign a metric is read with, and its score: the mean over the targets that can be scored.

    Authors of a metric say which way it goes, and it is held to that. A trivial predictor has no author to ask: it is
    given its better sign, on each task and in each resample anew. That flatters it a little, and is meant to.
    """
    value = float(defined_mean(np.array([a.covered for a in found])))
    replicates = defined_mean(np.array([a.covereds for a in found]))
    if results.trivial(metric):
        return (-1 if value < 0 else 1), Score(abs(value), np.abs(replicates))
    sign = results.sign(metric)
    return sign, Score(sign * value, sign * replicates)


def _described(association: _Association, values: pd.Series[float], k: int) -> dict[str, Any]:
    low, high = interval(association.tau, spread(association.taus, k))
    n = int(np.isfinite(values).sum())
    return {"tau": association.tau, "low": low, "high": high, "n": n, "failed": len(values) - n}


def _associate(sample: _Sample, metric: str, target: str) -> _Association:
    if not sample.within_runs:
        return _between(sample, metric, target)
    parts = [part for _, part in sample.frame.groupby("run_id", sort=False)]
    taus = np.array([kendall(*columns(part, metric, target)) for part in parts])
    shares = np.array([_share(*columns(part, metric, target)) for part in parts])
    covered = np.nan_to_num(taus) * shares
    return _Association(
        float(defined_mean(taus)), mean_replicates(taus, sample.counts),
        float(defined_mean(covered)), mean_replicates(covered, sample.counts),
    )  # fmt: skip


def _between(sample: _Sample, metric: str, target: str) -> _Association:
    x, y = columns(sample.frame, metric, target)
    tau, taus = kendall(x, y), weighted_kendall(x, y, sample.counts)
    shares = coverage(x, y, sample.counts)
    # where τ is not defined though the gap varies, nothing is covered: coin tosses, 0
    return _Association(tau, taus, float(np.nan_to_num(tau)) * _share(x, y), np.nan_to_num(taus) * shares)


def _share(x: Vector, y: Vector) -> float:
    return float(coverage(x, y, np.ones((1, len(y))))[0])


def _granulated(results: TaskResults, sample: _Sample, metric: str, target: str, k: int) -> dict[str, Any]:
    factors = list(results.provenance["factors"])
    row: dict[str, Any] = {}
    values, replicates = [], []
    for name in results.hyperparameters:
        value, settings = granulated_kendall(sample.frame, factors, metric, target, name)
        made = granulated_replicates(sample.frame, factors, metric, target, name, sample.counts)
        low, high = interval(value, spread(made, k))
        row |= {f"psi:{name}": value, f"psi_low:{name}": low, f"psi_high:{name}": high, f"settings:{name}": settings}
        if settings:
            values.append(value)
            replicates.append(made)
    mean = float(np.mean(values)) if values else float("nan")
    # a resample in which one of them is undefined has no Ψ: a mean of fewer hyperparameters is another quantity
    low, high = interval(mean, spread(np.mean(replicates, axis=0), k)) if values else (float("nan"), float("nan"))
    return row | {"Psi": mean, "Psi_low": low, "Psi_high": high}
