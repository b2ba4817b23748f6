"""The leaderboard in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from suite.reporting.board import FEW, LACKING, TRIVIAL, Board, number, span

_SHAPES = (("score", "95 %", "beats trivial", "tasks"), ("score", "95 %", "beats trivial"), ("score", "95 %"))
"""Which columns there are, in a wide terminal and in ever narrower ones."""


def print_leaderboard(console: Console, board: Board) -> None:
    """What is averaged, the leading metrics (the columns that fit), what the marks mean, and the answer in short."""
    _say(console, board.coverage)
    if len(board.unscored) < len(board.tasks):
        tables = [_table(board, shape) for shape in _SHAPES]
        unlimited = console.options.update(max_width=1000)
        fitting = [t for t in tables if console.measure(t, options=unlimited).minimum <= console.width]
        console.print(fitting[0] if fitting else tables[-1])
        for note in _notes(board):
            _say(console, note)
        _say(console, f"In short: {board.in_short}" if board.in_short else "")


def print_claims(console: Console, counted: str, rows: Sequence[Mapping[str, str]]) -> None:
    """Every claim with its verdict, what it hangs on and what would decide it; all of it in a terminal of any width.

    Args:
        console: where.
        counted: how many have which verdict (`suite.reporting.claims.counted`).
        rows: from `suite.reporting.claims.rows`.
    """
    for row in rows:
        console.print(Text.assemble((row["id"], "bold"), f": {row['claim']} ", (f"({row['source']})", "dim")))
        small = f"   In small: {row['in_small']}." if row["in_small"] != "–" else ""
        told = [f"{row['verdict']}.{small}"]
        told += [f"{row['figure']}; margin {row['margin']}."] if row["figure"] != "–" else []
        told += [f"What would decide it: {row['decide']}."] if row["decide"] != "–" else []
        for text in told:
            console.print(Padding(Text(text), (0, 0, 0, 4)), highlight=False)
        console.print()
    _say(console, counted)


def _table(board: Board, shape: tuple[str, ...]) -> Table:
    tasks = [task.results.name for task in board.tasks] if "tasks" in shape else []
    table = Table(title="Leaderboard: sign × Kendall's τ-b with the train–test gap", title_justify="left")
    table.add_column("#", justify="right")
    # a name is broken between words, never within one
    table.add_column("metric", min_width=max(len(word) for title in board.overall["title"] for word in title.split()))
    shown = board.leaders if len(board.leaders) else board.overall
    table.add_column("")  # a column of its own: beside a name the marks would be what is wrapped first
    rows = [_row(board, name, shape, tasks) for name in shown.index]
    headings = [*(heading for heading in shape if heading != "tasks"), *(task.replace("/", "/\n") for task in tasks)]
    for place, heading in enumerate(headings, start=3):
        width = max(len(text) for text in [*heading.split("\n"), *(row[place] for row in rows)])
        table.add_column(heading, justify="right", no_wrap=True, min_width=width)
    for row, trivial in zip(rows, shown["trivial"], strict=True):
        table.add_row(*(Text(cell, style="dim" if trivial else "") for cell in row))
    return table


def _row(board: Board, name: object, shape: tuple[str, ...], tasks: list[str]) -> list[str]:
    row = board.row(name)
    cells = {
        "score": number(row["score"]),
        "95 %": span(row["low"], row["high"]),
        "beats trivial": board.verdict(name),
    }
    shown = [cells[column] for column in shape if column in cells]
    return [board.place(name), str(row["title"]), board.marks(name), *shown, *(number(row[task]) for task in tasks)]


def _notes(board: Board) -> list[str]:
    notes = []
    if board.overall["trivial"].any():
        notes.append(
            f"{TRIVIAL} trivial predictor, read with its better sign on each task: a metric that does not beat the "
            "best of them has explained nothing yet"
        )
    if board.overall["lacking"].any():
        notes.append(
            f"{LACKING} values are missing: those pairs of networks count as ordered wrongly, a task of failures as "
            "−1, a task that it was not tried on as 0"
        )
    if few := [f"{t.clusters} {t.drawn} in {t.results.name}" for t in board.tasks if t.scored and t.clusters < FEW]:
        notes.append(f"Read the intervals as rough: there are only {', '.join(few)}")
    if board.unshown:
        notes.append(f"{board.unshown} further metrics are in leaderboard.md")
    return [*notes, *([board.control_note] if board.control_note else [])]


def _say(console: Console, text: str) -> None:
    console.print(Text(text), highlight=False)
