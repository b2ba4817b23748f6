"""The edge of stability along training, from a user's task files to published results and reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.ranking.tables import TaskResults, read_results
from tests.command import TINY, TINY_TRAJECTORY, suite, workplace

pytestmark = pytest.mark.whole

ASKED = "  sharpness: {count: 3, samples: 100}\ngrid:"
GRID = TINY.replace("minibatches: 2", "minibatches: 1")
SMALL = GRID.replace("[0.03, 0.1, 0.3]", "[0.01]")
TASKS = {
    "digits": GRID.replace("grid:", ASKED),
    "grokking": TINY_TRAJECTORY.replace("grid:", ASKED),
    "adamw": SMALL.replace("tiny/digits", "tiny/adamw").replace("kind: sgd", "kind: adamw").replace("grid:", ASKED),
    "plain": SMALL.replace("tiny/digits", "tiny/plain"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = workplace(tmp_path_factory.mktemp("edge"))
    for name, text in TASKS.items():
        (folder / f"tasks/tiny/{name}.yaml").write_text(text)
    code, _, err = suite(folder, "run", "tasks/tiny")
    assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def results(place: Path) -> dict[str, TaskResults]:
    return {each.name: each for each in read_results(place / ".suite/reports/results")}


@pytest.mark.slow
def test_both_kinds_of_task_publish_the_largest_eigenvalue_of_every_run(results: dict[str, TaskResults]) -> None:
    for name, steps in (("tiny/grokking", {(0, 20, 40, 60)}), ("tiny/digits", {(0, 44, 88, 132), (0, 22, 44, 66)})):
        edge = results[name].edge
        assert set(edge["run_id"]) == set(results[name].runs["run_id"])
        assert {tuple(part["step"]) for _, part in edge.groupby("run_id")} == steps
        assert np.isfinite(edge["sharpness"]).all()
        assert np.isfinite(edge["edge_ratio"]).all()


def test_the_ratio_is_that_of_the_optimizer(results: dict[str, TaskResults]) -> None:
    grid, grokking = results["tiny/digits"], results["tiny/grokking"]
    rates = grid.runs.set_index("run_id")["training.optimizer.learning_rate"]
    meant = grid.edge["run_id"].map(rates) * grid.edge["sharpness"] / 2
    np.testing.assert_allclose(grid.edge["edge_ratio"], meant, rtol=1e-5)
    rates = grokking.runs.drop_duplicates("run_id").set_index("run_id")["training.optimizer.learning_rate"]
    meant = grokking.edge["run_id"].map(rates) * (grokking.edge["sharpness"] + 0.0001) / (2 * 1.9)
    np.testing.assert_allclose(grokking.edge["edge_ratio"], meant, rtol=1e-5)


def test_adamw_has_an_eigenvalue_and_no_ratio(place: Path, results: dict[str, TaskResults]) -> None:
    edge = results["tiny/adamw"].edge
    assert np.isfinite(edge["sharpness"]).all()
    assert edge["edge_ratio"].isna().all()
    lines = (place / ".suite/reports/results/tiny/adamw/edge.csv").read_text().splitlines()
    assert all(line.endswith(",") for line in lines[1:])


def test_the_whole_training_set_s_value_is_the_metrics(results: dict[str, TaskResults]) -> None:
    """Grokking is trained on all its inputs and they are fewer than a hundred: the metric looks at the same loss."""
    task = results["tiny/grokking"]
    values = task.wide().set_index(["run_id", "step"])["edge_ratio"]
    mine = task.edge.set_index(["run_id", "step"])["edge_ratio"]
    both = pd.concat([values, mine], axis=1, keys=["metric", "mine"]).dropna()
    assert len(both) == 4  # steps 15, 30, 45, 60 and 20, 40, 60 have the last in common
    np.testing.assert_allclose(both["mine"], both["metric"], rtol=0.05)  # the metric's ten Lanczos steps


def test_it_is_on_the_page_and_in_the_text(place: Path, results: dict[str, TaskResults]) -> None:
    reports = place / ".suite/reports"
    beyond = results["tiny/digits"].edge.groupby("run_id")["edge_ratio"].max() > 1
    text = (reports / "leaderboard.md").read_text()
    assert f"exceeded 1 at some recorded step of training in {beyond.sum()} of 12 networks" in text
    assert "Edge of stability along training" in (reports / "site/tiny--digits.html").read_text()


def test_a_second_run_trains_nothing_and_publishes_the_same_bytes(place: Path) -> None:
    files = sorted((place / ".suite/reports/results").rglob("edge.csv"))
    before, database = [path.read_bytes() for path in files], (place / ".suite/store.db").stat().st_mtime_ns
    assert len(files) == 3
    for step in ("train", "measure"):
        code, out, err = suite(place, step, "tasks/tiny")
        assert code == 0, err
        assert "train  " not in out
    assert (place / ".suite/store.db").stat().st_mtime_ns == database
    assert [path.read_bytes() for path in files] == before


def test_a_task_that_does_not_ask_has_no_such_file(place: Path, results: dict[str, TaskResults]) -> None:
    assert results["tiny/plain"].edge.empty
    assert not (place / ".suite/reports/results/tiny/plain/edge.csv").exists()
