"""Verdicts on claims, as a section of leaderboard.md and as rows for the terminal, for programs and for the site."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from suite.ranking.claims import SUPPORTED, UNDECIDED, Answer, Judgement, Verdict
from suite.ranking.findings import Finding
from suite.reporting.board import chance, number, span
from suite.reporting.markup import escaped, folded, table

_READING = """\
A claim is a list of tests (`reports/claims.yaml`; `docs/claims.md` says how they are written and read), each on each of
its tasks and each gap. **Supported**: all of them hold, each 95 % interval wholly on the claim's side. **Refuted**: one
certainly fails, corrected for the number of comparisons. Else **undecided**, as is a claim whose verdict is another
without the tasks' inclusion rules. *In small*: the same tests on smaller tasks of the same kind that are published; it
never counts as the claim's verdict. *Figure*: the test it hangs on (*All findings* has every one); *margin*: how far
that is on the claim's side, + for it, − against it. Verdicts are about these tasks and the settings that were tried.
"""


CLAIMS_FILE = "claims.md"
"""The page of all findings, in the folder of tables; no task's page takes that name (`board.slug`)."""
_COMMAND = re.compile(r"\\`(suite (?:[A-Za-z0-9 ./-]|\\_)+)\\`")
"""A command between backticks, as `escaped` leaves it."""


def claims_section(verdicts: Sequence[Verdict], details: str) -> str:
    """The section of leaderboard.md.

    Args:
        verdicts: from `suite.ranking.claims.judge`.
        details: the way to the page of `claims_page`.
    """
    header = ["claim", "verdict", "in small", "figure", "margin", "what would decide it"]
    lines = [_line(row) for row in rows(verdicts)]
    parts = ["## Claims\n", _READING, f"{counted(verdicts)} [All findings]({details}).\n", table(header, lines)]
    return "\n".join(parts)


def claims_page(verdicts: Sequence[Verdict], leaderboard: str) -> str:
    """Everything that was found on every claim.

    Args:
        verdicts: from `suite.ranking.claims.judge`.
        leaderboard: the way from the page to leaderboard.md, which says how to read it.
    """
    start = f"How verdicts are made and read is in [the leaderboard]({leaderboard}). Generated, never edited by hand.\n"
    return "\n".join(["# Claims: all findings\n", start, *(_details(verdict) for verdict in verdicts)])


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, str]]:
    """One row a claim, in words: id, claim, source, verdict, in_small, figure, margin, decide."""
    return [_row(verdict) for verdict in verdicts]


