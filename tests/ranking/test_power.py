"""The power table is what more data should make of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from suite.ranking.power import SIMULATIONS, _compared, _differences, _tau, power_table, settings_needed


def test_tau_is_scipys() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(3, 8)), random.normal(size=(3, 8, 2))
    expected = [kendalltau(np.repeat(a, 2), b.ravel()).statistic for a, b in zip(x, y, strict=True)]
    assert _tau(x, _compared(y), 2) == pytest.approx(expected)


def test_metrics_differ_by_what_is_said_where_seeds_agree() -> None:
    made = _differences(49, 1, 0.3, 0.0)
    assert made.mean() == pytest.approx(0.3, abs=4 * made.std() / np.sqrt(SIMULATIONS))


def test_more_settings_seeds_and_difference_find_more() -> None:
    table = power_table()
    wide = table.pivot_table(index=["seeds", "difference"], columns="settings", values="power")
    assert (wide[100] > wide[9]).all()
    by_difference = table.pivot_table(index=["settings", "seeds"], columns="difference", values="power")
    assert (by_difference[0.4] > by_difference[0.1]).all()
    five, one = (table[table["seeds"] == seeds]["power"].mean() for seeds in (5, 1))
    assert five > one
    assert table["power"].between(0, 1).all()


def test_what_a_claim_needs() -> None:
    assert settings_needed(0.4, 2) in {49, 100}
    assert settings_needed(0.1, 5) is None
    assert settings_needed(0.4, 2, power=0.3) == 25
    assert settings_needed(0.15, 2) is None
