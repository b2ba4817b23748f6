"""The figures of claims are the ranking's own, and their p-values are those of textbooks."""

# ruff: noqa: E501  # a table of tests in words

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, chi2, norm, pearsonr
from scipy.stats import t as student

from suite.ranking.bootstrap import RESAMPLES, Spread, cluster_counts, generator, interval, intervals
from suite.ranking.chances import chances, count_networks, deviation, every, margins, more_variable, some
from suite.ranking.correlation import Vector
from suite.ranking.evidence import Evidence, Sampled, least_chance
from suite.ranking.findings import Finding, settings_needed
from suite.ranking.tables import TaskResults, read_results
from suite.ranking.task import TaskRanking, rank_task
from suite.ranking.wording import words
from suite.spec.claims import ClaimTest
from tests.ranking.claimed import found, grid, trajectory, untried
from tests.ranking.made_up import made_up
from tests.ranking.single import kendall, weighted_kendall


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[TaskRanking, Evidence]]:
    """Of a grid with failures, ties, seeds and an inclusion rule, and of a trajectory task."""
    folder = tmp_path_factory.mktemp("results")
    made_up(folder)
    return [(rank_task(results, permutations=19), Evidence(results, ruled=True)) for results in read_results(folder)]


def test_scores_and_taus_are_those_of_the_ranking(ranked: list[tuple[TaskRanking, Evidence]]) -> None:
    for task, evidence in ranked:
        assert evidence.k == task.clusters
        for row in task.rows.to_dict("records"):
            tau, score = (made(row["metric"], row["target"]) for made in (evidence.tau, evidence.score))
            assert (tau.n, score.n) == (row["n"], row["n"])
            _same([tau.value, *interval(tau.value, tau.spread)], [row["tau"], row["low"], row["high"]])
            _same([score.value], [row["score"]])
        for name, score in task.scores.items():
            parts = [evidence.score(name, target) for target in evidence.results.targets]
            if not evidence.results.trivial(name):  # of a trivial one each resample has its better sign
                _same(np.mean([part.replicates for part in parts], axis=0), score.replicates)
            _same([np.mean([part.value for part in parts])], [score.value])


def test_trivial_predictors_are_read_with_their_better_sign_in_each_resample(
    ranked: list[tuple[TaskRanking, Evidence]],
) -> None:
    for task, evidence in ranked:
        parts = [evidence.score("rate", target).replicates for target in evidence.results.targets]
        _same(np.mean(parts, axis=0), task.scores["rate"].replicates)


def test_grid_statistics_are_those_of_the_ranking(ranked: list[tuple[TaskRanking, Evidence]]) -> None:
    task, evidence = ranked[0]
    for row in task.rows.to_dict("records"):
        metric, target = row["metric"], row["target"]
        made = {"Psi": evidence.mean_psi(metric, target)}
        made |= {f"psi:{h}": evidence.psi(metric, target, h) for h in ("eta", "b")}
        made |= {f"partial:{h}": evidence.partial(metric, target, h) for h in ("eta", "b")}
        for column, one in made.items():
            head, _, tail = column.partition(":")
            ends = [f"{head}_{end}:{tail}" if tail else f"{head}_{end}" for end in ("low", "high")]
            _same([one.value, *interval(one.value, one.spread)], [row[name] for name in (column, *ends)])


def _same(made: Vector | list[float], meant: Vector | list[float]) -> None:
    np.testing.assert_allclose(np.asarray(made, float), np.asarray(meant, float), rtol=0, atol=1e-12)


def test_without_the_rule_all_usable_networks_count(ranked: list[tuple[TaskRanking, Evidence]]) -> None:
    task, _ = ranked[0]
    evidence = Evidence(task.results, ruled=False, resamples=10)
    for row in task.rows.to_dict("records"):
        _same([evidence.tau(row["metric"], row["target"]).value], [row["tau_all"]])


def test_agreement_is_tau_with_the_other_metric(ranked: list[tuple[TaskRanking, Evidence]]) -> None:
    _, evidence = ranked[0]
    both = evidence.frame[["lucky", "noise"]].to_numpy(float)
    both = both[np.isfinite(both).all(1)]
    made = evidence.agreement("lucky", "noise")
    assert (made.value, made.n) == (pytest.approx(kendall(*both.T)), len(both))
    noise, rate = evidence.frame[["noise", "rate"]].to_numpy(float).T
    numbers = evidence.frame.groupby(["eta", "b"], sort=False).ngroup().to_numpy()
    counts = cluster_counts(np.arange(evidence.k), RESAMPLES, generator(evidence.results.name))[:, numbers]
    _same(evidence.agreement("noise", "rate").replicates, weighted_kendall(noise, rate, counts))
    _, within = ranked[1]
    runs = [part for _, part in within.frame.groupby("run_id", sort=False)]
    each = [kendall(part["noise"].to_numpy(float), part["oracle"].to_numpy(float)) for part in runs]
    assert within.agreement("noise", "oracle").value == pytest.approx(np.mean(each))


