"""Two metrics, and two sets of results, against hand-computed toys, scipy and the leaderboard."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, kendalltau, t

from suite.errors import BadInput
from suite.ranking.changes import compare_sets, relative, same_draws
from suite.ranking.compare import PairCounts, compare_metrics, count_by_verdict, unknown
from suite.ranking.correlation import Vector
from suite.ranking.leaderboard import rank_overall
from suite.ranking.relatives import relatives
from suite.ranking.tables import TaskResults, read_results
from suite.ranking.task import rank_task
from tests.ranking.claimed import grid, untried
from tests.ranking.made_up import made_up, row, write_task

PUBLISHED = Path(__file__).parents[2] / "reports/results"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("results")
    made_up(made)
    return made


@pytest.fixture(scope="module")
def results(root: Path) -> list[TaskResults]:
    return read_results(root)


def _noises(root: Path, count: int) -> list[TaskResults]:
    """A grid of 12 settings and 2 seeds, with metrics that are the loss gap under more or less noise."""
    random = np.random.default_rng(3)
    rows = [
        row(f"r{a}{b}{s}", 10, random) | {"eta": 0.1 * (1 + a), "b": 8 << b, "seed": s}
        for a in range(4)
        for b in range(3)
        for s in range(2)
    ]
    write_task(root / "a/grid", "grid", pd.DataFrame(rows), ["eta", "b", "seed"])
    folder = root / "a/grid"
    entries, gap = json.loads((folder / "metrics.json").read_text()), np.array([r["loss_gap"] for r in rows], float)
    for number in range(count):
        name = f"noisy_{number}"
        table = pd.read_csv(folder / "values/noise.csv", dtype={"component": str})
        table["value"] = gap + random.normal(size=len(gap)) * gap.std() * 0.3 * (1 + number)
        table.to_csv(folder / f"values/{name}.csv", index=False)
        entries.append(entries[0] | {"name": name, "title": name, "sign": 1, "trivial": False})
    (folder / "metrics.json").write_text(json.dumps(entries))
    return read_results(root)


# what a pair of metrics says of pairs of networks


def test_pairs_by_hand() -> None:
    gap = np.array([0.0, 1, 2, 2])
    a = np.array([0.0, 1, 2, 3])  # right on all five pairs that the gap orders
    b = np.array([1.0, 0, 0, 5])  # 01 wrong, 02 wrong, 03 right, 12 tied, 13 right
    one = np.zeros(4)
    assert count_by_verdict(a, b, gap, one) == PairCounts(2, 2, 0, 0, 1, 0)
    assert count_by_verdict(b, a, gap, one) == PairCounts(2, 0, 2, 0, 1, 0)
    assert count_by_verdict(-a, b, gap, one) == PairCounts(0, 0, 2, 2, 1, 0)
    # without network 3: of its two ordered pairs (03, 13) a value is missing, also where it would be a tie
    lost = np.array([0.0, 1, 2, np.nan])
    assert count_by_verdict(lost, b, gap, one) == PairCounts(0, 2, 0, 0, 1, 2)
    # only pairs of one run count: 01 and, as the gap does not order 23, nothing else
    assert count_by_verdict(a, b, gap, np.array([0, 0, 1, 1])) == PairCounts(0, 1, 0, 0, 0, 0)


def test_pairs_add_up_and_give_the_taus_back(tmp_path: Path) -> None:
    results = _noises(tmp_path, 2)
    found = compare_metrics("noisy_0", "noisy_1", results)
    for on in found.tasks[0].targets:
        n = len(results[0].runs)
        assert sum(dataclasses.astuple(on.pairs)) == n * (n - 1) // 2  # no ties, nothing missing
        pairs = on.pairs
        right = pairs.both_right + pairs.a_right_b_wrong - pairs.b_right_a_wrong - pairs.both_wrong
        assert on.a.tau.value == pytest.approx(right / (n * (n - 1) / 2), abs=1e-12)
        frame = results[0].wide()
        assert on.a.tau.value == pytest.approx(kendalltau(frame["noisy_0"], frame[on.target]).statistic, abs=1e-12)


# scores and their differences


def test_scores_are_those_of_the_leaderboard() -> None:
    """Ranked alone or with all others, on real results: the same scores and intervals."""
    results = read_results(PUBLISHED, ["quick/digits-mlp3", "quick/modular-grokking", "confounds/seeds"])
    rankings = [rank_task(result, permutations=0) for result in results]
    overall = rank_overall(rankings)
    found = compare_metrics("sharpness_dimension", "steps", results)
    assert [task.task for task in found.tasks] == [result.name for result in results]
    for name, side in (("sharpness_dimension", "a"), ("steps", "b")):
        score = getattr(found, f"overall_{side}")
        assert dataclasses.astuple(score) == tuple(overall.loc[name, ["score", "low", "high"]])
        for task, ranking in zip(found.tasks, rankings, strict=True):
            assert getattr(task, side).value == ranking.scores[name].value
    assert found.difference.value == pytest.approx(found.overall_a.value - found.overall_b.value, abs=1e-15)


def test_difference_is_students_t_on_paired_replicates(tmp_path: Path) -> None:
    """Written out once more: k / (k − 1) times the variance of the differences of replicates, k − 1 degrees."""
    results = _noises(tmp_path, 2)
    ranking = rank_task(results[0], permutations=0)
    a, b = ranking.scores["noisy_0"], ranking.scores["noisy_1"]
    variance = (a.replicates - b.replicates).var(ddof=1) * 12 / 11
    half = t.ppf(0.975, 11) * np.sqrt(variance)
    p = 2 * t.sf(abs(a.value - b.value) / np.sqrt(variance), 11)
    (task,) = compare_metrics("noisy_0", "noisy_1", results).tasks
    known = task.difference
    assert (known.value, known.low, known.high) == pytest.approx(
        (a.value - b.value, a.value - b.value - half, a.value - b.value + half), abs=1e-12
    )
    assert known.p == pytest.approx(p, rel=1e-9)
    assert (task.clusters, task.drawn) == (12, "settings")


def test_p_is_below_five_per_cent_where_and_only_where_the_interval_leaves_0_out(tmp_path: Path) -> None:
    results = _noises(tmp_path, 8)
    sure = []
    for i in range(8):
        for j in range(i):
            known = compare_metrics(f"noisy_{i}", f"noisy_{j}", results).difference
            outside = known.low > 0 or known.high < 0
            assert (known.p < 0.05) == outside
            sure.append(outside)
    assert any(sure)
    assert not all(sure)


@pytest.mark.parametrize("pair", [("oracle", "noise"), ("lucky", "rate"), ("parts.a", "wrong_way")])
def test_the_other_way_round_everything_is_mirrored(pair: tuple[str, str], results: list[TaskResults]) -> None:
    found, turned = compare_metrics(*pair, results), compare_metrics(*reversed(pair), results)
    _mirrored(found.difference, turned.difference)
    assert found.overall_a == turned.overall_b
    for one, other in zip(found.tasks, turned.tasks, strict=True):
        _mirrored(one.difference, other.difference)
        assert dataclasses.astuple(one.alike) == pytest.approx(dataclasses.astuple(other.alike), nan_ok=True)
        assert one.points == other.points
        for x, y in zip(one.targets, other.targets, strict=True):
            assert repr((x.a, x.b)) == repr((y.b, y.a))
            assert x.pairs.a_right_b_wrong == y.pairs.b_right_a_wrong
            assert (x.pairs.both_right, x.pairs.tied, x.pairs.missing) == (
                y.pairs.both_right,
                y.pairs.tied,
                y.pairs.missing,
            )


def _mirrored(one: Any, other: Any) -> None:
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low), abs=1e-12)
    assert one.p == pytest.approx(other.p, rel=1e-9)


@pytest.mark.parametrize("name", ["oracle", "noise", "rate", "lucky"])
def test_a_metric_against_itself(name: str, results: list[TaskResults]) -> None:
    found = compare_metrics(name, name, results)
    for known in (found.difference, *(task.difference for task in found.tasks)):
        assert (known.value, known.low, known.high, known.p) == (0, 0, 0, 1)
    for task in found.tasks:
        assert task.alike.value == 1 or np.isnan(task.alike.value)
        for on in task.targets:
            assert on.pairs.a_right_b_wrong == on.pairs.b_right_a_wrong == 0


def test_holm_is_over_the_tasks(results: list[TaskResults]) -> None:
    tasks = compare_metrics("oracle", "noise", results).tasks
    least, most = sorted(tasks, key=lambda task: task.difference.p)
    assert least.p_holm == pytest.approx(min(1, 2 * least.difference.p))
    assert most.p_holm == pytest.approx(max(least.p_holm, most.difference.p))


def _grid(metrics: dict[str, Vector], gap: Vector, shape: tuple[int, int, int], name: str = "a/grid") -> TaskResults:
    made = grid(metrics, gap, shape, name)
    return dataclasses.replace(made, metrics=made.metrics.assign(title=made.metrics.index, source=""))


def test_no_p_is_below_that_of_so_few_settings() -> None:
    """Right everywhere against wrong everywhere: two-sided 2 / k!, of two tasks together the product."""
    for k, least in ((3, 1 / 3), (4, 1 / 12), (5, 1 / 60), (6, 1 / 360)):
        gap = np.arange(float(k))
        task = _grid({"x": gap, "y": -gap}, gap, (k, 1, 1))
        known = compare_metrics("x", "y", [task])
        assert known.difference.p == known.tasks[0].difference.p == pytest.approx(least)
        both = compare_metrics("x", "y", [task, _grid({"x": gap, "y": -gap}, gap, (k, 1, 1), "b/grid")])
        assert both.difference.p == pytest.approx(least**2 / 2)
        assert both.tasks[1].p_holm == pytest.approx(min(1, 2 * least))
        assert compare_metrics("x", "x", [task]).difference.p == 1


def test_only_settings_at_which_both_were_tried_count_for_it() -> None:
    gap = np.arange(12.0)
    task = _grid({"x": gap, "y": np.where(gap < 4, -gap, np.nan)}, gap, (12, 1, 1))
    assert compare_metrics("x", "y", [task]).difference.p < 0.001  # failed values are wrong ones
    assert compare_metrics("x", "y", [untried(task)]).difference.p >= 2 / 24


@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 2, 1)])
def test_of_two_metrics_alike_neither_is_certainly_better(shape: tuple[int, int, int]) -> None:
    random, n = np.random.default_rng(3), shape[0] * shape[1]
    certain = 0
    for _ in range(30):
        task = _grid({"x": random.normal(size=n), "y": random.normal(size=n)}, random.normal(size=n), shape)
        certain += compare_metrics("x", "y", [task]).difference.p < 0.05
    assert certain <= (0 if n < 5 else binom.isf(1e-4, 30, 0.05))


# how alike two metrics are


def test_alike_is_scipys_tau_over_networks_with_both_values(results: list[TaskResults]) -> None:
    grid = results[0]
    frame = grid.wide()[grid.included]
    both = frame[frame["lucky"].notna()]
    (task, _) = compare_metrics("lucky", "noise", results).tasks
    assert task.points == len(both) < len(frame)
    assert task.alike.value == pytest.approx(kendalltau(both["lucky"], both["noise"]).statistic, abs=1e-12)
    assert task.alike.low < task.alike.value < task.alike.high


def test_alike_along_trajectories_is_the_mean_over_runs(results: list[TaskResults]) -> None:
    frame = results[1].wide()
    taus = [kendalltau(run["oracle"], run["noise"]).statistic for _, run in frame.groupby("run_id")]
    task = compare_metrics("oracle", "noise", results).tasks[1]
    assert (task.kind, task.points) == ("trajectory", 48)
    assert task.alike.value == pytest.approx(np.mean(taus), abs=1e-12)


@pytest.mark.parametrize("pair", [("oracle", "noise"), ("lucky", "rate"), ("oracle", "wrong_way")])
def test_alike_is_what_the_matrix_of_all_metrics_says(pair: tuple[str, str], results: list[TaskResults]) -> None:
    for result, task in zip(results, compare_metrics(*pair, results).tasks, strict=True):
        assert task.alike.value == pytest.approx(relatives(result).loc[pair], abs=1e-12, nan_ok=True)


# missing values, metrics of some tasks


def _without(results: TaskResults, metric: str) -> TaskResults:
    """As if the task asked for no probe of the metric's."""
    rows = results.values["metric"] != metric
    values = results.values[rows].reset_index(drop=True)
    return dataclasses.replace(results, metrics=results.metrics.drop(metric), values=values)


