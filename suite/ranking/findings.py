"""One test of a claim on one task: the comparisons it is made of, and how certain they are together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from suite.ranking.chances import TAIL, Chances, every, some
from suite.ranking.comparisons import Comparison, compare, compare_worst
from suite.ranking.evidence import Evidence, Sampled, least_chance
from suite.ranking.significance import holm
from suite.ranking.wording import listed, words

if TYPE_CHECKING:
    from suite.spec.claims import ClaimTest

FREE = ("agreement", "transition", "cells")
"""Statistics that have nothing to do with the gap."""
_TOLD = 3
"""Metrics of which missing values are told."""
_TOO_FEW = "are too few, by chance alone they agree too often"


@dataclass(frozen=True)
class Finding:
    """What a task (or the worst of some tasks) says of one test and target.

    Attributes:
        test: the test, in words.
        task, target: where; no target where the gap plays no part.
        shown: the comparison that the test hangs on: the least certain one.
        comparisons: all of them.
        supports: p-value of the test being false; below 0.025 it holds.
        refutes: p-value of its being true, corrected for the number of comparisons (Bonferroni, Holm's first step).
        lost: the rivals it certainly loses to, or that certainly beat the number asked (Holm's correction).
        unit: what the evidence is counted in: settings, runs, networks.
        problem: why it cannot be answered, or not whole; empty where it can.
        remedy: what would change that.
        brief: the test in fewer words, which counts long lists.
    """

    test: str
    task: str
    target: str
    shown: Comparison | None = None
    comparisons: tuple[Comparison, ...] = ()
    supports: float = 1.0
    refutes: float = 1.0
    lost: tuple[str, ...] = ()
    unit: str = "settings"
    problem: str = ""
    remedy: str = ""
    brief: str = ""

    @property
    def outcome(self) -> str:
        """`holds`, `fails` or `open`, by itself (of a claim with several findings a failure has to be more certain)."""
        return "holds" if self.supports < TAIL else "fails" if self.refutes < TAIL else "open"


def find(test: ClaimTest, task: str, evidence: Evidence, target: str) -> Finding:
    """The finding of a test on a task.

    Args:
        test: the test.
        task: the task's name.
        evidence: its results.
        target: the gap; "" for statistics that have nothing to do with it.
    """
    empty = Finding(words(test), task, target, unit=_unit(test, evidence), brief=words(test, brief=True))
    metrics, rivals, problem = _who(test, evidence, target)
    if not metrics or not rivals:
        return replace(empty, problem=problem, remedy=_measure(task))
    compared = [[compare(test, evidence, target, metric, rival) for rival in rivals] for metric in metrics]
    remedy = _measure(task) if problem else ""
    return _together(_enough(empty, test, [evidence]), test, compared, problem, remedy, _candidate(test, [evidence]))


def find_worst(test: ClaimTest, parts: dict[str, Evidence], target: str) -> Finding:
    """The finding of a test `over: minimum`: the least of a metric's statistic over tasks, against rivals' least.

    min A > min B if some task's B lies below A on every task. Tasks are independent of one another.
    """
    empty = Finding(words(test), f"worst of {', '.join(parts)}", target, brief=words(test, brief=True))
    problems, found = [], []
    for task, evidence in parts.items():
        metrics, rivals, problem = _who(test, evidence, target)
        problems += [f"{problem} on {task}"] if problem else []
        found.append((metrics, rivals))
    metrics = [name for name in found[0][0] if all(name in one for one, _ in found)]
    rivals = [name for name in found[0][1] if all(name in others for _, others in found)]
    problem = "; ".join(problems)
    if not metrics or not rivals:
        return replace(empty, problem=problem or "no rival has values on all of them", remedy=_measure("these tasks"))
    compared = [
        [compare_worst(test, [*parts.values()], target, metric, rival) for rival in rivals] for metric in metrics
    ]
    empty = _enough(empty, test, [*parts.values()])
    remedy = _measure("these tasks") if problem else ""
    return _together(empty, test, compared, problem, remedy, _candidate(test, [*parts.values()]))


def _candidate(test: ClaimTest, parts: Sequence[Evidence]) -> bool:
    """Whether `some` metric of a list, of which nothing is known, may be the one that is claimed."""
    return isinstance(test.some, list) and any(not part.has(name) for name in test.some for part in parts)


def _enough(empty: Finding, test: ClaimTest, parts: Sequence[Evidence]) -> Finding:
    """The same, with a problem where there are too few settings for any p-value to be low enough."""
    few = [part for part in parts if part.k and part.least >= TAIL]
    if not few or test.statistic in ("transition", "cells"):
        return empty
    needed = next(k for k in range(10) if least_chance(k, few[0].within) < TAIL)
    told = f"{few[0].k} {few[0].drawn} {_TOO_FEW}"
    return replace(empty, problem=told, remedy=f"at least {needed} {few[0].drawn} of {few[0].results.name}")


def _unit(test: ClaimTest, evidence: Evidence) -> str:
    special = {"transition": f"grokking {evidence.drawn}", "cells": "networks"}
    return special.get(test.statistic, evidence.drawn)


def _measure(task: str) -> str:
    return f"have it measured on {task} (its probes asked for by the task), then `suite publish`"


def _who(test: ClaimTest, evidence: Evidence, target: str) -> tuple[list[str], list[str], str]:
    """The metrics and their rivals that have values here ("" for a number), and what is lacking, in words."""
    subject = [test.subject] if test.metric is not None and isinstance(test.subject, str) else test.subject
    metrics = evidence.chosen(subject)
    wanted = [*(subject if isinstance(subject, list) else []), *(test.beats if isinstance(test.beats, list) else [])]
    wanted += [name for name in (test.other, test.where.metric if test.where else None) if name is not None]
    lacking = [name for name in wanted if not evidence.has(name)]
    problem = f"{', '.join(lacking)} without a value" if lacking else ""
    extra = [name for name in (test.other, test.where.metric if test.where else None) if name is not None]
    if any(not evidence.has(name) for name in extra):
        return [], [], problem
    if test.beats is None:
        return metrics, [""], problem or ("" if metrics else f"no metric of {listed(test.subject)} has a value")
    rivals = [name for name in evidence.chosen(test.beats) if name not in metrics]
    if isinstance(test.beats, str) and len(metrics) == 1 and test.statistic == "score" and target:
        own = evidence.score(metrics[0], target)
        rivals = [name for name in rivals if not _same(own, evidence.score(name, target))]
    return metrics, rivals, problem or ("" if metrics and rivals else f"none of {listed(test.beats)} has a value")


def _same(one: Sampled, other: Sampled) -> bool:
    """Whether two metrics order the networks alike: the same predictor under two names is no rival of itself."""
    return one.value == other.value and np.array_equal(one.replicates, other.replicates, equal_nan=True)


def _together(
    empty: Finding, test: ClaimTest, compared: list[list[Comparison]], problem: str, remedy: str, candidate: bool
) -> Finding:
    """Comparisons `metrics × rivals` as one finding; `candidate`: there is a further metric, that may do it."""
    flat = tuple(comparison for row in compared for comparison in row)
    above = np.array([[c.effect.above for c in row] for row in compared])
    below = np.array([[c.effect.below for c in row] for row in compared])
    if test.some is None:
        shown, supports, refutes = flat[int(np.argmax(above))], every(above.ravel()), some(below.ravel())
    else:
        best = above.argmin(0)
        hardest = int(np.argmax(above.min(0)))
        shown = compared[int(best[hardest])][hardest]
        supports, refutes = every(np.array([some(column) for column in above.T])), some(below.max(0))
        refutes = 1.0 if candidate else refutes
    problem, remedy = problem or empty.problem, remedy or empty.remedy
    if not problem and supports >= TAIL:
        problem, remedy = _why_open(empty, test, flat)
    certain = holm(below.ravel()) < TAIL
    lost = tuple(dict.fromkeys((c.rival or c.metric) for c, sure in zip(flat, certain, strict=True) if sure))
    return replace(
        empty, shown=shown, comparisons=flat, supports=1.0 if problem else supports, refutes=refutes,
        lost=lost if test.some is None else (), problem=problem, remedy=remedy,
    )  # fmt: skip


def _why_open(empty: Finding, test: ClaimTest, flat: Sequence[Comparison]) -> tuple[str, str]:
    """What stands in the way of comparisons that do not hold, and what would change it; empty where nothing does."""
    if missing := dict.fromkeys(c.missing for c in flat if c.missing):
        more = f"; and {len(missing) - _TOLD} more like these" if len(missing) > _TOLD else ""
        told = "; ".join([*missing][:_TOLD]) + more
        return told, f"the missing values of {_names(missing)}{' and others' if more else ''} on {empty.task}"
    if lost := [c for c in flat if np.isnan(c.effect.low)]:
        return _why_undefined(test, lost[0]), f"more {empty.unit}"
    few = [c for c in flat if c.effect.least >= TAIL]
    if not few:
        return "", ""
    if test.statistic in ("psi", "Psi", "worst_psi", "partial"):
        told = f"the settings that share {_shared(test)} {_TOO_FEW}"
        return told, f"more settings of {empty.task} that share {_shared(test)}"
    own = f" with a value of {few[0].metric}" if test.statistic != "transition" else ""
    return f"{few[0].effect.k} {empty.unit}{own} {_TOO_FEW}", f"more {empty.unit} of {empty.task}{own}"


def _names(missing: Iterable[str]) -> str:
    """The metrics that the first of these words are about."""
    parts = [part for told in missing for part in told.split("; ")]
    return ", ".join([*dict.fromkeys(part.partition(" has no value")[0] for part in parts)][:_TOLD])


def _shared(test: ClaimTest) -> str:
    """What settings have in common that are compared with one another."""
    if test.statistic == "partial":
        return str(test.hyperparameter)
    return f"all but {test.hyperparameter}" if test.statistic == "psi" else "all but one hyperparameter"


def _why_undefined(test: ClaimTest, one: Comparison) -> str:
    if test.statistic == "transition":
        return "no run groks"
    if test.statistic == "cells":
        return "no network meets the condition"
    return f"{test.statistic} of {one.rival or one.metric} has no interval from {one.effect.k} settings"


def settings_needed(finding: Finding, comparisons: int) -> float:
    """How many units like these would decide it if the effect is what it seems; a half-width shrinks as 1 / √k.

    Args:
        finding: an open one.
        comparisons: how many the claim has: a failure has to be certain in spite of that many chances.

    Returns:
        inf where the effect is nil or not known.
    """
    effects = [c.effect for c in finding.comparisons]
    if finding.shown is None:
        return float("inf")
    if finding.shown.effect.value > 0:
        return max((_needed(effect, 1) for effect in effects if effect.above >= TAIL), default=float("inf"))
    return min((_needed(effect, comparisons) for effect in effects if effect.value < 0), default=float("inf"))


def _needed(effect: Chances, comparisons: int) -> float:
    half = effect.value - effect.low if effect.value > 0 else effect.high - effect.value
    if not np.isfinite(half) or effect.value == 0:
        return float("inf")
    half *= float(norm.isf(TAIL / comparisons) / norm.isf(TAIL))
    return float(np.ceil(effect.k * (half / effect.value) ** 2))
