"""Results as tidy tables: as pandas DataFrames for notebooks, and as Parquet or CSV files."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from suite.errors import BadInput
from suite.ranking.tables import GAPS, MEASURES, TaskResults, read_results

if TYPE_CHECKING:
    from suite.ranking.task import TaskRanking

KINDS = ("values", "runs", "metrics", "ranking", "overall")
SUFFIXES = (".parquet", ".csv", ".csv.gz")

_TASK = ["task", "kind", "spec_hash", "device", "dtype"]
_RUN = ["run_id", "step", "epoch"]
_VALUE = ["metric", "value", "standard_error", "status", "reason"]
_ENTRY = ["title", "family", "source", "sign", "trivial", "outside", "cost", "probes", "invariances", "optimizers"]
_CODE = ["version", "fingerprint", "definition"]
_OWN = {*_TASK, *_RUN, *_VALUE, *MEASURES, *GAPS, "run_status", "included", "version", "fingerprint"}
"""Columns that no factor may take."""

_WORDS = {
    *_TASK, "run_id", "metric", "status", "run_status", "reason", "target", "title", "family", "source", "cost",
    "probes", "invariances", "optimizers", "fingerprint", "definition",
}  # fmt: skip
"""Text, as are `beats…`."""
_TRUTHS = {"included", "trivial", "outside", "lacking"}
_COUNTS = {
    "step",
    "sign",
    "n",
    "failed",
    "environments",
    "version",
    "rank",
    "group",
    "rank_low",
    "rank_high",
    "rank_all",
}
"""Whole numbers, as are `settings:<factor>`. A missing one is <NA>."""


def frame(
    results: str | Path = "reports/results", tasks: Sequence[str] | None = None, table: str = "values"
) -> pd.DataFrame:
    """A table of results, for notebooks: `frame("reports/results")`.

    Args:
        results: the folder of results.
        tasks: the names of those to read; None: all.
        table: `values` (a row for each task, run, step and metric), `runs` (a row for each task, run and step),
            `metrics` (for each task and metric), `ranking` (for each task, metric and target) or `overall` (for each
            metric). docs/comparing.md explains the columns.

    Returns:
        Words are pandas strings, counts 64-bit integers that may be missing, the rest float64 or bool, whatever the
        tasks are.

    Raises:
        BadInput: there are no results, a file of them is malformed, or there is no such table.
    """
    if table not in KINDS:
        raise BadInput(f"{table}: no such table; there are {', '.join(KINDS)}")
    read = read_results(Path(results), tasks)
    made = {"values": _values, "runs": _runs, "metrics": _metrics, "ranking": _ranking, "overall": _overall}
    return _typed(made[table](read))


def export(
    file: Path, results: Path = Path("reports/results"), tasks: Sequence[str] | None = None, table: str = "values"
) -> pd.DataFrame:
    """Write a table to a file, whole or not at all, and return it.

    Args:
        file: its name ends in .parquet, .csv or .csv.gz.
        results: the folder of results.
        tasks: the names of those to read; None: all.
        table: as of `frame`.

    Raises:
        BadInput: as of `frame`, another suffix, or the file cannot be written.
    """
    if not file.name.endswith(SUFFIXES):
        raise BadInput(f"{file}: cannot tell the format; let the name end in {', '.join(SUFFIXES)}")
    made = frame(results, tasks, table)
    _write(file, _bytes(file, made))
    return made


def read_table(file: str | Path) -> pd.DataFrame:
    """A table that `export` wrote, from Parquet or CSV: equal to the frame, types and every digit.

    Raises:
        BadInput: it cannot be read.
    """
    path = Path(file)
    try:
        if path.name.endswith(".parquet"):
            return pd.read_parquet(path)
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    return _typed(table)


def _bytes(file: Path, table: pd.DataFrame) -> bytes:
    """The same bytes for the same table: a gzip file has its time in it, which is left out."""
    buffer = io.BytesIO()
    if file.name.endswith(".parquet"):
        table.to_parquet(buffer, index=False)
    else:
        packed: Any = {"method": "gzip", "mtime": 0} if file.name.endswith(".gz") else None
        table.to_csv(buffer, index=False, lineterminator="\n", compression=packed, encoding="utf-8")
    return buffer.getvalue()


def _write(file: Path, content: bytes) -> None:
    part = None
    try:
        if file.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}.", delete=False) as written:
            part = Path(written.name)
            written.write(content)
        part.chmod(0o666 & ~_umask())
        part.replace(file)
    except OSError as error:
        if part is not None:
            part.unlink(missing_ok=True)
        raise BadInput(f"{file} cannot be written ({error.strerror}): give a file in a folder that is there") from None


def _umask() -> int:
    """What a new file's permissions are without; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Every column with the type that its name says; of the others (factors), numbers unless there are words."""
    columns: dict[str, Any] = {}
    for name in map(str, table.columns):
        column = table[name].reset_index(drop=True)
        if name in _WORDS or name.startswith("beats"):
            columns[name] = _words(column)
        elif name in _TRUTHS:
            columns[name] = column.map(lambda value: str(value) == "True").astype(bool)
        elif name in _COUNTS or name.startswith("settings:"):
            whole = [None if pd.isna(value) else int(float(value)) for value in column]
            columns[name] = pd.Series(whole, column.index, dtype="Int64")
        else:
            columns[name] = _numbers(column)
    return pd.DataFrame(columns)


