"""One test of a claim on one task: the comparisons it is made of, and how certain they are together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from suite.ranking.bootstrap import interval
from suite.ranking.chances import (
    LEAST_NETWORKS,
    TAIL,
    Chances,
    chances,
    count_networks,
    deviation,
    every,
    margins,
    more_variable,
    some,
    transition_share,
)
from suite.ranking.correlation import Vector
from suite.ranking.evidence import Evidence, Sampled, least_chance
from suite.ranking.significance import holm
from suite.ranking.wording import listed, words

if TYPE_CHECKING:
    from suite.spec.claims import ClaimTest

FREE = ("agreement", "transition", "cells")
"""Statistics that have nothing to do with the gap."""


@dataclass(frozen=True)
class Comparison:
    """A metric's statistic against a number or a rival.

    Attributes:
        metric: its name.
        rival: the other metric's; empty where a number is compared with.
        value, low, high: the metric's statistic and its 95 % interval; of `instability` with a rival the same.
        effect: how far it is on the claim's side: `above` is the p-value for the claim, `below` against it.
        n: networks (checkpoints of them) with a value.
    """

    metric: str
    rival: str
    value: float
    low: float
    high: float
    effect: Chances
    n: int


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
    empty = Finding(words(test), task, target, unit=_unit(test, evidence))
    metrics, rivals, problem = _who(test, evidence, target)
    if not metrics or not rivals:
        return replace(empty, problem=problem, remedy=_measure(task))
    compared = [[_compare(test, evidence, target, metric, rival) for rival in rivals] for metric in metrics]
    return _together(_enough(empty, test, [evidence]), test, compared, problem, _measure(task) if problem else "")


def find_worst(test: ClaimTest, parts: dict[str, Evidence], target: str) -> Finding:
    """The finding of a test `over: minimum`: the least of a metric's statistic over tasks, against rivals' least.

    min A > min B if some task's B lies below A on every task. Tasks are independent of one another.
    """
    empty = Finding(words(test), f"worst of {', '.join(parts)}", target)
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
    compared = [[_worst(test, [*parts.values()], target, metric, rival) for rival in rivals] for metric in metrics]
    empty = _enough(empty, test, [*parts.values()])
    return _together(empty, test, compared, problem, _measure("these tasks") if problem else "")


def _enough(empty: Finding, test: ClaimTest, parts: Sequence[Evidence]) -> Finding:
    """The same, with a problem where there are too few settings for any p-value to be low enough."""
    few = [part for part in parts if part.k and part.least >= TAIL]
    if not few or test.statistic in ("instability", "transition", "cells"):
        return empty
    needed = next(k for k in range(few[0].k, 10) if least_chance(k, few[0].within) < TAIL)
    told = f"{few[0].k} {few[0].drawn} are too few, by chance alone they agree too often"
    return replace(empty, problem=told, remedy=f"at least {needed} {few[0].drawn} of {few[0].results.name}")


def _unit(test: ClaimTest, evidence: Evidence) -> str:
    return {"transition": "grokking runs", "cells": "networks"}.get(test.statistic, evidence.drawn)


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


def _compare(test: ClaimTest, evidence: Evidence, target: str, metric: str, rival: str) -> Comparison:
    special: dict[str, Callable[[], Comparison]] = {
        "instability": lambda: _instability(test, evidence, target, metric, rival),
        "transition": lambda: _transition(test, evidence, metric),
        "cells": lambda: _cells(test, evidence, metric),
        "worst_psi": lambda: _worst_psi(test, evidence, target, metric),
    }
    if test.statistic in special:
        return special[test.statistic]()
    own = _statistic(test, evidence, target, metric)
    if rival:
        difference, known = own.minus(_statistic(test, evidence, target, rival), paired=True)
        return _made(metric, rival, own, chances(difference, known, own.k, own.least))
    return _made(metric, "", own, _sided(test, lambda x: chances(own.value - x, own.spread, own.k, own.least)))


def _statistic(test: ClaimTest, evidence: Evidence, target: str, metric: str) -> Sampled:
    if test.statistic == "agreement":
        return evidence.agreement(metric, str(test.other))
    if test.statistic in ("psi", "partial"):
        made = evidence.psi if test.statistic == "psi" else evidence.partial
        return made(metric, target, str(test.hyperparameter))
    return {"score": evidence.score, "tau": evidence.tau, "Psi": evidence.mean_psi}[test.statistic](metric, target)


def _made(metric: str, rival: str, own: Sampled, effect: Chances) -> Comparison:
    low, high = interval(own.value, own.spread)
    return Comparison(metric, rival, own.value, low, high, effect, own.n)


def mirrored(one: Chances) -> Chances:
    """The same of the quantity with the other sign."""
    return Chances(-one.value, -one.high, -one.low, one.below, one.above, one.k)


def _sided(test: ClaimTest, against: Callable[[float], Chances]) -> Chances:
    """The effect of a comparison with a number (or two), towards the claim's side."""
    if test.above is not None:
        return against(test.above)
    if test.below is not None:
        return mirrored(against(test.below))
    assert test.between is not None  # a test has one comparison
    sides = [against(test.between[0]), mirrored(against(test.between[1]))]
    nearer = min(sides, key=lambda side: side.value)
    ends = np.array([side.above for side in sides]), np.array([side.below for side in sides])
    return replace(nearer, above=every(ends[0]), below=some(ends[1]))


