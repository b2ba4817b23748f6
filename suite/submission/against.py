"""Published values against those of networks trained again, maybe on another machine (the rule: `agreement`)."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from suite.metrics import Metric
from suite.publishing import described
from suite.ranking.tables import TaskResults, read_results
from suite.submission.agreement import compare, same_networks, wrong_gaps
from suite.submission.findings import Finding, judged
from suite.submission.neighbours import names_of


def against_published(metric: Metric, recomputed: list[TaskResults], published: Path) -> list[Finding]:
    """One finding for the values on each task that was recomputed, for its gaps, and for what was not recomputed."""
    folders = {path.parent.relative_to(published).as_posix() for path in published.rglob("provenance.json")}
    findings = []
    for mine in recomputed:
        what = f"published values of {mine.name}"
        if mine.name not in folders:
            findings.append(Finding(what, "told", f"the task is not in {published}"))
            continue
        (theirs,) = read_results(published, [mine.name])
        findings.append(_on_task(what, metric, mine, theirs, _entry(published / mine.name, metric.name)))
        findings.append(_gaps(theirs))
    elsewhere = sorted(
        name
        for name in folders - {mine.name for mine in recomputed}
        if (published / name / "values" / f"{metric.name}.csv").is_file()
    )
    if elsewhere:
        said = f"on {', '.join(elsewhere)}: not recomputed here, so nothing vouches for them"
        findings.append(Finding("other published values", "told", said))
    return findings


def _without(results: TaskResults, runs: Collection[str]) -> TaskResults:
    """Results without those of some runs: here of networks that whoever published the task could not train."""
    tables = {name: getattr(results, name) for name in ("runs", "values")}
    return replace(results, **{name: table[~table["run_id"].isin(runs)] for name, table in tables.items()})


def _entry(folder: Path, name: str) -> dict[str, Any]:
    """The metric's entry of a published `metrics.json`, as it stands there; empty if there is none."""
    entries = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return next((dict(entry) for entry in entries if entry["name"] == name), {})


def _gaps(theirs: TaskResults) -> Finding:
    wrong = [f"{said} are not what their losses and accuracies make them" for said in wrong_gaps(theirs)]
    return judged(f"published gaps of {theirs.name}", wrong, "what the losses and accuracies make them")


def _on_task(what: str, metric: Metric, mine: TaskResults, theirs: TaskResults, entry: dict[str, Any]) -> Finding:
    here, there = names_of(metric.name, mine), names_of(metric.name, theirs)
    again = f"`suite publish --metric {metric.name}` writes"
    if not here and not there:
        return Finding(what, "told", "none, and the task asks for no such probe")
    if sorted(here) != sorted(there):
        said = f"{', '.join(there) or 'none'}; recomputed: {', '.join(here) or 'none'}"
        return Finding(what, "wrong", f"{said}; {again} them")
    meant = json.loads(json.dumps(described(metric)))
    # where a metric lies is no matter of the metric: it is checked before it is moved in, and after
    words = set(meant | entry) - {"outside"}
    if other := sorted(word for word in words if meant.get(word) != entry.get(word)):
        why = "they are of other code than this; " if "fingerprint" in other else ""
        return Finding(what, "wrong", f"{why}metrics.json has another {', '.join(other)}; {again} new ones")
    mine = _without(mine, theirs.untrained["run_id"])
    pairs = same_networks(mine.runs[["run_id", "step", "train_loss", "test_loss"]], theirs.runs)
    if len(pairs) != len(theirs.runs) or len(pairs) != len(mine.runs):
        said = f"{len(pairs)} of {len(theirs.runs)} published networks are of this task, device and dtype"
        if lost := set(mine.untrained["run_id"]) & set(theirs.runs["run_id"]):
            said += f"; {len(lost)} could not be trained here, `suite run` tries them again"
        return Finding(what, "wrong", said)
    compared = [compare(name, mine, theirs) for name in there]
    said = "; ".join(c.said(name if len(there) > 1 else "") for name, c in zip(there, compared, strict=True))
    return Finding(what, "good" if all(c.good for c in compared) else "wrong", said)