def test_tau_within_the_runs_of_each_setting(ranked: list[tuple[TaskRanking, Evidence]]) -> None:
    _, evidence = ranked[1]
    runs = [part for _, part in evidence.frame.groupby("run_id", sort=False)]
    each = pd.Series([kendall(part["noise"].to_numpy(float), part["loss_gap"].to_numpy(float)) for part in runs])
    means = each.groupby([part["eta"].iloc[0] for part in runs], sort=False).mean()
    assert evidence.setting_taus("noise", "loss_gap") == pytest.approx(means.to_numpy())


def test_a_hyperparameter_is_named_by_its_last_words(ranked: list[tuple[TaskRanking, Evidence]]) -> None:
    _, evidence = ranked[0]
    evidence.results.provenance["factors"] = ["eta", "b", "seed", "training.optimizer.rate", "training.rates"]
    assert evidence.factor("rate") == evidence.factor("optimizer.rate") == "training.optimizer.rate"
    with pytest.raises(KeyError, match="a/grid does not vary seed"):
        evidence.factor("seed")
    evidence.results.provenance["factors"] = ["eta", "b", "seed"]


def test_p_values_and_intervals_agree() -> None:
    for value, variance, freedom in product((-0.3, -0.01, 0.02, 0.4), (0.001, 0.02), (4.0, 24.0)):
        one = chances(value, Spread(variance, freedom), 25, least=0.0)
        t = value / np.sqrt(variance)
        assert one.above == pytest.approx(student.sf(t, freedom))
        assert one.below == pytest.approx(student.cdf(t, freedom))
        assert (one.above < 0.025, one.below < 0.025) == (one.low > 0, one.high < 0)
    unknown = chances(0.5, Spread(float("nan"), float("nan")), 1, least=1.0)
    assert (unknown.above, unknown.below) == (1, 1)


def test_no_p_value_is_below_that_of_all_flips_or_permutations() -> None:
    assert [least_chance(k, True) for k in (4, 6)] == [1 / 16, 1 / 64]  # (significance.sign_flips)
    assert [least_chance(k, False) for k in (3, 4, 5)] == [1 / 6, 1 / 24, 1 / 120]
    assert 0 <= least_chance(10_000, False) < 1e-100
    for spread in (Spread(0.0, 5.0), Spread(1e-6, 5.0)):
        one = chances(0.5, spread, 6, least=1 / 64)
        assert (one.above, one.below) == (1 / 64, pytest.approx(1))
    nil = chances(0.0, Spread(0.0, 5.0), 6, least=1 / 64)
    assert (nil.above, nil.below) == (1, 1)


def test_differences_are_paired_or_not() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 4000))
    one, other = Sampled(0.5, a, 25, 25, 0), Sampled(0.2, b, 25, 25, 0)
    value, paired = one.minus(other, paired=True)
    assert (value, paired.variance) == (pytest.approx(0.3), pytest.approx((a - b).var(ddof=1) * 25 / 24))
    _, apart = one.minus(other, paired=False)
    assert apart.variance == pytest.approx((a.var(ddof=1) + b.var(ddof=1)) * 25 / 24)
    assert apart.freedom == pytest.approx(48, rel=0.01)  # Welch and Satterthwaite, of two alike


def test_all_of_them_and_one_of_them() -> None:
    p = np.array([0.001, 0.2, 0.03])
    assert (every(p), some(p), some(np.array([0.5, 0.6]))) == (0.2, pytest.approx(0.003), 1.0)


