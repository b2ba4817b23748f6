"""Two metrics side by side: paired differences of their scores, and on which networks they say the same."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.errors import BadInput
from suite.ranking import bootstrap
from suite.ranking.correlation import Vector, count_pairs, draw_kendall, pair_signs
from suite.ranking.evidence import least_chance
from suite.ranking.groups import Scored
from suite.ranking.groups import compare as compare_paired
from suite.ranking.leaderboard import averaged, score_on
from suite.ranking.significance import holm
from suite.ranking.tables import TaskResults
from suite.ranking.task import Score, TaskRanking, rank_task
from suite.ranking.within import mean_over_runs, run_taus, runs_of

UNDEFINED = float("nan")
_DIFFERENCE = (-2.0, 2.0)
"""Two scores between −1 and 1 differ by no more."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval; NaN where it is not defined."""

    value: float
    low: float
    high: float


NOTHING = Estimate(UNDEFINED, UNDEFINED, UNDEFINED)


@dataclass(frozen=True)
class Difference(Estimate):
    """A paired difference A − B.

    `p` is two-sided: below 0.05 only where the interval leaves 0 out, and wherever it does unless there are too few
    settings for that (`evidence.least_chance`).
    """

    p: float


@dataclass(frozen=True)
class PairCounts:
    """Pairs of networks that a gap orders (on trajectory tasks: of checkpoints of one run), by what A and B say of it.

    Each metric is read with the sign of its score. The six add up to the pairs that the gap orders. Pairs share
    networks: they are not independent, and no p-value follows from these counts.

    Attributes:
        both_right, both_wrong: A and B order the pair as the gap does, or both the other way round.
        a_right_b_wrong, b_right_a_wrong: only one of them is right, the other is wrong.
        tied: both have values, and A or B has the same one for both networks.
        missing: A or B lacks one of the values.
    """

    both_right: int
    a_right_b_wrong: int
    b_right_a_wrong: int
    both_wrong: int
    tied: int
    missing: int


@dataclass(frozen=True)
class Side:
    """One metric against one target: τ as it is, the sign it is read with, over how many networks, how many failed."""

    tau: Estimate
    sign: int
    n: int
    failed: int


@dataclass(frozen=True)
class OnTarget:
    """Two metrics against one target, and what they say of its pairs."""

    target: str
    a: Side
    b: Side
    pairs: PairCounts


@dataclass(frozen=True)
class OnTask:
    """Two metrics on a task that both were tried on.

    Attributes:
        task, kind: the task's.
        a, b: their scores.
        difference: of the scores, paired: on the same resamples.
        p_holm: its p, corrected for the number of tasks.
        alike: Kendall's τ-b between the two metrics' values over the networks that count and that both have values for
            (trajectories: within each run, then the mean over runs); no sign is applied.
        points: how many networks, or checkpoints, that is over.
        clusters, drawn: how many settings (or runs) the resamples were drawn from.
        targets: one by one.
    """

    task: str
    kind: str
    a: Estimate
    b: Estimate
    difference: Difference
    p_holm: float
    alike: Estimate
    points: int
    clusters: int
    drawn: str
    targets: list[OnTarget]


@dataclass(frozen=True)
class MetricComparison:
    """Two metrics on all tasks.

    Attributes:
        a, b: their names; `title_a`, `title_b`: their titles.
        tasks: those on which both were tried and that can be scored.
        apart: the other tasks, and in words why they do not count.
        overall_a, overall_b: the mean score over `tasks`, which weigh equally.
        difference: of these means, paired.
    """

    a: str
    b: str
    title_a: str
    title_b: str
    tasks: list[OnTask]
    apart: dict[str, str]
    overall_a: Estimate
    overall_b: Estimate
    difference: Difference