def records(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """All that is known of each claim as plain data for JSON; no value is NaN or infinite."""
    return [
        {
            "id": verdict.claim.id,
            "statement": verdict.claim.statement,
            "source": verdict.claim.source,
            "reading": verdict.claim.reading,
            "tasks": verdict.claim.tasks,
            "analogues": verdict.claim.analogues,
            **_judgement(verdict.of),
            "in_small": _judgement(verdict.small) if verdict.small else None,
        }
        for verdict in verdicts
    ]


def finding_rows(answer: Answer) -> list[dict[str, Any]]:
    """The findings of an answer as plain data: the comparison that each hangs on, with its interval and p-values."""
    return [_finding(finding) for finding in answer.findings]


def _row(verdict: Verdict) -> dict[str, str]:
    of, small = verdict.of, verdict.small
    told = of if _shown(of.ruled) is not None or small is None else small
    shown = _shown(told.ruled)
    return {
        "id": verdict.claim.id,
        "claim": verdict.claim.statement,
        "source": verdict.claim.source,
        "verdict": _told(of),
        "in_small": _told(small) if small else "–",
        "figure": _figure(shown) if shown else "–",
        "margin": _margin(shown) if shown else "–",
        "decide": "; ".join(of.decide) or "–",
    }


def _line(row: dict[str, str]) -> list[str]:
    claim = f"{row['claim']} ({row['source']})"
    words = [escaped(row[name]) for name in ("verdict", "in_small", "figure", "margin")]
    return [escaped(claim), *words, coded(row["decide"])]


def coded(text: str) -> str:
    """Escaped words, in which commands of this package are code.

    Only what cannot be anything else is: `suite`, letters, digits and the marks of names between two backticks.
    """
    return _COMMAND.sub(lambda found: "`" + found[1].replace("\\_", "_") + "`", escaped(text))


def _told(of: Judgement) -> str:
    """The verdict; why, where it is undecided for a reason that is not in the figures."""
    if of.turns_on_rule:
        return f"{of.verdict}: {of.why}"
    missing = [f"{f.task} {f.problem}" for f in of.ruled.findings if f.problem]
    return f"{of.verdict}: {'; '.join(dict.fromkeys(missing))}" if of.verdict == UNDECIDED and missing else of.verdict


def _shown(answer: Answer) -> Finding | None:
    """The finding that a verdict hangs on: the surest failure of a refuted claim, else the least certain test."""
    found = [finding for finding in answer.findings if finding.shown is not None]
    if not found:
        return None
    if answer.verdict in (SUPPORTED, UNDECIDED):
        return max(found, key=lambda finding: finding.supports)
    return min(found, key=lambda finding: finding.refutes)


def _figure(finding: Finding) -> str:
    """The statistic of the deciding comparison, its interval, where, and of how many."""
    assert finding.shown is not None  # the callers look
    shown = finding.shown
    where = finding.task + (f", {finding.target.replace('_', ' ')}" if finding.target else "")
    value = f"{number(shown.value)} {span(shown.low, shown.high)}".strip()
    test = finding.brief or finding.test
    return f"{test}: {shown.metric} {value} on {where} (n = {shown.n}, {shown.effect.k} {finding.unit})"


def _margin(finding: Finding) -> str:
    assert finding.shown is not None  # the callers look
    effect = finding.shown.effect
    told = f"{number(effect.value)} {span(effect.low, effect.high)}".strip()
    against = f" against {finding.shown.rival}" if finding.shown.rival else ""
    return f"{told}{against}"


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many claims have which verdict."""
    counts = {word: sum(v.of.verdict == word for v in verdicts) for word in (SUPPORTED, "refuted", UNDECIDED)}
    said = ", ".join(f"{count} {word}" for word, count in counts.items())
    small = [v.small.verdict for v in verdicts if v.small]
    in_small = ", ".join(f"{small.count(word)} {word}" for word in counts)
    return f"Of {len(verdicts)} claims: {said}. In small, of {len(small)}: {in_small}."


def _details(verdict: Verdict) -> str:
    """Everything that was found on a claim, folded."""
    claim = verdict.claim
    parts = [f"Read as: {escaped(claim.reading)}\n"]
    header = ["test", "task", "gap", "metric", "figure", "margin", "p for", "p against", "n", "result", "without rule"]
    for name, of in (("The claim's tasks", verdict.of), ("In small", verdict.small)):
        if of is not None:
            lines = [
                [escaped(cell) for cell in _cells(one, other)]
                for one, other in zip(of.ruled.findings, of.unruled.findings, strict=True)
            ]
            why = f": {escaped(of.why)}" if of.why else ""
            parts.append(f"{name}: **{of.verdict}**{why}.\n\n{table(header, lines)}")
    # a summary's line is HTML, in which Markdown's backslashes escape nothing
    return folded(escape(f"{claim.id}: {' '.join(claim.statement.split())}"), "\n".join(parts))


def _cells(finding: Finding, unruled: Finding) -> list[str]:
    target = finding.target.replace("_", " ") or "–"
    if finding.shown is None:
        nothing = ["–"] * 6
        return [finding.test, finding.task, target, *nothing, finding.problem, unruled.problem or unruled.outcome]
    shown = finding.shown
    value = f"{number(shown.value)} {span(shown.low, shown.high)}".strip()
    counted = f"{shown.n} ({shown.effect.k} {finding.unit})"
    lost = f", certainly not against {', '.join(finding.lost)}" if finding.lost and shown.rival else ""
    result = (finding.problem or finding.outcome) + lost
    return [
        finding.test, finding.task, target, shown.metric, value, _margin(finding), chance(finding.supports),
        chance(finding.refutes), counted, result, unruled.problem or unruled.outcome,
    ]  # fmt: skip


def _judgement(of: Judgement) -> dict[str, Any]:
    return {
        "verdict": of.verdict,
        "why": of.why,
        "decide": list(of.decide),
        "with_rule": _answer(of.ruled),
        "without_rule": _answer(of.unruled),
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {"verdict": answer.verdict, "left_out": answer.left_out, "findings": finding_rows(answer)}


def _finding(finding: Finding) -> dict[str, Any]:
    shown = finding.shown
    made: dict[str, Any] = {
        "test": finding.test,
        "task": finding.task,
        "target": finding.target or None,
        "outcome": finding.outcome,
        "problem": finding.problem or None,
        "p_for": finding.supports,
        "p_against": finding.refutes,
        "comparisons": len(finding.comparisons),
        "certainly_lost_to": list(finding.lost),
    }
    if shown is not None:
        effect = shown.effect
        made |= {
            "metric": shown.metric,
            "rival": shown.rival or None,
            "n": shown.n,
            "units": effect.k,
            "unit": finding.unit,
        }
        figures = {"value": shown.value, "low": shown.low, "high": shown.high, "margin": effect.value}
        figures |= {"margin_low": effect.low, "margin_high": effect.high}
        made |= {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}
    return made