def test_standard_deviations_are_tested_by_chi_squared() -> None:
    taus = np.array([0.1, 0.5, -0.3, 0.8, 0.2, 0.4, -0.1, np.nan])
    s, k = float(np.std(taus[:7], ddof=1)), 7
    one = deviation(taus, 0.2)
    ends = [np.sqrt((k - 1) * s**2 / chi2.ppf(p, k - 1)) - 0.2 for p in (0.975, 0.025)]
    assert (one.value, one.low, one.high, one.k) == pytest.approx((s - 0.2, *ends, k))
    assert one.above == one.least == 1 / 128  # χ² alone would say less
    assert chi2.sf((k - 1) * s**2 / 0.04, k - 1) < 1 / 128
    other = deviation(taus, 0.4)
    assert other.above == pytest.approx(chi2.sf((k - 1) * s**2 / 0.16, k - 1))
    assert other.above + other.below == pytest.approx(1)
    assert np.isnan(deviation(np.full(8, 0.3), 0.2).low)
    assert deviation(np.full(8, 0.3), 0.2).above == deviation(np.full(8, 0.3), 0.5).below == 1
    assert deviation(taus[:1], 0.2).above == deviation(taus[:1], 0.2).below == 1
    for threshold in (s * np.sqrt(6 / chi2.ppf(p, 6)) for p in (0.974, 0.976)):  # about the lower end of the interval
        assert (deviation(taus, threshold).above < 0.025) == (deviation(taus, threshold).low > 0)


def test_two_standard_deviations_by_pitman_and_morgan() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.normal(size=(2, 9)) * [[1.0], [0.6]]
        one = more_variable(a, b)
        assert one.value == pytest.approx(np.log(a.std(ddof=1) / b.std(ddof=1)))
        assert one.above == pytest.approx(pearsonr(a + b, a - b, alternative="greater").pvalue)
        assert one.below == pytest.approx(pearsonr(a + b, a - b, alternative="less").pvalue)
        for end in (one.low, one.high):  # the interval holds the ratios that the test does not reject
            assert pearsonr(a + b * np.exp(end), a - b * np.exp(end)).pvalue == pytest.approx(0.05)
    assert more_variable(np.ones(5), np.arange(5.0)).above == 1


def _networks(values: list[float], errors: list[float]) -> tuple[Evidence, Vector, Vector]:
    count = len(values)
    noisy = {"x": np.array(errors)}
    results = grid({"x": np.array(values)}, np.arange(float(count)), (count, 1, 1), errors=noisy)
    evidence = Evidence(results, ruled=True, resamples=10)
    return evidence, *margins(evidence, "x", 1, 1.0)


def test_networks_are_counted_with_their_standard_errors() -> None:
    evidence, supports, refutes = _networks([3.0, 1.5, 0.0, np.nan, 2.0], [0.5, 0.5, 0.1, 0.1, np.nan])
    assert supports[:3] == pytest.approx(norm.sf([4, 1, -10]))
    assert (np.isnan(supports[3]), supports[4]) == (True, 0)  # exact without a standard error
    assert refutes[:3] == pytest.approx(norm.cdf([4, 1, -10]))
    counted = count_networks(evidence, np.ones(5, dtype=bool), supports, refutes)
    assert (counted.n, counted.holds, counted.violated) == (4, 2, 1)
    ends = binomtest(2, 4).proportion_ci(0.95, "exact")
    assert (counted.low, counted.high) == pytest.approx((ends.low, ends.high))
    assert counted.supports == pytest.approx(float(norm.cdf(10)))
    assert counted.refutes == pytest.approx(4 * float(norm.cdf(-10)), rel=1e-6)


def test_a_share_of_settings_is_tested_exactly(trajectories: TaskResults) -> None:
    finding = found(trajectories, metric="x", statistic="transition", change="drop", near=0.1, above=0.5)
    assert finding.shown is not None
    tested = binomtest(9, 10, 0.5, alternative="greater")
    assert finding.supports == pytest.approx(tested.pvalue)
    ends = binomtest(9, 10).proportion_ci(0.95, "exact")
    assert (finding.shown.value, finding.shown.low, finding.shown.high) == pytest.approx((0.9, ends.low, ends.high))
    assert (finding.shown.n, finding.shown.effect.k) == (20, 10)


@pytest.fixture
def trajectories() -> TaskResults:
    """Ten settings of two runs that grok; in those of nine of them `x` drops with the jump."""
    from tests.ranking.claimed import STEPS

    jumps = np.tile(STEPS > 1000, (20, 1))
    levels = np.where(jumps, 1.0, 2.0)
    levels[6:8] = 3 - levels[6:8]
    return trajectory({"x": levels}, np.random.default_rng(0).random((20, 20)), np.where(jumps, 0.9, 0.1))


def test_worst_psi_is_the_least_of_the_hyperparameters() -> None:
    random = np.random.default_rng(0)
    eta, b = np.repeat(np.arange(5.0), 10), np.tile(np.repeat(np.arange(5.0), 2), 5)
    results = grid({"up": eta - b}, eta + b + 0.1 * random.normal(size=50))
    finding = found(results, metric="up", statistic="worst_psi", below=0)
    evidence = Evidence(results, ruled=True, resamples=300)
    assert finding.shown is not None
    assert (evidence.psi("up", "loss_gap", "eta").value, evidence.psi("up", "loss_gap", "b").value) == (1, -1)
    assert (finding.shown.value, finding.outcome) == (-1, "holds")
    assert found(results, metric="up", statistic="worst_psi", above=0).outcome == "fails"
    # of two chances to be below 0 each counts half
    low, high = intervals(np.array([-1.0, *evidence.psi("up", "loss_gap", "b").replicates]), evidence.k)
    assert (finding.shown.low, finding.shown.high) == pytest.approx((float(low), float(high)))


