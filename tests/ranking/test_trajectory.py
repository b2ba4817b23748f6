"""Transitions whose times are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.ranking.tables import TaskResults, read_results
from suite.ranking.trajectory import change_point, transitions
from tests.ranking.made_up import made_up

STEPS = np.arange(100.0, 2100.0, 100.0)


def test_a_step_is_found_where_it_is() -> None:
    change = change_point(STEPS, np.where(STEPS > 800, 5.0, 1.0))
    assert change is not None
    assert (change.step, change.rise, change.explained, change.happened) == (850, 4, pytest.approx(1), True)


def test_the_change_point_is_least_squares() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        values = random.normal(size=15) + 2 * (np.arange(15) > 6)
        values[3] = np.nan
        kept = np.flatnonzero(np.isfinite(values))
        known = values[kept]
        costs = {at: known[:at].var() * at + known[at:].var() * (14 - at) for at in range(2, 13)}
        at = min(costs, key=lambda at: costs[at])
        change = change_point(STEPS[:15], values)
        assert change is not None
        assert change.step == STEPS[kept[at - 1 : at + 1]].mean()
        assert change.explained == pytest.approx(1 - costs[at] / (known.var() * 14))


@pytest.mark.parametrize("values", [STEPS * 2.5, np.ones(20), np.random.default_rng(0).normal(size=20)])
def test_a_drift_a_constant_and_noise_are_no_changes(values: np.ndarray) -> None:
    change = change_point(STEPS, values)
    assert change is not None
    assert not change.happened


def test_three_values_show_no_change() -> None:
    assert change_point(STEPS[:4], np.array([1.0, np.nan, 5, 5])) is None


def _results(groks: int, quiet: int, delay: float, alarms: int = 0) -> TaskResults:
    """Runs that grok at 1,000, 1,100, …; `early` and `late` change `delay` steps before and after, `flat` never."""
    random, rows, values = np.random.default_rng(0), [], []
    for number in range(groks + quiet):
        at = 1000 + 100 * (number % 3)
        grok = number < groks
        accuracy = np.where(at < STEPS, 0.95, 0.1) if grok else 0.1 + 0.02 * random.random(20)
        shift = {"early": -delay, "late": delay}
        for name in ("early", "late", "flat"):
            moves = name in shift and (grok or number - groks < alarms)
            level = np.where(at + shift.get(name, 0) < STEPS, 3.0, 9.0) if moves else np.ones(20)
            values.append(pd.DataFrame({"run_id": f"r{number}", "step": STEPS, "metric": name}))
            values[-1]["value"] = level + 0.01 * random.normal(size=20)
        rows.append(pd.DataFrame({"run_id": f"r{number}", "step": STEPS, "test_accuracy": accuracy}))
        rows[-1]["eta"], rows[-1]["seed"] = number // 2, number % 2
    runs = pd.concat(rows, ignore_index=True).assign(status="finished", train_accuracy=1.0, loss_gap=0.5)
    metrics = pd.DataFrame({"name": ["early", "late", "flat"], "sign": 1, "trivial": False}).set_index("name")
    provenance = {"targets": ["loss_gap"], "factors": ["eta", "seed"], "include": {}}
    table = pd.concat(values, ignore_index=True).assign(status="ok")
    return TaskResults("made/up", "Made up", "trajectory", provenance, metrics, runs, table)


def test_leads_and_lags_are_in_steps() -> None:
    found = transitions(_results(8, 0, 300)).set_index("metric")
    assert found["grokked"].tolist() == [8, 8, 8]
    assert found["runs"].tolist() == [8, 8, 0]
    assert (found.at["early", "lead"], found.at["late", "lead"]) == pytest.approx((300, -300))
    assert (found.at["early", "low"], found.at["early", "high"]) == pytest.approx((300, 300))
    assert found.loc["flat", ["lead", "low", "high", "false_alarms"]].isna().all()


def test_false_alarms_are_of_runs_that_do_not_grok() -> None:
    found = transitions(_results(4, 5, 200, alarms=2)).set_index("metric")
    assert (found["grokked"].tolist(), found["quiet"].tolist()) == ([4] * 3, [5] * 3)
    assert found["false_alarms"].tolist() == pytest.approx([0.4, 0.4, 0])
    assert found["runs"].tolist() == [4, 4, 0]


def test_unequal_leads_have_an_interval_from_settings() -> None:
    results = _results(12, 0, 300)
    late = results.values["metric"].eq("late") & results.values["run_id"].isin(["r0", "r1", "r6", "r7"])
    again = results.values.loc[
        results.values["metric"].eq("early") & results.values["run_id"].isin(["r0", "r1", "r6", "r7"])
    ]
    results.values.loc[late, "value"] = again["value"].to_numpy()
    found = transitions(results).set_index("metric").loc["late"]
    assert found["lead"] == pytest.approx((4 * 300 - 8 * 300) / 12)
    assert -1900 <= found["low"] < found["lead"] < found["high"] <= 1900
    assert found["high"] - found["low"] > 300


def test_runs_of_one_setting_are_one_observation() -> None:
    found = transitions(_results(2, 8, 200)).set_index("metric").loc["late"]
    assert (found["runs"], found["lead"]) == (2, -200)
    assert np.isnan([found["low"], found["high"]]).all()
    alone = _results(3, 0, 200)
    alone.runs["eta"] = 1  # where nothing but the seed varies, each run is one
    values = alone.values["value"].where(alone.values["run_id"] != "r0", alone.values["value"].shift(1))
    alone.values["value"] = values.bfill()
    found = transitions(alone).set_index("metric").loc["late"]
    assert found["low"] < found["lead"] < found["high"]


def test_published_tables_have_transitions_and_grids_do_not(tmp_path: Path) -> None:
    made_up(tmp_path)
    grid, trajectory = read_results(tmp_path)
    found = transitions(trajectory)
    assert set(found["metric"]) == set(trajectory.metrics.index)
    assert found.equals(transitions(trajectory))
    with pytest.raises(ValueError, match="a/grid has no trajectories"):
        transitions(grid)
