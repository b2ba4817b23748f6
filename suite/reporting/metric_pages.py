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
    untried: list[str]

    @property
    def file(self) -> str:
        """The name of its page."""
        return metric_file(self.name)

    @property
    def without(self) -> list[tuple[str, float]]:
        """The score with each task left out, where another is scored."""
        left_out = [(key.partition(":")[2], float(v)) for key, v in self.row.items() if key.startswith("without:")]
        return [(task, score) for task, score in left_out if not pd.isna(score)]

    @property
    def failed(self) -> bool:
        """Whether a value is missing anywhere."""
        return any(on.failures for on in self.tasks)


def all_facts(board: Board) -> list[Facts]:
    """What is known of every metric, in the order of the overall table."""
    sources = [_Source.of(task) for task in board.tasks]
    return [_facts(board, sources, str(name)) for name in board.overall.index]


@dataclass(frozen=True)
class _Source:
    """A task's tables, split by metric."""

    task: TaskRanking
    described: dict[str, dict[str, Any]]
    rows: dict[str, list[dict[str, Any]]]
    failures: dict[str, Counter[tuple[str, str]]]

    @classmethod
    def of(cls, task: TaskRanking) -> _Source:
        table = task.results.metrics
        described = {
            str(name): {str(key): value for key, value in row.items()}
            for name, row in zip(table.index, table.to_dict("records"), strict=True)
        }
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in task.rows.to_dict("records"):
            rows.setdefault(row["metric"], []).append({str(key): value for key, value in row.items()})
        lost = task.results.values[task.results.values["status"] != "ok"]
        reasons = lost["reason"].fillna("") if "reason" in lost else pd.Series("", lost.index)
        failures: dict[str, Counter[tuple[str, str]]] = {}
        for metric, status, reason in zip(lost["metric"], lost["status"], reasons, strict=True):
            failures.setdefault(metric, Counter())[str(status), str(reason)] += 1
        return cls(task, described, rows, failures)


def _facts(board: Board, sources: list[_Source], name: str) -> Facts:
    here = [source for source in sources if name in source.described]
    described = [source.described[name] for source in here]
    # tasks that were published before definitions were have none
    told = next((each for each in reversed(described) if _told(each, "definition") != "–"), described[-1])
    definition = _told(told, "definition")
    return Facts(
        name,
        str(told["title"]),
        board.row(name),
        [] if definition == "–" else _paragraphs(definition),
        {word: _told(told, key) for word, key in _DETAILS.items()},
        [_on(source, name) for source in here],
        [source.task.results.name for source in sources if not _tried(source, name)],
    )


def _tried(source: _Source, name: str) -> bool:
    """Whether there is anything of the metric on the task, failures included."""
    return name in source.described and (source.task.has_values(name) or bool(_failures(source, name)))


_DETAILS = {
    "Family": "family", "Source": "source", "Reads the probes": "probes", "Class of cost": "cost",
    "Unchanged by": "invariances", "Version": "version", "Fingerprint of its code": "fingerprint",
}  # fmt: skip


def _on(source: _Source, name: str) -> OnTask:
    return OnTask(source.task, source.rows.get(name, []), source.task.has_values(name), _failures(source, name))


def _failures(source: _Source, name: str) -> list[tuple[int, str, str]]:
    """Missing values by status and reason, most first; what failed as a whole has no components."""
    counts: Counter[tuple[str, str]] = Counter()
    for each in {name, name.partition(".")[0]}:
        counts += source.failures.get(each, Counter())
    return sorted(((n, *words) for words, n in counts.items()), key=lambda entry: (-entry[0], *entry[1:]))


def _told(row: dict[str, Any], key: str) -> str:
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
