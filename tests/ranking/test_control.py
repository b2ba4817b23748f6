"""The positive control: known to be good, and the ranking says so; on gaps that are noise it has nothing to read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.ranking.control import ORACLE, _with_oracle, control
from suite.ranking.tables import read_results
from tests.ranking.made_up import made_up, row, write_task


def test_a_predictor_that_reads_the_gap_scores_high_and_the_same_each_time(tmp_path: Path) -> None:
    made_up(tmp_path)
    found = control(read_results(tmp_path))
    assert found["score"] > 0.4
    assert found["low"] > 0
    assert found == control(read_results(tmp_path))


def test_the_oracle_is_within_runs_what_it_is_over_a_grid(tmp_path: Path) -> None:
    made_up(tmp_path)
    for results in read_results(tmp_path):
        frame = _with_oracle(results).wide()
        usable = frame[results.usable]
        assert usable[ORACLE].notna().all()
        assert frame.loc[~results.usable, ORACLE].isna().all()
        groups = usable["run_id"] if results.kind == "trajectory" else pd.Series("all", usable.index)
        # standardised signal and noise of half its spread: their mean is near 0 in every group
        assert usable[ORACLE].groupby(groups).mean().abs().max() < 0.6


def test_where_every_gap_is_the_same_there_is_nothing_to_score(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame([row(f"r{n}", 10, random) | {"eta": 0.1 * n, "seed": 0} for n in range(6)])
    rows[["accuracy_gap", "loss_gap"]] = 0.25
    write_task(tmp_path / "a/flat", "grid", rows, ["eta", "seed"])
    assert np.isnan(control(read_results(tmp_path))["score"])


@pytest.mark.parametrize("size", [12, 60])
def test_more_networks_narrow_the_controls_interval(tmp_path: Path, size: int) -> None:
    random = np.random.default_rng(size)
    rows = pd.DataFrame([row(f"r{n}", 10, random) | {"eta": 0.1 * n, "seed": 0} for n in range(size)])
    write_task(tmp_path / "a/grid", "grid", rows, ["eta", "seed"])
    found = control(read_results(tmp_path))
    assert found["high"] - found["low"] < (1.2 if size == 12 else 0.4)
