"""Correlations against scipy and by hand."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from suite.ranking.bootstrap import cluster_counts
from suite.ranking.correlation import count_pairs, draw_kendall
from suite.ranking.significance import permuted_kendall
from tests.ranking.single import granulated, kendall, scored, weighted_kendall


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
            single = scored(x[m], y[t], counts[:, numbers])
            assert draws.scores[:, m, t] == pytest.approx(single, abs=1e-12)


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


def _by_hand(x: list[float], y: list[float], sign: int, tried: list[bool] | None = None) -> float:
    """The least sign · τ-b over all that could be said of each missing pair by itself, tried one after another."""
    pairs = list(combinations(range(len(x)), 2))
    asked = [p for p in pairs if tried is None or (tried[p[0]] and tried[p[1]])]
    ordered = [sign * np.sign(y[i] - y[j]) for i, j in asked]
    said = [np.sign(x[i] - x[j]) for i, j in asked]
    total, reached = sum(y[i] != y[j] for i, j in pairs), sum(g != 0 for g in ordered)
    least = np.inf
    for guess in product([-1, 0, 1], repeat=int(np.isnan(said).sum())):
        left = iter(guess)
        full = [next(left) if np.isnan(s) else s for s in said]
        agree, metric = sum(s * g for s, g in zip(full, ordered, strict=True)), sum(s != 0 for s in full)
        least = min(least, agree / np.sqrt(metric * reached) if metric and reached else 0.0)
    return float(least * reached / total)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_missing_value_is_the_worst_that_could_be_said_of_its_pairs(sign: int) -> None:
    random = np.random.default_rng(0)
    for _ in range(25):
        x, y = random.integers(0, 3, 5).astype(float), random.integers(0, 4, 5).astype(float)
        y[:2], x[random.integers(5)] = (0, 3), np.nan
        x[random.integers(5)] = np.nan
        tried = np.isfinite(x) | (random.random(5) < 0.5)
        found = scored(x, y, np.ones((1, 5)), tried)[0 if sign > 0 else 1, 0]
        assert found == pytest.approx(_by_hand(x.tolist(), y.tolist(), sign, tried.tolist()), abs=1e-12)


_VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3)), min_size=3, max_size=9)


@given(rows=_VALUES, missing=st.sets(st.integers(0, 8)), dropped=st.integers(0, 8), sign=st.sampled_from([0, 1]))
def test_dropping_a_value_never_raises_the_score(
    rows: list[tuple[int, int, int]], missing: set[int], dropped: int, sign: int
) -> None:
    """Of the data, of every resample, and of what permutations are compared with."""
    x, y, times = np.array(rows, dtype=float).T
    assume(len(np.unique(y)) > 1)
    x[[n for n in missing if n < len(x)]] = np.nan
    fewer = x.copy()
    fewer[dropped % len(x)] = np.nan
    counts = np.array([np.ones(len(x)), times])
    before, after = scored(x, y, counts)[sign], scored(fewer, y, counts)[sign]
    assert (np.isnan(before) == np.isnan(after)).all()
    assert (np.nan_to_num(after) <= np.nan_to_num(before) + 1e-12).all()
    orders = np.array([np.arange(len(x)), np.roll(np.arange(len(x)), 1)])
    both = permuted_kendall(np.array([x, fewer]), y[None], orders)[sign, :, 0]
    assert (both[1] <= both[0] + 1e-12).all()
    assert both[:, 0] == pytest.approx([before[0], after[0]], abs=1e-6)


def test_an_anti_predictive_metric_gains_nothing_where_it_fails() -> None:
    # right on twelve networks and the last, the wrong way round on seven; as coin tosses, failing paid
    y = np.arange(20.0)
    x = np.where((y < 12) | (y == 19), y, -y)
    failing = np.where(y < 12, x, np.nan)
    whole, failed = (scored(values, y, np.ones((1, 20)))[0, 0] for values in (x, failing))
    assert whole == pytest.approx((66 + 19 - 105) / 190)
    assert failed == pytest.approx((66 - 124) / 190)
    assert kendall(failing, y) * 66 / 190 > whole


def test_a_missing_pair_that_the_gap_ties_is_no_help() -> None:
    # left out of τ-b's norm, it would make up for the pairs that are ordered wrongly
    y = np.array([0.0, 1, 2, 3, 4, 4])
    x = np.array([0.0, 1, 2, 3, 4, np.nan])
    assert scored(x, y, np.ones((1, 6)))[:, 0] == pytest.approx([(10 - 4) / np.sqrt(15 * 14), -1])


def test_where_every_value_failed_the_score_is_that_of_the_wrong_way_round() -> None:
    y = np.array([1.0, 2, 2, 3])
    nothing = np.full(4, np.nan)
    assert scored(nothing, y, np.ones((1, 4))).tolist() == [[-1], [-1]]
    # and where none was tried it is none
    assert scored(nothing, y, np.ones((1, 4)), np.zeros(4, dtype=bool)).tolist() == [[0], [0]]


def test_a_constant_gap_scores_nobody() -> None:
    assert np.isnan(scored(np.arange(4.0), np.ones(4), np.ones((1, 4)))).all()
    assert np.isnan(scored(np.arange(2.0), np.arange(2.0), np.ones((1, 2)))).all()