def test_missing_values_of_a_statistic_are_said() -> None:
    results = grid({"x": np.arange(6.0), "y": np.r_[1.0, 2.0, [np.nan] * 4]}, np.arange(6.0), (6, 1, 1))
    finding = found(results, metric="y", statistic="tau", above=0)
    assert finding.problem == "y has no value at 4 of 6 networks"
    assert (finding.supports, finding.outcome) == (1, "open")
    assert finding.remedy == "the missing values of y on a/grid"
    finding = found(untried(results), metric="y", statistic="tau", above=0)
    assert finding.problem == "tau of y has no interval from 2 settings"
    assert (finding.supports, finding.outcome, finding.remedy) == (1, "open", "more settings")
    assert finding.shown is not None
    assert np.isnan([finding.shown.low, finding.shown.high]).all()  # and not −1 to 1


def test_k_and_the_least_p_are_of_settings_with_a_value() -> None:
    """Four settings of two seeds, of 5 × 5 × 2: 1 / 4!; of a level with m of them 1 / m!, of all levels the product."""
    gap, x = np.arange(50.0), np.full(50, np.nan)
    x[[0, 1, 2, 4, 10, 12]] = gap[[0, 1, 2, 4, 10, 12]]  # settings 0, 1, 2 of the first η, 0 and 1 of the second
    evidence = Evidence(untried(grid({"x": x}, gap)), ruled=True, resamples=50)
    tau, partial, psi = evidence.tau("x", "loss_gap"), evidence.partial("x", "loss_gap", "eta"), _psi(evidence, "b")
    assert (tau.k, tau.n, tau.least, tau.missing) == (5, 6, 1 / 120, 0)
    assert (partial.k, partial.least, psi.k, psi.least) == (5, 1 / 12, 5, 1 / 12)
    assert _psi(evidence, "eta").least == 1 / 4  # two pairs that share b
    assert evidence.mean_psi("x", "loss_gap").least == 1 / 4
    assert evidence.score("x", "loss_gap").k == 5
    failed = Evidence(grid({"x": x}, gap), ruled=True, resamples=50)
    assert (failed.tau("x", "loss_gap").k, failed.tau("x", "loss_gap").missing) == (5, 44)
    assert failed.score("x", "loss_gap").k == 25  # of a score a missing value is one, and wrong


def _psi(evidence: Evidence, hyperparameter: str) -> Sampled:
    return evidence.psi("x", "loss_gap", hyperparameter)


def test_bounds_hold_whatever_the_missing_values_are() -> None:
    """τ, partial τ and agreement of a metric completed at random, or for or against the claim, lie between them."""
    random = np.random.default_rng(0)
    for _ in range(8):
        gap, values = random.integers(0, 9, size=(2, 18)).astype(float)
        lost = random.permutation(18)[:4]
        holed = values.copy()
        holed[lost] = np.nan
        wholes = [values, *(values.copy() for _ in range(6))]
        for i, whole in enumerate(wholes[1:]):
            whole[lost] = (gap[lost] - 20, 20 - gap[lost], gap[lost])[i] if i < 3 else random.normal(5, 9, size=4)
        columns = {"holed": holed, "gap": gap} | {f"w{i}": whole for i, whole in enumerate(wholes)}
        evidence = Evidence(grid(columns, gap, (3, 3, 2)), ruled=True, resamples=20)
        for made in (
            lambda name, e=evidence: e.tau(name, "loss_gap"),
            lambda name, e=evidence: e.partial(name, "loss_gap", "eta"),
            lambda name, e=evidence: e.agreement(name, "gap"),
        ):
            assert made("holed").bounds is not None
            low, high = made("holed").bounds
            for i in range(len(wholes)):
                whole = made(f"w{i}")
                assert low.value - 1e-12 <= whole.value <= high.value + 1e-12
                inside = (low.replicates - 1e-12 <= whole.replicates) & (whole.replicates <= high.replicates + 1e-12)
                assert inside[np.isfinite(whole.replicates)].all()


