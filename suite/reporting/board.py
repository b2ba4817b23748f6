"""Everything that a report shows, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from suite.ranking.leaderboard import TaskRanking, rank_overall, rank_task
from suite.ranking.tables import read_results


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
    """A task's name as a file name."""
    return name.replace("/", "-")


def number(value: float, digits: int = 2) -> str:
    """A correlation with its sign, − for minus; an en dash where there is none."""
    if pd.isna(value):
        return "–"
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"


def span(low: float, high: float) -> str:
    """An interval, or nothing where it is not defined."""
    return "" if pd.isna(low) or pd.isna(high) else f"[{number(low)}, {number(high)}]"