def _instability(test: ClaimTest, evidence: Evidence, target: str, metric: str, rival: str) -> Comparison:
    own = evidence.setting_taus(metric, target)
    alone = deviation(own, 0.0)
    n = int(np.isfinite(evidence.frame[metric].to_numpy(float)).sum())
    if rival:
        effect = more_variable(own, evidence.setting_taus(rival, target))
    else:
        effect = _sided(test, lambda x: deviation(own, x))
    return Comparison(metric, rival, alone.value, alone.low, alone.high, effect, n)


def _transition(test: ClaimTest, evidence: Evidence, metric: str) -> Comparison:
    change, near = str(test.change), float(test.near or 0.0)  # a transition has both
    share = transition_share(evidence, metric, change, near, 0.0)
    effect = _sided(test, lambda x: transition_share(evidence, metric, change, near, x))
    return Comparison(metric, "", share.value, share.low, share.high, effect, share.k)


def _cells(test: ClaimTest, evidence: Evidence, metric: str) -> Comparison:
    """The share of networks in which it holds; `effect` is that share's distance from 1, with the p-values of `all`."""
    assert test.where is not None  # cells have it
    meets = _beyond(evidence, test.where.metric, test.where.above, test.where.below)[0] < TAIL
    counted = count_networks(evidence, meets, *_beyond(evidence, metric, test.above, test.below))
    share = counted.holds / counted.n if counted.n else float("nan")
    supports = counted.supports if counted.n >= LEAST_NETWORKS else 1.0
    effect = Chances(share - 1, counted.low - 1, counted.high - 1, supports, counted.refutes, counted.n)
    return Comparison(metric, "", share, counted.low, counted.high, effect, counted.n)


def _beyond(evidence: Evidence, metric: str, above: float | None, below: float | None) -> tuple[Vector, Vector]:
    return margins(evidence, metric, 1 if above is not None else -1, above if above is not None else below or 0.0)


def _worst_psi(test: ClaimTest, evidence: Evidence, target: str, metric: str) -> Comparison:
    """The least sign · ψ: above a number if all are, below it if some is."""
    sign = evidence.results.sign(metric)
    found = []
    for name in evidence.results.hyperparameters:
        psi = evidence.psi(metric, target, name)
        if np.isfinite(psi.value):
            found.append(replace(psi, value=sign * psi.value, replicates=sign * psi.replicates))
    if not found:
        nothing = Chances(float("nan"), float("nan"), float("nan"), 1.0, 1.0, evidence.k)
        return Comparison(metric, "", float("nan"), float("nan"), float("nan"), nothing, 0)
    effects = [_sided(test, lambda x, psi=psi: chances(psi.value - x, psi.spread, psi.k, psi.least)) for psi in found]  # type: ignore[misc]
    least = int(np.argmin([psi.value for psi in found]))
    above, below = np.array([e.above for e in effects]), np.array([e.below for e in effects])
    ends = (every(above), some(below)) if test.above is not None else (some(above), every(below))
    return _made(metric, "", found[least], replace(effects[least], above=ends[0], below=ends[1]))


def _worst(test: ClaimTest, parts: Sequence[Evidence], target: str, metric: str, rival: str) -> Comparison:
    own = [_statistic(test, evidence, target, metric) for evidence in parts]
    others = [_statistic(test, evidence, target, rival) for evidence in parts]
    pairs = [[_pair(a, b, i == j) for j, b in enumerate(others)] for i, a in enumerate(own)]
    above = np.array([[pair.above for pair in row] for row in pairs])  # own task × rival's task
    below = np.array([[pair.below for pair in row] for row in pairs])
    i = int(np.argmin([one.value for one in own]))
    j = int(np.argmin([one.value for one in others]))
    effect = replace(pairs[i][j], above=some(above.max(0)), below=some(below.max(1)))
    return _made(metric, rival, own[i], effect)


def _pair(a: Sampled, b: Sampled, paired: bool) -> Chances:
    difference, known = a.minus(b, paired)
    return chances(difference, known, min(a.k, b.k), max(a.least, b.least))


def _together(empty: Finding, test: ClaimTest, compared: list[list[Comparison]], problem: str, remedy: str) -> Finding:
    """Comparisons `metrics × rivals` as one finding."""
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
    undefined = [c for c in flat if np.isnan(c.effect.low)]
    problem, remedy = problem or empty.problem, remedy or empty.remedy
    if undefined and not problem:
        problem, remedy = _why_undefined(test, undefined[0]), remedy or f"more {empty.unit}"
    certain = holm(below.ravel()) < TAIL
    lost = tuple(dict.fromkeys((c.rival or c.metric) for c, sure in zip(flat, certain, strict=True) if sure))
    return replace(
        empty, shown=shown, comparisons=flat, supports=1.0 if problem else supports, refutes=refutes,
        lost=lost if test.some is None else (), problem=problem, remedy=remedy,
    )  # fmt: skip


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
