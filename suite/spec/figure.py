"""Pages of prose with figures that are computed: what each figure is, and what the sentence around it says of it.

A figure stands between two comments, the first of which is a test as claims have it, with its task:

    <!-- figure {task: mnist/mlp3, target: loss_gap, metric: edge_ratio, statistic: tau, below: 0} -->−0.25 [−0.41,
    −0.09]<!-- /figure -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from suite.errors import BadInput
from suite.spec import explain
from suite.spec.claims import ClaimTest, Statistic
from suite.spec.positions import Problem, Unreadable, parse, told
from suite.spec.task import Name, Target

ALL = "all"
"""All published tasks: the score of leaderboard.md."""
_OF_RUNS = ("lead", "edge", "edge_end")
"""Statistics that claims have not: how long before the jump a metric changes; the networks beyond the edge."""
_OF_ALL = ("score", "rank")
_WITHOUT_TARGET = ("agreement", "transition", "cells", "networks", *_OF_RUNS)
_FIGURE = re.compile(r"<!--\s*figure\s*(\{(?:(?!-->).)*\})\s*-->((?:(?!<!--).)*)<!--\s*/figure\s*-->", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
_LOOSE = re.compile(
    r"(?<![\w.])[+−-]\d[\d,]*(?:\.\d+)?|\d\.?\d* \[[+−-]?\d|(?<![\w.,])\d+\.\d+"
    r"|\b\d[\d,]* of \d[\d,]*\b|\bp [=<>≤] ?\d[\d.]*|\b(?!95 ?%)\d+ ?%"
)
"""What looks like a result and is no figure: numbers with a sign, an interval or decimals, p-values, shares, counts."""


class Figure(ClaimTest):
    """A test on one task and target, and whether the sentence says that it holds.

    `lead` is how many steps before the jump of test accuracy a metric changes; `edge` the share of networks whose edge
    ratio exceeded 1 at a recorded step of training, `edge_end` at the last one; `networks` how many count, of how many
    there are; `rank` that of a metric's score over all tasks.
    """

    task: Name
    target: Target | None = None
    statistic: Statistic | Literal["lead", "edge", "edge_end", "networks", "rank"]  # type: ignore[assignment]
    ruled: bool = True
    says: Literal["holds", "open", "fails"] = "holds"

    def _misfits(self) -> Iterator[str]:
        if self.statistic == "networks":
            if self.task == ALL or self.model_fields_set - {"task", "statistic"}:
                yield "networks is of one task, and has no use for anything else"
            return
        yield from super()._misfits()
        whole = self.task == ALL
        named = isinstance(self.beats, list) and len(self.beats) == 1
        alone = self.metric is not None and self.between is None and (self.beats is None or named)
        if whole and (self.statistic not in _OF_ALL or not alone):
            yield "of all tasks there are the score and the rank of one metric, against a number or one metric"
        if self.statistic == "rank" and (not whole or self.beats is not None):
            yield "rank is of task: all, above or below a number"
        if self.statistic in _OF_RUNS and (self.metric is None or self.between is not None):
            yield f"{self.statistic} is of one metric, above or below a number"
        if self.statistic in ("edge", "edge_end") and self.metric not in (None, "edge_ratio"):
            yield f"{self.statistic} is of the metric edge_ratio"
        if (self.target is None) != (whole or self.statistic in _WITHOUT_TARGET):
            yield f"{self.statistic} of {self.task} {'needs a target' if self.target is None else 'has no target'}"
        if self.over != "each":
            yield "over: a figure is of one task"


@dataclass(frozen=True)
class Placed:
    """A figure, the line it begins in, and where its number stands in the page."""

    figure: Figure
    line: int
    start: int
    end: int


@dataclass(frozen=True)
class Page:
    """A page and its figures, in order; numbers that look like figures and are none."""

    path: Path
    text: str
    figures: tuple[Placed, ...]
    loose: tuple[Problem, ...]


def read_page(path: Path) -> Page:
    """Read a page.

    Raises:
        BadInput: it cannot be read, or a figure in it is not one: all such problems, `file:line: field: message` each.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({error})") from None
    figures, wrong = [], list(_unclosed(text))
    for match in _FIGURE.finditer(text):
        figure, problems = _figure(match[1], _line(text, match.start(1)))
        wrong += problems
        if figure is not None:
            figures.append(Placed(figure, _line(text, match.start()), match.start(2), match.end(2)))
    if wrong:
        raise BadInput(told(sorted(wrong, key=lambda problem: problem.line), str(path)))
    return Page(path, text, tuple(figures), tuple(_loose(text)))


def _figure(text: str, line: int) -> tuple[Figure | None, list[Problem]]:
    """The figure that a YAML mapping describes, or what is wrong with it; `line`: where it begins in its file."""
    try:
        document = parse(text.encode())
        return Figure.model_validate(document.data), []
    except Unreadable as error:
        found = list(error.problems)
    except ValidationError as error:
        found = explain.problems(error, document, Figure)
    return None, [Problem(one.line + line - 1, one.field, one.message) for one in found]


def _line(text: str, place: int) -> int:
    return text[:place].count("\n") + 1


def _blank(match: re.Match[str]) -> str:
    return "\n" * match[0].count("\n")


def _unclosed(text: str) -> Iterator[Problem]:
    """Comments that begin or end a figure and are not part of one."""
    rest = _FIGURE.sub(_blank, text)
    for match in re.finditer(r"<!--\s*/?figure", rest):
        meant = "a figure is <!-- figure {task: …, metric: …} -->its number<!-- /figure -->"
        yield Problem(_line(rest, match.start()), "", f"{meant}: a part of it is missing")


def _loose(text: str) -> Iterator[Problem]:
    rest = _CODE.sub(_blank, _COMMENT.sub(_blank, _FIGURE.sub(_blank, text)))
    for match in _LOOSE.finditer(rest):
        yield Problem(_line(rest, match.start()), "", f"{match[0]} is a number that nothing checks: make it a figure")
