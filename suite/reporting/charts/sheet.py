"""The numbers behind the charts of a task: one table with short column names, and what its columns are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from suite.ranking.relatives import relatives
from suite.ranking.tables import TaskResults, short
from suite.ranking.task import TaskRanking
from suite.ranking.trajectory import JUMP, change_point
from suite.reporting.board import Board, levels, setting

LEADING = 25
"""Metrics that charts of many begin with; the others are a choice away."""
ACCURACIES = {"train": "train_accuracy", "test": "test_accuracy"}
_WIDE = 30
"""Positive values whose largest is more than this many times the least are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Quantity:
    """A column of the table: its key there, its name in the results, how people call it, and how it is drawn."""

    key: str
    name: str
    title: str
    group: str = ""
    log: bool = False
    lead: bool = False


@dataclass(frozen=True)
class Factor:
    """A hyperparameter or seed: the key of its column, a short title, its levels in order."""

    key: str
    title: str
    levels: list[str]


class Sheet:
    """The numbers behind the charts of a task."""

    def __init__(self, board: Board, task: TaskRanking) -> None:
        self.task, self.results = task, task.results
        self._frame = task.results.wide()
        self.factors = self._factors(task.results.hyperparameters, "f")
        self.seeds = self._factors([f for f in task.results.provenance["factors"] if f not in self._varied], "s")
        self.targets = [
            Quantity(f"t{i}", name, target_title(name), "gaps", self._wide(name))
            for i, name in enumerate(self._targets)
        ]
        here = [str(name) for name in board.overall.index if task.has_values(str(name))]
        leading = set(here[:LEADING])
        self.metrics = [
            Quantity(f"m{i}", name, *self._words(name), self._wide(name), name in leading)
            for i, name in enumerate(here)
        ]

    @property
    def _varied(self) -> list[str]:
        return self.results.hyperparameters

    @property
    def _targets(self) -> list[str]:
        return self.results.targets

    def _words(self, name: str) -> tuple[str, str]:
        row = self.results.metrics.loc[name]
        return _title(str(row["title"])), str(row["family"])

    def _factors(self, names: Sequence[str], letter: str) -> list[Factor]:
        return [Factor(f"{letter}{i}", _title(short(name)), levels(self._frame[name])) for i, name in enumerate(names)]

    def _wide(self, name: str) -> bool:
        values = self._frame.loc[self.results.included, name].to_numpy(float)
        values = values[np.isfinite(values)]
        return len(values) > 0 and bool(values.min() > 0 and values.max() > _WIDE * values.min())

    def find(self, name: str) -> Quantity | None:
        """The metric of this name; None where the task has no values of it."""
        return next((metric for metric in self.metrics if metric.name == name), None)

    def first(self) -> Quantity | None:
        """The metric to begin with: the best that is not trivial."""
        real = [metric for metric in self.metrics if not self.results.trivial(metric.name)]
        return next(iter([*real, *self.metrics]), None)

    def distinct_titles(self) -> dict[str, str]:
        """Titles of the metrics by key; of several with one title, each further one has its name added."""
        made: dict[str, str] = {}
        for metric in self.metrics:
            repeated = metric.title in made.values()
            made[metric.key] = f"{metric.title} ({metric.name})" if repeated else metric.title
        return made

    @cached_property
    def points(self) -> pd.DataFrame:
        """One row a network or checkpoint: run, step, kept, accuracies, losses, setting, and the keyed columns."""
        frame, results = self._frame, self.results
        made: dict[str, Any] = {"run": frame["run_id"], "step": frame["step"], "status": frame["status"]}
        made |= {"kept": np.where(results.included, "ranked", "left out")}
        made |= {key: frame[name] for key, name in ACCURACIES.items()}
        made |= {"setting": self.settings}
        factors = zip([*self.factors, *self.seeds], [*self._varied, *self._seed_names], strict=True)
        made |= {factor.key: frame[name].map(setting) for factor, name in factors}
        quantities = {q.key: frame[q.name].astype(float) for q in [*self.targets, *self.metrics]}
        return pd.DataFrame(made | quantities)

    @property
    def _seed_names(self) -> list[str]:
        return [name for name in self.results.provenance["factors"] if name not in self._varied]

    @property
    def settings(self) -> pd.Series[str]:
        """The hyperparameters of each row in words."""
        names = self._varied
        rows = zip(*(self._frame[name].map(setting) for name in names), strict=True)
        words = [", ".join(f"{_title(short(n))} {level}" for n, level in zip(names, row, strict=True)) for row in rows]
        return pd.Series(words or ["all runs"] * len(self._frame), self._frame.index, dtype=str)

    @cached_property
    def setting_names(self) -> list[str]:
        """All settings in words, in the order of their levels."""
        places = pd.DataFrame(
            {f.key: self.points[f.key].map({w: i for i, w in enumerate(f.levels)}) for f in self.factors},
            self.points.index,
        )
        order = places.sort_values(list(places.columns)).index if len(places.columns) else places.index
        return list(dict.fromkeys(self.points.loc[order, "setting"]))

    @cached_property
    def changes(self) -> pd.DataFrame:
        """When a trajectory's test accuracy jumps (key `test`) and its metrics change: run, setting, key, step."""
        rows = []
        for run, part in self.points[self.results.usable].sort_values("step").groupby("run", sort=False):
            steps, name = part["step"].to_numpy(float), part["setting"].iloc[0]
            for key in ["test", *(metric.key for metric in self.metrics)]:
                change = change_point(steps, part[key].to_numpy(float))
                if change is None or not (change.rise >= JUMP if key == "test" else change.happened):
                    continue
                rows.append((run, name, key, change.step))
        return pd.DataFrame(rows, columns=["run", "setting", "key", "step"])

    @cached_property
    def matrix(self) -> pd.DataFrame:
        """τ between metrics, keys as names, those that order networks alike beside one another."""
        names = [metric.name for metric in self.metrics]
        tau = relatives(self.results).reindex(index=names, columns=names)
        keys = [metric.key for metric in self.metrics]
        order = by_likeness(tau.to_numpy(float))
        return pd.DataFrame(tau.to_numpy(float), keys, keys).iloc[order, order]

    @cached_property
    def noise(self) -> pd.DataFrame:
        """Of a grid's metrics: the share of the variance that is between seeds; title, group, lead, kind, noise."""
        rows = self.task.rows
        if "seed_noise" not in rows or not len(rows):
            return pd.DataFrame(columns=["title", "group", "lead", "kind", "noise"])
        found = rows.drop_duplicates("metric").set_index("metric")["seed_noise"]
        table = pd.DataFrame({"title": [*self.distinct_titles().values()], "group": [m.group for m in self.metrics]})
        table["lead"] = [m.lead for m in self.metrics]
        table["kind"] = [kind(self.results.trivial(m.name)) for m in self.metrics]
        table["noise"] = [float(found[m.name]) for m in self.metrics]
        return table[table["noise"].notna()].reset_index(drop=True)

    @cached_property
    def gap_noise(self) -> pd.DataFrame:
        """The same of the gaps: title, noise."""
        rows = self.task.rows
        if "gap_seed_noise" not in rows or not len(rows):
            return pd.DataFrame(columns=["title", "noise"])
        found = rows.drop_duplicates("target").set_index("target")["gap_seed_noise"]
        made = [(target.name.replace("_", " "), float(found[target.name])) for target in self.targets]
        return pd.DataFrame(made, columns=["title", "noise"]).dropna()

    @cached_property
    def spectra(self) -> pd.DataFrame:
        """Spectra, averaged over the runs of a setting: setting, step, share, eigenvalue, exponent."""
        columns = ["setting", "step", "share", "eigenvalue", "exponent"]
        found = getattr(self.results, "spectra", None)
        if found is None or found.empty:
            return pd.DataFrame(columns=columns)
        known = self.points.drop_duplicates("run").set_index("run")["setting"]
        table = found.assign(setting=found["run_id"].map(known))
        means: pd.DataFrame = table.groupby(columns[:3], sort=True)[columns[3:]].mean().reset_index()
        return means

    @cached_property
    def edge(self) -> pd.DataFrame:
        """The edge ratio along training, where there is one: run, step, edge_ratio, sharpness, facts about the run."""
        found = self.results.edge.dropna(subset=["edge_ratio"]).rename(columns={"run_id": "run"})
        keys = [factor.key for factor in [*self.factors, *self.seeds]]
        known = self.points.drop_duplicates("run")[["run", "status", "setting", *keys]]
        columns = ["run", "step", "edge_ratio", "sharpness"]
        return found[columns].merge(known, on="run", how="left")

    @property
    def rate(self) -> Factor | None:
        """The learning rate, where it is varied; else the first hyperparameter, if there is one."""
        named = zip(self.factors, self._varied, strict=True)
        rates = [factor for factor, name in named if name.rsplit(".", maxsplit=1)[-1] == "learning_rate"]
        return next(iter([*rates, *self.factors]), None)