def test_a_task_that_one_was_not_tried_on_does_not_count(results: list[TaskResults]) -> None:
    grid, trajectory = results
    found = compare_metrics("oracle", "noise", [grid, _without(trajectory, "noise")])
    assert [task.task for task in found.tasks] == ["a/grid"]
    assert found.apart == {"b/trajectory": "noise not tried there"}
    alone = compare_metrics("oracle", "noise", [grid])
    assert found.difference == alone.difference == alone.tasks[0].difference
    neither = _without(_without(trajectory, "noise"), "oracle")
    assert compare_metrics("oracle", "noise", [grid, neither]).apart == {"b/trajectory": "neither was tried there"}
    nowhere = compare_metrics("oracle", "noise", [_without(grid, "oracle"), _without(trajectory, "noise")])
    assert nowhere.tasks == []
    assert np.isnan(nowhere.difference.value)


def test_failing_everywhere_scores_the_worst_and_is_counted(results: list[TaskResults]) -> None:
    grid = results[0]
    values = grid.values.copy()
    own = values["metric"] == "noise"
    values.loc[own, "value"], values.loc[own, "status"] = np.nan, "timeout"
    found = compare_metrics("noise", "oracle", [dataclasses.replace(grid, values=values)])
    (task,) = found.tasks
    assert task.a.value == -1
    assert np.isnan(task.alike.value)
    assert task.points == 0
    for on in task.targets:
        assert (on.a.n, on.a.failed) == (0, 15)
        assert np.isnan(on.a.tau.value)
        counts = dataclasses.astuple(on.pairs)
        assert counts[:-1] == (0, 0, 0, 0, 0)
        assert counts[-1] == 15 * 14 // 2


