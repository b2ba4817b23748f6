"""Two sets of results, before and after a change: what differs, by how much, and what it does to scores and ranks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.ranking import bootstrap
from suite.ranking.bootstrap import Spread, interval, mean_spread, spread
from suite.ranking.compare import NOTHING, UNDEFINED, Estimate, mean_score
from suite.ranking.correlation import Vector
from suite.ranking.leaderboard import rank_overall, score_on
from suite.ranking.tables import GAPS, MEASURES, TaskResults
from suite.ranking.task import TaskRanking, rank_task

_POINT = ["run_id", "step"]
_TIMES = ("seconds", "metric_costs", "probe_notes")
"""Parts of a provenance that differ from one run of the same thing to the next."""


@dataclass(frozen=True)
class Setting:
    """An entry that differs; None on the side that does not have it."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ColumnChange:
    """A column of `runs.csv`: at how many shared networks it differs, and by how much at most.

    `largest` is |after − before| / max(|before|, |after|); NaN where nothing that differs is a number on both sides.
    """

    column: str
    differ: int
    largest: float


@dataclass(frozen=True)
class RunChanges:
    """Networks (rows of `runs.csv`, known by run_id and step): in both sets, in one alone, and what of them differs."""

    shared: int
    gone: int
    new: int
    columns: list[ColumnChange]


@dataclass(frozen=True)
class ScoreChange:
    """A score before and after, and the difference after − before, 95 % interval included; NaN where there is none.

    `paired`: the same draws of the same settings were used on both sides (on every task); else the two sets count as
    independent, and the interval is wider than it need be where they are not.
    """

    before: Estimate
    after: Estimate
    difference: Estimate
    paired: bool

    @property
    def parts(self) -> tuple[Estimate, Estimate, Estimate]:
        """Before, after, difference."""
        return self.before, self.after, self.difference

    @property
    def moved(self) -> bool:
        """Whether the score or its interval is another one."""
        defined = [not np.isnan(side.value) for side in (self.before, self.after)]
        return any(defined) and self.before != self.after


@dataclass(frozen=True)
class MetricChange:
    """A metric, or a component of one, on a task, at the networks that both sets have.

    Attributes:
        metric: its name.
        only: `before` or `after` where the other set has no row of it; None where both have.
        values: how many networks have a value in either set.
        changed: how many values differ; `largest`: by how much at most, relative to the larger of the two; `in_errors`:
            by how much at most in units of the standard error (root mean square of both sides'), where there is one.
        restated: how many have the same value, or none in either, and another standard error, status or reason.
        gone: how many have a value before and none after.
        new: the reverse.
        entry: what differs in `metrics.json`.
        score: what it scores on the task.
    """

    metric: str
    only: str | None
    values: int
    changed: int
    largest: float
    in_errors: float
    restated: int
    gone: int
    new: int
    entry: list[Setting]
    score: ScoreChange

    @property
    def differs(self) -> bool:
        """Whether anything about it differs."""
        counts = self.changed + self.restated + self.gone + self.new
        return bool(counts or self.only or self.entry or self.score.moved)


@dataclass(frozen=True)
class TaskChange:
    """A task that both sets have: settings (of `provenance.json`) that differ, networks, metrics by name."""

    task: str
    settings: list[Setting]
    runs: RunChanges
    metrics: list[MetricChange]
    paired: bool

    @property
    def differs(self) -> bool:
        """Whether anything about it differs."""
        runs = self.runs.gone or self.runs.new or self.runs.columns
        return bool(self.settings or runs or any(metric.differs for metric in self.metrics))


@dataclass(frozen=True)
class OverallChange:
    """A metric over all tasks that both sets have and can score; ranks among all metrics, None without any."""

    metric: str
    rank_before: int | None
    rank_after: int | None
    score: ScoreChange

    @property
    def differs(self) -> bool:
        """Whether its score or its rank does."""
        return self.rank_before != self.rank_after or self.score.moved


@dataclass(frozen=True)
class SetComparison:
    """Two sets of results: tasks in one alone, the others one by one, and the ranking over `ranked`, those scored."""

    only_before: list[str]
    only_after: list[str]
    tasks: list[TaskChange]
    ranked: list[str]
    overall: list[OverallChange]


def compare_sets(before: Sequence[TaskResults], after: Sequence[TaskResults]) -> SetComparison:
    """Compare two sets of results, task by task.

    Values are compared at the networks that both have: the rest is counted once, as networks. Scores are of all
    networks of each set that count, as the leaderboard has them; those over tasks are over the tasks that both can
    score.
    """
    ours, theirs = ({result.name: result for result in results} for results in (before, after))
    shared = [name for name in ours if name in theirs]
    rankings = {name: _rank_both(ours[name], theirs[name]) for name in shared}
    scored = [pair for pair in rankings.values() if pair.before.scored and pair.after.scored]
    return SetComparison(
        [name for name in ours if name not in theirs],
        [name for name in theirs if name not in ours],
        [_on_task(rankings[name]) for name in shared],
        [pair.before.results.name for pair in scored],
        list(_overall(scored)),
    )


