"""What is left of a metric once a hyperparameter is held fixed."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.ranking.bootstrap import cluster_counts, setting_numbers
from suite.ranking.correlation import count_pairs
from suite.ranking.partial import draw_partial, same_level
from suite.ranking.tables import read_results
from suite.ranking.task import TaskRanking, rank_task
from tests.ranking.made_up import row, write_task


def _grid(etas: int, bs: int, seeds: int) -> pd.DataFrame:
    rows = [(e, b, s) for e in range(etas) for b in range(bs) for s in range(seeds)]
    return pd.DataFrame(rows, columns=["eta", "b", "seed"])


def _partial(frame: pd.DataFrame, name: str, counts: np.ndarray | None = None) -> np.ndarray:
    numbers = setting_numbers(frame, ["eta", "b"])
    pairs = count_pairs(frame[["metric"]].to_numpy(float).T, frame[["gap"]].to_numpy(float).T, numbers)
    counts = np.ones((1, numbers.max() + 1)) if counts is None else counts
    return draw_partial(pairs, counts, same_level(pairs, numbers, frame[name]))[0, 0]


def test_partial_by_hand() -> None:
    # at η = 0 of three pairs two are right, at η = 1 all three: (2 − 1 + 3) / 6
    frame = pd.DataFrame({"eta": [0, 0, 0, 1, 1, 1], "b": [0, 1, 2, 0, 1, 2], "gap": [1.0, 2, 3, 7, 8, 9]})
    frame["metric"] = [1.0, 3, 2, 0, 1, 2]
    assert _partial(frame, "eta")[0] == pytest.approx(4 / 6)
    # a tie of the metric is left out of its own side: (1 + 0 + 1 + 3) / √(5 · 6)
    frame["metric"] = [1.0, 1, 2, 0, 1, 2]
    assert _partial(frame, "eta")[0] == pytest.approx(5 / np.sqrt(30))


def test_resampled_partial_is_brute_force_on_the_resampled_runs() -> None:
    random = np.random.default_rng(0)
    frame = _grid(3, 4, 2).drop(index=[3, 10])
    frame["eta"] = frame["eta"].replace(0, np.nan)  # a rate called none is a rate
    frame["metric"], frame["gap"] = random.integers(0, 5, len(frame)), random.integers(0, 9, len(frame))
    numbers = setting_numbers(frame, ["eta", "b"])
    counts = cluster_counts(np.arange(numbers.max() + 1), 8, random)
    for drawn, value in zip(counts, _partial(frame, "eta", counts), strict=True):
        again = frame.fillna(-1).iloc[np.repeat(np.arange(len(frame)), drawn[numbers].astype(int))]
        points = again[["eta", "metric", "gap"]].to_numpy(float)
        signs = np.array([np.sign(p - q)[1:] for p, q in combinations(points, 2) if p[0] == q[0]])
        expected = (signs[:, 0] * signs[:, 1]).sum() / np.sqrt(np.abs(signs).sum(0).prod())
        assert value == pytest.approx(expected, abs=1e-12)


def _ranked(root: Path, metric: str) -> TaskRanking:
    """Gaps that η and b move alike; the metric `noise` reads η alone, or b and noise."""
    random = np.random.default_rng(1)
    grid = _grid(5, 5, 2)
    rows = pd.DataFrame([row(f"r{i}", 1, random) for i in grid.index]).join(grid)
    gap = 2 * grid["eta"] + grid["b"] + 0.5 * random.standard_normal(50)
    rows["loss_gap"], rows["accuracy_gap"] = gap, gap / 20
    write_task(root / "a/echo", "grid", rows, ["eta", "b", "seed"])
    path = root / "a/echo/values/noise.csv"
    values = {"eta": np.exp(grid["eta"]), "own": gap + random.standard_normal(50)}[metric]
    pd.read_csv(path).assign(value=values).to_csv(path, index=False)
    return rank_task(read_results(root)[0])


def test_a_function_of_eta_alone_is_an_echo_of_it(tmp_path: Path) -> None:
    ranking = _ranked(tmp_path, "eta")
    found = ranking.rows.set_index(["metric", "target"]).loc[("noise", "loss_gap")]
    assert found["tau"] > 0.6
    assert found["low"] > 0.4
    assert (found["partial:eta"], found["partial_low:eta"], found["partial_high:eta"]) == (0, 0, 0)
    assert found["partial_low:b"] > 0.5
    assert found["psi:eta"] > 0.8
    assert found["psi:b"] == 0
    assert ranking.echoes("noise", "loss_gap") == ["eta"]
    assert ranking.echoes("oracle", "loss_gap") == []
    with pytest.raises(KeyError, match="no metric nothing"):
        ranking.echoes("nothing", "loss_gap")


def test_what_predicts_beyond_eta_is_no_echo(tmp_path: Path) -> None:
    ranking = _ranked(tmp_path, "own")
    assert ranking.rows.set_index(["metric", "target"]).at[("noise", "loss_gap"), "partial_low:eta"] > 0
    assert ranking.echoes("noise", "loss_gap") == []
