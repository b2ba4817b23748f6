"""The leaderboard in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from suite.reporting.board import Board, number, span


def print_leaderboard(console: Console, board: Board) -> None:
    """The overall table, best metric first; trivial predictors are dim and marked ○. Tasks where they fit."""
    wide, narrow = _table(board, per_task=True), _table(board, per_task=False)
    fits = console.measure(wide, options=console.options.update(max_width=1000)).maximum <= console.width
    console.print(wide if fits else narrow)


def _table(board: Board, per_task: bool) -> Table:
    tasks = [task.results.name for task in board.tasks] if per_task else []
    table = Table(title="Leaderboard: sign × Kendall's τ-b with the train–test gap", title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("metric")
    for heading in ("score", "95 %", "beats trivial", *tasks):
        table.add_column(heading.replace("/", "/\n"), justify="right", no_wrap=True)
    for name, row in board.overall.iterrows():
        cells = [
            str(row["rank"]),
            f"{row['title']}{' ○' if row['trivial'] else ''}",
            number(row["score"]),
            span(row["low"], row["high"]),
            board.verdict(name),
            *(number(row[task]) for task in tasks),
        ]
        style = "dim" if row["trivial"] else ""
        table.add_row(*(Text(cell, style=style) for cell in cells))
    return table
