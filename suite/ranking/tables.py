"""Published results as tables, with a clear error for every way in which a file can be wrong."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.errors import BadInput
from suite.ranking import entries
from suite.ranking.entries import read_metrics, read_provenance, regular

MEASURES = [*entries.MEASURES]
GAPS = [*entries.GAPS]
SPECTRA = ["run_id", "step", "share", "eigenvalue", "exponent"]
"""The header of `spectra.csv`."""
EDGE = ["run_id", "step", "sharpness", "edge_ratio"]
"""The header of `edge.csv`."""
UNTRAINED = "untrained.csv"
"""The file of the networks that could not be trained; there is none where all were."""
_WORDS = {"run_id", "status", "component", "reason"}
_LOST = ("failed", "timeout", "died")
"""How a training that comes to nothing ends."""
_NEEDED = ("run_id", "status")
"""Words that every row has."""
_NUMBERS = {*MEASURES, *GAPS, *SPECTRA[1:], *EDGE[1:], "value", "standard_error"}
_MOST_STEPS = 10**15
_TEXT = pd.read_csv(io.StringIO("word\n"), dtype=str).dtypes["word"]
"""What pandas of this version has words in."""
_ORDERS = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f-\x9f\u200e-\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class TaskResults:
    """The results of one task.

    Attributes:
        name, title, kind: of the task (`grid` or `trajectory`).
        provenance: `provenance.json`.
        metrics: one row per metric or component, by name: title, family, source, sign, trivial.
        runs: `runs.csv`: run_id, step, status, factors, losses, accuracies, gaps.
        values: run_id, step, metric (with `.component`), value, standard_error, status, reason.
        spectra: of some checkpoints, at `share` k / d of the order: the k-th largest `eigenvalue` of the minibatch
            Hessian and the k-th largest `exponent` ln|1 − ηα|; empty where no spectrum was published.
        edge: along each run, by step: `sharpness`, the largest eigenvalue of the training loss's Hessian, and
            `edge_ratio`; NaN where a run has diverged, and the ratio where the optimizer has none. Empty where the
            task does not ask for it.
        untrained: networks that could not be trained and are in none of the other tables: run_id, factors, status,
            reason; empty where all were.
    """

    name: str
    title: str
    kind: str
    provenance: dict[str, Any]
    metrics: pd.DataFrame
    runs: pd.DataFrame
    values: pd.DataFrame
    spectra: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=SPECTRA))
    edge: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=EDGE))
    untrained: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["run_id", "status", "reason"]))

    @property
    def hyperparameters(self) -> list[str]:
        """The factors that are not seeds."""
        return [name for name in self.provenance["factors"] if not is_seed(name)]

    @property
    def included(self) -> pd.Series[bool]:
        """Which rows of `runs` count: not diverged, finite gaps, training accuracy as the task asks."""
        least = float(self.provenance["include"].get("train_accuracy", 0.0))
        return self.usable & (self.runs["train_accuracy"] >= least)

    @property
    def usable(self) -> pd.Series[bool]:
        """Rows that can be ranked at all: not diverged, finite gaps."""
        finite = np.isfinite(self.runs[self.targets].to_numpy(float)).all(axis=1)
        return pd.Series(finite & (self.runs["status"] != "diverged").to_numpy(), self.runs.index)

    @property
    def targets(self) -> list[str]:
        """The gaps to predict."""
        return list(self.provenance["targets"])

    def sign(self, metric: str) -> int:
        """+1 if the gap is expected to grow with the metric, −1 if to shrink."""
        return -1 if str(self.metrics.at[metric, "sign"]).startswith("-") else 1

    def trivial(self, metric: str) -> bool:
        """Whether it is a trivial predictor."""
        return bool(self.metrics.at[metric, "trivial"])

    def tried(self) -> NDArray[np.bool_]:
        """Which metrics were asked for a value at which rows of `runs`, `M × n`: no row of values, no attempt.

        A component was tried where any of its metric's was: what failed has a row without components.
        """
        whole = self.values["metric"].str.partition(".")[0]
        rows = self.values[["run_id", "step"]].assign(whole=whole, tried=True).drop_duplicates()
        table = rows.pivot(index=["run_id", "step"], columns="whole", values="tried")
        points = pd.MultiIndex.from_frame(self.runs[["run_id", "step"]])
        wholes = [str(name).partition(".")[0] for name in self.metrics.index]
        return table.reindex(index=points, columns=wholes).notna().to_numpy().T

    def wide(self) -> pd.DataFrame:
        """`runs` with one column per metric (its name); NaN where a value is missing."""
        ok = self.values[self.values["status"] == "ok"]
        table = ok.pivot(index=["run_id", "step"], columns="metric", values="value")
        return self.runs.join(table.reindex(columns=list(self.metrics.index)), on=["run_id", "step"])


def is_seed(factor: str) -> bool:
    """Whether a factor is a seed: repeated, not varied."""
    return factor.rsplit(".", maxsplit=1)[-1] == "seed" or factor.endswith("_seed")


def short(factor: str) -> str:
    """The last word of a dotted path, for people: `training.optimizer.learning_rate` → `learning rate`."""
    return factor.rsplit(".", maxsplit=1)[-1].replace("_", " ")


def read_results(root: Path, tasks: Sequence[str] | None = None) -> list[TaskResults]:
    """Tasks' results under `root`, by name.

    Args:
        root: the folder of all results; a task's are in the folder of its name.
        tasks: the names of those to read; None: all. What is not asked for is not looked at, and may be broken.

    Raises:
        BadInput: there are none, or a file is missing or malformed (named, with line and column where there are any).
    """
    folders = sorted(path.parent for path in root.rglob("provenance.json"))
    if lost := sorted({path.parent for path in root.rglob("runs.csv")} - set(folders)):
        raise BadInput(f"{lost[0]}: results without provenance.json; publish the task again, or remove the folder")
    if not folders:
        raise BadInput(f"{root}: no results; make some with `suite run`, publish them with `suite publish`")
    if tasks is not None:
        named = {folder.relative_to(root).as_posix(): folder for folder in folders}
        if absent := [task for task in tasks if task not in named]:
            raise BadInput(f"{root}: no results of {', '.join(absent)}; there are those of {', '.join(sorted(named))}")
        folders = [folder for name, folder in named.items() if name in tasks]
    found = [_read(folder) for folder in folders]
    names = [result.name for result in found]
    if repeated := [folder for folder, name in zip(folders, names, strict=True) if names.count(name) > 1]:
        raise BadInput(f"{repeated[1]}: the same task as {repeated[0]}: keep one of them")
    return found


def _read(folder: Path) -> TaskResults:
    provenance = read_provenance(folder / "provenance.json")
    runs = _runs(folder / "runs.csv", provenance["factors"])
    described = _metrics(folder / "metrics.json")
    parts, points = [], _points(runs)
    for name in described.index:
        path = folder / "values" / f"{name}.csv"
        table = _table(path, ["run_id", "step", "component", "value", "standard_error", "status", "reason"])
        whole = table["component"].isna() | (table["component"] == "")
        table["metric"] = [name if w else f"{name}.{c}" for w, c in zip(whole, table["component"], strict=True)]
        _known_runs(path, table, points)
        parts.append(table)
    values = pd.concat(parts, ignore_index=True)
    if values.empty:
        raise BadInput(f"{folder / 'values'}: no metric has a row; publish the task again")
    if clash := sorted({*described.index, *values["metric"]} & {*runs.columns}):
        said = f"metric {plain(clash[0])} has the name of a column of runs.csv: rename it"
        raise BadInput(f"{folder / 'metrics.json'}: {said}")
    return TaskResults(
        provenance["task"],
        provenance["title"],
        provenance["kind"],
        provenance,
        _with_components(described, values),
        runs,
        values,
        _spectra(folder / "spectra.csv", points),
        _edge(folder / "edge.csv", runs),
        _untrained(folder / UNTRAINED, provenance["factors"], runs),
    )


def _runs(path: Path, factors: list[str]) -> pd.DataFrame:
    """The networks and checkpoints of a task, each once."""
    table = _table(path, ["run_id", "step", "status", *factors, *MEASURES, *GAPS])
    if table.empty:
        raise BadInput(f"{path}: no row but the header; publish the task again")
    repeated = table.duplicated(["run_id", "step"])
    if repeated.any():
        row = int(np.argmax(repeated.to_numpy()))
        run, step = table["run_id"][row], table["step"][row]
        raise BadInput(f"{path}:{row + 2}: a second row for run {plain(run)} at step {step}; publish the task again")
    return table


def _spectra(path: Path, points: set[tuple[Any, Any]]) -> pd.DataFrame:
    """Those of a task; none where there is no such file."""
    if not path.is_file():
        return pd.DataFrame(columns=SPECTRA)
    table = _table(path, SPECTRA)
    _known_points(path, table, points)
    repeated = table.duplicated(["run_id", "step", "share"])
    if repeated.any():
        raise BadInput(
            f"{path}:{int(np.argmax(repeated.to_numpy())) + 2}: a second row for the same run, step and share"
        )
    return table[SPECTRA]


def _edge(path: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """Of a task's runs, by ascending step; none where there is no such file."""
    if not path.is_file():
        return pd.DataFrame(columns=EDGE)
    table, known = _table(path, EDGE), set(runs["run_id"])
    before: dict[str, int] = {}
    for row, (run, step) in enumerate(zip(table["run_id"], table["step"], strict=True)):
        if run not in known:
            raise BadInput(f"{path}:{row + 2}: run {plain(run)} is not in runs.csv; publish the task again")
        if step <= before.get(run, -1):
            raise BadInput(f"{path}:{row + 2}: step {step} of run {plain(run)} is not after the one before it")
        before[run] = step
    return table[EDGE]


