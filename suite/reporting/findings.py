"""Pages of prose on the published results, such as reports/findings.md: their figures, held against their words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from suite.ranking import bootstrap
from suite.ranking.claims import Pool
from suite.ranking.figured import OF_RUNS, Figured, figured
from suite.ranking.wording import words
from suite.reporting.board import Board, number, span

if TYPE_CHECKING:
    from suite.spec.figure import Figure, Page

_SHARES = ("transition", "cells", "edge", "edge_end")
_WORDS = {"holds": "holds", "fails": "certainly fails", "open": "cannot be told"}


def refreshed(page: Page, board: Board, resamples: int = bootstrap.RESAMPLES) -> tuple[str, list[str]]:
    """The page with its figures written anew, and what it says that is not so, `file:line: message` each.

    Args:
        page: from `suite.spec.figure.read_page`.
        board: the rankings of the published tasks.
        resamples: of bootstrap intervals.
    """
    pool, parts, end = Pool([task.results for task in board.tasks], resamples), [], 0
    untrue = [(problem.line, problem.message) for problem in page.loose]
    for placed in page.figures:
        found = figured(placed.figure, pool, board.overall, board.tasks)
        parts += [page.text[end : placed.start], _text(placed.figure, found)]
        end = placed.end
        if found.outcome != placed.figure.says or math.isnan(found.value):
            untrue.append((placed.line, _otherwise(placed.figure, found)))
    return "".join([*parts, page.text[end:]]), [f"{page.path}:{line}: {message}" for line, message in sorted(untrue)]


def _text(figure: Figure, found: Figured) -> str:
    if math.isnan(found.value):
        return "–"
    if figure.statistic in _SHARES:
        return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
    if figure.statistic == "networks":
        return found.note
    if figure.statistic == "rank":
        return f"{found.value:.0f} [{found.low:.0f}, {found.high:.0f}]"
    digits = 0 if figure.statistic == "lead" else _digits(found)
    note = f"({found.note})" if found.note else ""
    return " ".join(filter(None, [number(found.value, digits), span(found.low, found.high, digits), note]))


def _digits(found: Figured) -> int:
    """Two, but three where an end that rounds to 0 would not say on which side of it it lies."""
    return 3 if any(0 < abs(end) < 0.005 for end in (found.low, found.high)) else 2


def _otherwise(figure: Figure, found: Figured) -> str:
    test = f"{figure.statistic} of {figure.metric}" if figure.statistic in OF_RUNS else words(figure)
    where = f"{figure.task}, {figure.target}" if figure.target else figure.task
    reason = f" ({found.problem})" if found.problem else ""
    said, is_so = _WORDS[figure.says], _WORDS[found.outcome]
    return f"the page says of {test} on {where} that it {said}; it {is_so}: {_text(figure, found)}{reason}"
