"""The static site: one page for all tasks, one page a task; plain HTML that works from a file."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from suite.ranking.tables import short
from suite.reporting.board import (
    Board,
    Origin,
    between,
    chance,
    constant_note,
    count,
    drawn_from,
    expected_sign,
    granulated,
    number,
    ordered,
    read_sign,
    slug,
    span,
)


def site(board: Board, figures: dict[str, bytes], origin: Origin) -> dict[str, bytes]:
    """File names and contents of all pages. Everything from outside is escaped; figures are set inline.

    Args:
        board: what to show.
        figures: from `figures.figures`.
        origin: what made them from what.
    """
    environment = Environment(
        loader=PackageLoader("suite.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"number": number, "slug": slug, "short": short, "expected_sign": expected_sign}
    environment.globals |= {"span": span, "granulated": granulated, "ordered": ordered, "drawn_from": drawn_from}
    environment.globals |= {"between": between, "count": count, "chance": chance}
    environment.globals |= {"constant_note": constant_note, "read_sign": read_sign}
    environment.globals |= {"board": board, "origin": origin}
    drawings = {name: _inline(content, name) for name, content in figures.items()}
    pages = {"index.html": environment.get_template("index.html.j2").render(figure=drawings["overall.svg"])}
    for task in board.tasks:
        name = slug(task.results.name)
        pages[f"{name}.html"] = environment.get_template("task.html.j2").render(
            task=task, results=task.results, figure=drawings[f"{name}.svg"]
        )
    return {name: text.encode() for name, text in pages.items()}


def _inline(svg: bytes, name: str) -> Markup:
    """An SVG element for a page; ids are made unique to the figure, so that two may share a page."""
    text = svg.decode()
    text = text[text.index("<svg") :]
    prefix = name.removesuffix(".svg")
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(xlink:href="|href="|url\()#', rf"\1#{prefix}-", text)
    # our own drawing: matplotlib has escaped the words in it
    return Markup(text)  # noqa: S704