def _untrained(path: Path, factors: list[str], runs: pd.DataFrame) -> pd.DataFrame:
    """The networks of a task that are not in `runs`, each once; none where there is no such file."""
    columns = ["run_id", *factors, "status", "reason"]
    if not (path.exists() or path.is_symlink()):
        return pd.DataFrame(columns=columns)
    table = _table(path, columns)
    if table.empty:
        raise BadInput(f"{path}: no row but the header; publish the task again")
    if further := [name for name in table.columns if name not in columns]:
        raise BadInput(f"{path}:1: column {shown(further[0])} is not known; publish the task again")
    trained, seen = set(runs["run_id"]), set[str]()
    for row, (run, status) in enumerate(zip(table["run_id"], table["status"], strict=True), 2):
        if status not in _LOST:
            raise BadInput(f"{path}:{row}: status {shown(status)} is none of {', '.join(_LOST)}")
        if run in trained:
            raise BadInput(f"{path}:{row}: run {plain(run)} is in runs.csv, too; publish the task again")
        if run in seen:
            raise BadInput(f"{path}:{row}: a second row for run {plain(run)}; publish the task again")
        seen.add(run)
    return table


def _metrics(path: Path) -> pd.DataFrame:
    return pd.DataFrame(read_metrics(path)).set_index("name").sort_index()


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    """A CSV file as text, its numbers made numbers: by Python, which reads back every float as it was written."""
    header, *rows = _rows(path)
    texts = dict(zip(header, zip(*rows, strict=True) if rows else [()] * len(header), strict=True))
    if missing := [name for name in columns if name not in texts]:
        raise BadInput(f"{path}:1: columns {', '.join(missing)} are missing; publish the task again")
    numbers = {name: _numbers(path, name, texts[name]) for name in columns if name in _NUMBERS}
    for name in [name for name in columns if name in _NEEDED]:
        if "" in texts[name]:
            raise BadInput(f"{path}:{texts[name].index('') + 2}: {name} is missing; publish the task again")
    table = pd.DataFrame({name: numbers[name] if name in numbers else _words(texts[name]) for name in header})
    for name in [name for name in columns if name not in {*_NUMBERS, *_WORDS}]:
        table[name] = _factor(table[name])
    return table


