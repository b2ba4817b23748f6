"""Reports of the local store: after a run, and of one run."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from suite.errors import BadInput
from suite.ranking.tables import MEASURES, TaskResults, read_results
from suite.reporting.board import read_board, setting
from suite.reporting.build import build_board
from suite.reporting.terminal import print_leaderboard


def report(folder: Path, console: Console, quiet: bool = False) -> None:
    """Rank the results under `folder/results`, print the table, write leaderboard.md, figures and site beside them."""
    board = read_board(folder / "results")
    build_board(board, "your local store", folder / "leaderboard.md", folder / "figures", folder / "site")
    if quiet:
        return
    print_leaderboard(console, board)
    for what, path in (("leaderboard", folder / "leaderboard.md"), ("site", folder / "site" / "index.html")):
        console.print(f"{what}: {path}", style="dim", highlight=False, soft_wrap=True)


def show_run(results: Path, beginning: str, console: Console) -> None:
    """Print the runs whose id begins so: cell, losses, accuracies and values at every checkpoint.

    Raises:
        BadInput: there is none, or more than one.
    """
    tasks = read_results(results)
    found = {(t.name, r): t for t in tasks for r in t.runs["run_id"].unique() if r.startswith(beginning)}
    if len(found) != 1:
        ids = ", ".join(run for _, run in list(found)[:5]) or "see reports/results/*/runs.csv under SUITE_HOME"
        raise BadInput(f"{beginning}: {len(found)} runs begin so; give one of {ids}")
    ((_, run_id), task) = next(iter(found.items()))
    _print_run(task, run_id, console)


def _print_run(task: TaskResults, run_id: str, console: Console) -> None:
    frame = task.wide()
    frame = frame[frame["run_id"] == run_id]
    cell = ", ".join(f"{name} = {setting(frame[name].iloc[0])}" for name in task.provenance["factors"])
    console.print(f"{task.name} {run_id} ({frame['status'].iloc[0]}): {cell}", highlight=False)
    table = Table("", *(f"step {step}" for step in frame["step"]))
    columns = [*MEASURES, *task.targets, *task.metrics.index]
    for column in dict.fromkeys(columns):
        table.add_row(column, *(f"{value:.5g}" for value in frame[column]))
    console.print(table)
