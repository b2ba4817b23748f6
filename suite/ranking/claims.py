"""Verdicts on claims: supported, refuted or undecided, with what was found and what would decide it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from suite.ranking import bootstrap
from suite.ranking.chances import LEAST_NETWORKS, TAIL, every, some
from suite.ranking.evidence import Evidence
from suite.ranking.findings import FREE, Finding, find, find_worst, settings_needed
from suite.ranking.tables import TaskResults
from suite.ranking.wording import words

if TYPE_CHECKING:
    from suite.spec.claims import Claim, ClaimTest

SUPPORTED, REFUTED, UNDECIDED = "supported", "refuted", "undecided"
MOST = 10_000
"""More settings than this are not counted."""


@dataclass(frozen=True)
class Answer:
    """What tasks say of a claim under one inclusion rule.

    Attributes:
        verdict: supported, refuted or undecided.
        findings: one for each test, task and target.
        left_out: networks (checkpoints) that this leaves out.
    """

    verdict: str
    findings: tuple[Finding, ...]
    left_out: int


@dataclass(frozen=True)
class Judgement:
    """What tasks say of a claim.

    Attributes:
        verdict: supported, refuted or undecided.
        why: why undecided; empty where it is not.
        ruled, unruled: with the tasks' inclusion rules, and without.
        decide: what would decide it; nothing where it is decided.
    """

    verdict: str
    why: str
    ruled: Answer
    unruled: Answer
    decide: tuple[str, ...]

    @property
    def turns_on_rule(self) -> bool:
        """Whether the inclusion rule makes a difference to the verdict."""
        return self.ruled.verdict != self.unruled.verdict


@dataclass(frozen=True)
class Verdict:
    """A claim and its verdict; `small` is that of smaller tasks of the same kind, and never counts as the claim's."""

    claim: Claim
    of: Judgement
    small: Judgement | None


class Pool:
    """The evidence of the published tasks, each made once."""

    def __init__(self, results: Sequence[TaskResults], resamples: int) -> None:
        self.results = {result.name: result for result in results}
        self.resamples = resamples
        self._left_out = {
            name: {rule: int((~kept).sum()) for rule, kept in ((True, result.included), (False, result.usable))}
            for name, result in self.results.items()
        }
        self._made: dict[tuple[str, bool], Evidence] = {}

    def __call__(self, task: str, ruled: bool) -> Evidence | None:
        """Of a task, under its inclusion rule or of all usable networks; None where it is not published."""
        if task not in self.results:
            return None
        ruled = ruled and self.matters(task)
        if (task, ruled) not in self._made:
            self._made[task, ruled] = Evidence(self.results[task], ruled, self.resamples)
        return self._made[task, ruled]

    def left_out(self, task: str, ruled: bool) -> int:
        """How many networks (checkpoints) do not count; 0 of a task that is not published."""
        return self._left_out[task][ruled] if task in self.results else 0

    def matters(self, task: str) -> bool:
        """Whether the task's inclusion rule leaves any out that could be ranked."""
        return self.left_out(task, True) != self.left_out(task, False)


def judge(
    claims: Sequence[Claim], results: Sequence[TaskResults], resamples: int = bootstrap.RESAMPLES
) -> list[Verdict]:
    """A verdict on each claim from published results.

    A claim is supported if every test holds on every one of its tasks and targets: each comparison's 95 % interval lies
    wholly on the claim's side (an intersection–union test: no correction is needed, Berger 1982). It is refuted if any
    comparison certainly fails, corrected for the number of all the claim's comparisons. Both with the tasks' inclusion
    rules and without them; where these differ it is undecided.

    Args:
        claims: from `suite.spec.claims`.
        results: the published tasks.
        resamples: bootstrap resamples.
    """
    pool = Pool(results, resamples)
    with threadpool_limits(1, user_api="blas"):
        return [
            Verdict(
                claim,
                _judge(claim, claim.tasks, pool),
                _judge(claim, claim.analogues, pool) if claim.analogues else None,
            )
            for claim in claims
        ]


