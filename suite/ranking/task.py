"""The ranking of one task: every metric against every target, by every statistic, and a score with an interval."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from suite.ranking import bootstrap, significance
from suite.ranking.correlation import LEAST, Draws, Numbers, Pairs, Vector, count_pairs, defined_mean, draw_kendall
from suite.ranking.grid import grid_columns
from suite.ranking.significance import holm, p_value
from suite.ranking.spearman import spearman_columns
from suite.ranking.tables import TaskResults
from suite.ranking.trajectory import transitions
from suite.ranking.within import Run, mean_over_runs, run_taus, runs_of

_SIDE = {1: 0, -1: 1}
"""Where scores that are read with either sign have the one read with this sign."""


@dataclass(frozen=True)
class Score:
    """What a metric scores on a task; NaN where no target can be scored.

    Attributes:
        value: the score.
        replicates: the same of each bootstrap resample.
        permuted: the same of each permutation of the gaps (trajectories: of each flip of settings), read with the same
            sign.
    """

    value: float
    replicates: Vector
    permuted: Vector = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class TaskRanking:
    """One task's ranking.

    Attributes:
        results: what was ranked.
        rows: one per metric and target: tau, low, high, tau_all (no inclusion rule), n, failed, sign, score
            (sign · τ with missing pairs ordered wrongly: `worst_tau`), `p` (permutation p-value of the score) and
            `p_holm` (Holm's correction over the metrics of the target), Spearman's `rho` with `rho_low` and `rho_high`;
            on grid tasks the columns of `suite.ranking.grid`.
        scores: of each metric, the mean over targets.
        scores_all: the same without the inclusion rule.
        clusters: how many settings (or runs) the intervals were made from.
        drawn: `settings` or `runs`.
        left_out: rows of `runs` that the inclusion rule or divergence left out.
    """

    results: TaskResults
    rows: pd.DataFrame
    scores: dict[str, Score]
    scores_all: dict[str, float]
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

    def echoes(self, metric: str, target: str) -> list[str]:
        """The hyperparameters that a metric's τ is an echo of.

        τ can be told from 0 (its interval leaves 0 out), and with the hyperparameter held fixed it no longer can. That
        is no proof that nothing is left: fewer pairs remain, and the interval is wider.

        Raises:
            KeyError: the task has no such metric or target.
        """
        row = self._row.get((metric, target))
        if row is None:
            raise KeyError(f"{self.results.name} has no metric {metric} with target {target}")
        if not (row["low"] > 0 or row["high"] < 0):
            return []
        names = [name for name in self.results.hyperparameters if f"partial:{name}" in row]
        return [name for name in names if row[f"partial_low:{name}"] <= 0 <= row[f"partial_high:{name}"]]

    def has_values(self, metric: str) -> bool:
        """Whether the metric was measured on the task and has a value somewhere in it."""
        return self._known.get(metric, (False, True))[0]

    def tried(self, metric: str) -> bool:
        """Whether the metric, of which this may be a component, was asked for a value anywhere in the task."""
        whole = metric.partition(".")[0]
        return any(name.partition(".")[0] == whole for name in self.scores)

    def lacks_values(self, metric: str) -> bool:
        """Whether a value of the metric is missing somewhere, or all of them are."""
        return self._known.get(metric, (False, True))[1]

    @cached_property
    def changes(self) -> pd.DataFrame:
        """When metrics change (`suite.ranking.trajectory.transitions`).

        Raises:
            ValueError: the task is not a trajectory task.
        """
        return transitions(self.results)

    @cached_property
    def _row(self) -> dict[tuple[str, str], dict[Hashable, Any]]:
        """Of each metric and target: its row."""
        return {(row["metric"], row["target"]): row for row in self.rows.to_dict("records")}

    @cached_property
    def _known(self) -> dict[str, tuple[bool, bool]]:
        """Of each metric: whether it has values, and whether it lacks any."""
        has = (self.rows["n"] > 0).groupby(self.rows["metric"]).any()
        lacks = (self.rows["failed"] > 0).groupby(self.rows["metric"]).any() | ~has
        return {str(name): (bool(has[name]), bool(lacks[name])) for name in has.index}


@dataclass(frozen=True)
class _Sample:
    """The rows that are ranked, metrics `M × n`, targets `T × n`, and what is drawn again."""

    frame: pd.DataFrame
    x: Vector
    y: Vector
    numbers: Numbers
    drawn: str
    tried: NDArray[np.bool_]
    """Where metrics were asked for a value, `M × n`."""
    runs: list[Run] | None
    """Of trajectory tasks; None for grids."""

    @property
    def k(self) -> int:
        """How many clusters there are."""
        return int(self.numbers.max(initial=-1)) + 1


def rank_task(
    results: TaskResults, resamples: int = bootstrap.RESAMPLES, permutations: int = significance.PERMUTATIONS
) -> TaskRanking:
    """Rank the metrics of a task.

    Grid tasks: τ-b over all included runs. Trajectory tasks: τ-b over the checkpoints of each run, then the mean over
    runs, as Tuci et al. 2026 do. Intervals by drawing settings again, the same draws for all metrics and targets:
    differences are paired, and the targets of a task, being gaps of the same runs, are not taken for independent.
    p-values by permuting whole settings (grids), or by flipping the sign of whole settings (trajectories).

    One thread: the products are small, and threads that wait for one another made ranking eight times slower.
    """
    with threadpool_limits(1, user_api="blas"):
        return _ranked(results, resamples, permutations)


def _ranked(results: TaskResults, resamples: int, permutations: int) -> TaskRanking:
    frame = results.wide()
    sample = _sample(results, frame, results.included)
    counts = bootstrap.cluster_counts(np.arange(sample.k), resamples, bootstrap.generator(results.name))
    counts = np.vstack([np.ones((1, sample.k)), counts])
    pairs = None if sample.runs is not None else count_pairs(sample.x, sample.y, sample.numbers, sample.tried)
    draws = _associate(sample, pairs, counts)
    everyone = _sample(results, frame, results.usable)
    all_in = _associate(everyone, None, np.ones((1, everyone.k)))
    permuted = _permuted(results, sample, permutations)
    signs, scores = _scores(results, draws, permuted)
    scores_all = {name: score.value for name, score in _scores(results, all_in, permuted[..., :0])[1].items()}
    rows = _described(results, sample, draws, signs) | {"tau_all": all_in.tau[..., 0]}
    rows |= _tested(results, draws, permuted, signs)
    rows |= spearman_columns(sample.x, sample.y, sample.numbers, sample.runs, counts)
    if pairs is not None:
        rows |= grid_columns(results, sample.frame, sample.x, sample.y, sample.numbers, pairs, counts, signs)
    left_out = len(frame) - len(sample.frame)
    return TaskRanking(results, _table(results, rows), scores, scores_all, sample.k, sample.drawn, left_out)


def _sample(results: TaskResults, everything: pd.DataFrame, kept: pd.Series[bool]) -> _Sample:
    frame, tried = everything[kept], results.tried()[:, kept.to_numpy()]
    metrics = [str(name) for name in results.metrics.index]
    within = results.kind == "trajectory"
    points = frame.drop_duplicates("run_id") if within else frame
    numbers, drawn = bootstrap.clusters(points, results.hyperparameters)
    x, y = frame[metrics].to_numpy(float).T, frame[results.targets].to_numpy(float).T
    runs = runs_of(frame, metrics, results.targets, tried) if within else None
    return _Sample(frame, x, y, numbers, drawn, tried, runs)


def _associate(sample: _Sample, pairs: Pairs | None, counts: Vector) -> Draws:
    """τ and scores in each row of `counts` (how often each cluster occurs); NaN where there is nothing."""
    if not sample.k:
        nothing = np.full((len(sample.x), len(sample.y), len(counts)), np.nan)
        return Draws(nothing, np.array([nothing, nothing]))
    if sample.runs is not None:
        each = run_taus(sample.runs)
        drawn = counts[:, sample.numbers]
        return Draws(mean_over_runs(each.tau, drawn), mean_over_runs(each.scores, drawn))
    return draw_kendall(pairs or count_pairs(sample.x, sample.y, sample.numbers, sample.tried), counts)


def _permuted(results: TaskResults, sample: _Sample, permutations: int) -> Vector:
    """Scores under the null, `2 × M × T × P`, read with + and with −; NaN where there is nothing."""
    if not sample.k:
        return np.full((2, len(sample.x), len(sample.y), permutations), np.nan)
    random = bootstrap.generator(results.name, "permutations")
    if sample.runs is not None:
        flips = significance.sign_flips(sample.k, permutations, random)
        return significance.flipped_scores(run_taus(sample.runs).scores, sample.numbers, flips)
    orders = significance.cluster_permutations(sample.numbers, permutations, random)
    return significance.permuted_kendall(sample.x, sample.y, orders, sample.tried)


def _scores(results: TaskResults, draws: Draws, permuted: Vector) -> tuple[dict[str, int], dict[str, Score]]:
    """The sign each metric is read with, and its score: the mean over the targets that can be scored.

    Authors of a metric say which way it goes, and it is held to that. A trivial predictor has no author to ask: it is
    given its better sign, on each task and in each resample anew. That flatters it a little, and is meant to. It is
    given it in each permutation too: its p-value is two-sided.
    """
    read = defined_mean(np.moveaxis(draws.scores, 2, 0))
    chance = defined_mean(np.moveaxis(permuted, 2, 0))
    signs, scores = {}, {}
    for m, metric in enumerate(map(str, results.metrics.index)):
        if results.trivial(metric):
            signs[metric] = -1 if read[1, m, 0] > read[0, m, 0] else 1
            own, null = read[:, m].max(0), chance[:, m].max(0)
        else:
            signs[metric] = results.sign(metric)
            own, null = read[_SIDE[signs[metric]], m], chance[_SIDE[signs[metric]], m]
        scores[metric] = Score(float(own[0]), own[1:], null)
    return signs, scores


def _described(results: TaskResults, sample: _Sample, draws: Draws, signs: dict[str, int]) -> dict[str, Any]:
    """Columns, each `M × T`."""
    targets = len(results.targets)
    low, high = bootstrap.intervals(draws.tau, sample.k)
    sign = np.repeat(np.array([*signs.values()], dtype=int)[:, None], targets, axis=1)
    known = np.repeat(np.isfinite(sample.x).sum(1)[:, None], targets, axis=1)
    score = np.where(sign > 0, draws.scores[0, ..., 0], draws.scores[1, ..., 0])
    found = {"sign": sign, "score": score, "tau": draws.tau[..., 0], "low": low, "high": high}
    found |= {"n": known, "failed": sample.x.shape[1] - known}
    return found


def _tested(results: TaskResults, draws: Draws, permuted: Vector, signs: dict[str, int]) -> dict[str, Any]:
    """The p-values and Holm's correction over the metrics that have values, `M × T` each."""
    p = np.full(draws.tau.shape[:2], np.nan)
    for m, metric in enumerate(signs):
        for t in range(len(results.targets)):
            if np.isnan(draws.tau[m, t, 0]):
                continue
            sides = [0, 1] if results.trivial(metric) else [_SIDE[signs[metric]]]
            p[m, t] = p_value(draws.scores[sides, m, t, 0].max(), permuted[sides, m, t].max(0))
    return {"p": p, "p_holm": np.array([holm(column) for column in p.T]).T.reshape(p.shape)}


def _table(results: TaskResults, columns: dict[str, Any]) -> pd.DataFrame:
    names = [str(name) for name in results.metrics.index]
    index = {"metric": np.repeat(names, len(results.targets)), "target": results.targets * len(names)}
    return pd.DataFrame(index | {name: values.reshape(-1) for name, values in columns.items()})
