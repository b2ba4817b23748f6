"""Pieces of Markdown: tables, parts that open, and words from outside made harmless."""

from __future__ import annotations

from collections.abc import Iterable


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """A table. Its cells are Markdown: words from outside have to be `escaped`."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def folded(summary: str, text: str) -> str:
    """A text behind a line that opens it; both are Markdown."""
    return f"<details><summary>{summary}</summary>\n\n{text}\n</details>\n"


def escaped(text: object) -> str:
    """Words from outside (titles, sources) must not break a table or smuggle markup in."""
    plain = " ".join(str(text).split()).replace("&", "&amp;")
    for character in "\\`*_[]<>|~$":
        plain = plain.replace(character, f"\\{character}")
    return plain


def code(name: object) -> str:
    """A name as code; characters that would end the code or a table's cell are left out."""
    return f"`{' '.join(str(name).split()).replace('`', '').replace('|', '')}`"