def compare_metrics(a: str, b: str, results: Sequence[TaskResults]) -> MetricComparison:
    """Compare two metrics on tasks.

    Scores, resamples and rules are those of the leaderboard, with one exception: it counts a task on which a metric was
    never tried as 0 in the mean, while here a task counts only if both were tried, for 0 instead of a score is no
    evidence for the other metric. A metric that was tried and failed everywhere scores −1, as there.

    Raises:
        BadInput: no task has such a metric.
    """
    described = _described(results, (a, b))
    ranked, apart = [], {}
    for result in results:
        ranking = _ranked(result, (a, b))
        if why := _why_apart(ranking, (a, b)):
            apart[result.name] = why
        elif ranking is not None:
            ranked.append(ranking)
    tasks = [_on_task(ranking, a, b) for ranking in ranked]
    corrected = holm(np.array([task.difference.p for task in tasks]))
    tasks = [replace(task, p_holm=float(p)) for task, p in zip(tasks, corrected, strict=True)]
    title_a, title_b = (str(described.at[name, "title"]) for name in (a, b))
    means = mean_score(ranked, a), mean_score(ranked, b)
    return MetricComparison(a, b, title_a, title_b, tasks, apart, *means, _difference(ranked, a, b))


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of the name of a metric that there is not: its components, or the nearest names."""
    names = sorted(set(known))
    if parts := [other for other in names if other.startswith(f"{name}.")]:
        return f"it has several values: give one of {', '.join(parts)}"
    near = difflib.get_close_matches(name, names, 3, 0.5)
    return f"did you mean {' or '.join(near)}?" if near else "`suite export` writes a table of those there are"


def mean_score(rankings: Sequence[TaskRanking], metric: str) -> Estimate:
    """The mean over tasks of what a metric scores, as the leaderboard has it; of one task: its score there."""
    if not rankings:
        return NOTHING
    trivial = any(r.results.trivial(metric) for r in rankings if metric in r.scores)
    least = 0.0 if trivial and not any(r.lacks_values(metric) for r in rankings) else -1.0
    row = averaged([score_on(r, metric) for r in rankings], [r.clusters for r in rankings], (least, 1.0))
    return Estimate(row["score"], row["low"], row["high"])


def _described(results: Sequence[TaskResults], names: tuple[str, str]) -> pd.DataFrame:
    metrics = pd.concat([result.metrics for result in results])
    for name in names:
        if name not in metrics.index:
            where = ", ".join(result.name for result in results)
            raise BadInput(f"{name}: no such metric in the results of {where}; {unknown(name, metrics.index)}")
    return metrics[~metrics.index.duplicated()]


def _ranked(results: TaskResults, names: tuple[str, str]) -> TaskRanking | None:
    """The ranking of these metrics alone: resamples do not depend on what else is ranked, and two are done at once."""
    wholes = {name.partition(".")[0] for name in names}
    kept = [str(name).partition(".")[0] in wholes for name in results.metrics.index]
    if not any(kept):
        return None
    rows = results.values["metric"].str.partition(".")[0].isin(wholes)
    values = results.values[rows].reset_index(drop=True)
    return rank_task(replace(results, metrics=results.metrics[kept], values=values), permutations=0)


def _why_apart(ranking: TaskRanking | None, names: tuple[str, str]) -> str:
    """Why a task does not count; empty where it does."""
    if ranking is None:
        return "neither was tried there"
    if not ranking.scored:
        return ranking.why_unscored
    # a component that never came, of a metric that was tried, has no rows of its own: the leaderboard has −1 for it
    untried = [name for name in dict.fromkeys(names) if not ranking.tried(name)]
    return f"{' and '.join(untried)} not tried there" if untried else ""


def _on_task(ranking: TaskRanking, a: str, b: str) -> OnTask:
    frame = ranking.results.wide()[ranking.results.included]
    for name in {a, b} - set(frame.columns):
        frame[name] = np.nan
    likeness, points = alike(ranking.results, frame, a, b)
    return OnTask(
        ranking.results.name,
        ranking.results.kind,
        mean_score([ranking], a),
        mean_score([ranking], b),
        _difference([ranking], a, b),
        UNDEFINED,
        likeness,
        points,
        ranking.clusters,
        ranking.drawn,
        [_on_target(ranking, frame, target, a, b) for target in ranking.results.targets],
    )


def _difference(rankings: Sequence[TaskRanking], a: str, b: str) -> Difference:
    """The paired difference of mean scores: each task's resamples are the same for both metrics."""
    if not rankings:
        return Difference(UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED)
    pairs = [(score_on(r, a), score_on(r, b)) for r in rankings]
    clusters = [r.clusters for r in rankings]
    apart = [Score(x.value - y.value, x.replicates - y.replicates) for x, y in pairs]
    row = averaged(apart, clusters, _DIFFERENCE)
    values = np.array([[x.value, y.value] for x, y in pairs])
    scored = Scored(values, [np.array([x.replicates, y.replicates]) for x, y in pairs], clusters)
    p = float(compare_paired(scored)(0, np.array([1]))[0])
    # of the tasks together: each is permuted by itself
    least = min(1.0, 2 * prod(_least(ranking, (a, b)) for ranking in rankings))
    return Difference(row["score"], row["low"], row["high"], p if np.isnan(p) else max(p, least))


