"""Of one task: the leading metrics for leaderboard.md, and a page of all its tables."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from suite.ranking.chances import TAIL
from suite.ranking.evidence import least_chance
from suite.ranking.tables import short
from suite.ranking.task import TaskRanking
from suite.reporting.board import (
    CLAIM,
    LACKING,
    TRIVIAL,
    chance,
    granulated,
    number,
    ordered,
    read_sign,
    slug,
    span,
)
from suite.reporting.cost import cost_section
from suite.reporting.details import further
from suite.reporting.markup import code, escaped, table

_LEADING = 10
"""Metrics of a task in leaderboard.md, beside the trivial predictors and the quantity the suite is about."""

Row = dict[str, Any]


def table_file(task: TaskRanking) -> str:
    """The name of a task's page of tables."""
    return f"{slug(task.results.name)}.md"


def leading_table(task: TaskRanking, target: str) -> str:
    """The best metrics against a gap, all trivial predictors and CLAIM, in one table."""
    rows = list(ordered(task, target))
    scored = [row for row in rows if not pd.isna(row["score"])]
    trivial = task.results.metrics["trivial"].astype(bool)
    best = {row["metric"] for row in [row for row in scored if not trivial[row["metric"]]][:_LEADING]}
    shown = [row for row in scored if row["metric"] in best or trivial[row["metric"]] or row["metric"] == CLAIM]
    left = f", the {len(shown)} leading of {len(rows)} metrics" if len(shown) < len(rows) else ""
    return f"**Target: {escaped(target.replace('_', ' '))}**{left}.\n\n{_table(task, target, shown)}"


def task_page(task: TaskRanking, leaderboard: str) -> str:
    """All tables of a task, and what it cost.

    Args:
        task: its ranking.
        leaderboard: the way from the page to leaderboard.md, which says how to read it.
    """
    results = task.results
    grid = results.kind == "grid" and results.hyperparameters and task.scored
    parts: list[str] = [
        f"# {escaped(results.title)}: all tables\n",
        f"{code(results.name)}. [The leaderboard]({leaderboard}) says what words mean. "
        "Generated, never edited by hand.\n",
    ]
    for target in results.targets:
        rows = list(ordered(task, target))
        gap = escaped(target.replace("_", " "))
        parts.append(f"## All {len(rows)} metrics against the {gap}\n\n{_table(task, target, rows)}")
        parts += [further(task, target)] if grid else []
    parts += [_transitions(task)] if results.kind == "trajectory" else []
    parts.append(cost_section(results))
    return "\n".join(parts)


def _table(task: TaskRanking, target: str, rows: Sequence[Row]) -> str:
    factors = task.results.hyperparameters if task.results.kind == "grid" else []
    header = ["metric", "score", "sign", "τ", "95 %", "p", "τ all", "ρ", "n"]
    header += ["echo of", "Ψ", *(f"ψ {escaped(short(f))}" for f in factors)] if factors else []
    return table(header, [_cells(task, target, row, factors) for row in rows])


def _cells(task: TaskRanking, target: str, row: Row, factors: Sequence[str]) -> list[str]:
    described = task.results.metrics.loc[row["metric"]]
    failed = f" ({row['failed']} failed)" if row["failed"] else ""
    marks = [TRIVIAL] * bool(described["trivial"]) + [LACKING] * bool(row["failed"])
    cells = [
        " ".join([escaped(described["title"]), *marks]), number(row["score"]), read_sign(row), number(row["tau"]),
        span(row["low"], row["high"]), chance(row["p_holm"]), number(row["tau_all"]),
        _with_interval(row, "rho"), f"{row['n']}{failed}",
    ]  # fmt: skip
    if factors:
        echo = ", ".join(escaped(short(factor)) for factor in task.echoes(row["metric"], target))
        cells += [echo, _with_interval(row, "Psi"), *(granulated(row, factor) for factor in factors)]
    return cells


def _with_interval(row: Row, name: str) -> str:
    return f"{number(row[name])} {span(row[f'{name}_low'], row[f'{name}_high'])}".strip()


def _transitions(task: TaskRanking) -> str:
    """When metrics change, against when test accuracy jumps; those that change in some run."""
    found = task.changes
    if found.empty or not found["grokked"].max():
        return f"## Transitions\n\n{transition_sentence(task)}"
    length = float(task.results.runs["step"].max())
    quiet, grokked = int(found["quiet"].max()), int(found["grokked"].max())
    seen = found[found["runs"] > 0].sort_values(["runs", "lead"], ascending=False, kind="stable")
    header = ["metric", f"runs of {grokked}", "lead, steps", "95 %", f"false alarms in {quiet} quiet runs"]
    rows = [
        [escaped(task.results.metrics.at[row["metric"], "title"]), str(row["runs"]), number(row["lead"], 0),
         _told_apart(row, length), "–" if pd.isna(row["false_alarms"]) else f"{row['false_alarms']:.0%}"]
        for row in seen.to_dict("records")
    ]  # fmt: skip
    return f"## Transitions: when metrics change, before (+) or after (−) test accuracy jumps\n\n{table(header, rows)}"


def _told_apart(row: dict[Hashable, Any], length: float) -> str:
    """The interval of a lead, where it is narrower than a run is long."""
    return span(row["low"], row["high"], 0) if row["high"] - row["low"] < length else "cannot be told"


def transition_sentence(task: TaskRanking) -> str:
    """In how many runs test accuracy jumps, and what metrics do then."""
    found = task.changes
    if found.empty or not found["grokked"].max():
        return "**Transitions**: test accuracy jumps in no run.\n"
    grokked, quiet = int(found["grokked"].max()), int(found["quiet"].max())
    said = f"**Transitions**: test accuracy jumps in {grokked} of {grokked + quiet} runs"
    if least_chance(task.clusters, within=True) > TAIL:
        return f"{said}; {task.clusters} settings are too few to say which metrics change before it.\n"
    told = found[found["runs"] > 0]
    first, late = int((told["low"] > 0).sum()), int((told["high"] < 0).sum())
    return (
        f"{said}. Of {len(told)} metrics that change, {first} do so before it and {late} after it, each by its own "
        f"95 % interval (by chance about {TAIL * len(told):.0f} each).\n"
    )