def _words(column: pd.Series[Any]) -> pd.Series[Any]:
    """As pandas strings; lists as their words in a row, an empty text as missing."""
    texts = [", ".join(map(str, v)) if isinstance(v, list) else "" if pd.isna(v) else str(v) for v in column]
    return pd.Series([text or None for text in texts], column.index, dtype="string")


def _numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    """As float64, by Python, which reads back every digit that it wrote; as words where some are no numbers."""
    if pd.api.types.is_float_dtype(column.dtype):
        return column.astype(float)
    try:
        return pd.Series([float("nan") if pd.isna(value) else float(value) for value in column], column.index, float)
    except ValueError:
        return _words(column.map(lambda value: value if isinstance(value, str) or pd.isna(value) else _short(value)))


def _short(value: float) -> str:
    """A number among words, as a task file has it: 8, not 8.0."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(float(value))


def _values(read: Sequence[TaskResults]) -> pd.DataFrame:
    """Where, what, then what is said of the run, the task and the metric."""
    parts = []
    for results in read:
        runs = _runs_of(results)
        metrics = _metrics_of(results)[["metric", "version", "fingerprint"]]
        rows = results.values[[*_RUN[:2], *_VALUE]]
        part = rows.merge(runs, on=_RUN[:2], how="left")
        # a metric that failed has a row of its own name, beside its components': they are of one code
        named = part["metric"].where(part["metric"].isin(metrics["metric"]), part["metric"] + ".")
        code = {n: (v, f) for n, v, f in metrics.itertuples(index=False, name=None)}
        code |= {f"{name.partition('.')[0]}.": both for name, both in code.items()}
        for place, word in enumerate(("version", "fingerprint")):
            part[word] = [code[name][place] for name in named]
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    factors = [name for name in _union(read) if name in table]
    order = ["task", *_RUN[:2], *_VALUE, "kind", *factors, "epoch", "run_status", *MEASURES, *GAPS, "included"]
    table = table[[*order, *_TASK[2:], "version", "fingerprint"]]
    return table.sort_values(["task", "metric"], kind="stable", ignore_index=True)


def _runs(read: Sequence[TaskResults]) -> pd.DataFrame:
    table = pd.concat([_runs_of(results) for results in read], ignore_index=True)
    return table[
        ["task", *_RUN[:2], "kind", *_union(read), "epoch", "run_status", *MEASURES, *GAPS, "included", *_TASK[2:]]
    ]


def _runs_of(results: TaskResults) -> pd.DataFrame:
    factors = list(results.provenance["factors"])
    if clash := sorted(_OWN & set(factors)):
        raise BadInput(f"{results.name}: a factor is called {clash[0]}, as a column of the export is: rename it")
    runs = results.runs.rename(columns={"status": "run_status"})
    if "epoch" not in runs:
        runs["epoch"] = float("nan")
    task = {word: results.provenance[word] for word in _TASK}
    return runs[[*_RUN, *factors, "run_status", *MEASURES, *GAPS]].assign(included=results.included, **task)


def _union(read: Sequence[TaskResults]) -> list[str]:
    """The factors of all tasks, each where it is met first."""
    return list(dict.fromkeys(name for results in read for name in results.provenance["factors"]))


def _metrics(read: Sequence[TaskResults]) -> pd.DataFrame:
    return pd.concat([_metrics_of(results) for results in read], ignore_index=True)


def _metrics_of(results: TaskResults) -> pd.DataFrame:
    """What is said of the metrics; an entry that older results lack is missing."""
    known = results.metrics.reindex(columns=[*_ENTRY, *_CODE]).rename_axis("metric").reset_index()
    known.insert(0, "task", results.name)
    return known


def _ranking(read: Sequence[TaskResults]) -> pd.DataFrame:
    parts = [ranking.rows.assign(task=ranking.results.name) for ranking in _ranked(read)]
    table = pd.concat(parts, ignore_index=True)
    return table[["task", *(name for name in table.columns if name != "task")]]


def _overall(read: Sequence[TaskResults]) -> pd.DataFrame:
    from suite.ranking.leaderboard import rank_overall

    return rank_overall(_ranked(read)).rename_axis("metric").reset_index()


def _ranked(read: Sequence[TaskResults]) -> list[TaskRanking]:
    from suite.ranking.task import rank_task  # scipy and scikit-learn, which a table of values does without

    return [rank_task(results) for results in read]
