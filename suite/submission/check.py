"""All that CI asks of a metric: what can be seen, what a trial shows, what it makes of the networks of some tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.measuring.measure import Plan
from suite.metrics import Metric
from suite.ranking.tables import TaskResults, read_results
from suite.store import Store
from suite.submission.against import against_published
from suite.submission.findings import Finding, Report
from suite.submission.neighbours import duplicates, names_of, nearest_metrics
from suite.submission.places import place_of
from suite.submission.static import static_findings
from suite.submission.subject import Subject
from suite.submission.trials import Outcome, Tried, try_metrics
from suite.submission.values import cost, lost_values

_LIMIT = 60.0
_CORRELATIONS = "Kendall's τ-b and Spearman's ρ with every other metric over the networks of a task, nearest first"


@dataclass(frozen=True)
class Terms:
    """What a check asks for: published results to compare with (None: no comparison), whether a duplicate may pass."""

    against: Path | None = None
    allow_duplicate: bool = False


def first_reports(subject: Subject, limit: float | None) -> dict[str, Report]:
    """What takes seconds: the file, the test, a trial in processes of its own. `limit`: seconds a call may take."""
    tried = try_metrics(subject.metrics, subject.files, limit or _LIMIT)
    return {
        name: Report(name, [*static_findings(metric, subject.homes[name]), *trial_findings(tried[name])])
        for name, metric in subject.metrics.items()
    }


def add_values(
    reports: dict[str, Report], subject: Subject, plans: Sequence[Plan], store: Store, results: Path, terms: Terms
) -> None:
    """What the networks of some tasks say of the metrics; every metric is measured on them, the values in `results`."""
    read = read_results(results, [p.task.name for p in plans])
    for name, metric in subject.metrics.items():
        report = reports[name]
        here = [r for r in read if names_of(name, r)]
        report.findings += [*cost(metric, plans, store), *_values(name, metric, here, plans)]
        if here:
            report.findings.append(place_of(name, read))
            report.findings.append(_told_twins(duplicates(name, read), terms.allow_duplicate))
            report.tables.append((_CORRELATIONS, nearest_metrics(name, read)))
        if terms.against is not None:
            report.findings += against_published(metric, read, terms.against)


def trial_findings(tried: Tried) -> Iterator[Finding]:
    """What the trials of a metric show."""
    plain, again = tried.plain, tried.again
    if not plain.values and not plain.undefined:
        yield Finding("trial", "wrong", f"no value on the trial network: {plain.reason}; nothing else was tried")
        return
    said = _shown(plain) if plain.values else f"undefined ({plain.reason})"
    yield Finding("trial", "good" if plain.values else "told", f"{said} on the trial network of 296 parameters")
    yield _deterministic(plain, again)
    yield from _test_data(tried)
    changed = sorted({name for o in (plain, again, tried.other, tried.single) for name in o.changed})
    said = f"after the call these are others than before: {', '.join(changed)}"
    unchanged = "weights, inputs, targets, probes and module after the call are those before"
    yield Finding("unchanged", "wrong", said) if changed else Finding("unchanged", "good", unchanged)
    yield _agreement("float32", plain, tried.single)
    if tried.cuda is None:
        yield Finding("CUDA", "told", "not checked: no CUDA device")
    else:
        yield _agreement("CUDA", plain, tried.cuda, most=1e-6)


def _deterministic(plain: Outcome, again: Outcome) -> Finding:
    same = (plain.values, plain.reason) == (again.values, again.reason)
    if same:
        said = "the same bits in two fresh processes with other states of the global random generators"
        return Finding("deterministic", "good", said)
    said = f"{_shown(plain)}, then {_shown(again)}: randomness comes from run.generator alone"
    return Finding("deterministic", "wrong", said)


def _test_data(tried: Tried) -> Iterator[Finding]:
    """That the data source is not read; no more than that, which is said with it."""
    again, other, wrong = tried.again, tried.other, []  # of one process: the same states of the global generators
    if tried.plain.read or again.read or other.read:
        wrong.append("it reads the data source itself, which test data come from; a Run holds the training set")
    if (again.values, again.reason) != (other.values, other.reason):
        wrong.append(f"{_shown(again)}, and {_shown(other)} where the data source gives other test data")
    if not tried.same_training:
        wrong.append("the training data depend on the test data")
    if wrong:
        yield Finding("test data", "wrong", "; ".join(wrong))
        return
    said = "the data source is not read during the call, and the same bits where it gives other test data"
    yield Finding("test data", "good", f"{said} (test data had in any other way are for reviewers to see)")


def _agreement(what: str, plain: Outcome, other: Outcome, most: float | None = None) -> Finding:
    """How far two outcomes lie apart, relatively; wrong beyond `most`, or where one has a value and one has not."""
    if [v[0] for v in plain.values] != [v[0] for v in other.values]:
        return Finding(what, "wrong", f"{_shown(plain)} in float64 on the CPU, here {_shown(other)}")
    if not plain.values:
        return Finding(what, "told", "not compared: undefined on the trial network")
    apart = max(_relative(a[1], b[1]) for a, b in zip(plain.values, other.values, strict=True))
    said = f"{apart:.1e} (relative) from float64 on the CPU"
    if most is None:
        return Finding(what, "told", said)
    return Finding(what, "good" if apart <= most else "wrong", f"{said}, at most {most:.0e} is meant")


def _relative(one: float, other: float) -> float:
    scale = max(abs(one), abs(other))
    return abs(one - other) / scale if scale else 0.0


def _shown(outcome: Outcome) -> str:
    if not outcome.values:
        return f"no value ({outcome.reason})"
    return ", ".join(f"{component or 'value'} {value:.8g}" for component, value, _ in outcome.values)


def _values(name: str, metric: Metric, here: list[TaskResults], plans: Sequence[Plan]) -> Iterator[Finding]:
    if not here:
        said = f"no task here asks for {', '.join(metric.probes)}" if metric.probes else "it was not measured"
        yield Finding("values", "wrong", f"none on {', '.join(p.task.name for p in plans)}: {said}; choose with --task")
    found = [lost_values(name, result) for result in here]
    yield from found
    if found and all(finding.state == "told" for finding in found):
        yield Finding("values", "wrong", "undefined on every network of these tasks; choose others with --task")


def _told_twins(twins: list[str], allowed: bool) -> Finding:
    if not twins:
        return Finding("duplicate", "good", "no metric orders the networks of every task as it does (|τ-b| < 0.99)")
    said = f"orders the networks of every task as {', '.join(twins)} does (|τ-b| ≥ 0.99)"
    return Finding("duplicate", "told" if allowed else "wrong", f"{said}; --allow-duplicate lets it pass")
