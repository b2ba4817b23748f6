"""A metric against a number or a rival, by each statistic that claims are made of; missing values never help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

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
    undefined,
)
from suite.ranking.correlation import Vector
from suite.ranking.evidence import Evidence, Rows, Sampled

if TYPE_CHECKING:
    from suite.spec.claims import ClaimTest


@dataclass(frozen=True)
class Comparison:
    """A metric's statistic against a number or a rival.

    Attributes:
        metric: its name.
        rival: the other metric's; empty where a number is compared with.
        value, low, high: the metric's statistic and its 95 % interval; of `instability` with a rival the same.
        effect: how far it is on the claim's side: `above` is the p-value for the claim, `below` against it.
        n: networks (checkpoints of them) with a value.
        missing: in words, that missing values keep it from being certain; empty where they do not.
    """

    metric: str
    rival: str
    value: float
    low: float
    high: float
    effect: Chances
    n: int
    missing: str = ""


def compare(test: ClaimTest, evidence: Evidence, target: str, metric: str, rival: str) -> Comparison:
    """A metric's statistic on a task against the rival's; "": against the number of the test."""
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
        other = _statistic(test, evidence, target, rival)
        plain, effect = (_difference(own, other, True, bounded) for bounded in (False, True))
        lacking = [_lacks(evidence, name, one) for name, one in ((metric, own), (rival, other)) if one.missing]
        return _made(metric, rival, own, effect, _withheld(plain, effect, lacking))
    plain, effect = (_sided(test, lambda x, b=b: _above(own, x, b)) for b in (False, True))  # type: ignore[misc]
    lacking = [_lacks(evidence, f"{metric} or {test.other}" if test.other else metric, own)] if own.missing else []
    return _made(metric, "", own, effect, _withheld(plain, effect, lacking))


def _above(one: Sampled, number: float, bounded: bool = True) -> Chances:
    """Of a statistic minus a number."""
    return _difference(one, Sampled(number, np.zeros_like(one.replicates), one.k, one.n, 0.0), True, bounded)


def _difference(a: Sampled, b: Sampled, paired: bool, bounded: bool = True) -> Chances:
    """Of a − b. `bounded`: whatever the missing values are; where that is not known, nothing is certain."""
    k, least = min(a.k, b.k), max(a.least, b.least)
    plain = chances(*a.minus(b, paired), k, least)
    if not bounded or not (a.missing or b.missing) or np.isnan(plain.low):
        return plain
    if (a.missing and a.bounds is None) or (b.missing and b.bounds is None):
        return plain.unproven
    (a_low, a_high), (b_low, b_high) = a.bounds or (a, a), b.bounds or (b, b)
    low, high = (chances(*x.minus(y, paired), k, least) for x, y in ((a_low, b_high), (a_high, b_low)))
    return replace(plain, low=low.low, high=high.high, above=low.above, below=high.below)


def _lacks(evidence: Evidence, name: str, one: Sampled) -> str:
    return _no_value(name, one.missing, one.n + one.missing, evidence)


def _no_value(name: str, missing: int, asked: int, evidence: Evidence) -> str:
    points = "checkpoints" if evidence.within else "networks"
    return f"{name} has no value at {missing} of {asked} {points}"


def _withheld(plain: Chances, effect: Chances, lacking: Sequence[str]) -> str:
    """What is lacking, in words, where it matters: nothing is certain at all, or what else would be is not."""
    ends = ((plain.above, effect.above), (plain.below, effect.below))
    lost = effect.above == effect.below == 1 or any(was < TAIL <= now for was, now in ends)
    return "; ".join(lacking) if lost else ""


def _statistic(test: ClaimTest, evidence: Evidence, target: str, metric: str) -> Sampled:
    if test.statistic == "agreement":
        return evidence.agreement(metric, str(test.other))
    if test.statistic in ("psi", "partial"):
        made = evidence.psi if test.statistic == "psi" else evidence.partial
        return made(metric, target, str(test.hyperparameter))
    return {"score": evidence.score, "tau": evidence.tau, "Psi": evidence.mean_psi}[test.statistic](metric, target)


def _made(metric: str, rival: str, own: Sampled, effect: Chances, missing: str) -> Comparison:
    low, high = interval(own.value, own.spread)
    return Comparison(metric, rival, own.value, low, high, effect, own.n, missing)


def mirrored(one: Chances) -> Chances:
    """The same of the quantity with the other sign."""
    return replace(one, value=-one.value, low=-one.high, high=-one.low, above=one.below, below=one.above)


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
    if rival:
        effect = more_variable(own, evidence.setting_taus(rival, target))
    else:
        effect = _sided(test, lambda x: deviation(own, x))
    missing = "; ".join(
        _no_value(name, int(evidence.lacking(name).sum()), int(evidence.tried(name).sum()), evidence)
        for name in filter(None, (metric, rival))
        if evidence.lacking(name).any()
    )
    n = int(evidence.known(metric).sum())
    effect = effect.unproven if missing else effect
    return Comparison(metric, rival, alone.value, alone.low, alone.high, effect, n, missing)


def _transition(test: ClaimTest, evidence: Evidence, metric: str) -> Comparison:
    change, near = str(test.change), float(test.near or 0.0)  # a transition has both
    share = transition_share(evidence, metric, change, near, 0.0)
    effect = _sided(test, lambda x: transition_share(evidence, metric, change, near, x).effect)
    lost = share.missing and min(effect.above, effect.below) >= TAIL
    missing = _no_value(metric, share.missing, share.asked, evidence) if lost else ""
    of = share.effect
    return Comparison(metric, "", of.value, of.low, of.high, effect, share.runs, missing)


def _cells(test: ClaimTest, evidence: Evidence, metric: str) -> Comparison:
    """The share of networks in which it holds; `effect` is that share's distance from 1, with the p-values of `all`.

    A network without a value is not known to hold, and one of which it is not known whether it is meant may be one in
    which it does not: they stand in the way of support, and refute nothing.
    """
    assert test.where is not None  # cells have it
    meets: Rows = _beyond(evidence, test.where.metric, test.where.above, test.where.below)[0] < TAIL
    holds, violated = _beyond(evidence, metric, test.above, test.below)
    counted = count_networks(evidence, meets, holds, violated)
    doubtful = evidence.lacking(test.where.metric) & evidence.tried(metric) & ~(holds < TAIL)
    lacking = [(metric, meets & evidence.lacking(metric), meets), (test.where.metric, doubtful, evidence.tried(metric))]
    lost = [(name, int(rows.sum()), int(asked.sum())) for name, rows, asked in lacking if rows.any()]
    missing = "; ".join(_no_value(*one, evidence) for one in lost)
    share = counted.holds / counted.n if counted.n else float("nan")
    supports = counted.supports if counted.n >= LEAST_NETWORKS and not missing else 1.0
    effect = Chances(share - 1, counted.low - 1, counted.high - 1, supports, counted.refutes, counted.n)
    return Comparison(metric, "", share, counted.low, counted.high, effect, counted.n, missing)


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
        return Comparison(metric, "", float("nan"), float("nan"), float("nan"), undefined(evidence.k), 0)
    effects = [_sided(test, lambda x, psi=psi: _above(psi, x)) for psi in found]  # type: ignore[misc]
    least = int(np.argmin([psi.value for psi in found]))
    above, below = np.array([e.above for e in effects]), np.array([e.below for e in effects])
    ends = (every(above), some(below)) if test.above is not None else (some(above), every(below))
    missing = _lacks(evidence, metric, found[least]) if found[least].missing else ""
    effect = replace(effects[least], above=ends[0], below=ends[1], least=max(effect.least for effect in effects))
    return _made(metric, "", found[least], effect, missing)


def compare_worst(test: ClaimTest, parts: Sequence[Evidence], target: str, metric: str, rival: str) -> Comparison:
    """The least of a metric's statistic over tasks against the rival's least (`over: minimum`)."""
    own = [_statistic(test, evidence, target, metric) for evidence in parts]
    others = [_statistic(test, evidence, target, rival) for evidence in parts]
    pairs = [[_difference(a, b, i == j) for j, b in enumerate(others)] for i, a in enumerate(own)]
    above = np.array([[pair.above for pair in row] for row in pairs])  # own task × rival's task
    below = np.array([[pair.below for pair in row] for row in pairs])
    i = int(np.argmin([one.value for one in own]))
    j = int(np.argmin([one.value for one in others]))
    effect = replace(pairs[i][j], above=some(above.max(0)), below=some(below.max(1)))
    lacking = [
        f"{_lacks(part, name, one)} of {part.results.name}"
        for name, parts_of in ((metric, own), (rival, others))
        for part, one in zip(parts, parts_of, strict=True)
        if one.missing
    ]
    return _made(metric, rival, own[i], effect, "; ".join(lacking) if min(effect.above, effect.below) >= TAIL else "")
