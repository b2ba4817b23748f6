"""Correlations against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from suite.ranking.bootstrap import cluster_counts
from suite.ranking.correlation import count_pairs, draw_kendall
from tests.ranking.single import covered, granulated, kendall, weighted_kendall


def test_kendall_is_scipys_with_ties() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        x, y = random.integers(0, 6, 25).astype(float), random.integers(0, 6, 25).astype(float)
        assert kendall(x, y) == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)


def test_kendall_degenerate_cases() -> None:
    y = np.array([1.0, 2.0, 3.0, 4.0])
    assert kendall(np.ones(4), y) == 0
    assert np.isnan(kendall(y, np.ones(4)))
    assert np.isnan(kendall(y[:2], y[:2]))
    assert np.isnan(kendall(np.array([1.0, np.nan, np.inf, 4.0]), y))
    assert kendall(np.array([1.0, np.nan, 3.0, 4.0]), y) == 1


def test_granulated_kendall_by_hand() -> None:
    # eta orders the gap rightly at b = 1 (τ = 1) and wrongly at b = 2 (τ = −1); b = 3 has one run and is skipped
    frame = pd.DataFrame(
        {
            "eta": [1, 2, 3, 1, 2, 3, 1],
            "b": [1, 1, 1, 2, 2, 2, 3],
            "metric": [1.0, 2, 3, 1, 2, 3, 9],
            "gap": [0.1, 0.2, 0.3, 0.3, 0.2, 0.1, 0.5],
        }
    )
    assert granulated(frame, ["eta", "b"], "eta") == ([0.0], [2])
    assert granulated(frame[frame["b"] == 1], ["eta", "b"], "eta") == ([1.0], [1])
    # the metric is constant in b: it predicts nothing of what b does
    assert granulated(frame[frame["b"] < 3], ["eta", "b"], "b")[0] == [0.0]
    poisoned = frame.assign(metric=[np.nan, 2, 3, 1, 2, 3, 9])
    assert granulated(poisoned, ["eta", "b"], "eta") == ([0.0], [2])
    assert granulated(frame[frame["b"] == 3], ["eta", "b"], "eta")[1] == [0]


def test_a_setting_called_none_is_a_setting() -> None:
    frame = pd.DataFrame({"eta": [1, 2, 1, 2], "decay": [0.1, 0.1, np.nan, np.nan], "metric": [1.0, 2, 1, 2]})
    frame["gap"] = frame["metric"]
    assert granulated(frame, ["eta", "decay"], "eta") == ([1.0], [2])


@pytest.mark.parametrize("levels", [2, 7])
def test_resampled_kendall_is_scipys_on_the_resampled_data(levels: int) -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=18), random.integers(0, levels, size=18).astype(float)
    x[3] = np.nan
    counts = cluster_counts(np.arange(18) // 2, 20, random)
    assert (counts.sum(1) == 18).all()
    for row, value in zip(counts, weighted_kendall(x, y, counts), strict=True):
        again = np.repeat(np.arange(18), row.astype(int))
        again = again[again != 3]
        assert value == pytest.approx(kendalltau(x[again], y[again]).statistic, abs=1e-12)


def test_clusters_of_many_metrics_at_once_are_each_alone() -> None:
    random = np.random.default_rng(3)
    numbers = random.permutation(np.repeat(np.arange(7), 3))[:19]  # of unequal sizes, in no order
    x, y = random.integers(0, 9, (4, 19)).astype(float), random.integers(0, 9, (2, 19)).astype(float)
    x[1, 4], x[2, :17] = np.nan, np.nan
    counts = cluster_counts(np.arange(7), 12, random)
    draws = draw_kendall(count_pairs(x, y, numbers), counts)
    assert np.isnan(draws.tau[2]).all()
    for m in range(4):
        for t in range(2):
            if m != 2:
                assert draws.tau[m, t] == pytest.approx(weighted_kendall(x[m], y[t], counts[:, numbers]), abs=1e-12)
            assert draws.covered[m, t] == pytest.approx(covered(x[m], y[t], counts[:, numbers]), abs=1e-12)


def test_resampled_psi_is_the_mean_of_scipys_taus() -> None:
    random = np.random.default_rng(2)
    frame = pd.DataFrame([(a, b) for a in range(5) for b in range(3)], columns=["a", "b"])
    frame["metric"], frame["gap"] = random.normal(size=15), random.normal(size=15)
    counts = cluster_counts(np.arange(15), 30, random)
    made, _ = granulated(frame, ["a", "b"], "a", counts)
    for row, value in zip(counts, made, strict=True):
        again = frame.iloc[np.repeat(np.arange(15), row.astype(int))]
        parts = [part for _, part in again.groupby("b") if len(part) > 1]
        taus = [kendalltau(part["metric"], part["gap"]).statistic for part in parts]
        assert value == pytest.approx(np.nanmean(taus), abs=1e-12)


def test_failing_is_worth_less_than_guessing() -> None:
    random = np.random.default_rng(4)
    y = random.normal(size=20)
    x = y + 0.3 * random.normal(size=20)
    x[:8] = np.nan
    score = covered(x, y, np.ones((1, 20)))[0]
    assert score == pytest.approx(kendall(x, y) * 12 * 11 / (20 * 19))
    guesses = []
    for _ in range(500):
        guessed = x.copy()
        guessed[:8] = random.choice(x[8:], size=8)
        guesses.append(kendalltau(guessed, y).statistic)
    assert 0 < score < np.mean(guesses)


def test_coverage_has_nothing_to_cover_where_the_gap_is_constant() -> None:
    assert np.isnan(covered(np.arange(4.0), np.ones(4), np.ones((1, 4)))).all()
    assert np.isnan(covered(np.arange(2.0), np.arange(2.0), np.ones((1, 2)))).all()
