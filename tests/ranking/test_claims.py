"""Verdicts on claims of which the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.ranking.claims import Verdict, judge
from suite.ranking.correlation import Vector
from suite.ranking.findings import settings_needed
from suite.ranking.tables import TaskResults
from tests.ranking.claimed import STEPS, claim, found, grid, judged, trajectory

RANDOM = np.random.default_rng(0)
GAP = RANDOM.normal(size=50)
NOISE = RANDOM.normal(size=50)
ETA = np.repeat(np.arange(5.0), 10)


@pytest.fixture(scope="module")
def known() -> TaskResults:
    """`oracle` is the gap, `wrong` its opposite, `good` and `fair` follow it more and less, `noise` does not."""
    random = np.random.default_rng(1)
    metrics = {
        "oracle": GAP, "wrong": -GAP, "down_oracle": -GAP, "noise": NOISE, "rate": ETA,
        "good": GAP + 0.2 * random.normal(size=50), "fair": GAP + 2 * random.normal(size=50),
        "top_good": GAP + 0.21 * random.normal(size=50), "top_noise": random.normal(size=50),
    }  # fmt: skip
    return grid(metrics, GAP)


def tau(metric: str, **comparison: Any) -> dict[str, Any]:
    return {"metric": metric, "statistic": "tau"} | comparison


def score(**test: Any) -> dict[str, Any]:
    return {"statistic": "score"} | test


@pytest.mark.parametrize(
    ("test", "verdict"),
    [
        (tau("oracle", above=0), "supported"),
        (tau("oracle", below=0), "refuted"),
        (tau("wrong", below=0), "supported"),
        (tau("wrong", above=0), "refuted"),
        (tau("noise", above=0), "undecided"),
        (tau("noise", below=0), "undecided"),
        (tau("noise", between=[-0.5, 0.5]), "supported"),
        (tau("noise", between=[-0.02, 0.02]), "undecided"),
        (tau("good", between=[-0.5, 0.5]), "refuted"),
        (tau("wrong", between=[-0.5, 0.5]), "refuted"),
        (score(metric="down_oracle", above=0.9), "supported"),  # a score is read with the metric's sign, τ is not
        (tau("down_oracle", below=-0.9), "supported"),
        (score(metric="wrong", above=0), "refuted"),
        (score(metric="good", beats=["fair", "noise"]), "supported"),
        (score(metric="fair", beats=["noise", "good"]), "refuted"),
        (score(metric="good", beats=["top_good"]), "undecided"),
        (score(metric="good", beats="trivial"), "supported"),
        (score(metric="rate", beats=["good"]), "refuted"),
        (score(metric="oracle", beats="family:top"), "supported"),
        (score(metric="good", beats="all"), "refuted"),  # the oracle is among them
        (score(every=["good", "top_good"], beats=["noise", "fair"]), "supported"),
        (score(every=["good", "noise"], beats=["fair"]), "refuted"),
        (score(every="family:top", above=0), "undecided"),
        (score(some="family:top", beats=["noise"]), "supported"),
        (score(some=["noise", "good"], above=0.5), "supported"),
        (score(some=["noise", "fair"], beats=["good", "rate"]), "refuted"),
        (score(some=["noise"], above=0), "undecided"),
        ({"metric": "good", "statistic": "psi", "hyperparameter": "eta", "above": 0}, "supported"),
        ({"metric": "good", "statistic": "Psi", "beats": ["wrong"]}, "supported"),
        ({"metric": "wrong", "statistic": "worst_psi", "below": 0}, "supported"),
        ({"metric": "good", "statistic": "worst_psi", "above": 0}, "supported"),
        ({"metric": "good", "statistic": "worst_psi", "below": 0}, "refuted"),
        ({"metric": "down_oracle", "statistic": "worst_psi", "above": 0}, "supported"),
        ({"metric": "good", "statistic": "partial", "hyperparameter": "b", "above": 0}, "supported"),
        ({"metric": "good", "statistic": "agreement", "other": "wrong", "below": -0.5}, "supported"),
        ({"metric": "noise", "statistic": "agreement", "other": "rate", "between": [-0.5, 0.5]}, "supported"),
    ],
)  # fmt: skip
def test_verdicts_are_what_is_true(known: TaskResults, test: dict[str, Any], verdict: str) -> None:
    of = judged(known, test)
    assert of.verdict == of.ruled.verdict == of.unruled.verdict == verdict
    assert bool(of.why) == bool(of.decide) == (verdict == "undecided")


def test_all_tests_tasks_and_targets_have_to_hold(known: TaskResults) -> None:
    assert judged(known, tau("oracle", above=0), tau("good", above=0)).verdict == "supported"
    assert judged(known, tau("oracle", above=0), tau("noise", above=0)).verdict == "undecided"
    assert judged(known, tau("noise", above=0), tau("wrong", above=0)).verdict == "refuted"
    other = grid({"oracle": NOISE}, GAP, name="c/other")
    assert judged([known, other], tau("oracle", above=0)).verdict == "undecided"
    both = grid({"oracle": GAP}, GAP, other_gap=-GAP)
    assert judged(both, tau("oracle", above=0)).verdict == "refuted"
    assert judged(both, tau("oracle", above=0), targets=["loss_gap"]).verdict == "supported"
    assert [f.target for f in judged(both, tau("oracle", above=0)).ruled.findings] == ["accuracy_gap", "loss_gap"]


def test_who_is_certainly_lost_to_is_said(known: TaskResults) -> None:
    finding = found(known, **score(metric="fair", beats=["noise", "good", "oracle"]))
    assert set(finding.lost) == {"good", "oracle"}
    assert len(finding.comparisons) == 3
    assert finding.shown is not None
    assert finding.shown.rival in ("good", "oracle")


def test_the_same_predictor_under_another_name_is_no_rival() -> None:
    results = grid({"oracle": GAP, "again": GAP, "noise": NOISE}, GAP)
    assert [c.rival for c in found(results, **score(metric="oracle", beats="all")).comparisons] == ["noise"]


def _worst(good: Vector, bad: Vector) -> list[TaskResults]:
    """Two tasks: `level` follows the gap moderately on both, `split` well on the first and as `bad` on the other."""
    random = np.random.default_rng(3)
    level = [GAP + random.normal(size=50) for _ in range(2)]
    return [
        grid({"level": level[i], "split": values}, GAP, name=f"a/{i}") for i, values in enumerate((good, bad))
    ]  # fmt: skip


def test_over_minimum_compares_worsts_with_worsts() -> None:
    parts = _worst(GAP, -GAP)
    test = score(metric="level", beats=["split"])
    assert judged(parts, test).verdict == "refuted"  # on the first task split is better
    assert judged(parts, test | {"over": "minimum"}).verdict == "supported"
    assert judged(parts, score(metric="split", beats=["level"], over="minimum")).verdict == "refuted"
    (finding,) = judged(parts, test | {"over": "minimum"}).ruled.findings
    assert finding.shown is not None
    alone = [found(part, **score(metric="level", above=0)).shown for part in parts]
    rivals = [found(part, **score(metric="split", above=0)).shown for part in parts]
    assert finding.shown.value == min(one.value for one in alone if one)
    assert finding.shown.effect.value == finding.shown.value - min(one.value for one in rivals if one)
    assert judged(_worst(GAP, GAP + NOISE), test | {"over": "minimum"}).verdict == "undecided"


def test_tasks_without_a_gap_in_common_have_no_worst() -> None:
    one, other = grid({"x": GAP, "y": NOISE}, GAP, name="a/0"), grid({"x": GAP, "y": NOISE}, GAP, name="a/1")
    other.provenance["targets"] = ["other_gap"]
    other.runs["other_gap"] = GAP
    of = judged([one, other], score(metric="x", beats=["y"], over="minimum"))
    assert (of.verdict, of.ruled.findings[0].problem) == ("undecided", "no gap that all of them have")


def _runs(taus: list[float], seed: int = 0) -> tuple[Vector, Vector]:
    """Metric and gap, runs × checkpoints, that agree in the first (τ + 1) / 2 of a run and disagree in the rest."""
    random = np.random.default_rng(seed)
    gap = np.tile(np.arange(20.0), (len(taus), 1))
    metric = np.array([t * np.arange(20.0) + (1 - abs(t)) * 8 * random.normal(size=20) for t in taus])
    return metric, gap


STABLE = [0.8] * 12
UNSTABLE = [1.0, 1.0, -1.0, -1.0] * 3  # two seeds a setting: settings differ, seeds do not


def test_instability_is_the_scatter_of_settings() -> None:
    (stable, gap), (unstable, _) = _runs(STABLE), _runs(UNSTABLE)
    results = trajectory({"stable": stable, "unstable": unstable}, gap)
    test = {"statistic": "instability"}
    assert judged(results, test | {"metric": "unstable", "above": 0.2}).verdict == "supported"
    assert judged(results, test | {"metric": "unstable", "below": 0.2}).verdict == "refuted"
    assert judged(results, test | {"metric": "stable", "below": 0.5}).verdict == "supported"
    assert judged(results, test | {"metric": "stable", "above": 0.5}).verdict == "refuted"
    assert judged(results, test | {"metric": "unstable", "beats": ["stable"]}).verdict == "supported"
    assert judged(results, test | {"metric": "stable", "beats": ["unstable"]}).verdict == "refuted"
    assert judged(results, test | {"metric": "unstable", "between": [0.3, 5]}).verdict == "supported"


def _grokking(delay: float | None, count: int = 12) -> TaskResults:
    """Accuracy jumps at 1,000, 1,100, …; `level` drops from 9 to 3 `delay` steps after, `drift` steadily."""
    random = np.random.default_rng(0)
    at = 1000 + 100 * (np.arange(count) % 3)[:, None]
    level = np.where(at + (delay or 0) < STEPS, 3.0, 9.0) if delay is not None else np.full((count, 20), 5.0)
    noisy = level + 0.01 * random.normal(size=(count, 20))
    accuracy = np.where(at < STEPS, 0.95, 0.1)
    drift = np.tile(-STEPS, (count, 1))
    return trajectory({"level": noisy, "drift": drift}, random.random((count, 20)), accuracy)


@pytest.mark.parametrize(
    ("delay", "change", "verdict"),
    [(0, "drop", "supported"), (100, "drop", "supported"), (-500, "drop", "refuted"), (500, "drop", "refuted"),
     (0, "rise", "refuted"), (None, "drop", "refuted")],
)  # fmt: skip
def test_a_drop_at_the_jump_before_it_and_none(delay: float | None, change: str, verdict: str) -> None:
    test = {"metric": "level", "statistic": "transition", "change": change, "near": 0.1, "above": 0.5}
    of = judged(_grokking(delay), test)
    assert of.verdict == verdict
    (finding,) = of.ruled.findings
    assert finding.shown is not None
    assert (finding.unit, finding.shown.n, finding.shown.effect.k) == ("grokking settings", 12, 6)
    assert finding.shown.value == (verdict == "supported")


def test_a_steady_drift_is_no_drop_and_few_runs_decide_nothing() -> None:
    test = {"metric": "drift", "statistic": "transition", "change": "drop", "near": 1, "above": 0.5}
    assert judged(_grokking(0), test).verdict == "refuted"
    of = judged(_grokking(0, count=10), test | {"metric": "level"})
    assert of.verdict == "undecided"  # 5 of 5 settings: 1/32 by chance, though there are 10 runs
    assert of.ruled.findings[0].problem == "5 grokking settings are too few, by chance alone they agree too often"
    low = judged(_grokking(0, count=10), test | {"metric": "level", "above": 0.1})
    assert low.verdict == "undecided"  # the binomial test alone would say 0.00001
    assert judged(_grokking(0, count=12), test | {"metric": "level", "above": 0.1}).verdict == "supported"
    quiet = trajectory({"level": np.ones((4, 20))}, RANDOM.random((4, 20)))
    of = judged(quiet, test | {"metric": "level"})
    assert (of.verdict, of.ruled.findings[0].problem) == ("undecided", "no run groks")


def _some_drop(dropping: list[bool]) -> TaskResults:
    """Runs, two a setting, that all grok; in those `level` drops with the jump, in the others it rises with it."""
    jumps = np.tile(STEPS > 1000, (len(dropping), 1))
    level = np.where(jumps == np.array(dropping)[:, None], 1.0, 2.0)
    return trajectory({"level": level}, RANDOM.random(jumps.shape), np.where(jumps, 0.9, 0.1))


def test_a_setting_has_one_vote_and_ties_count_against_what_is_to_be_shown() -> None:
    test = {"metric": "level", "statistic": "transition", "change": "drop", "near": 0.1, "above": 0.5}
    for drops, value, supports, refutes in (
        ([True, True] * 8, 1.0, 0.5**8, 1.0),
        ([True, False] * 8, 0.5, 1.0, 1.0),  # half of the runs of each setting prove nothing
        ([False, False] * 8, 0.0, 1.0, 0.5**8),
        ([True, True] * 7 + [True, False], 15 / 16, 9 / 256, 1.0),  # as 7 of 8
        ([False, False] * 7 + [True, False], 1 / 16, 1.0, 9 / 256),
    ):
        finding = found(_some_drop(drops), **test)
        assert finding.shown is not None
        assert (finding.shown.value, finding.shown.effect.k, finding.shown.n) == (value, 8, 16)
        assert (finding.supports, finding.refutes) == pytest.approx((supports, refutes))


def test_runs_that_grok_and_lack_values_count_against_what_is_to_be_shown() -> None:
    test = {"metric": "level", "statistic": "transition", "change": "drop", "near": 0.1, "above": 0.5}
    jumps = np.where(STEPS > 1000, 0.9, 0.1) * np.ones((14, 1))
    for change, side in ((1.0, "supports"), (-1.0, "refutes")):
        level = np.where(STEPS > 1000, 3.0 - change, 3.0 + change) * np.ones((14, 1))
        for lacking, p, problem in ((0, 0.5**7, False), (1, 8 / 128, True), (2, 8 / 128, True)):
            level[:lacking, 0] = np.nan  # a tie in one of seven settings, then nothing known of it
            finding = found(trajectory({"level": level}, RANDOM.random((14, 20)), jumps), **test)
            assert finding.shown is not None
            assert finding.shown.value == (change > 0)  # of what there is
            effect = finding.shown.effect
            assert (effect.above if side == "supports" else effect.below) == pytest.approx(p)
            assert finding.problem == (f"level has no value at {lacking} of 280 checkpoints" if problem else "")
            assert (finding.outcome == "open") == problem


def _cells(size: Vector, error: float | None = None, where: Vector | None = None) -> TaskResults:
    errors = None if error is None else {"size": np.full(50, error)}
    return grid({"size": size, "ratio": np.full(50, 2.0) if where is None else where}, GAP, errors=errors)


CELLS = {"metric": "size", "statistic": "cells", "where": {"metric": "ratio", "above": 1}, "above": 0}


def test_a_statement_about_networks_holds_in_all_of_them() -> None:
    assert judged(_cells(np.full(50, 1.0)), CELLS).verdict == "supported"
    one = np.full(50, 1.0)
    one[7] = -1.0
    assert judged(_cells(one), CELLS).verdict == "refuted"
    elsewhere = np.full(50, 2.0)
    elsewhere[7] = 0.5
    assert judged(_cells(one, where=elsewhere), CELLS).verdict == "supported"  # that network is none of those meant
    one[7] = 0.0
    assert judged(_cells(one), CELLS).verdict == "refuted"  # not above 0


def test_networks_without_a_value_block_support_and_refute_nothing() -> None:
    half = np.where(np.arange(50) < 25, 5.0, np.nan)
    of = judged(_cells(half), CELLS)
    assert (of.verdict, of.ruled.findings[0].problem) == ("undecided", "size has no value at 25 of 50 networks")
    assert of.decide == ("the missing values of size on a/grid",)
    half[3] = -1.0
    assert judged(_cells(half), CELLS).verdict == "refuted"  # another network certainly violates it
    half[3] = 5.0
    below = np.where(np.arange(50) < 25, 2.0, 0.5)
    assert judged(_cells(half, where=below), CELLS).verdict == "supported"  # these are not meant
    unknown = np.where(np.arange(50) < 25, 2.0, np.nan)
    assert judged(_cells(np.full(50, 5.0), where=unknown), CELLS).verdict == "supported"  # it holds whether or not
    wrong = np.where(np.arange(50) < 25, 5.0, -5.0)
    of = judged(_cells(wrong, where=unknown), CELLS)
    assert (of.verdict, of.ruled.findings[0].problem) == ("undecided", "ratio has no value at 25 of 50 networks")


def test_a_metric_that_fails_where_it_is_wrong_is_not_supported() -> None:
    """Right on the first half, wrong on the second, where it fails; with one network less little is lost."""
    gap = np.arange(50.0)
    turned = np.where(gap < 25, gap, 100 - gap)
    failing, once = np.where(gap < 25, gap, np.nan), np.where(gap == 30, np.nan, gap)
    results = grid({"turned": turned, "failing": failing, "once": once, "gap": gap}, gap)
    told = "failing has no value at 25 of 50 networks"
    for statistic in (
        {"statistic": "tau"},
        {"statistic": "partial", "hyperparameter": "eta"},
        {"statistic": "psi", "hyperparameter": "b"},
        {"statistic": "Psi"},
        {"statistic": "worst_psi"},
    ):
        for test in ({"above": 0.3}, {"below": 0.3}):
            (finding,) = judged(results, statistic | test | {"metric": "failing"}).ruled.findings
            assert finding.outcome == "open", (statistic, test)
            if "above" in test:
                assert finding.problem == told
    bounded = [tau("once", above=0.3), {"metric": "once", "statistic": "agreement", "other": "gap", "above": 0.3}]
    assert [judged(results, test).verdict for test in bounded] == ["supported", "supported"]
    assert judged(results, tau("once", below=0.3)).verdict == "refuted"
    of = judged(results, {"metric": "gap", "statistic": "agreement", "other": "failing", "above": 0.3})
    assert of.ruled.findings[0].problem == "gap or failing has no value at 25 of 50 networks"
    # a rival that fails loses nothing by it, and gains nothing
    assert judged(results, tau("gap", beats=["failing"])).verdict == "undecided"
    assert judged(results, tau("failing", beats=["turned"])).verdict == "undecided"
    assert judged(results, {"metric": "failing", "statistic": "Psi", "beats": ["turned"]}).verdict == "undecided"
    # others may still refute, and some other may still hold
    assert judged(results, {"every": ["failing", "gap"], "statistic": "Psi", "below": 0.3}).verdict == "refuted"
    assert judged(results, {"some": ["failing", "gap"], "statistic": "Psi", "above": 0.3}).verdict == "supported"


def test_instability_of_a_metric_that_fails_is_not_known() -> None:
    (unstable, gap), (stable, _) = _runs(UNSTABLE), _runs(STABLE)
    holed = unstable.copy()
    holed[0, 3] = np.nan
    results = trajectory({"holed": holed, "stable": stable, "same": np.ones((12, 20))}, gap)
    for test in ({"above": 0.2}, {"below": 0.2}, {"beats": ["stable"]}):
        of = judged(results, {"statistic": "instability", "metric": "holed"} | test)
        assert (of.verdict, of.ruled.findings[0].refutes) == ("undecided", 1)
        assert of.ruled.findings[0].problem == "holed has no value at 1 of 240 checkpoints"
    of = judged(results, {"statistic": "instability", "metric": "same", "below": 0.2})
    assert (of.verdict, of.ruled.findings[0].refutes) == ("undecided", 1)  # the same τ in all of them is no evidence
    few = trajectory({"unstable": unstable[:10]}, gap[:10])
    of = judged(few, {"statistic": "instability", "metric": "unstable", "above": 0.01})
    assert (of.verdict, of.decide) == ("undecided", ("at least 6 settings of b/trajectory",))


def test_some_is_not_refuted_while_a_candidate_lacks_values() -> None:
    half = np.where(np.arange(50) < 25, GAP, np.nan)
    results = grid({"wrong": -GAP, "empty": np.full(50, np.nan), "half": half}, GAP)
    assert judged(results, {"some": ["wrong"], "statistic": "tau", "above": 0}).verdict == "refuted"
    for other, told in (("empty", "empty without a value"), ("half", "half has no value at 25 of 50 networks")):
        of = judged(results, {"some": ["wrong", other], "statistic": "tau", "above": 0})
        assert of.verdict == "undecided"
        assert of.ruled.findings[0].refutes > 0.9
        assert of.ruled.findings[0].problem == told


def test_standard_errors_make_networks_uncertain() -> None:
    assert judged(_cells(np.full(50, 1.0), 0.3), CELLS).verdict == "supported"
    one = np.full(50, 10.0)
    one[7] = 0.5
    of = judged(_cells(one, 1.0), CELLS)  # that it is above 0 is not certain, nor that it is not
    assert (of.verdict, of.decide) == ("undecided", ("smaller standard errors of size on a/grid",))
    one[7] = -2.5  # 2.5 standard errors are certain of one network, not of one in fifty
    assert judged(_cells(one, 1.0), CELLS).verdict == "undecided"
    one[7] = -4.0
    assert judged(_cells(one, 1.0), CELLS).verdict == "refuted"


def test_too_few_networks_are_undecided() -> None:
    where = np.zeros(50)
    where[:12] = 2.0
    of = judged(_cells(np.full(50, 1.0), where=where), CELLS)
    assert (of.verdict, of.decide) == ("undecided", ("8 more networks of a/grid that meet the condition",))
    of = judged(_cells(np.full(50, 1.0), where=np.zeros(50)), CELLS)
    assert (of.verdict, of.ruled.findings[0].problem) == ("undecided", "no network meets the condition")


def test_an_unpublished_task_is_undecided_with_the_command(known: TaskResults) -> None:
    of = judged(known, tau("oracle", above=0), tasks=("a/grid", "c/coming"))
    assert of.verdict == "undecided"
    assert of.why == "c/coming: not published"
    assert of.decide == ("`suite run tasks/c/coming.yaml`, then `suite publish tasks/c/coming.yaml`",)
    # what one of its tasks refutes is refuted whatever the others say
    assert judged(known, tau("wrong", above=0), tasks=("a/grid", "c/coming")).verdict == "refuted"
    of = judged(known, score(metric="oracle", beats="all", over="minimum"), tasks=("a/grid", "c/coming"))
    assert (of.verdict, of.why) == ("undecided", "c/coming: not published")


@pytest.mark.parametrize(
    "test",
    [tau("empty", above=0), tau("oracle", beats=["empty"]), tau("oracle", beats=["noise", "empty"]),
     {"every": ["oracle", "empty"], "statistic": "tau", "above": 0},
     {"metric": "oracle", "statistic": "agreement", "other": "empty", "above": 0},
     CELLS | {"metric": "oracle", "where": {"metric": "empty", "above": 1}}],
)  # fmt: skip
def test_a_metric_without_values_is_undecided_with_a_remedy(test: dict[str, Any]) -> None:
    results = grid({"oracle": GAP, "noise": NOISE, "empty": np.full(50, np.nan)}, GAP)
    of = judged(results, test)
    assert (of.verdict, of.why) == ("undecided", "a/grid: empty without a value")
    assert of.decide[0].startswith("have it measured on a/grid")


def test_a_claim_that_turns_on_the_inclusion_rule_is_undecided() -> None:
    learned = np.ones(50, dtype=bool)
    learned[25:] = False
    of = judged(grid({"x": np.where(learned, GAP, -10 - GAP)}, GAP, learned=learned), tau("x", above=0.9))
    assert (of.verdict, of.turns_on_rule) == ("undecided", True)
    assert (of.ruled.verdict, of.unruled.verdict) == ("supported", "refuted")
    assert of.why == "turns on the inclusion rule: supported with it, refuted without"
    assert (of.ruled.left_out, of.unruled.left_out) == (25, 0)
    mixed = judged(grid({"x": np.where(learned, GAP, NOISE)}, GAP, learned=learned), tau("x", above=0.4))
    assert (mixed.ruled.verdict, mixed.unruled.verdict) == ("supported", "undecided")
    assert "of a/grid instead of 25" in mixed.decide[0]  # what the doubtful answer needs, without the rule


def test_analogues_never_count() -> None:
    small, large = grid({"x": GAP}, GAP, name="quick/small"), grid({"x": -GAP}, GAP, name="a/large")
    test = tau("x", above=0)
    (alone,) = judge([claim(test, tasks=("a/large",), analogues=["quick/small"])], [small], resamples=300)
    assert _verdicts(alone) == ("undecided", "supported")
    assert alone.of.why == "a/large: not published"
    (both,) = judge([claim(test, tasks=("a/large",), analogues=["quick/small"])], [small, large], resamples=300)
    assert _verdicts(both) == ("refuted", "supported")
    assert {finding.task for finding in both.of.ruled.findings} == {"a/large"}
    (none,) = judge([claim(test, tasks=("a/large",))], [small, large], resamples=300)
    assert _verdicts(none) == ("refuted", None)


def _verdicts(verdict: Verdict) -> tuple[str, str | None]:
    return verdict.of.verdict, verdict.small.verdict if verdict.small else None


@pytest.mark.parametrize(
    ("shape", "few"), [((2, 2, 1), True), ((2, 2, 5), True), ((5, 1, 1), False), ((3, 2, 1), False)]
)
def test_settings_that_agree_by_chance_decide_nothing(shape: tuple[int, int, int], few: bool) -> None:
    gap = np.arange(float(np.prod(shape)))
    of = judged(grid({"x": gap}, gap, shape), tau("x", above=0))
    assert of.verdict == ("undecided" if few else "supported")
    if few:
        assert of.ruled.findings[0].problem == "4 settings are too few, by chance alone they agree too often"
        assert of.decide == ("at least 5 settings of a/grid",)


@pytest.mark.parametrize(("runs", "verdict"), [(8, "undecided"), (10, "undecided"), (12, "supported")])
def test_trajectories_need_six_settings(runs: int, verdict: str) -> None:
    metric, gap = _runs([1.0] * runs)
    of = judged(trajectory({"x": metric}, gap), tau("x", above=0))
    assert of.verdict == verdict
    assert of.decide == (() if verdict == "supported" else ("at least 6 settings of b/trajectory",))


def test_what_would_decide_is_what_the_verdict_hangs_on() -> None:
    """Where nothing seems to fail, the most that a task needs; else what makes the failure sure."""
    random = np.random.default_rng(5)
    gap = np.arange(25.0)
    fair, poor = (gap + random.normal(scale=scale, size=25) for scale in (15, 30))
    results = grid({"fair": fair, "poor": poor}, gap, (5, 5, 1))
    of = {name: judged(results, tau(name, above=level)) for name, level in (("fair", 0.2), ("poor", 0.1))}
    both = judged(results, tau("fair", above=0.2), tau("poor", above=0.1))
    assert [one.verdict for one in (*of.values(), both)] == ["undecided"] * 3
    needs = {name: int(one.decide[0].split()[1].replace(",", "")) for name, one in of.items()}
    assert both.decide == of[max(needs, key=lambda name: needs[name])].decide
    failing = judged(results, tau("fair", above=0.2), tau("poor", above=0.4))
    (said,) = failing.decide
    least = float(settings_needed(failing.ruled.findings[1], 2))
    assert said == f"about {least:,.0f} settings of a/grid instead of 25, if the effect is what it seems"


def test_verdicts_are_the_same_every_time(known: TaskResults) -> None:
    claims = [claim(tau("fair", above=0)), claim(score(metric="good", beats="all"))]
    assert judge(claims, [known], resamples=200) == judge(claims, [known], resamples=200)
