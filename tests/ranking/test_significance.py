"""p-values against full enumeration, and false positives by simulation."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from suite.ranking.leaderboard import rank_overall
from suite.ranking.significance import cluster_permutations, holm, p_value, permuted_kendall, shifted_kendall
from suite.ranking.tables import read_results
from suite.ranking.task import rank_task
from suite.ranking.within import Run
from tests.ranking.made_up import made_up
from tests.ranking.single import covered


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert holm(np.zeros(0)).tolist() == []


def test_p_counts_the_observed_among_the_permutations() -> None:
    assert p_value(0.5, np.array([0.1, 0.5, 0.6, -0.9])) == pytest.approx(3 / 5)
    assert p_value(2.0, np.zeros(99)) == pytest.approx(0.01)
    assert np.isnan(p_value(float("nan"), np.zeros(9)))


def test_permuted_kendall_is_scipys_and_coverage_where_values_are_missing() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 9, (3, 14)).astype(float), random.integers(0, 6, (2, 14)).astype(float)
    x[1, [0, 5]], x[2] = np.nan, 3.0
    orders = np.array([random.permutation(14) for _ in range(7)])
    made = permuted_kendall(x, y, orders)
    for t in range(2):
        for r, order in enumerate(orders):
            assert made[0, t, r] == pytest.approx(kendalltau(x[0], y[t, order]).statistic, abs=1e-6)
            assert made[1, t, r] == pytest.approx(covered(x[1], y[t, order], np.ones((1, 14)))[0], abs=1e-6)
            assert made[2, t, r] == 0
    assert np.isnan(permuted_kendall(x, np.ones((1, 14)), orders)).all()
    assert np.isnan(permuted_kendall(x[:, :2], y[:, :2], orders[:, :2] % 2)).all()


def test_p_of_sampled_permutations_is_that_of_all_of_them() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=6), random.normal(size=6)
    every = [kendalltau(x, y[list(order)]).statistic for order in permutations(range(6))]
    observed = np.quantile(every, 0.9)
    exact = np.mean(np.array(every) >= observed - 1e-9)
    orders = cluster_permutations(np.arange(6), 20_000, random)
    assert p_value(observed, permuted_kendall(x[None], y[None], orders)[0, 0]) == pytest.approx(exact, abs=0.01)


def test_settings_move_whole_and_only_to_places_of_their_size() -> None:
    numbers = np.array([0, 0, 1, 2, 2, 3, 4, 4, 5, 5, 5])
    orders = cluster_permutations(numbers, 200, np.random.default_rng(0))
    assert (np.sort(orders, axis=1) == np.arange(11)).all()
    moved = numbers[orders]
    assert (moved[:, 0] == moved[:, 1]).all()
    assert set(moved[:, 0]) == {0, 2, 4}
    assert set(moved[:, 2]) == {1, 3}
    assert (moved[:, 8:] == 5).all()  # three runs: there is no other place for it
    assert (orders[:, 0] < orders[:, 1]).all()  # seeds stay in their order


def _false_positives(simulations: int, clustered: bool) -> tuple[float, float]:
    """Of ten metrics of no relation on grids of 4 × 4 settings with 2 seeds.

    Returns:
        The share of grids on which Holm rejects any, and the share of p-values of at most 0.05.
    """
    random, wrong, small = np.random.default_rng(0), 0, 0
    numbers = np.repeat(np.arange(16), 2)
    for _ in range(simulations):
        shared = random.normal(size=(11, 16))
        x = np.repeat(shared, 2, axis=1) + 0.3 * random.normal(size=(11, 32))
        x[5:10] += x[:5]  # some of them resemble one another
        orders = cluster_permutations(numbers if clustered else np.arange(32), 499, random)
        permuted = permuted_kendall(x[:10], x[10:], orders)[:, 0]
        observed = permuted_kendall(x[:10], x[10:], np.arange(32)[None])[:, 0, 0]
        p = np.array([p_value(o, chance) for o, chance in zip(observed, permuted, strict=True)])
        wrong += bool((holm(p) < 0.05).any())
        small += int((p <= 0.05).sum())
    return wrong / simulations, small / simulations / 10


def test_the_family_wise_error_is_at_most_five_percent_and_each_ones_is_five() -> None:
    # Holm is below its level here: the least p are 1 / 500, 2 / 500, …, and half of the metrics resemble the others
    family, each = _false_positives(800, clustered=True)
    assert 0.015 <= family <= 0.06
    assert 0.04 <= each <= 0.06


def test_permuting_single_runs_would_reject_far_too_often() -> None:
    family, each = _false_positives(150, clustered=False)
    assert family > 0.12
    assert each > 0.08


def test_turning_keeps_autocorrelation_and_its_error_rate() -> None:
    """Two random walks in each run, of no relation to each other: shuffling would call every fourth pair related."""
    random, turned, shuffled, simulations = np.random.default_rng(3), 0, 0, 300
    for _ in range(simulations):
        noise = random.normal(size=(4, 2, 40))
        walks = np.stack([_circular(part) for part in noise])
        runs = [Run(walk[:1], walk[1:]) for walk in walks]
        null = shifted_kendall(runs, np.arange(4), 199, random)[0, 0]
        observed = np.mean([kendalltau(walk[0], walk[1]).statistic for walk in walks])
        turned += p_value(observed, null) <= 0.05
        orders = np.array([random.permutation(40) for _ in range(199)])
        shuffled += p_value(observed, np.mean([permuted_kendall(r.x, r.y, orders)[0, 0] for r in runs], axis=0)) <= 0.05
    assert 0.02 <= turned / simulations <= 0.08
    assert shuffled / simulations > 0.2


def _circular(noise: np.ndarray) -> np.ndarray:
    """A smooth series that joins up with itself."""
    kernel = np.exp(-np.minimum(np.arange(40), 40 - np.arange(40)) / 6.0)
    return np.fft.ifft(np.fft.fft(noise) * np.fft.fft(kernel)).real


def test_the_runs_of_a_setting_are_turned_alike() -> None:
    ramp = np.arange(12.0)
    runs = [Run(ramp[None], ramp[None])] * 2
    alike = shifted_kendall(runs, np.zeros(2, dtype=int), 500, np.random.default_rng(0))[0, 0]
    apart = shifted_kendall(runs, np.arange(2), 500, np.random.default_rng(0))[0, 0]
    assert (alike == 1).mean() == pytest.approx(1 / 12, abs=0.04)
    assert (apart == 1).mean() == pytest.approx(1 / 144, abs=0.01)


def test_tables_say_who_is_significant(tmp_path: Path) -> None:
    made_up(tmp_path)
    rankings = [rank_task(results) for results in read_results(tmp_path)]
    rows = rankings[0].rows.set_index(["metric", "target"])
    assert rows.at[("oracle", "loss_gap"), "p_holm"] < 0.05
    assert rows.at[("wrong_way", "loss_gap"), "p"] == 1  # its authors said otherwise: one-sided
    assert rows.at[("noise", "loss_gap"), "p_holm"] > 0.2
    overall = rank_overall(rankings)
    assert overall.at["oracle", "p_holm"] < 0.05
    assert overall.at["wrong_way", "p"] == 1
    assert (overall["p_holm"] >= overall["p"]).all()
    again = rank_overall([rank_task(results) for results in read_results(tmp_path)])
    assert again["p"].equals(overall["p"])