def _judge(claim: Claim, tasks: Sequence[str], pool: Pool) -> Judgement:
    ruled = _answer(claim, tasks, pool, ruled=True)
    unruled = _answer(claim, tasks, pool, ruled=False) if any(map(pool.matters, tasks)) else ruled
    if ruled.verdict != unruled.verdict:
        why = f"turns on the inclusion rule: {ruled.verdict} with it, {unruled.verdict} without"
        doubtful = [answer for answer in (ruled, unruled) if answer.verdict == UNDECIDED]
        return Judgement(UNDECIDED, why, ruled, unruled, tuple(dict.fromkeys(sum(map(_deciding, doubtful), ()))))
    if ruled.verdict != UNDECIDED:
        return Judgement(ruled.verdict, "", ruled, unruled, ())
    problems = dict.fromkeys(f"{f.task}: {f.problem}" for f in ruled.findings if f.problem)
    unsure = dict.fromkeys(f"{f.task}: {f.test}" for f in ruled.findings if not f.problem and f.outcome != "holds")
    why = "; ".join([*problems, *(f"open on {one}" for one in unsure)])
    return Judgement(UNDECIDED, why, ruled, unruled, _deciding(ruled))


def _answer(claim: Claim, tasks: Sequence[str], pool: Pool, ruled: bool) -> Answer:
    findings = [finding for test in claim.tests for finding in _of_test(claim, test, tasks, pool, ruled)]
    return Answer(verdict_of(findings), tuple(findings), sum(pool.left_out(task, ruled) for task in tasks))


def verdict_of(findings: Sequence[Finding]) -> str:
    """Supported if all hold; refuted if one fails, corrected for their number; else undecided."""
    if every(np.array([finding.supports for finding in findings])) < TAIL:
        return SUPPORTED
    tested = [finding.refutes for finding in findings if finding.comparisons]
    return REFUTED if tested and some(np.array(tested)) < TAIL else UNDECIDED


def _of_test(claim: Claim, test: ClaimTest, tasks: Sequence[str], pool: Pool, ruled: bool) -> list[Finding]:
    there = {task: evidence for task in tasks if (evidence := pool(task, ruled)) is not None}
    absent = [
        Finding(words(test), task, "", problem="not published", remedy=_publish(task))
        for task in tasks
        if task not in there
    ]
    if test.over == "minimum":
        found = absent or [find_worst(test, there, target) for target in _targets(claim, test, [*there.values()])]
        return found or [Finding(words(test), ", ".join(there), "", problem="no gap that all of them have")]
    found = [
        find(test, task, evidence, target)
        for task, evidence in there.items()
        for target in _targets(claim, test, [evidence])
    ]
    return absent + found


def _targets(claim: Claim, test: ClaimTest, parts: Sequence[Evidence]) -> list[str]:
    if test.statistic in FREE:
        return [""]
    wanted: list[str] = [*(claim.targets or parts[0].results.targets)]
    return [target for target in wanted if all(target in part.results.targets for part in parts)]


def _publish(task: str) -> str:
    return f"`suite run tasks/{task}.yaml`, then `suite publish tasks/{task}.yaml`"


def _deciding(answer: Answer) -> tuple[str, ...]:
    """What would decide an answer: what is missing, and how many settings the findings need that it hangs on."""
    missing = [finding.remedy for finding in answer.findings if finding.remedy]
    unsure = [f for f in answer.findings if f.shown is not None and not f.problem and f.outcome != "holds"]
    networks = [_more_networks(finding) for finding in unsure if finding.unit == "networks"]
    comparisons = sum(len(finding.comparisons) for finding in answer.findings)
    needs = [(settings_needed(f, comparisons), f) for f in unsure if f.unit != "networks"]
    return tuple(dict.fromkeys([*missing, *networks, *(_many(*need) for need in _hung_on(needs))]))


def _hung_on(needs: Sequence[tuple[float, Finding]]) -> list[tuple[float, Finding]]:
    """Of needs and their findings: of those that seem to fail the soonest sure; else the last of each task."""
    failing = [(needed, f) for needed, f in needs if f.shown is not None and f.shown.effect.value < 0]
    if failing:
        return [min(failing, key=lambda one: one[0])]
    most: dict[str, tuple[float, Finding]] = {}
    for needed, finding in needs:
        if finding.task not in most or needed > most[finding.task][0]:
            most[finding.task] = (needed, finding)
    return [*most.values()]


def _many(needed: float, finding: Finding) -> str:
    assert finding.shown is not None  # chosen so
    have = finding.shown.effect.k
    many = f"about {max(needed, have + 1):,.0f}" if needed <= MOST else f"more than {MOST:,}"
    return f"{many} {finding.unit} of {finding.task} instead of {have}, if the effect is what it seems"


def _more_networks(finding: Finding) -> str:
    assert finding.shown is not None  # chosen so
    have = finding.shown.effect.k
    if have < LEAST_NETWORKS:
        return f"{LEAST_NETWORKS - have} more networks of {finding.task} that meet the condition"
    return f"smaller standard errors of {finding.shown.metric} on {finding.task}"
