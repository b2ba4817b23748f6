"""Who can be told apart, and what ranks are sure; false claims by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from suite.ranking.bootstrap import cluster_counts
from suite.ranking.correlation import count_pairs, draw_kendall
from suite.ranking.groups import Scored, compare, group, rank_intervals
from suite.ranking.leaderboard import rank_overall
from suite.ranking.tables import read_results
from suite.ranking.task import rank_task
from tests.ranking.made_up import made_up


def _scored(scores: list[float], spread: float, k: int = 40, tasks: int = 1) -> Scored:
    random = np.random.default_rng(0)
    values = np.tile(scores, (tasks, 1))
    return Scored(values, [v[:, None] + spread * random.normal(size=(len(scores), 4000)) for v in values], [k] * tasks)


def test_the_p_of_a_difference_is_students() -> None:
    p = compare(_scored([0.5, 0.2, 0.4], 0.1))(0, np.array([1, 2]))
    error = 0.1 * np.sqrt(2 * 40 / 39)
    assert p == pytest.approx([2 * t.sf(0.3 / error, 39), 2 * t.sf(0.1 / error, 39)], rel=0.1)
    two = compare(_scored([0.5, 0.2], 0.1, tasks=2))(0, np.array([1]))[0]
    assert two == pytest.approx(2 * t.sf(0.3 * np.sqrt(2) / error, 78), rel=0.15)


def test_comparisons_are_paired() -> None:
    random = np.random.default_rng(1)
    common = random.normal(size=2000)
    replicates = np.array([0.5, 0.4])[:, None] + 0.3 * common + 0.01 * random.normal(size=(2, 2000))
    scored = Scored(np.array([[0.5, 0.4]]), [replicates], [30])
    assert compare(scored)(0, np.array([1]))[0] < 1e-4
    assert group(scored).tolist() == [1, 2]


def test_twins_are_never_told_apart_and_what_is_not_known_tells_nothing_apart() -> None:
    same = np.random.default_rng(0).normal(size=(1, 100)).repeat(2, axis=0)
    assert group(Scored(np.array([[0.3, 0.3]]), [same], [9])).tolist() == [1, 1]
    assert group(Scored(np.array([[0.9, 0.1]]), [np.zeros((2, 100))], [9])).tolist() == [1, 2]
    assert group(Scored(np.array([[0.9, 0.1]]), [np.zeros((2, 100))], [1])).tolist() == [1, 1]
    unknown = Scored(np.array([[0.9, 0.1]]), [np.full((2, 100), np.nan)], [9])
    assert group(unknown).tolist() == [1, 1]
    assert [ends.tolist() for ends in rank_intervals(unknown)] == [[1, 1], [2, 2]]


def test_groups_walk_down_from_their_leaders() -> None:
    # the second is within reach of the first, the third of the second alone
    assert group(_scored([0.60, 0.50, 0.10, 0.05], 0.05)).tolist() == [1, 1, 2, 2]
    assert group(_scored([0.05, 0.60, 0.10, 0.50], 0.05)).tolist() == [2, 1, 2, 1]


def test_rank_intervals_of_clear_and_unclear_cases() -> None:
    low, high = rank_intervals(_scored([0.9, 0.5, 0.5, 0.1], 0.01))
    assert low.tolist() == [1, 2, 2, 4]
    assert high.tolist() == [1, 3, 3, 4]
    low, high = rank_intervals(_scored([0.5, 0.49, 0.48], 0.2))
    assert (low.tolist(), high.tolist()) == ([1, 1, 1], [3, 3, 3])


@pytest.mark.parametrize("better", [0.0, 1.6])
def test_a_null_metric_is_alone_in_the_first_group_no_more_often_than_it_should(better: float) -> None:
    random, alone, told, simulations = np.random.default_rng(0), 0, 0, 400
    numbers = np.repeat(np.arange(9), 2)
    for _ in range(simulations):
        values, replicates = [], []
        for _ in range(2):
            shared = np.repeat(random.normal(size=(7, 9)), 2, axis=1) + 0.3 * random.normal(size=(7, 18))
            shared[0] += better * shared[6]
            counts = np.vstack([np.ones((1, 9)), cluster_counts(np.arange(9), 150, random)])
            draws = draw_kendall(count_pairs(shared[:6], shared[6:], numbers), counts).scores[0, :, 0]
            values.append(draws[:, 0])
            replicates.append(draws[:, 1:])
        found = group(Scored(np.array(values), replicates, [9, 9]))
        first = np.flatnonzero(found == 1)
        alone += len(first) == 1 and (first[0] != 0 or better == 0)
        told += len(first) == 1 and first[0] == 0
    assert alone / simulations <= 0.05
    if better:
        assert told / simulations > 0.3


def test_the_overall_table_has_groups_ranks_and_what_a_task_left_out_changes(tmp_path: Path) -> None:
    made_up(tmp_path)
    overall = rank_overall([rank_task(results) for results in read_results(tmp_path)])
    assert overall.at["oracle", "group"] == 1
    assert overall["group"].is_monotonic_increasing
    assert overall.at["wrong_way", "group"] > 1
    assert (overall["rank_low"] <= overall["rank"]).all()
    assert (overall["rank"] <= overall["rank_high"]).all()
    assert overall["without:a/grid"].to_numpy() == pytest.approx(overall["b/trajectory"].to_numpy())
    alone = rank_overall([rank_task(read_results(tmp_path)[0])])
    assert alone["without:a/grid"].isna().all()


def test_a_metric_without_values_has_no_group(tmp_path: Path) -> None:
    made_up(tmp_path)
    for task in ("a/grid", "b/trajectory"):
        path = tmp_path / task / "values/noise.csv"
        pd.read_csv(path).assign(value=np.nan, status="failed").to_csv(path, index=False)
    overall = rank_overall([rank_task(results) for results in read_results(tmp_path)])
    assert overall.loc["noise", ["p", "p_holm", "group", "rank_low", "rank_high", "without:a/grid"]].isna().all()
