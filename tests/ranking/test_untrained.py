"""`untrained.csv`, the networks of a task that could not be trained: read as strictly as the rest, and told of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.errors import BadInput
from suite.ranking.tables import TaskResults, read_results
from suite.ranking.task import rank_task
from suite.reporting.board import size
from suite.reporting.markdown import _counted
from tests.ranking.made_up import row, write_task

HEADER = "run_id,eta,b,status,reason"
LOST = "x1,0.4,8,died,its process died (exit code -9)"


def _read(root: Path, *lines: str, end: str = "\n") -> TaskResults:
    random = np.random.default_rng(0)
    grid = [(e, b) for e in (0.1, 0.2, 0.3) for b in (8, 16)]
    runs = pd.DataFrame([row(f"r{n}", 10, random) | {"eta": e, "b": b} for n, (e, b) in enumerate(grid)])
    write_task(root / "a/grid", "grid", runs, ["eta", "b"])
    if lines:
        (root / "a/grid/untrained.csv").write_text("\n".join(lines) + end)
    (results,) = read_results(root)
    return results


def test_who_could_not_be_trained_is_in_no_other_table(tmp_path: Path) -> None:
    results = _read(tmp_path, HEADER, LOST, "x2,0.4,16,failed,")
    assert list(results.untrained["run_id"]) == ["x1", "x2"]
    assert list(results.untrained["eta"]) == [0.4, 0.4]
    assert results.untrained["reason"][0] == "its process died (exit code -9)"
    assert len(results.runs) == 6


def test_their_number_is_told_where_networks_are_counted(tmp_path: Path) -> None:
    ranking = rank_task(_read(tmp_path / "some", HEADER, LOST), resamples=20, permutations=20)
    assert size(ranking) == "6 networks, 1 could not be trained"
    assert _counted(ranking).startswith(
        "6 networks of 6 runs, 0 left out (rule: training accuracy ≥ 0.9; 0 diverged), 1 "
    )
    whole = rank_task(_read(tmp_path / "none"), resamples=20, permutations=20)
    assert whole.results.untrained.empty
    assert size(whole) == "6 networks"
    assert "could not be trained" not in _counted(whole)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([HEADER], ": no row but the header"),
        ([HEADER, LOST, LOST], ":3: a second row for run x1"),
        ([HEADER, LOST.replace("x1", "r0")], ":2: run r0 is in runs.csv, too"),
        ([HEADER, LOST.replace("died", "finished", 1)], ":2: status 'finished' is none of failed, timeout, died"),
        ([HEADER, LOST.replace("x1", "", 1)], ":2: run_id is missing"),
        ([HEADER, LOST.replace("died", "", 1)], ":2: status is missing"),
        ([f"{HEADER},more", f"{LOST},1"], ":1: column 'more' is not known"),
        (["run_id,eta,status,reason", "x1,0.4,died,why"], ":1: columns b are missing"),
        ([HEADER, f"{LOST},more"], ":2: 6 cells, the header has 5"),
    ],
)
def test_anything_else_is_one_clear_error(tmp_path: Path, lines: list[str], said: str) -> None:
    with pytest.raises(BadInput) as error:
        _read(tmp_path, *lines)
    assert str(error.value).startswith(f"{tmp_path / 'a/grid/untrained.csv'}{said}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_cut_short_or_none(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="the file is cut short"):
        _read(tmp_path / "cut", HEADER, LOST, end="")
    _read(tmp_path / "link")
    (tmp_path / "link/a/grid/untrained.csv").symlink_to("nowhere")
    with pytest.raises(BadInput, match="is a link"):
        read_results(tmp_path / "link")