def _least(ranking: TaskRanking, names: tuple[str, str]) -> float:
    """The least one-sided p-value of a task: of the settings (runs) at which the metrics were tried, the fewer."""
    results = ranking.results
    kept = results.included.to_numpy()
    points = results.runs[kept]
    runs = points.drop_duplicates("run_id")
    own = pd.Series(bootstrap.clusters(runs, results.hyperparameters)[0], runs["run_id"].to_numpy())
    numbers, tried = own.reindex(points["run_id"]).to_numpy(), results.tried()[:, kept]
    rows = [tried[results.metrics.index.get_loc(name)] for name in names if name in results.metrics.index]
    k = min((len(np.unique(numbers[row])) for row in rows), default=ranking.clusters)
    return least_chance(k, results.kind == "trajectory")


def alike(results: TaskResults, frame: pd.DataFrame, a: str, b: str) -> tuple[Estimate, int]:
    """Kendall's τ-b between two metrics over the rows of `frame` that both have values for, and how many those are.

    Undefined where either is the same everywhere: then they order nothing that they could agree on.
    """
    frame = frame[np.isfinite(frame[[a, b]].to_numpy(float)).all(1)]
    if frame.empty:
        return NOTHING, 0
    within = results.kind == "trajectory"
    points = frame.drop_duplicates("run_id") if within else frame
    numbers, _ = bootstrap.clusters(points, results.hyperparameters)
    k = int(numbers.max()) + 1
    counts = bootstrap.cluster_counts(np.arange(k), bootstrap.RESAMPLES, bootstrap.generator(results.name))
    counts = np.vstack([np.ones((1, k)), counts])
    if within:
        tried = np.ones((1, len(frame)), dtype=bool)
        each = [run_taus(runs_of(frame, [x], [y], tried)).tau for x, y in ((a, b), (b, a))]
        # 0 where only the first is constant, NaN where the second is: the sum is NaN where either is
        tau = mean_over_runs((each[0] + each[1]) / 2, counts[:, numbers])
    else:
        x, y = (frame[[name]].to_numpy(float).T for name in (a, b))
        tau = (_tau(x, y, numbers, counts) + _tau(y, x, numbers, counts)) / 2
    low, high = bootstrap.intervals(tau, k)
    return Estimate(float(tau[0, 0, 0]), float(low[0, 0]), float(high[0, 0])), len(frame)


def _tau(x: Vector, y: Vector, numbers: NDArray[np.int64], counts: Vector) -> Vector:
    return draw_kendall(count_pairs(x, y, numbers), counts).tau


def _on_target(ranking: TaskRanking, frame: pd.DataFrame, target: str, a: str, b: str) -> OnTarget:
    sides = [_side(ranking, target, name, len(frame)) for name in (a, b)]
    first, second = (frame[name].to_numpy(float) * side.sign for name, side in zip((a, b), sides, strict=True))
    groups = frame["run_id"].to_numpy() if ranking.results.kind == "trajectory" else np.zeros(len(frame))
    pairs = count_by_verdict(first, second, frame[target].to_numpy(float), groups)
    return OnTarget(target, sides[0], sides[1], pairs)


def _side(ranking: TaskRanking, target: str, metric: str, points: int) -> Side:
    rows = ranking.rows
    found = rows[(rows["target"] == target) & (rows["metric"] == metric)].to_dict("records")
    if not found:
        return Side(NOTHING, 1, 0, points)
    (row,) = found
    return Side(Estimate(row["tau"], row["low"], row["high"]), int(row["sign"]), int(row["n"]), int(row["failed"]))


def count_by_verdict(a: Vector, b: Vector, gap: Vector, groups: NDArray[np.generic]) -> PairCounts:
    """Count the pairs of points of one group that the gap orders, by what two metrics say of them.

    Args:
        a: a metric, `n`, expected to grow with the gap; NaN where missing.
        b: another one.
        gap: `n`, finite.
        groups: `n`; only pairs within a group are compared.
    """
    total = np.zeros(6, dtype=int)
    for group in np.unique(groups):
        own = groups == group
        first, second = np.triu_indices(int(own.sum()), 1)
        order = pair_signs(gap[own])[first, second]
        counted = order != 0
        first, second, order = first[counted], second[counted], order[counted]
        missing = ~(np.isfinite(a[own]) & np.isfinite(b[own]))
        lost = missing[first] | missing[second]
        says = [pair_signs(values[own])[first, second] * order for values in (a, b)]
        product = [~lost & (says[0] == x) & (says[1] == y) for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
        tied = ~lost & ((says[0] == 0) | (says[1] == 0))
        total += [int(part.sum()) for part in (*product, tied, lost)]
    return PairCounts(*(int(number) for number in total))
