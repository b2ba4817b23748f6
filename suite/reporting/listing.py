"""Plain rows as a table in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def print_rows(
    console: Console,
    title: str,
    rows: list[dict[str, Any]],
    prose: tuple[str, ...] = (),
    spare: tuple[str, ...] = (),
) -> None:
    """Rows as a table.

    Args:
        console: where.
        title: over the table.
        rows: by column, at least one.
        prose: columns that may be broken between words; names, which people copy, never are.
        spare: columns left out, from the first, where a terminal has no room for them.
    """
    table = Table(title=title)
    widths = _widths(rows, prose, spare, console.width)
    for word, width in widths.items():
        table.add_column(word, overflow="fold", width=width)
    for row in rows:
        table.add_row(*("–" if row[word] is None else str(row[word]) for word in widths))
    console.print(table)


def _widths(rows: list[dict[str, Any]], prose: tuple[str, ...], spare: tuple[str, ...], room: int) -> dict[str, int]:
    """The columns for which there is room, and their widths: rich itself shares room out without regard to words."""
    texts = {word: [word, *(str(row[word]) for row in rows)] for word in rows[0]}
    full = {word: max(map(len, column)) for word, column in texts.items()}
    widths = full | {word: max(len(w) for text in texts[word] for w in text.split()) for word in prose}

    def left() -> int:
        return room - 1 - sum(width + 3 for width in widths.values())

    for word in spare:
        if left() < 0:
            del widths[word]
    for word in prose:
        if word in widths:  # narrower than a word only where a path is longer than the terminal is wide
            widths[word] = max(min(10, widths[word]), min(full[word], widths[word] + left()))
    return widths
