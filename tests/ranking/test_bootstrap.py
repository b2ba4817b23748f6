"""What is drawn again, and intervals that cover what they say even where there is little."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from suite.ranking.bootstrap import (
    Spread,
    cluster_counts,
    clusters,
    generator,
    interval,
    intervals,
    mean_spread,
    spread,
)
from suite.ranking.correlation import Pairs, count_pairs, draw_kendall
from suite.ranking.within import mean_over_runs


def test_seeds_of_a_setting_come_and_go_together() -> None:
    counts = cluster_counts(np.array([0, 0, 1, 1, 2, 2]), 50, generator("a"))
    assert (counts[:, 0] == counts[:, 1]).all()
    assert not (counts[:, 0] == counts[:, 2]).all()


def test_clusters_are_settings_or_runs_where_there_is_one_setting() -> None:
    points = pd.DataFrame({"eta": [1, 1, 2, 2], "decay": [np.nan, np.nan, np.nan, 0.1], "seed": [0, 1, 0, 0]})
    numbers, what = clusters(points, ["eta", "decay"])
    assert (numbers.tolist(), what) == ([0, 0, 1, 2], "settings")
    numbers, what = clusters(points[:2], ["eta", "decay"])
    assert (numbers.tolist(), what) == ([0, 1], "runs")
    assert clusters(points, [])[1] == "runs"


def _means(statistics: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return mean_over_runs(statistics[:, None, None], counts)[0, 0]


def test_the_interval_of_a_mean_is_students() -> None:
    random = np.random.default_rng(0)
    values = 0.1 * random.normal(size=12)
    made = _means(values, cluster_counts(np.arange(12), 20000, random))
    expected = t.interval(0.95, 11, values.mean(), values.std(ddof=1) / np.sqrt(12))
    assert interval(values.mean(), spread(made, 12)) == pytest.approx(expected, rel=0.05)


def test_what_is_not_known_has_no_interval() -> None:
    one_cluster = spread(np.ones(100), 1)
    undefined = spread(np.array([1.0, np.nan, np.nan]), 5)
    for unknown in (one_cluster, undefined):
        assert np.isnan(interval(0.5, unknown)).all()
    assert np.isnan(interval(float("nan"), Spread(0.1, 3))).all()
    assert interval(0.9, Spread(1.0, 3)) == (-1.0, 1.0)
    assert interval(0.9, Spread(0.0, 3)) == (0.9, 0.9)


def test_degrees_of_freedom_of_a_mean_are_welchs() -> None:
    equal = mean_spread([Spread(0.04, 5), Spread(0.04, 5)])
    assert (equal.variance, equal.freedom) == pytest.approx((0.02, 10))
    # one estimate dominates: what is known is known as badly as it
    assert mean_spread([Spread(1.0, 3), Spread(1e-6, 50)]).freedom == pytest.approx(3, rel=1e-3)
    assert mean_spread([Spread(0.0, 3), Spread(0.0, 7)]).variance == 0


def _alike(k: int, simulations: int) -> Iterator[np.ndarray]:
    """τ of two seeds of each of k settings that resemble one another; the true mean is 0."""
    random = np.random.default_rng(k)
    for _ in range(simulations):
        yield 0.15 * np.repeat(random.normal(size=k), 2) + 0.05 * random.normal(size=2 * k)


@pytest.mark.parametrize("k", [4, 9])
def test_trajectories_of_few_alike_settings_are_covered(k: int) -> None:
    random, hits = np.random.default_rng(0), 0
    points = pd.DataFrame({"eta": np.repeat(np.arange(k), 2)})
    for taus in _alike(k, 600):
        numbers, _ = clusters(points, ["eta"])
        made = _means(taus, cluster_counts(numbers, 200, random))
        low, high = interval(taus.mean(), spread(made, int(numbers.max()) + 1))
        hits += low <= 0 <= high
    assert 0.92 <= hits / 600 <= 0.98


def test_percentiles_of_runs_would_not_cover_them() -> None:
    # why it is not done that way; docs/reproducibility.md gives the number
    random, hits = np.random.default_rng(0), 0
    for taus in _alike(4, 600):
        made = _means(taus, cluster_counts(np.arange(8), 200, random))
        low, high = np.quantile(made, [0.025, 0.975])
        hits += low <= 0 <= high
    assert 0.65 <= hits / 600 <= 0.75


def _covered(k: int, r: float, simulations: int) -> float:
    """Of 95 % intervals of τ over k settings with two seeds, the share that hold the known τ.

    Metric and gap are normal numbers of correlation r between settings, both with noise of variance 0.09 between
    seeds: τ = (2/π) arcsin(r / 1.09) between settings and 0 within them.
    """
    random, hits, numbers, ones = np.random.default_rng(0), 0, np.repeat(np.arange(k), 2), np.ones((1, k))
    truth = (2 * k - 2) / (2 * k - 1) * 2 / np.pi * np.arcsin(r / 1.09)
    for _ in range(simulations):
        a, b = random.normal(size=k), random.normal(size=k)
        x = np.repeat(a, 2) + 0.3 * random.normal(size=2 * k)
        y = np.repeat(r * a + np.sqrt(1 - r**2) * b, 2) + 0.3 * random.normal(size=2 * k)
        counts = np.vstack([ones, cluster_counts(np.arange(k), 200, random)])
        low, high = intervals(draw_kendall(count_pairs(x[None], y[None], numbers), counts).tau, k)
        hits += bool(low[0, 0] <= truth <= high[0, 0])
    return hits / simulations


@pytest.mark.parametrize("r", [0.0, 0.4, 0.7, 0.9])
def test_tau_over_a_grid_of_five_by_five_with_two_seeds_is_covered(r: float) -> None:
    assert 0.93 <= _covered(25, r, 700) <= 0.97


@pytest.mark.parametrize("r", [0.0, 0.9])
def test_tau_over_nine_settings_is_covered_and_too_often_where_it_is_large(r: float) -> None:
    # few settings are often drawn twice, and what they then say of themselves widens the replicates
    assert 0.92 <= _covered(9, r, 400) <= (0.97 if r == 0 else 0.995)


def _covered_with_effects(new_values: bool, simulations: int = 300) -> float:
    """The same on 5 × 5 × 2 grids where rate and batch size move metric and gap twice as much as the settings do.

    Their values are drawn anew each time, or always these; τ is the mean over 3,000 such grids.
    """
    random, numbers, ones = np.random.default_rng(1), np.repeat(np.arange(25), 2), np.ones((1, 25))
    levels = np.linspace(-1.3, 1.3, 5)

    def pairs() -> Pairs:
        x, y = 0.4, np.sqrt(1 - 0.4**2)
        effects = random.normal(size=(2, 2, 5)) if new_values else np.array([[levels, levels]] * 2)
        own = random.normal(size=(2, 5, 5))
        parts = [2 / 1.4 * (e[0][:, None] + e[1][None, :]) + s for e, s in zip(effects, own, strict=True)]
        both = np.array([parts[0], x * parts[0] + y * parts[1]]).reshape(2, 25).repeat(2, axis=1)
        both += 0.3 * random.normal(size=both.shape)
        return count_pairs(both[:1], both[1:], numbers)

    truth = np.mean([draw_kendall(pairs(), ones).tau for _ in range(3000)])
    hits = 0
    for _ in range(simulations):
        counts = np.vstack([ones, cluster_counts(np.arange(25), 200, random)])
        low, high = intervals(draw_kendall(pairs(), counts).tau, 25)
        hits += bool(low[0, 0] <= truth <= high[0, 0])
    return hits / simulations


def test_intervals_are_of_settings_like_these_not_of_learning_rates_never_tried() -> None:
    assert 0.8 <= _covered_with_effects(new_values=True) <= 0.92
    assert _covered_with_effects(new_values=False) >= 0.95