def _title(text: str) -> str:
    """A title that is no part of a program: Vega-Lite writes titles into expressions, and only `"` with a backslash."""
    return " ".join(text.replace("\\", "∖").split())


def wide(values: pd.Series[float]) -> bool:
    """Whether the positive ones span so much that a logarithmic axis suits them."""
    positive = values[values > 0]
    return len(positive) > 0 and bool(positive.max() > _WIDE * positive.min())


def kind(trivial: bool) -> str:
    """What a legend calls a metric."""
    return "trivial predictor" if trivial else "metric"


def target_title(name: str) -> str:
    """A gap with its unit: losses are in nats, accuracies are shares."""
    unit = "nats" if name.endswith("loss_gap") else "share of examples"
    return f"{name.replace('_', ' ')} ({unit})"


def by_likeness(tau: np.ndarray[Any, Any]) -> list[int]:
    """An order in which metrics with a large |τ| are neighbours: average linkage of 1 − |τ|, leaves turned to fit.

    Args:
        tau: `M × M`; where it is not defined two metrics are as far apart as can be.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(tau) < 3:
        return list(range(len(tau)))
    far = 1 - np.abs(np.nan_to_num(tau))
    np.fill_diagonal(far, 0)
    tree = linkage(squareform((far + far.T) / 2, checks=False).round(9), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]


def columns(table: pd.DataFrame, digits: int = 6) -> dict[str, Any]:
    """A table for JSON: columns, numbers of so many digits, None where there is no finite value.

    A column of few different values is written as `values` and their `places`; where each comes many times in a row,
    as `values` and their `counts`.
    """
    return {str(name): _coded([plain(value, digits) for value in table[name].tolist()]) for name in table}


def _coded(column: list[Any]) -> Any:
    if len({type(value) for value in column}) > 1:  # 1 and True are one key
        return column
    runs = [(value, len(list(same))) for value, same in groupby(column)]
    if len(runs) <= len(column) / 4:
        return {"values": [value for value, _ in runs], "counts": [count for _, count in runs]}
    values = list(dict.fromkeys(column))
    if len(values) > len(column) / 4:
        return column
    places = {value: place for place, value in enumerate(values)}
    return {"values": values, "places": [places[value] for value in column]}


def triangle(matrix: pd.DataFrame) -> dict[str, Any]:
    """A symmetric matrix for JSON: its keys, and below the diagonal row by row, in thousandths."""
    values = matrix.to_numpy(float)
    rows = [[None if np.isnan(v) else round(1000 * v) for v in values[i, :i].tolist()] for i in range(len(values))]
    return {"keys": list(matrix.index), "rows": rows}


def plain(value: Any, digits: int = 6) -> Any:
    """A cell for JSON."""
    if not isinstance(value, float):
        return value
    if not np.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def script(data: object) -> str:
    """JSON that may stand in a `<script>` element: nothing in it can end the element or begin a comment."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def of_kind(results: TaskResults) -> str:
    """What a task's points are called."""
    return "checkpoints" if results.kind == "trajectory" else "networks"
