"""Correlations against scipy and by hand; bootstrap, ranking rules and tables that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from suite.errors import BadInput
from suite.ranking.bootstrap import cluster_counts, generator, grid_replicates, interval
from suite.ranking.correlation import granulated_kendall, kendall
from suite.ranking.leaderboard import rank_overall, rank_task
from suite.ranking.tables import read_results
from tests.ranking.made_up import made_up


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
    assert kendall(np.array([1.0, np.nan, 3.0, 4.0]), y) == 1


def test_resampled_kendall_is_scipys_on_the_resampled_data() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(size=18), random.normal(size=18)
    counts = cluster_counts(np.arange(18) // 2, 20, random)
    assert (counts.sum(1) == 18).all()
    for row, value in zip(counts, grid_replicates(x, y, counts), strict=True):
        again = np.repeat(np.arange(18), row.astype(int))
        assert value == pytest.approx(kendalltau(x[again], y[again]).statistic, abs=1e-12)


def test_seeds_of_a_setting_come_and_go_together() -> None:
    counts = cluster_counts(np.array([0, 0, 1, 1, 2, 2]), 50, generator("a"))
    assert (counts[:, 0] == counts[:, 1]).all()
    assert not (counts[:, 0] == counts[:, 2]).all()


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
    assert granulated_kendall(frame, ["eta", "b"], "metric", "gap", "eta") == (0.0, 2)
    assert granulated_kendall(frame[frame["b"] == 1], ["eta", "b"], "metric", "gap", "eta") == (1.0, 1)
    # the metric is constant in b: it predicts nothing of what b does
    assert granulated_kendall(frame[frame["b"] < 3], ["eta", "b"], "metric", "gap", "b")[0] == 0.0
    poisoned = frame.assign(metric=[np.nan, 2, 3, 1, 2, 3, 9])
    assert granulated_kendall(poisoned, ["eta", "b"], "metric", "gap", "eta") == (0.0, 2)


def test_interval_is_the_percentile_one() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25.0, 975.0))
    assert np.isnan(interval(np.array([1.0, np.nan, np.nan]))[0])


def test_ranking_finds_the_oracle_and_the_wrong_way_round(tmp_path: Path) -> None:
    made_up(tmp_path)
    rankings = [rank_task(r) for r in read_results(tmp_path)]
    overall = rank_overall(rankings)
    assert overall.index[0] == "oracle"
    assert overall.at["oracle", "score"] == pytest.approx(1.0)
    assert overall.at["oracle", "beats_trivial"] == "yes"
    assert overall.at["wrong_way", "score"] == pytest.approx(-1.0)
    assert overall.index[-1] == "wrong_way"
    assert overall.at["noise", "low"] < 0 < overall.at["noise", "high"]


def test_nobody_gains_by_failing(tmp_path: Path) -> None:
    made_up(tmp_path)
    rankings = {r.name: rank_task(r) for r in read_results(tmp_path)}
    rows = rankings["a/grid"].rows.set_index(["metric", "target"])
    row = rows.loc["lucky", "loss_gap"]
    assert row["tau"] == pytest.approx(1.0)
    assert row["n"] == 4
    overall = rank_overall(list(rankings.values()))
    assert overall.at["lucky", "a/grid"] == 0


def test_excluded_and_diverged_runs_do_not_count_but_are_counted(tmp_path: Path) -> None:
    made_up(tmp_path)
    ranking = {r.name: rank_task(r) for r in read_results(tmp_path)}["a/grid"]
    assert ranking.left_out == 3
    row = ranking.rows.set_index(["metric", "target"]).loc["oracle", "loss_gap"]
    assert row["n"] == 15
    assert row["tau_all"] < row["tau"]


def test_trajectories_are_ranked_within_runs(tmp_path: Path) -> None:
    made_up(tmp_path)
    ranking = {r.name: rank_task(r) for r in read_results(tmp_path)}["b/trajectory"]
    rows = ranking.rows.set_index(["metric", "target"])
    # within every run eta is constant: it predicts nothing there, whatever it does between runs
    assert rows.at[("rate", "loss_gap"), "tau"] == 0


def test_components_are_metrics_of_their_own(tmp_path: Path) -> None:
    made_up(tmp_path)
    grid = next(r for r in read_results(tmp_path) if r.name == "a/grid")
    assert {"parts.a", "parts.b"} <= set(grid.metrics.index)
    assert "parts" not in grid.metrics.index
    assert grid.metrics.at["parts.a", "title"] == "Parts: a"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("runs.csv", "train_loss", "train_los", "runs.csv:1: columns train_loss are missing"),
        ("runs.csv", "0.9875", "lots", "runs.csv:2: train_accuracy: 'lots' is not a number"),
        ("values/oracle.csv", "r3,", "zz,", "values/oracle.csv:5: run zz"),
        ("values/oracle.csv", "r3,", "r2,", "a second value for run r2"),
        ("provenance.json", '"kind"', '"kin"', "provenance.json: kind missing"),
        ("provenance.json", "{", "[", "provenance.json:.*not JSON"),
        ("metrics.json", '"sign"', '"sing"', "metrics.json: a list of metrics"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    made_up(tmp_path)
    path = tmp_path / "a/grid" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(BadInput, match=said):
        read_results(tmp_path)


def test_no_results_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="suite run"):
        read_results(tmp_path)


def test_made_up_results_are_json(tmp_path: Path) -> None:
    made_up(tmp_path)
    assert json.loads((tmp_path / "a/grid/metrics.json").read_text())
