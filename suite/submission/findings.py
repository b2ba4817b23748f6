"""What a check has found, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from suite.reporting.listing import print_rows

State = Literal["good", "wrong", "told"]
END = "the check came to its end"
"""How the last line of a check begins: without it, something ended the process."""
_MARKS = {"good": ("✓", "green"), "wrong": ("✗", "bold red"), "told": ("·", "dim")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is `good` or `wrong`, or neither (`told`), and what was seen."""

    what: str
    state: State
    said: str


@dataclass
class Report:
    """All that was found of one metric; `tables` are rows under a heading."""

    metric: str
    findings: list[Finding] = field(default_factory=list)
    tables: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.state != "wrong" for finding in self.findings)


def judged(what: str, wrong: Iterable[str], good: str) -> Finding:
    """Wrong with all that is wrong, or good."""
    said = "; ".join(wrong)
    return Finding(what, "wrong", said) if said else Finding(what, "good", good)


def print_reports(console: Console, reports: Mapping[str, Report]) -> bool:
    """Every report, one after the other, and a last line; whether nothing is wrong in any."""
    for report in reports.values():
        print_report(console, report)
    wrong = [name for name, report in reports.items() if not report.good]
    said = f"wrong: {', '.join(wrong)}" if wrong else "nothing is wrong"
    _say(console, f"{END}: {said}", "")
    return not wrong


def print_report(console: Console, report: Report) -> None:
    """A metric's findings, a line each, its tables, and the verdict. Nothing is cut off where there is no terminal."""
    _say(console, report.metric, "bold")
    for finding in report.findings:
        mark, style = _MARKS[finding.state]
        word = {"good": "ok", "wrong": "WRONG", "told": "note"}[finding.state]
        _say(console, f"  {mark} {word:5} {finding.what}: {finding.said}", style if finding.state == "wrong" else "")
    for title, rows in report.tables:
        if console.is_terminal:
            print_rows(console, title, rows)
        else:
            _say(console, f"  {title}", "")
            for row in rows:
                _say(console, "    " + ", ".join(f"{name} {value}" for name, value in row.items()), "")
    wrong = [finding.what for finding in report.findings if finding.state == "wrong"]
    said = f"wrong: {', '.join(wrong)}" if wrong else "nothing is wrong"
    _say(console, f"{report.metric}: {said}", "bold red" if wrong else "bold green")


def _say(console: Console, text: str, style: str) -> None:
    console.print(Text(text, style=style), highlight=False, soft_wrap=True)