@dataclass(frozen=True)
class _Pair:
    """A task's rankings before and after, and whether resample i of both is of the same settings."""

    before: TaskRanking
    after: TaskRanking
    paired: bool


def _rank_both(before: TaskResults, after: TaskResults) -> _Pair:
    """Both rankings; one where nothing that a ranking reads differs. No p-value of chance is shown, none is made."""
    first = rank_task(before, permutations=0)
    same = all(getattr(before, table).equals(getattr(after, table)) for table in ("metrics", "runs", "values"))
    same &= all(before.provenance[word] == after.provenance[word] for word in ("kind", "targets", "include", "factors"))
    return _Pair(first, first if same else rank_task(after, permutations=0), same_draws(before, after))


def _on_task(pair: _Pair) -> TaskChange:
    ours, theirs = pair.before.results, pair.after.results
    points = ours.runs[_POINT].merge(theirs.runs[_POINT])
    counted = _counted(_joined(ours, theirs, points))
    names = sorted({*map(str, counted.index), *map(str, ours.metrics.index), *map(str, theirs.metrics.index)})
    metrics = [_on_metric(pair, name, counted) for name in names]
    settings = list(differing(_settings(ours.provenance), _settings(theirs.provenance)))
    return TaskChange(ours.name, settings, _runs(ours.runs, theirs.runs, len(points)), metrics, pair.paired)


def _on_metric(pair: _Pair, name: str, counted: pd.DataFrame) -> MetricChange:
    counts: dict[str, Any] = dict(counted.loc[name].items()) if name in counted.index else _NONE  # type: ignore[arg-type]
    values, changed, restated, gone, new = (int(counts[w]) for w in ("values", "changed", "restated", "gone", "new"))
    largest, in_errors = float(counts["largest"]), float(counts["in_errors"])
    sides = [ranking.results for ranking in (pair.before, pair.after)]
    measured = [name in side.metrics.index or bool((side.values["metric"] == name).any()) for side in sides]
    only = None if all(measured) else "before" if measured[0] else "after"
    entry = _entry(sides[0].metrics, sides[1].metrics, name)
    score = _score([pair], name)
    return MetricChange(name, only, values, changed, largest, in_errors, restated, gone, new, entry, score)


_NONE: dict[str, Any] = dict.fromkeys(("values", "changed", "restated", "gone", "new"), 0) | {
    "largest": np.nan,
    "in_errors": np.nan,
}


def differing(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Setting]:
    """The entries of two flat mappings that differ, by name."""
    for name in sorted({*before, *after}):
        texts = [_text(side[name]) if name in side else None for side in (before, after)]
        if texts[0] != texts[1]:
            yield Setting(name, *texts)


