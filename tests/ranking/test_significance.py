"""p-values against full enumeration, and false positives by simulation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import kendalltau

from suite.ranking.leaderboard import rank_overall
from suite.ranking.significance import (
    cluster_permutations,
    flipped_scores,
    holm,
    p_value,
    permuted_kendall,
    sign_flips,
)
from suite.ranking.tables import read_results
from suite.ranking.task import rank_task
from suite.ranking.within import Run, run_taus
from tests.ranking.made_up import made_up
from tests.ranking.single import scored


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, np.nan])) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert holm(np.array([0.6, 0.7])).tolist() == [1, 1]
    assert holm(np.zeros(0)).tolist() == []


def test_p_counts_the_observed_among_the_permutations() -> None:
    assert p_value(0.5, np.array([0.1, 0.5, 0.6, -0.9])) == pytest.approx(3 / 5)
    assert p_value(2.0, np.zeros(99)) == pytest.approx(0.01)
    assert np.isnan(p_value(float("nan"), np.zeros(9)))


def test_permuted_kendall_is_scipys_and_the_score_where_values_are_missing() -> None:
    random = np.random.default_rng(0)
    x, y = random.integers(0, 9, (3, 14)).astype(float), random.integers(0, 6, (2, 14)).astype(float)
    x[1, [0, 5]], x[2] = np.nan, 3.0
    orders = np.array([random.permutation(14) for _ in range(7)])
    tried = np.ones(x.shape, dtype=bool)
    tried[1, 5] = False
    made = permuted_kendall(x, y, orders, tried)
    for t in range(2):
        for r, order in enumerate(orders):
            tau = kendalltau(x[0], y[t, order]).statistic
            assert made[:, 0, t, r] == pytest.approx([tau, -tau], abs=1e-6)
            missing = scored(x[1], y[t, order], np.ones((1, 14)), tried[1])[:, 0]
            assert made[:, 1, t, r] == pytest.approx(missing, abs=1e-6)
            assert (made[:, 2, t, r] == 0).all()
    assert np.isnan(permuted_kendall(x, np.ones((1, 14)), orders)).all()
    assert np.isnan(permuted_kendall(x[:, :2], y[:, :2], orders[:, :2] % 2)).all()


def test_p_of_sampled_permutations_is_that_of_all_of_them() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=6), random.normal(size=6)
    every = [kendalltau(x, y[list(order)]).statistic for order in permutations(range(6))]
    observed = np.quantile(every, 0.9)
    exact = np.mean(np.array(every) >= observed - 1e-9)
    orders = cluster_permutations(np.arange(6), 20_000, random)
    assert p_value(observed, permuted_kendall(x[None], y[None], orders)[0, 0, 0]) == pytest.approx(exact, abs=0.01)


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
        permuted = permuted_kendall(x[:10], x[10:], orders)[0, :, 0]
        observed = permuted_kendall(x[:10], x[10:], np.arange(32)[None])[0, :, 0, 0]
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


def _walk(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.normal(size=(*shape, 40)).cumsum(-1)


def _autoregressive(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    start = random.normal(size=(*shape, 1)) / np.sqrt(1 - 0.9**2)
    return lfilter([1], [1, -0.9], np.concatenate([start, random.normal(size=(*shape, 39))], axis=-1))


def _drift(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.choice([-1.0, 1.0], size=(*shape, 1)) * np.arange(40) / 4 + random.normal(size=(*shape, 40))


_SERIES: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "random walks": _walk, "AR(0.9)": _autoregressive, "drifts with a random sign": _drift
}  # fmt: skip


def _p_of_unrelated(make: Callable[..., np.ndarray], k: int, gaps: int) -> np.ndarray:
    """p of ten metrics that have nothing to do with the gap, in k settings of two runs that mostly go together."""
    random, numbers, found = np.random.default_rng(k), np.repeat(np.arange(k), 2), []
    for _ in range(gaps):
        shared, own = make(random, (11, k)), make(random, (11, 2 * k))
        series = np.repeat(shared, 2, axis=1) + 0.3 * own
        scores = run_taus([Run(series[:10, run], series[10:, run]) for run in range(2 * k)]).scores
        null = flipped_scores(scores, numbers, sign_flips(k, 999, random))[0, :, 0]
        found += [p_value(o, chance) for o, chance in zip(scores.mean(0)[0, :, 0], null, strict=True)]
    return np.array(found)


@pytest.mark.parametrize("k", [4, 8])
@pytest.mark.parametrize("name", _SERIES)
def test_unrelated_series_along_training_are_rarely_significant(name: str, k: int) -> None:
    """Shifts in a circle called 8 % of random walks significant, and up to 27 % of drifts."""
    p = _p_of_unrelated(_SERIES[name], k, 120)
    assert (p <= 0.05).mean() <= 0.06
    # and no rarer than it has to be: of 4 settings no p is below 1/16, and one in 16 is there
    assert 0.045 <= (p <= 0.0645).mean() <= 0.08


def test_p_of_few_settings_is_exact_and_says_how_little_they_can_show() -> None:
    random = np.random.default_rng(0)
    ramp = np.arange(9.0)
    runs = [Run(np.array([ramp, ramp if n < 6 else -ramp]), ramp[None]) for n in range(8)]
    scores, numbers = run_taus(runs).scores, np.repeat(np.arange(4), 2)
    null = flipped_scores(scores, numbers, sign_flips(4, 4999, random))
    p = [p_value(o, chance) for o, chance in zip(scores.mean(0)[0, :, 0], null[0, :, 0], strict=True)]
    assert p == pytest.approx([1 / 16, 5 / 16], abs=4e-4)
    assert min(p) >= 1 / 16
    # either sign: twice that
    assert p_value(1.0, null[:, 0, 0].max(0)) == pytest.approx(2 / 16, abs=4e-4)


def test_all_flips_occur_equally_often_and_random_ones_where_there_are_too_many() -> None:
    random = np.random.default_rng(0)
    rows, times = np.unique(sign_flips(3, 80, random), axis=0, return_counts=True)
    assert len(rows) == 8
    assert (times == 10).all()
    many = sign_flips(13, 4999, random)
    assert set(np.unique(many)) == {-1, 1}
    assert np.abs(many.mean(0)).max() < 0.06
    assert sign_flips(4, 0, random).shape == (0, 4)


def test_a_setting_is_flipped_with_its_missing_values() -> None:
    """Upside down, its right pairs are wrong and its wrong ones right; a missing one is wrong either way."""
    ramp = np.arange(6.0)
    gaps = np.where(ramp < 3, np.nan, ramp)
    runs = [Run(gaps[None], ramp[None]), Run(ramp[None], ramp[None])]
    null = flipped_scores(run_taus(runs).scores, np.arange(2), np.array([[1.0, 1], [-1, 1], [-1, -1]]))
    assert null[0, 0, 0] == pytest.approx([(-9 / 15 + 1) / 2, (-1 + 1) / 2, (-1 - 1) / 2])
    assert null[1, 0, 0] == pytest.approx([-1, (-9 / 15 - 1) / 2, (-9 / 15 + 1) / 2])


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
    along = rankings[1].rows.set_index(["metric", "target"])
    assert along.at[("oracle", "loss_gap"), "p"] == pytest.approx(1 / 4, abs=1e-3)  # two settings: that is the least
    assert along.at[("rate", "loss_gap"), "p"] == 1
    again = rank_overall([rank_task(results) for results in read_results(tmp_path)])
    assert again["p"].equals(overall["p"])
