"""Spearman's ρ against scipy's, on the data and on resamples of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from suite.ranking.spearman import draw_spearman
from suite.ranking.tables import read_results
from suite.ranking.task import rank_task
from tests.ranking.made_up import made_up


def test_resamples_are_those_of_scipy_with_ties_and_missing_values() -> None:
    random = np.random.default_rng(0)
    x = np.vstack([random.random((2, 30)), random.integers(0, 4, (2, 30))])
    x[1, ::4] = np.nan
    x[3, :5] = np.inf
    y = np.vstack([random.random(30), random.integers(0, 3, 30)])
    counts = random.multinomial(30, np.full(30, 1 / 30), size=20).astype(float)
    found = draw_spearman(x, y, counts)
    for m in range(4):
        for t in range(2):
            for r in range(20):
                points = np.repeat(np.arange(30), counts[r].astype(int))
                points = points[np.isfinite(x[m, points])]
                assert found[m, t, r] == pytest.approx(spearmanr(x[m, points], y[t, points]).statistic, abs=1e-12)


def test_constants_are_as_for_kendall() -> None:
    x = np.array([[1.0, 2, 3], [2, 2, 2], [1, 2, np.nan]])
    y = np.array([[3.0, 1, 2], [0, 0, 0]])
    found = draw_spearman(x, y, np.ones((1, 3)))[..., 0]
    assert found[0, 0] == pytest.approx(-0.5)
    assert found[1, 0] == 0
    assert np.isnan(found[:, 1]).all()
    assert np.isnan(found[2]).all()


def test_columns_of_tasks(tmp_path: Path) -> None:
    made_up(tmp_path)
    for results in read_results(tmp_path):
        frame = results.wide()[results.included]
        parts = [p for _, p in frame.groupby("run_id")] if results.kind == "trajectory" else [frame]
        rows = rank_task(results, 400, 50).rows
        for _, row in rows[rows["metric"] != "lucky"].iterrows():
            each = [_rho(part[row["metric"]], part[row["target"]]) for part in parts]
            assert row["rho"] == pytest.approx(np.mean(each), abs=1e-12)
            assert row["rho_low"] <= row["rho"] <= row["rho_high"]


def _rho(x: object, y: object) -> float:
    x = np.asarray(x, dtype=float)
    return 0.0 if np.ptp(x) == 0 else float(spearmanr(x, y).statistic)
