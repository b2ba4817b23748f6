"""Everything that a report shows, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from suite.ranking.leaderboard import rank_overall
from suite.ranking.tables import read_results
from suite.ranking.task import TaskRanking, rank_task

FEW = 10
"""With fewer settings than this a report warns: the spread itself is badly known."""
_SHARED = ("index", "overall")


@dataclass(frozen=True)
class Board:
    """The rankings of all tasks, by name, and the overall table, best metric first."""

    tasks: list[TaskRanking]
    overall: pd.DataFrame

    @property
    def best_trivial(self) -> str | None:
        """The trivial predictor that ranks highest."""
        trivial = [str(name) for name, flag in self.overall["trivial"].items() if flag]
        return trivial[0] if trivial else None

    def verdict(self, name: object) -> str:
        """Whether a metric beats the best trivial predictor, in a word or two."""
        return "(best of them)" if name == self.best_trivial else str(self.overall.at[name, "beats_trivial"])

    def leading(self, task: TaskRanking, count: int) -> list[str]:
        """The metrics of a task worth drawing: the best by overall rank, then the best trivial predictor."""
        here = [str(name) for name in self.overall.index if name in task.results.metrics.index]
        real = [name for name in here if not self.overall.at[name, "trivial"]][:count]
        trivial = [name for name in here if self.overall.at[name, "trivial"]][:1]
        return real + trivial


def read_board(results: Path) -> Board:
    """Read and rank a folder of results.

    Raises:
        BadInput: it has none, or a file in it is wrong.
    """
    tasks = [rank_task(result) for result in read_results(results)]
    return Board(tasks, rank_overall(tasks))


def slug(name: str) -> str:
    """A task's name as a file name: no two names share one, and none takes the name of a shared file.

    Names have single hyphens between words and never end with one.
    """
    return f"{name}--" if name in _SHARED else name.replace("/", "--")


def setting(value: object) -> str:
    """The value of a hyperparameter: a number shortly but exactly, or a word."""
    if isinstance(value, str):
        return value
    if pd.isna(value):  # type: ignore[call-overload]  # any scalar
        return "none"
    number = float(value)  # type: ignore[arg-type]  # not a word: a number
    text = f"{number:g}"
    return text if float(text) == number else repr(number)


def levels(column: pd.Series[Any]) -> list[str]:
    """The settings in a column: numbers by size, then words, then none at all."""
    return [setting(value) for value in sorted(column.unique(), key=_order)]


def _order(value: object) -> tuple[int, float, str]:
    if pd.isna(value):  # type: ignore[call-overload]  # any scalar
        return 2, 0.0, ""
    try:
        return 0, float(value), ""  # type: ignore[arg-type]  # raises what is caught
    except ValueError:
        return 1, 0.0, str(value)


def drawn_from(task: TaskRanking) -> str:
    """What the intervals were made from, with a caveat where it was little."""
    caveat = ": few, read the intervals as rough" if task.clusters < FEW else ""
    return f"intervals from {task.clusters} {task.drawn}{caveat}"


def number(value: float, digits: int = 2) -> str:
    """A correlation with its sign, − for minus; an en dash where there is none."""
    if pd.isna(value):
        return "–"
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def span(low: float, high: float) -> str:
    """An interval, or nothing where it is not defined."""
    return "" if pd.isna(low) or pd.isna(high) else f"[{number(low)}, {number(high)}]"


def granulated(row: dict[str, Any], factor: str) -> str:
    """ψ of a hyperparameter with its interval and the number of settings it is the mean of."""
    if not row[f"settings:{factor}"]:
        return number(float("nan"))
    interval = span(row[f"psi_low:{factor}"], row[f"psi_high:{factor}"])
    return " ".join(filter(None, (number(row[f"psi:{factor}"]), interval, f"({row[f'settings:{factor}']})")))


def ordered(task: TaskRanking, target: str) -> list[dict[str, Any]]:
    """The rows of a target, best score first."""
    rows = task.rows[task.rows["target"] == target]
    rows = rows.sort_values("score", ascending=False, kind="stable", na_position="last")
    return [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]


def expected_sign(row: pd.Series[Any]) -> str:
    """Which way a metric is expected to go; trivial predictors may go either way."""
    return "±" if row["trivial"] else "+1" if int(row["sign"]) > 0 else "−1"
