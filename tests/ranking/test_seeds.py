"""Seed noise, against an analysis of variance by hand and variances that are known."""

from __future__ import annotations

import numpy as np
import pytest

from suite.ranking.seeds import seed_noise


def test_by_hand() -> None:
    # ranks 1 2 | 3 4 | 5 6: MSW = 0.5, MSB = 8, n₀ = 2: σ²_b = 3.75
    values, settings = np.array([0.1, 0.2, 5, 6, 70, 80]), np.array([0, 0, 1, 1, 2, 2])
    assert seed_noise(values, settings) == pytest.approx(0.5 / 4.25)
    assert seed_noise(np.log(values), settings) == pytest.approx(0.5 / 4.25)


def test_unequal_sizes_by_hand() -> None:
    # ranks 1 2 3 | 4: within 2 / 2, between 3 · 0.25 + 2.25, n₀ = (4 − 10 / 4): σ²_b = 2 / 1.5
    assert seed_noise(np.array([1.0, 2, 3, 9, np.nan]), np.array([4, 4, 4, 7, 7])) == pytest.approx(1 / (1 + 2 / 1.5))


def test_it_finds_the_share_it_was_given() -> None:
    random = np.random.default_rng(0)
    settings = np.repeat(np.arange(400), 3)
    values = np.sqrt(0.7) * np.repeat(random.normal(size=400), 3) + np.sqrt(0.3) * random.normal(size=1200)
    assert seed_noise(values, settings) == pytest.approx(0.3, abs=0.04)
    assert seed_noise(random.normal(size=1200), settings) > 0.9
    assert seed_noise(settings.astype(float), settings) == 0


@pytest.mark.parametrize(
    ("values", "settings"),
    [([1.0, 2, 3], [0, 1, 2]), ([1.0, 2, 3], [0, 0, 0]), ([1.0, 1, 1, 1], [0, 0, 1, 1]), ([np.nan] * 2, [0, 0])],
)
def test_where_it_is_not_known(values: list[float], settings: list[int]) -> None:
    assert np.isnan(seed_noise(np.array(values), np.array(settings)))
