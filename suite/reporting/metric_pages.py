"""What a metric's page says: what it is, how it scores, where it failed and why."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pandas as pd

from suite.ranking.task import TaskRanking
from suite.reporting.board import Board


@dataclass(frozen=True)
class OnTask:
    """A metric on a task: its row for each target, and its failures as (count, status, reason)."""

    task: TaskRanking
    rows: list[dict[str, Any]]
    measured: bool
    failures: list[tuple[int, str, str]]


@dataclass(frozen=True)
class Facts:
    """All that a metric's page shows; what the results do not tell is an en dash."""

    name: str
    title: str
    row: dict[str, Any]
    definition: list[str]
    details: dict[str, str]
    tasks: list[OnTask]

    @property
    def file(self) -> str:
        """The name of its page."""
        return metric_file(self.name)

    @property
    def failed(self) -> bool:
        """Whether a value is missing anywhere."""
        return any(on.failures for on in self.tasks)


def facts(board: Board, name: str) -> Facts:
    """What is known of a metric.

    Raises:
        KeyError: no task has it.
    """
    described = [task.results.metrics.loc[name] for task in board.tasks if name in task.results.metrics.index]
    if not described:
        raise KeyError(name)
    row = described[-1]
    row = next((each for each in reversed(described) if _told(each, "definition") != "–"), row)
    details = {word: _told(row, key) for word, key in _DETAILS.items()}
    paragraphs = [] if (text := _told(row, "definition")) == "–" else _paragraphs(text)
    on = [_on(task, name) for task in board.tasks if name in task.results.metrics.index]
    return Facts(name, str(row["title"]), board.row(name), paragraphs, details, on)


_DETAILS = {
    "Family": "family", "Source": "source", "Reads the probes": "probes", "Class of cost": "cost",
    "Unchanged by": "invariances", "Version": "version", "Fingerprint of its code": "fingerprint",
}  # fmt: skip


def _on(task: TaskRanking, name: str) -> OnTask:
    rows = task.rows[task.rows["metric"] == name]
    named = [{str(key): value for key, value in row.items()} for row in rows.to_dict("records")]
    return OnTask(task, named, task.has_values(name), _failures(task, name))


def _failures(task: TaskRanking, name: str) -> list[tuple[int, str, str]]:
    """Missing values by status and reason, most first; what failed as a whole has no components."""
    values = task.results.values
    lost = values[values["metric"].isin([name, name.partition(".")[0]]) & (values["status"] != "ok")]
    reasons = lost["reason"].fillna("") if "reason" in lost else pd.Series("", lost.index)
    counts = Counter(zip(lost["status"].astype(str), reasons.astype(str), strict=True))
    return sorted(((n, *words) for words, n in counts.items()), key=lambda entry: (-entry[0], *entry[1:]))


def _told(row: Any, key: str) -> str:
    """What the results say of a metric under a key, in words."""
    value = row.get(key)
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None or pd.isna(value) or value == "" else str(value)


def _paragraphs(docstring: str) -> list[str]:
    text = docstring.replace("Raises:\n    ValueError: ", "No value where: ").strip()
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text)]


def metric_file(name: str) -> str:
    """The file name of a metric's page.

    Names of components come from outside: what has no place in a file name is replaced, and a piece of the name's hash
    keeps it apart from others.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80]
    return f"{plain}.html" if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.html"