def test_a_component_that_never_came_scores_as_in_the_leaderboard(results: list[TaskResults]) -> None:
    """Where its metric was tried and gave another component only, it counts −1."""
    grid, trajectory = results
    gone = dataclasses.replace(
        trajectory,
        metrics=trajectory.metrics.drop("parts.b"),
        values=trajectory.values[trajectory.values["metric"] != "parts.b"].reset_index(drop=True),
    )
    found = compare_metrics("parts.a", "parts.b", [grid, gone])
    assert [task.b.value for task in found.tasks] == [found.tasks[0].b.value, -1]
    overall = rank_overall([rank_task(result, permutations=0) for result in (grid, gone)])
    assert found.overall_b.value == overall.at["parts.b", "score"]
    assert found.tasks[1].targets[0].b.failed == 48


def test_a_task_without_scores_is_named_with_the_reason(results: list[TaskResults]) -> None:
    grid, trajectory = results
    runs = grid.runs.assign(accuracy_gap=0.1, loss_gap=0.1)
    found = compare_metrics("oracle", "noise", [dataclasses.replace(grid, runs=runs), trajectory])
    assert found.apart == {"a/grid": "the gap is the same for all networks"}
    assert len(found.tasks) == 1


def test_one_setting_gives_no_interval_and_no_p(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [row(f"r{n}", 1, random) | {"eta": 0.1, "seed": 0} for n in range(1)]
    rows += [row("r0", step, random) | {"eta": 0.1, "seed": 0} for step in range(2, 9)]
    write_task(tmp_path / "a/one", "trajectory", pd.DataFrame(rows), ["eta", "seed"])
    (task,) = compare_metrics("oracle", "noise", read_results(tmp_path)).tasks
    assert task.difference.value == pytest.approx(1 - task.b.value)
    assert np.isnan([task.difference.low, task.difference.high, task.difference.p, task.p_holm]).all()


def test_unknown_metrics_are_told_with_what_was_meant(results: list[TaskResults]) -> None:
    with pytest.raises(BadInput, match=r"orcale: no such metric in the results of a/grid, b/trajectory; .*oracle"):
        compare_metrics("orcale", "noise", results)
    with pytest.raises(BadInput, match=r"it has several values: give one of parts\.a, parts\.b$"):
        compare_metrics("noise", "parts", results)
    assert "suite export" in unknown("xyzzy", ["oracle"])


# two sets of results


@pytest.fixture
def after(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "after"))