def _words(texts: Sequence[str]) -> pd.Series[str]:
    """A column of words, NaN where there is none."""
    column: pd.Series[str] = pd.Series([text or np.nan for text in texts], dtype=_TEXT)
    return column


def _text(path: Path) -> str:
    """A file's text. Characters that are orders to a terminal or end an array's word are replaced by a mark."""
    try:
        return _ORDERS.sub("\ufffd", regular(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); publish the task again") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: byte {error.start} is not UTF-8; publish the task again") from None


def _rows(path: Path) -> list[Sequence[str]]:
    """The header, which names every column once, and all rows, which are as long as it is."""
    text = _text(path)
    reader, rows = csv.reader(io.StringIO(text, newline=""), strict=True), list[Sequence[str]]()
    try:
        for row in reader:
            if rows and row and len(row) != len(rows[0]):
                raise BadInput(
                    f"{path}:{reader.line_num}: {len(row)} cells, the header has {len(rows[0])}; publish the task again"
                )
            rows += [row] * bool(row)
    except csv.Error as error:
        raise BadInput(f"{path}:{reader.line_num}: not CSV: {error}; publish the task again") from None
    if not rows:
        raise BadInput(f"{path}: not even a header; publish the task again")
    if text[-1] not in "\r\n":  # a number may have lost its last digits
        raise BadInput(
            f"{path}:{reader.line_num}: the last line has no end: the file is cut short; publish the task again"
        )
    if repeated := sorted({name for name in rows[0] if rows[0].count(name) > 1}):
        raise BadInput(f"{path}:1: column {shown(repeated[0])} is there twice; publish the task again")
    return rows


