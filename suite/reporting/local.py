"""Reports of the local store: after a run, and of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from suite.errors import BadInput
from suite.ranking.tables import MEASURES, TaskResults, read_results
from suite.reporting.board import LOCAL, read_board, setting
from suite.reporting.build import Place, build
from suite.reporting.terminal import print_leaderboard


def report(folder: Path, console: Console, quiet: bool = False, tasks: Sequence[str] | None = None) -> None:
    """Rank the results under `folder/results`, print the table, write leaderboard.md, figures and site beside them.

    Args:
        folder: where the results are and the report goes.
        console: where the table goes.
        quiet: print nothing.
        tasks: the names of the tasks to report on, and on no others; None: all that have results.

    Raises:
        BadInput: there are no results, or none of a task named, or a file is wrong or cannot be written.
    """
    board = read_board(folder / "results", tasks)
    build(board, LOCAL, Place.within(folder), folder / "site")
    if quiet:
        return
    print_leaderboard(console, board)
    for what, path in (("leaderboard", folder / "leaderboard.md"), ("site", folder / "site" / "index.html")):
        console.print(f"{what}: {path}", style="dim", highlight=False, soft_wrap=True)


def show_run(results: Path, beginning: str, console: Console) -> None:
    """Print the runs whose id begins so: cell, losses, accuracies and values at its checkpoints.

    Raises:
        BadInput: there is none, or more than one, or it could not be trained.
    """
    if not any(results.rglob("provenance.json")):
        raise BadInput(f"no run has been measured yet ({results} has no results): `suite run` makes some")
    tasks = read_results(results)
    found = [(t, str(r)) for t in tasks for r in t.runs["run_id"].unique() if r.startswith(beginning)]
    lost = [(t, str(r)) for t in tasks for r in t.untrained["run_id"] if r.startswith(beginning)]
    if not found + lost:
        raise BadInput(_unknown(results, beginning, tasks))
    if len({run for _, run in found + lost}) > 1:
        ids = ", ".join(f"{run} ({t.name})" for t, run in (found + lost)[:5])
        more = ", …" if len(found + lost) > 5 else ""
        raise BadInput(f"{beginning}: {len(found + lost)} runs begin so; give more of the id: {ids}{more}")
    if not found:
        raise BadInput(_why_untrained(*lost[0]))
    for task, run_id in found:  # tasks may share a run
        _print_run(task, run_id, console, results / task.name)


def _unknown(results: Path, beginning: str, tasks: list[TaskResults]) -> str:
    files = [str(results / task.name / "runs.csv") for task in tasks]
    listed = ", ".join(files[:3]) + (f" and {len(files) - 3} further files" if len(files) > 3 else "")
    return f"no run begins with {beginning}; the ids of those that are measured are in the first column of {listed}"


def _why_untrained(task: TaskResults, run_id: str) -> str:
    row = task.untrained[task.untrained["run_id"] == run_id].iloc[0]
    reason = "" if pd.isna(row["reason"]) else f": {row['reason']}"
    return f"{task.name} {run_id}: could not be trained ({row['status']}{reason}); the next `suite run` tries it again"


def _print_run(task: TaskResults, run_id: str, console: Console, folder: Path) -> None:
    frame = task.wide()
    frame = frame[frame["run_id"] == run_id]
    cell = ", ".join(f"{name} = {setting(frame[name].iloc[0])}" for name in task.provenance["factors"])
    console.print(f"{task.name} {run_id} ({frame['status'].iloc[0]}): {cell}", highlight=False)
    columns = list(dict.fromkeys([*MEASURES, *task.targets, *task.metrics.index]))
    texts = [[f"step {step}" for step in frame["step"]], *([_text(v) for v in frame[column]] for column in columns)]
    shown = _fitting(texts, max(map(len, columns)), console.width)
    table = Table("", *(texts[0][place] for place in shown))
    for column, cells in zip(columns, texts[1:], strict=True):
        table.add_row(column, *(cells[place] for place in shown))
    console.print(table)
    if len(shown) < len(frame):
        said = f"{len(shown)} of {len(frame)} checkpoints; all are in {folder / 'runs.csv'} and {folder / 'values'}"
        console.print(said, style="dim", highlight=False, soft_wrap=True)
    for line in _reasons(task, run_id):
        console.print(Text(line))


def _text(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.5g}"


def _fitting(texts: list[list[str]], names: int, width: int) -> list[int]:
    """The checkpoints to show: as many as fit, evenly spread, the first and the last always among them."""
    widths = np.array([[len(text) for text in row] for row in texts]).max(axis=0) + 3  # two spaces and a line
    for count in range(len(widths), 2, -1):
        places = np.linspace(0, len(widths) - 1, count).round().astype(int)
        if names + 4 + widths[places].sum() <= width:
            return [int(place) for place in places]
    return sorted({0, len(widths) - 1})


def _reasons(task: TaskResults, run_id: str) -> list[str]:
    """Why values are missing, one line for each metric and reason."""
    lost = task.values[(task.values["run_id"] == run_id) & (task.values["status"] != "ok")]
    counts = Counter(zip(lost["metric"], lost["status"], lost["reason"], strict=True))
    return [f"{metric}: {count} × {status}: {reason}" for (metric, status, reason), count in counts.items()]