def _compared(before: Path, after: Path) -> Any:
    return compare_sets(read_results(before), read_results(after))


def test_a_set_against_itself_has_changed_nothing(root: Path, after: Path) -> None:
    found = _compared(root, after)
    assert found.only_before == found.only_after == []
    assert [task.task for task in found.tasks] == found.ranked == ["a/grid", "b/trajectory"]
    assert not any(task.differs for task in found.tasks)
    assert not any(change.differs for change in found.overall)
    assert all(task.paired for task in found.tasks)
    for change in found.overall:
        assert dataclasses.astuple(change.score.difference) == (0, 0, 0)
    assert [change.rank_after for change in found.overall] == list(range(1, len(found.overall) + 1))
    assert (found.tasks[1].runs.shared, found.tasks[1].runs.gone, found.tasks[1].runs.new) == (48, 0, 0)


def _edit(path: Path, **cells: Any) -> None:
    """Writes cells of a CSV file: `column=(row, value)`."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column, (number, value) in cells.items():
        table.loc[number, column] = str(value)
    table.to_csv(path, index=False)


def test_a_perturbed_copy_shows_exactly_the_perturbation(root: Path, after: Path) -> None:
    values = after / "a/grid/values"
    was = pd.read_csv(root / "a/grid/values/noise.csv")["value"]
    _edit(values / "noise.csv", value=(0, float(was[0]) * 1.25))
    _edit(values / "noise.csv", value=(1, ""), status=(1, "timeout"), reason=(1, "slow"))
    _edit(values / "oracle.csv", standard_error=(3, 0.5))
    lucky = pd.read_csv(root / "a/grid/values/lucky.csv")
    failed = int(np.flatnonzero(lucky["value"].isna())[0])
    _edit(values / "lucky.csv", value=(failed, 7.0), status=(failed, "ok"), reason=(failed, ""))
    grid, trajectory = _compared(root, after).tasks
    assert not trajectory.differs
    assert grid.settings == grid.runs.columns == []
    changed = {metric.metric: metric for metric in grid.metrics if metric.differs}
    assert sorted(changed) == ["lucky", "noise", "oracle"]
    noise, oracle, lucky_one = changed["noise"], changed["oracle"], changed["lucky"]
    assert (noise.values, noise.changed, noise.gone, noise.new, noise.restated) == (18, 1, 1, 0, 0)
    assert noise.largest == pytest.approx(0.2)  # 0.25 of 1.25
    assert np.isnan(noise.in_errors)
    assert (oracle.changed, oracle.restated) == (0, 1)
    assert oracle.score.before == oracle.score.after
    assert (lucky_one.changed, lucky_one.gone, lucky_one.new) == (0, 0, 1)


def test_differences_in_standard_errors(root: Path, after: Path, tmp_path: Path) -> None:
    before = Path(shutil.copytree(root, tmp_path / "before"))
    for folder, error in ((before, 0.3), (after, 0.4)):
        _edit(folder / "a/grid/values/noise.csv", standard_error=(2, error))
    value = pd.read_csv(root / "a/grid/values/noise.csv")["value"][2]
    _edit(after / "a/grid/values/noise.csv", value=(2, float(value) + 1.0))
    (noise,) = [metric for metric in _compared(before, after).tasks[0].metrics if metric.differs]
    assert noise.in_errors == pytest.approx(1 / np.sqrt((0.09 + 0.16) / 2))


def test_provenance_and_entries_that_differ(root: Path, after: Path) -> None:
    path = after / "a/grid/provenance.json"
    provenance = json.loads(path.read_text())
    provenance["versions"]["torch"], provenance["spec_hash"], provenance["device"] = "3", "1" * 16, "cuda"
    provenance["seconds"] = {"training": 3}
    path.write_text(json.dumps(provenance))
    entries = json.loads((after / "a/grid/metrics.json").read_text())
    entries[0] |= {"version": 2}
    (after / "a/grid/metrics.json").write_text(json.dumps(entries))
    grid = _compared(root, after).tasks[0]
    assert [(s.name, s.before, s.after) for s in grid.settings] == [
        ("device", "cpu", "cuda"),
        ("spec_hash", "0" * 16, "1" * 16),
        ("versions.torch", "2", "3"),
    ]
    (metric,) = [metric for metric in grid.metrics if metric.differs]
    assert metric.metric == entries[0]["name"]
    assert [(s.name, s.before, s.after) for s in metric.entry] == [("version", "1", "2")]


def test_losses_and_gaps_that_differ(root: Path, after: Path) -> None:
    was = pd.read_csv(root / "a/grid/runs.csv")["loss_gap"]
    _edit(after / "a/grid/runs.csv", loss_gap=(2, float(was[2]) / 2), status=(7, "diverged"))
    grid = _compared(root, after).tasks[0]
    found = {column.column: (column.differ, column.largest) for column in grid.runs.columns}
    assert found["loss_gap"] == (1, pytest.approx(0.5))
    assert found["status"][0] == 1
    assert sorted(found) == ["loss_gap", "status"]


def test_tasks_and_metrics_on_one_side_alone(root: Path, after: Path) -> None:
    shutil.rmtree(after / "b")
    (after / "a/grid/values/noise.csv").unlink()
    entries = [e for e in json.loads((after / "a/grid/metrics.json").read_text()) if e["name"] != "noise"]
    (after / "a/grid/metrics.json").write_text(json.dumps(entries))
    found, turned = _compared(root, after), _compared(after, root)
    assert (found.only_before, found.only_after) == (["b/trajectory"], [])
    assert (turned.only_before, turned.only_after) == ([], ["b/trajectory"])
    (metric,) = [metric for metric in found.tasks[0].metrics if metric.differs]
    assert (metric.metric, metric.only, metric.gone, metric.new) == ("noise", "before", 18, 0)
    assert np.isnan(metric.score.difference.value)
    (back,) = [metric for metric in turned.tasks[0].metrics if metric.differs]
    assert (back.only, back.gone, back.new) == ("after", 0, 18)
    ranks = {change.metric: (change.rank_before, change.rank_after) for change in found.overall}
    assert ranks["noise"][1] is None
    assert ranks["noise"][0] is not None


def test_other_runs_of_the_same_settings_are_paired_by_the_settings(root: Path, after: Path) -> None:
    """A new spec hash gives new run ids: no network is shared, and scores are still paired."""
    folder = after / "a/grid"
    for path in (folder / "runs.csv", *sorted((folder / "values").glob("*.csv"))):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table.assign(run_id=table["run_id"] + "x").to_csv(path, index=False)
    grid = _compared(root, after).tasks[0]
    assert (grid.runs.shared, grid.runs.gone, grid.runs.new) == (0, 18, 18)
    assert grid.paired
    for metric in grid.metrics:
        assert (metric.changed, metric.gone, metric.new) == (0, 0, 0)
        assert dataclasses.astuple(metric.score.difference) == (0, 0, 0)


def test_without_a_setting_the_difference_is_of_independent_sets(root: Path, after: Path) -> None:
    """By hand: the variances of both sides added, the degrees of freedom by Welch and Satterthwaite."""
    runs = pd.read_csv(after / "a/grid/runs.csv")
    lost = runs["run_id"][(runs["eta"] == 0.3) & (runs["b"] == 32)]
    for path in (after / "a/grid/runs.csv", *sorted((after / "a/grid/values").glob("*.csv"))):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table[~table["run_id"].isin(lost)].to_csv(path, index=False)
    before, later = read_results(root), read_results(after)
    assert not same_draws(before[0], later[0])
    assert same_draws(before[1], later[1])
    found = compare_sets(before, later)
    grid = found.tasks[0]
    assert not grid.paired
    metric = {m.metric: m for m in grid.metrics}["noise"]
    rankings = [rank_task(side[0], permutations=0) for side in (before, later)]
    assert [ranking.clusters for ranking in rankings] == [8, 7]
    variances = [
        ranking.scores["noise"].replicates[np.isfinite(ranking.scores["noise"].replicates)].var(ddof=1) * k / (k - 1)
        for ranking, k in zip(rankings, (8, 7), strict=True)
    ]
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 7 + variances[1] ** 2 / 6)
    half = t.ppf(0.975, freedom) * np.sqrt(sum(variances))
    value = rankings[1].scores["noise"].value - rankings[0].scores["noise"].value
    expected = (value, max(-2, value - half), min(2, value + half))
    assert dataclasses.astuple(metric.score.difference) == pytest.approx(expected, abs=1e-12)
    turned = {m.metric: m for m in compare_sets(later, before).tasks[0].metrics}["noise"].score.difference
    assert dataclasses.astuple(turned) == pytest.approx((-expected[0], -expected[2], -expected[1]), abs=1e-12)
    assert not {c.metric: c for c in found.overall}["noise"].score.paired


def test_the_order_of_settings_is_part_of_the_draws(root: Path, after: Path) -> None:
    path = after / "a/grid/runs.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.iloc[::-1].to_csv(path, index=False)
    found = _compared(root, after).tasks[0]
    assert not found.paired
    assert found.runs.columns == []
    assert not any(metric.changed for metric in found.metrics)


def test_relative_differences() -> None:
    inf, nan = np.inf, np.nan
    before = np.array([1.0, 2.0, 0.0, -1.0, inf, inf, nan, 1e308])
    after = np.array([1.0, 1.0, 5.0, 1.0, inf, 1.0, 1.0, -1e308])
    expected = [0, 0.5, 1, 2, 0, nan, nan, 2]
    assert np.array_equal(relative(before, after), expected, equal_nan=True)


def test_swapped_sets_mirror_ranks_and_differences(root: Path, after: Path) -> None:
    _edit(after / "a/grid/values/noise.csv", value=(1, 9.0))
    found, turned = _compared(root, after), _compared(after, root)
    others = {change.metric: change for change in turned.overall}
    for change in found.overall:
        other = others[change.metric]
        assert (change.rank_before, change.rank_after) == (other.rank_after, other.rank_before)
        one, two = change.score.difference, other.score.difference
        assert (one.value, one.low, one.high) == pytest.approx((-two.value, -two.high, -two.low), abs=1e-12)