def test_bounds_within_runs() -> None:
    random = np.random.default_rng(0)
    gap, values = random.normal(size=(2, 12, 20))
    holed = values.copy()
    holed[:3, 5:9] = np.nan
    holed[5, 2:] = np.nan  # too few for a τ of its own
    evidence = Evidence(trajectory({"holed": holed, "whole": values}, gap), ruled=True, resamples=20)
    bounds, whole = evidence.tau("holed", "loss_gap").bounds, evidence.tau("whole", "loss_gap")
    assert bounds is not None
    assert bounds[0].value < whole.value < bounds[1].value
    assert ((bounds[0].replicates < whole.replicates) & (whole.replicates < bounds[1].replicates)).all()
    assert evidence.tau("holed", "loss_gap").missing == 12 + 18


def test_what_is_needed_follows_the_half_width() -> None:
    finding = found(_open(), metric="x", statistic="tau", above=0)
    effect = finding.shown.effect if finding.shown else None
    assert effect is not None
    assert finding.outcome == "open"
    assert settings_needed(finding, 1) == np.ceil(effect.k * ((effect.value - effect.low) / effect.value) ** 2)
    assert settings_needed(Finding("t", "a/grid", ""), 1) == float("inf")
    against = found(_open(), metric="x", statistic="tau", below=0)
    assert settings_needed(against, 1) == settings_needed(finding, 1)
    more = float(norm.isf(0.0025) / norm.isf(0.025)) ** 2  # a failure among ten comparisons has to be more certain
    assert settings_needed(against, 10) == pytest.approx(more * settings_needed(against, 1), rel=0.05)


def test_larger_effects_need_fewer_settings() -> None:
    shown = found(_open(), metric="x", statistic="tau", above=0).shown
    assert shown is not None
    half = shown.value - shown.low
    needed = []
    for margin in (0.1 * half, 0.3 * half, 0.6 * half):
        finding = found(_open(), metric="x", statistic="tau", above=shown.value - margin)
        assert finding.outcome == "open"
        needed.append(settings_needed(finding, 1))
    assert needed == pytest.approx([25 * 100, 25 * 100 / 9, 25 * 100 / 36], abs=1)
    nil = found(_open(), metric="x", statistic="tau", above=shown.value)
    assert settings_needed(nil, 1) == float("inf")


def _open() -> TaskResults:
    random = np.random.default_rng(4)
    gap = random.normal(size=25)
    return grid({"x": 0.3 * gap + random.normal(size=25)}, gap, (5, 5, 1))


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"metric": "x", "statistic": "tau", "above": 0}, "τ of x above 0"),
        ({"every": ["x", "y"], "statistic": "tau", "below": -0.25}, "τ of every one of x, y below −0.25"),
        ({"some": "trivial", "statistic": "score", "beats": "all"}, "score of some of all trivial beats all metrics"),
        ({"metric": "x", "statistic": "psi", "hyperparameter": "b", "between": [-0.1, 0]}, "ψ over b of x between −0.1 and 0"),
        ({"metric": "x", "statistic": "instability", "beats": ["y"]}, "standard deviation over settings of τ of x exceeds y"),
        ({"metric": "x", "statistic": "Psi", "beats": ["y"], "over": "minimum"}, "Ψ of x beats y on the worst of the tasks"),
        ({"metric": "x", "statistic": "agreement", "other": "b", "below": 0}, "τ with b of x below 0"),
        ({"metric": "x", "statistic": "partial", "hyperparameter": "b", "above": 0}, "τ at fixed b of x above 0"),
        ({"every": "all", "statistic": "worst_psi", "below": 0}, "least sign × ψ of every one of all metrics below 0"),
        ({"metric": "x", "statistic": "transition", "change": "drop", "near": 0.1, "above": 0.5},
         "share of grokking settings with a drop of x at the jump above 0.5"),
        ({"metric": "x", "statistic": "cells", "where": {"metric": "y", "above": 1}, "above": 0}, "x above 0 wherever y above 1"),
    ],
)  # fmt: skip
def test_tests_in_words(test: dict[str, object], said: str) -> None:
    assert words(ClaimTest.model_validate(test)) == said


def test_sets_of_metrics(tmp_path: Path) -> None:
    gap = np.arange(10.0)
    results = grid({"top_a": gap, "x": gap, "rate": gap, "none": np.full(10, np.nan)}, gap, (5, 2, 1))
    evidence = Evidence(results, ruled=True, resamples=10)
    assert evidence.chosen("all") == ["top_a", "x"]
    assert evidence.chosen("trivial") == ["rate"]
    assert evidence.chosen("family:top") == ["top_a"]
    assert evidence.chosen(["x", "none", "rate"]) == ["x", "rate"]
