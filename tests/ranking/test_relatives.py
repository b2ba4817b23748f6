"""Kendall between metrics, against scipy's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from suite.ranking.relatives import mutual_tau, relatives
from suite.ranking.tables import read_results
from tests.ranking.made_up import made_up


def test_as_scipy_with_ties_and_missing_values() -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 6, (5, 40)).astype(float)
    x[1, :7] = np.nan
    x[3, 20:] = np.inf
    found = mutual_tau(x)
    for i in range(5):
        for j in range(5):
            kept = np.isfinite(x[i]) & np.isfinite(x[j])
            assert found[i, j] == pytest.approx(kendalltau(x[i][kept], x[j][kept]).statistic, abs=1e-12)


def test_nothing_is_said_of_constants_and_of_two_networks() -> None:
    x = np.array([[1.0, 2, 3, 4], [1, 1, 1, 1], [1, 2, np.nan, np.nan], [4, 3, 2, 1]])
    found = mutual_tau(x)
    assert np.isnan(found[1]).all()
    assert np.isnan(found[2]).all()
    assert found[0, 3] == -1
    assert found[0, 0] == found[3, 3] == 1


def test_tasks(tmp_path: Path) -> None:
    made_up(tmp_path)
    for results in read_results(tmp_path):
        found = relatives(results)
        assert list(found.index) == list(found.columns) == list(results.metrics.index)
        assert np.array_equal(found, found.T, equal_nan=True)
    within = read_results(tmp_path, ["b/trajectory"])[0]
    frame, total = within.wide()[within.included], []
    for _, part in frame.groupby("run_id"):
        tau = kendalltau(part["oracle"], part["wrong_way"]).statistic
        total += [tau] if np.isfinite(tau) else []
    assert relatives(within).loc["oracle", "wrong_way"] == pytest.approx(np.mean(total))