def _text(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value  # a table's own kinds of number and truth
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _settings(provenance: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The entries of a provenance by dotted path, times and notes of the run itself left out."""
    flat: dict[str, Any] = {}
    for word, value in provenance.items():
        if prefix or word not in _TIMES:
            inside = isinstance(value, dict) and value
            flat |= _settings(value, f"{prefix}{word}.") if inside else {f"{prefix}{word}": value}
    return flat


def _entry(before: pd.DataFrame, after: pd.DataFrame, name: str) -> list[Setting]:
    """What differs in a metric's entry; nothing where it is in one set alone: its values then tell."""
    if name not in before.index or name not in after.index:
        return []
    sides = [
        {str(k): v for k, v in m.loc[name].items() if isinstance(v, list) or not pd.isna(v)} for m in (before, after)
    ]
    return list(differing(*sides))


def _runs(before: pd.DataFrame, after: pd.DataFrame, shared: int) -> RunChanges:
    both = before.merge(after, on=_POINT, suffixes=(":before", ":after"))
    changes = []
    for column in ("status", *MEASURES, *GAPS):
        first, second = both[f"{column}:before"], both[f"{column}:after"]
        differ = (first != second) & ~(first.isna() & second.isna())
        if differ.any():
            words = [side[differ] for side in (first, second)]
            sizes = np.zeros(0) if column == "status" else relative(*(side.to_numpy(float) for side in words))
            changes.append(ColumnChange(column, int(differ.sum()), _most(sizes)))
    return RunChanges(shared, len(before) - shared, len(after) - shared, changes)


def relative(before: Vector, after: Vector) -> Vector:
    """|after − before| / max(|before|, |after|); 0 where they are the same, NaN where one is not finite."""
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.maximum(np.abs(before), np.abs(after))
        # divided first: the difference of two numbers near the largest there are may be none
        made = np.abs(after / size - before / size)
    return np.where(before == after, 0.0, np.where(np.isfinite(before) & np.isfinite(after), made, np.nan))


def _most(values: Vector) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.max()) if len(defined) else UNDEFINED


def _joined(before: TaskResults, after: TaskResults, points: pd.DataFrame) -> pd.DataFrame:
    """The values of both at shared networks, with suffixes `:before` and `:after`; NaN where a side has no row."""
    columns = [*_POINT, "metric", "value", "standard_error", "status", "reason"]
    sides = [side.values[columns].merge(points) for side in (before, after)]
    return sides[0].merge(sides[1], on=[*_POINT, "metric"], how="outer", suffixes=(":before", ":after"))


def _counted(both: pd.DataFrame) -> pd.DataFrame:
    """One row a metric: values, changed, restated, gone, new, largest, in_errors."""
    value = [both[f"value:{side}"].to_numpy(float) for side in ("before", "after")]
    error = [both[f"standard_error:{side}"].to_numpy(float) for side in ("before", "after")]
    has = [
        ((both[f"status:{side}"] == "ok") & both[f"value:{side}"].notna()).to_numpy(bool)
        for side in ("before", "after")
    ]
    changed = has[0] & has[1] & (value[0] != value[1])
    words = [_other(both, word) for word in ("standard_error", "status", "reason")]
    made = {
        "values": has[0] | has[1],
        "changed": changed,
        "restated": ~changed & (has[0] == has[1]) & np.logical_or.reduce(words),
        "gone": has[0] & ~has[1],
        "new": has[1] & ~has[0],
    }
    sizes = {"largest": relative(*value), "in_errors": _in_errors(value, error)}
    frame = pd.DataFrame(made | {word: np.where(changed, size, np.nan) for word, size in sizes.items()})
    grouped = frame.groupby(both["metric"].to_numpy())
    return grouped[list(made)].sum().join(grouped[list(sizes)].max())


def _other(both: pd.DataFrame, word: str) -> NDArray[np.bool_]:
    first, second = both[f"{word}:before"], both[f"{word}:after"]
    return np.asarray((first != second).fillna(True) & ~(first.isna() & second.isna()), dtype=bool)


def _in_errors(value: list[Vector], error: list[Vector]) -> Vector:
    """|after − before| in root mean squares of the standard errors that there are; NaN where there is none above 0."""
    known = [np.isfinite(side) for side in error]
    squares = sum(np.where(k, side, 0.0) ** 2 for k, side in zip(known, error, strict=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt(squares / (known[0].astype(float) + known[1]))
        return np.asarray(np.where(size > 0, np.abs(value[1] - value[0]) / size, np.nan), dtype=float)


def same_draws(before: TaskResults, after: TaskResults) -> bool:
    """Whether resample i of both is of the same settings: the same ones count, in the same order."""
    return before.kind == after.kind and _clusters(before) == _clusters(after)


def _clusters(results: TaskResults) -> tuple[str, list[str], list[tuple[Any, ...]]]:
    """What is drawn, and each cluster's hyperparameters (runs: their seeds too), in the order that draws count in."""
    frame = results.runs[results.included]
    points = frame.drop_duplicates("run_id") if results.kind == "trajectory" else frame
    _, drawn = bootstrap.clusters(points, results.hyperparameters)
    names = results.hyperparameters if drawn == "settings" else list(results.provenance["factors"])
    levels = points[names].astype(object).where(points[names].notna(), None)
    rows = list(levels.itertuples(index=False, name=None))
    return drawn, names, list(dict.fromkeys(rows)) if drawn == "settings" else rows


def _score(pairs: list[_Pair], metric: str) -> ScoreChange:
    """The mean score of a metric over tasks, before and after."""
    before, after = (
        mean_score(side, metric) if any(ranking.has_values(metric) for ranking in side) else NOTHING
        for side in ([pair.before for pair in pairs], [pair.after for pair in pairs])
    )
    paired = all(pair.paired for pair in pairs)
    value = after.value - before.value
    if np.isnan(value):
        return ScoreChange(before, after, NOTHING, paired)
    known = mean_spread([_spread(pair, metric) for pair in pairs])
    return ScoreChange(before, after, Estimate(value, *interval(value, known, (-2.0, 2.0))), paired)


def _spread(pair: _Pair, metric: str) -> Spread:
    """The spread of the difference of scores on one task."""
    first, second = score_on(pair.before, metric), score_on(pair.after, metric)
    if pair.paired:
        return spread(second.replicates - first.replicates, pair.before.clusters)
    sides = spread(first.replicates, pair.before.clusters), spread(second.replicates, pair.after.clusters)
    mean = mean_spread(sides)  # of half the sum of the two, which spreads as half their difference does
    return Spread(mean.variance * 4, mean.freedom)


def _overall(pairs: list[_Pair]) -> Iterator[OverallChange]:
    """By rank after, then those without one by rank before."""
    if not pairs:
        return
    before, after = rank_overall([pair.before for pair in pairs]), rank_overall([pair.after for pair in pairs])
    ranked = [str(name) for table in (after, before) for name in table.index[table["rank"].notna()]]
    for name in dict.fromkeys([*ranked, *map(str, after.index), *map(str, before.index)]):
        ranks = (table["rank"].get(name) for table in (before, after))
        first, second = (None if rank is None or pd.isna(rank) else int(rank) for rank in ranks)
        yield OverallChange(name, first, second, _score(pairs, name))