def _numbers(path: Path, name: str, texts: Sequence[str]) -> pd.Series[float]:
    """A column of numbers, NaN where there is none; a step is a count: "7.5" and a missing one are errors."""
    read, made = _step if name == "step" else float, list[float]()
    for row, text in enumerate(texts):
        try:
            made.append(read(text) if text or name == "step" else np.nan)
        except ValueError:
            said = f"{shown(text)} is not a number" if text else "a number is missing"
            raise BadInput(f"{path}:{row + 2}: {name}: {said}") from None
    return pd.Series(made, dtype=int if name == "step" else float)


def _step(text: str) -> int:
    if not 0 <= (step := int(text)) <= _MOST_STEPS:
        raise ValueError
    return step


def plain(text: object) -> str:
    """A word of a file as it is, where that is short and can be printed."""
    said = str(text)
    return said if said.isprintable() and len(said) <= 60 else shown(text)


def shown(text: object) -> str:
    """A word of a file, for people: in quotes, shortened, without what a terminal would take for an order to it."""
    said = ascii(text) if not str(text).isprintable() else repr(text)
    return said if len(said) <= 60 else f"{said[:57]}…"


def _factor(column: pd.Series[str]) -> pd.Series[Any]:
    """What was varied: numbers where all values are numbers (or missing), words otherwise."""
    try:
        return column.astype(float)
    except ValueError:
        return column


def _points(runs: pd.DataFrame) -> set[tuple[Any, Any]]:
    """The run and the step of each row."""
    return set(zip(runs["run_id"].tolist(), runs["step"].tolist(), strict=True))


def _known_points(path: Path, table: pd.DataFrame, known: set[tuple[Any, Any]]) -> None:
    for row, pair in enumerate(zip(table["run_id"].tolist(), table["step"].tolist(), strict=True)):
        if pair not in known:
            raise BadInput(f"{path}:{row + 2}: run {plain(pair[0])} at step {pair[1]} is not in runs.csv")


def _known_runs(path: Path, table: pd.DataFrame, points: set[tuple[Any, Any]]) -> None:
    _known_points(path, table, points)
    repeated = table.duplicated(["run_id", "step", "metric"])
    if repeated.any():
        row = int(np.argmax(repeated.to_numpy()))
        run, step = table["run_id"][row], table["step"][row]
        raise BadInput(f"{path}:{row + 2}: a second value for run {plain(run)} at step {step}")


def _with_components(described: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """One row per name in `values`; a component inherits what is said of its metric."""
    rows = {}
    for name in values["metric"].unique():
        metric, _, component = name.partition(".")
        row = described.loc[metric].to_dict()
        if component:
            row["title"] = f"{row['title']}: {component}"
        rows[name] = row
    # a metric that failed somewhere has a row without component there; it is one metric, not a further one
    for name in [n for n in rows if "." not in n and any(other.startswith(f"{n}.") for other in rows)]:
        del rows[name]
    return pd.DataFrame.from_dict(rows, orient="index").sort_index()
