"""What is said of a metric's values on a task: which losses are a fault, and which are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.ranking.tables import read_results
from suite.submission.values import lost_values
from tests.ranking.made_up import made_up


@pytest.mark.parametrize(
    ("lost", "status", "state"),
    [
        (0, "ok", "good"),
        (3, "undefined", "good"),
        (3, "failed", "good"),
        (3, "timeout", "wrong"),
        (1, "died", "wrong"),
        (18, "undefined", "told"),
        (18, "failed", "wrong"),
    ],
)
def test_a_lost_value_is_a_fault_or_is_not(tmp_path: Path, lost: int, status: str, state: str) -> None:
    made_up(tmp_path)
    file = tmp_path / "a/grid/values/noise.csv"
    table = pd.read_csv(file)
    assert len(table) == 18
    table["reason"] = table["reason"].astype(object)
    table.loc[: lost - 1, ["value", "status", "reason"]] = [np.nan, status, "so it was"]
    table.to_csv(file, index=False)
    (results,) = read_results(tmp_path, ["a/grid"])
    finding = lost_values("noise", results)
    assert finding.state == state
    assert finding.said.startswith(f"{18 - lost} of 18")
    assert (f"{lost} × {status}: so it was" in finding.said) == (lost > 0)
