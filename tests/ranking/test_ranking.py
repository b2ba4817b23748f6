"""Ranking rules, and tables that are wrong."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau
from threadpoolctl import threadpool_info, threadpool_limits

from suite.errors import BadInput
from suite.ranking import task as ranking_of_one
from suite.ranking.edge import EdgeCounts, edge_counts
from suite.ranking.leaderboard import rank_overall
from suite.ranking.tables import is_seed, read_results
from suite.ranking.task import TaskRanking, rank_task
from suite.spec import loading
from tests.ranking.made_up import made_up, row, write_task


def _rankings(root: Path) -> dict[str, TaskRanking]:
    return {result.name: rank_task(result) for result in read_results(root)}


def test_ranking_finds_the_oracle_and_the_wrong_way_round(tmp_path: Path) -> None:
    made_up(tmp_path)
    overall = rank_overall(list(_rankings(tmp_path).values()))
    assert overall.index[0] == "oracle"
    assert overall.at["oracle", "score"] == pytest.approx(1.0)
    assert overall.at["oracle", "beats_trivial"] == "yes"
    assert overall.at["wrong_way", "score"] == pytest.approx(-1.0)
    assert overall.index[-1] == "wrong_way"
    assert overall.at["noise", "low"] < 0 < overall.at["noise", "high"]


def test_the_targets_of_a_task_are_gaps_of_the_same_runs(tmp_path: Path) -> None:
    made_up(tmp_path)
    ranking = _rankings(tmp_path)["a/grid"]
    # both targets order the runs alike here: their mean is known no better than either of them
    targets = ranking.rows.set_index(["metric", "target"])
    low, high = targets.loc[("noise", "loss_gap"), ["low", "high"]]
    both = rank_overall([ranking]).loc["noise"]
    assert (both["low"], both["high"]) == pytest.approx((low, high))


def _set_metric(folder: Path, name: str, **words: object) -> None:
    described = json.loads((folder / "metrics.json").read_text())
    next(metric for metric in described if metric["name"] == name).update(words)
    (folder / "metrics.json").write_text(json.dumps(described))


def test_trivial_predictors_get_their_better_sign_on_each_task(tmp_path: Path) -> None:
    made_up(tmp_path)
    for name in ("a/grid", "b/trajectory"):
        # its authors would be wrong on both tasks; nobody asked them
        _set_metric(tmp_path / name, "wrong_way", trivial=True)
    rankings = _rankings(tmp_path)
    overall = rank_overall(list(rankings.values()))
    assert overall.at["wrong_way", "score"] == pytest.approx(1.0)
    assert overall.at["wrong_way", "beats_trivial"] == ""
    assert overall.at["oracle", "beats_trivial"] == "undecided"  # as good, not better
    assert overall.at["noise", "beats_trivial"] == "no"
    grid = rankings["a/grid"]
    rate = grid.scores["rate"].replicates
    assert (rate[np.isfinite(rate)] >= 0).all()
    read = grid.rows.set_index(["metric", "target"]).loc["wrong_way"]
    assert (read["sign"] == -1).all()
    assert read["tau"].tolist() == pytest.approx([-1.0, -1.0])


def test_pairs_without_values_are_ordered_wrongly(tmp_path: Path) -> None:
    made_up(tmp_path)
    rankings = _rankings(tmp_path)
    lucky = rankings["a/grid"].rows.set_index(["metric", "target"]).loc[("lucky", "loss_gap")]
    assert (lucky["n"], lucky["failed"], lucky["tau"]) == (4, 11, pytest.approx(1.0))
    assert lucky["score"] == pytest.approx((6 - 99) / 105)  # pairs of 4 networks, of 15
    assert rank_overall(list(rankings.values())).at["lucky", "a/grid"] == pytest.approx((6 - 99) / 105)


def test_forty_percent_failures_cost_too(tmp_path: Path) -> None:
    made_up(tmp_path)
    path = tmp_path / "a/grid/values/oracle.csv"
    table = pd.read_csv(path)
    table.loc[table["run_id"].isin([f"r{n}" for n in range(12, 18)]), ["value", "status"]] = [np.nan, "failed"]
    table.to_csv(path, index=False)
    ranking = _rankings(tmp_path)["a/grid"]
    score = ranking.scores["oracle"]
    assert score.value == pytest.approx((36 - 69) / 105)
    assert np.isfinite(score.replicates).all()
    assert score.replicates.mean() == pytest.approx((36 - 69) / 105, abs=0.1)


def test_a_run_without_any_value_counts_in_trajectories(tmp_path: Path) -> None:
    made_up(tmp_path)
    path = tmp_path / "b/trajectory/values/oracle.csv"
    table = pd.read_csv(path)
    table.loc[table["run_id"].isin(["t0", "t1", "t2"]), ["value", "status"]] = [np.nan, "failed"]
    table.to_csv(path, index=False)
    ranking = _rankings(tmp_path)["b/trajectory"]
    assert ranking.scores["oracle"].value == pytest.approx(0.0)
    assert ranking.rows.set_index(["metric", "target"]).at[("oracle", "loss_gap"), "tau"] == pytest.approx(1.0)


def test_intervals_are_from_settings_on_both_kinds_of_tasks(tmp_path: Path) -> None:
    made_up(tmp_path)
    rankings = _rankings(tmp_path)
    assert (rankings["a/grid"].clusters, rankings["a/grid"].drawn) == (8, "settings")  # of 9; one did not learn
    assert (rankings["b/trajectory"].clusters, rankings["b/trajectory"].drawn) == (2, "settings")


def _lose(folder: Path, metric: str) -> None:
    path = folder / "values" / f"{metric}.csv"
    pd.read_csv(path).assign(value=np.nan, status="failed", reason="RuntimeError: no").to_csv(path, index=False)


@pytest.mark.parametrize(("task", "other"), [("a/grid", "b/trajectory"), ("b/trajectory", "a/grid")])
def test_a_task_on_which_every_value_failed_counts_as_ordered_wrongly(tmp_path: Path, task: str, other: str) -> None:
    made_up(tmp_path)
    _lose(tmp_path / task, "oracle")
    overall = rank_overall(list(_rankings(tmp_path).values()))
    assert overall.at["oracle", task] == pytest.approx(-1.0)
    assert overall.at["oracle", other] == pytest.approx(1.0)
    assert overall.at["oracle", "score"] == pytest.approx(0.0)
    assert overall.at["oracle", "p"] <= 0.26
    assert set(overall.index[overall["lacking"]]) == {"lucky", "oracle"}


def test_a_component_gains_nothing_where_its_metric_fails(tmp_path: Path) -> None:
    # what fails has a row without components: nobody can tell which would have come
    made_up(tmp_path)
    path = tmp_path / "a/grid/values/parts.csv"
    table = pd.read_csv(path).drop_duplicates(["run_id", "step"])
    table.assign(component="", value=np.nan, status="failed", reason="no").to_csv(path, index=False)
    overall = rank_overall(list(_rankings(tmp_path).values()))
    assert overall.at["parts.a", "a/grid"] == -1
    assert overall.at["parts.a", "score"] == pytest.approx(0.0)


def test_what_was_not_tried_is_neither_right_nor_wrong(tmp_path: Path) -> None:
    """A probe that the task asks for at last checkpoints only: no rows elsewhere, nothing to order along a run."""
    made_up(tmp_path)
    for task, kept in (("b/trajectory", "step == 7"), ("a/grid", "run_id != 'r17'")):
        path = tmp_path / task / "values/oracle.csv"
        pd.read_csv(path).query(kept).to_csv(path, index=False)
    rankings = _rankings(tmp_path)
    assert rankings["b/trajectory"].scores["oracle"].value == 0
    assert rankings["a/grid"].scores["oracle"].value == pytest.approx(91 / 105)  # 14 of 15 networks


def test_a_trivial_predictor_that_fails_is_read_with_its_better_sign_and_can_lose(tmp_path: Path) -> None:
    made_up(tmp_path)
    for name in ("a/grid", "b/trajectory"):
        _set_metric(tmp_path / name, "lucky", trivial=True)
    ranking = _rankings(tmp_path)["a/grid"]
    assert ranking.scores["lucky"].value == pytest.approx((6 - 99) / 105)
    alone = rank_overall([ranking])
    assert alone.at["lucky", "low"] <= alone.at["lucky", "score"] < 0


def test_ranking_computes_with_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up(tmp_path)
    seen = []

    def counted(*given: object) -> object:
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return draw(*given)

    draw = ranking_of_one.draw_kendall
    monkeypatch.setattr(ranking_of_one, "draw_kendall", counted)
    with threadpool_limits(2, user_api="blas"):
        _rankings(tmp_path)
    assert seen
    assert set(seen) == {1}


def test_a_metric_that_one_task_does_not_know_is_marked(tmp_path: Path) -> None:
    made_up(tmp_path)
    described = tmp_path / "b/trajectory/metrics.json"
    kept = [metric for metric in json.loads(described.read_text()) if metric["name"] != "oracle"]
    described.write_text(json.dumps(kept))
    overall = rank_overall(list(_rankings(tmp_path).values()))
    assert np.isnan(overall.at["oracle", "b/trajectory"])
    assert overall.at["oracle", "score"] == pytest.approx(0.5)
    assert overall.at["oracle", "lacking"]


@pytest.mark.parametrize("lost", ["noise", "rate"])
def test_a_metric_without_any_value_outranks_nobody(tmp_path: Path, lost: str) -> None:
    made_up(tmp_path)
    _lose(tmp_path / "a/grid", lost)
    _lose(tmp_path / "b/trajectory", lost)
    overall = rank_overall(list(_rankings(tmp_path).values()))
    assert overall.index[-2:].tolist() == ["wrong_way", lost]
    assert overall.loc[lost, ["rank", "score", "low", "high"]].isna().all()
    assert overall["rank"].tolist()[:-1] == list(range(1, len(overall)))
    assert overall.at[lost, "beats_trivial"] == ""


@pytest.mark.parametrize(
    ("kind", "networks", "steps", "why"),
    [
        ("grid", 2, 1, "2 of 2 networks can be ranked, a τ needs 3"),
        ("trajectory", 4, 2, "no run has the 3 checkpoints that a τ needs"),
    ],
)
def test_too_few_networks_are_said_and_scored_for_nobody(
    tmp_path: Path, kind: str, networks: int, steps: int, why: str
) -> None:
    random = np.random.default_rng(0)
    rows = [row(f"t{n}", step, random) | {"eta": 0.1 * n} for n in range(networks) for step in range(steps)]
    write_task(tmp_path / "a/few", kind, pd.DataFrame(rows), ["eta"])
    ranking = _rankings(tmp_path)["a/few"]
    assert not ranking.scored
    assert ranking.why_unscored == why
    overall = rank_overall([ranking])
    assert overall[["rank", "score", "a/few"]].isna().all().all()


def test_a_constant_gap_is_said(tmp_path: Path) -> None:
    made_up(tmp_path)
    for name in ("a/grid", "b/trajectory"):
        runs = pd.read_csv(tmp_path / name / "runs.csv").assign(accuracy_gap=0.5, loss_gap=0.5)
        runs.to_csv(tmp_path / name / "runs.csv", index=False)
    rankings = _rankings(tmp_path)
    assert rankings["a/grid"].why_unscored == "the gap is the same for all networks"
    assert rankings["b/trajectory"].why_unscored == "the gap is the same at all checkpoints of every run"


def test_only_the_tasks_named_are_read(tmp_path: Path) -> None:
    made_up(tmp_path)
    (tmp_path / "a/grid/runs.csv").unlink()
    assert [result.name for result in read_results(tmp_path, ["b/trajectory"])] == ["b/trajectory"]
    with pytest.raises(BadInput, match="no results of a/missing; there are those of a/grid, b/trajectory"):
        read_results(tmp_path, ["b/trajectory", "a/missing"])
    with pytest.raises(BadInput, match=r"runs\.csv"):
        read_results(tmp_path)


def test_a_task_of_one_setting_draws_runs(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [row(f"t{n}", step, random) | {"seed": n} for n in range(5) for step in range(6)]
    write_task(tmp_path / "a/seeds", "trajectory", pd.DataFrame(rows), ["seed"])
    ranking = _rankings(tmp_path)["a/seeds"]
    assert (ranking.clusters, ranking.drawn) == (5, "runs")


def test_psi_and_its_mean_have_intervals_and_counts(tmp_path: Path) -> None:
    made_up(tmp_path)
    found = _rankings(tmp_path)["a/grid"].rows.set_index(["metric", "target"]).loc[("noise", "loss_gap")]
    for name in ("psi", "Psi"):
        value, low, high = (
            found[f"{name}{part}" + (":eta" if name == "psi" else "")] for part in ("", "_low", "_high")
        )
        assert -1 <= low < value < high <= 1
    # 3 batch sizes × 2 seeds, each with at least two learning rates left
    assert found["settings:eta"] == 6
    perfect = _rankings(tmp_path)["a/grid"].rows.set_index(["metric", "target"]).loc[("oracle", "loss_gap")]
    assert (perfect["Psi"], perfect["Psi_low"], perfect["Psi_high"]) == pytest.approx((1, 1, 1))


def test_a_task_that_cannot_be_scored_is_left_out_for_all(tmp_path: Path) -> None:
    made_up(tmp_path)
    path = tmp_path / "a/grid/runs.csv"
    table = pd.read_csv(path)
    table[["accuracy_gap", "loss_gap"]] = 0.25
    table.to_csv(path, index=False)
    overall = rank_overall(list(_rankings(tmp_path).values()))
    assert overall.at["oracle", "score"] == pytest.approx(1.0)
    assert overall["a/grid"].isna().all()
    alone = rank_overall([_rankings(tmp_path)["a/grid"]])
    assert alone["score"].isna().all()


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
        ("runs.csv", "r0,10,", "r0,,", "runs.csv:2: step: a number is missing"),
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


def test_spectra_are_read_where_there_are_any(tmp_path: Path) -> None:
    made_up(tmp_path)
    path = tmp_path / "a/grid/spectra.csv"
    path.write_text("run_id,step,share,eigenvalue,exponent\nr0,10,0.5,2.5,-0.25\nr0,10,1,-1,-0.5\n")
    grid, trajectory = read_results(tmp_path)
    assert grid.spectra.to_dict("list") == {
        "run_id": ["r0", "r0"], "step": [10, 10], "share": [0.5, 1], "eigenvalue": [2.5, -1], "exponent": [-0.25, -0.5],
    }  # fmt: skip
    assert trajectory.spectra.empty
    path.write_text("run_id,step,share,eigenvalue,exponent\nr0,11,0.5,2.5,-0.25\n")
    with pytest.raises(BadInput, match=r"spectra.csv:2: run r0 at step 11 is not in runs.csv"):
        read_results(tmp_path)
    path.write_text("run_id,step,share,eigenvalue,exponent\nr0,10,0.5,much,-0.25\n")
    with pytest.raises(BadInput, match=r"spectra.csv:2: eigenvalue: 'much' is not a number"):
        read_results(tmp_path)


def test_the_edge_along_training_is_read_where_it_was_recorded(tmp_path: Path) -> None:
    made_up(tmp_path)
    path, header = tmp_path / "a/grid/edge.csv", "run_id,step,sharpness,edge_ratio\n"
    path.write_text(f"{header}r0,0,2.5,0.125\nr0,7,-3,-0.25\nr1,0,1,\nr1,7,,\n")
    grid, trajectory = read_results(tmp_path)
    assert grid.edge["step"].tolist() == [0, 7, 0, 7]  # also where runs.csv has no such step
    np.testing.assert_array_equal(grid.edge["sharpness"], [2.5, -3, 1, np.nan])
    np.testing.assert_array_equal(grid.edge["edge_ratio"], [0.125, -0.25, np.nan, np.nan])
    assert trajectory.edge.empty
    assert edge_counts(trajectory.edge) is None
    assert edge_counts(grid.edge) == EdgeCounts(1, 0, 0)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("r99,0,1,1", r"edge.csv:2: run r99 is not in runs.csv"),
        ("r0,0,1,1\nr0,0,1,1", r"edge.csv:3: step 0 of run r0 is not after the one before it"),
        ("r0,5,1,1\nr1,0,1,1\nr0,4,1,1", r"edge.csv:4: step 4 of run r0 is not after"),
        ("r0,0,much,1", r"edge.csv:2: sharpness: 'much' is not a number"),
        ("r0,,1,1", r"edge.csv:2: step: a number is missing"),
    ],
)
def test_wrong_edges_are_named(tmp_path: Path, rows: str, said: str) -> None:
    made_up(tmp_path)
    (tmp_path / "a/grid/edge.csv").write_text(f"run_id,step,sharpness,edge_ratio\n{rows}\n")
    with pytest.raises(BadInput, match=said):
        read_results(tmp_path)


def test_a_table_of_edges_without_a_column_is_named(tmp_path: Path) -> None:
    made_up(tmp_path)
    (tmp_path / "a/grid/edge.csv").write_text("run_id,step,sharpness\nr0,0,1\n")
    with pytest.raises(BadInput, match=r"edge.csv:1: columns edge_ratio are missing; publish the task again"):
        read_results(tmp_path)


def test_networks_beyond_the_edge_are_counted_once_and_at_their_last_ratio() -> None:
    rows = [
        ("a", 0, 0.5), ("a", 5, 1.5), ("a", 9, 0.9),  # was beyond
        ("b", 0, 0.5), ("b", 5, 1.5), ("b", 9, np.nan),  # beyond, then diverged
        ("c", 0, 1.0), ("c", 9, 1.0),  # at it
        ("d", 9, 2.0), ("d", 0, 0.1),  # whatever the order
        ("e", 0, np.nan),
    ]  # fmt: skip
    assert edge_counts(pd.DataFrame(rows, columns=["run_id", "step", "edge_ratio"])) == EdgeCounts(4, 3, 2)


def test_no_results_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="suite run"):
        read_results(tmp_path)


def test_made_up_results_are_json(tmp_path: Path) -> None:
    made_up(tmp_path)
    assert json.loads((tmp_path / "a/grid/metrics.json").read_text())


def test_floats_come_back_as_they_were_written(tmp_path: Path) -> None:
    made_up(tmp_path)
    random = np.random.default_rng(3)
    bits = random.integers(0, 0x7FE << 52, size=16, dtype=np.uint64).view(np.float64)  # of every magnitude
    exact = [5e-324, 0.30000000000000004, *bits]
    path = tmp_path / "a/grid/values/noise.csv"
    table = pd.read_csv(path).assign(value=[repr(float(x)) for x in exact])
    table.to_csv(path, index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        grid = read_results(tmp_path)[0]
    assert grid.values.loc[grid.values["metric"] == "noise", "value"].tolist() == exact


def test_the_same_task_twice_is_refused(tmp_path: Path) -> None:
    made_up(tmp_path)
    (tmp_path / "a/copy").mkdir()
    for path in (tmp_path / "a/grid").rglob("*.*"):
        copy = tmp_path / "a/copy" / path.relative_to(tmp_path / "a/grid")
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    with pytest.raises(BadInput, match="the same task as"):
        read_results(tmp_path)


@pytest.mark.parametrize("name", ["seed", "data.seed", "training.order_seed", "seeds", "model.seeded", "speed"])
def test_ranking_and_specs_agree_on_what_a_seed_is(name: str) -> None:
    # ranking may not import specs
    assert is_seed(name) == loading.is_seed(name)


@pytest.mark.parametrize("task", ["a/grid", "b/trajectory"])
def test_where_nothing_is_included_nothing_is_scored_and_nothing_breaks(tmp_path: Path, task: str) -> None:
    made_up(tmp_path)
    path = tmp_path / task / "provenance.json"
    path.write_text(path.read_text().replace('"train_accuracy": 0.9', '"train_accuracy": 1.1'))
    ranking = _rankings(tmp_path)[task]
    assert not ranking.scored
    assert ranking.why_unscored
    assert ranking.rows["tau"].isna().all()
    assert ranking.rows["p_holm"].isna().all()
    assert ranking.rows["tau_all"].notna().any()
    assert ("cmi" in ranking.rows) == (task == "a/grid")
    overall = rank_overall([ranking])
    assert overall[["rank", "group", "p"]].isna().all().all()


def test_overall_ranking_is_given_with_all_networks_in_too(tmp_path: Path) -> None:
    made_up(tmp_path)
    tasks = [rank_task(results, 200, 50) for results in read_results(tmp_path)]
    overall = rank_overall(tasks)
    # the oracle is wrong on two networks that the rule leaves out
    assert overall.at["oracle", "score"] == 1
    grid = tasks[0].results
    frame = grid.wide()[grid.usable]
    expected = np.mean([kendalltau(frame["oracle"], frame[target]).statistic for target in grid.targets])
    assert overall.at["oracle", "score_all"] == pytest.approx((expected + 1) / 2, abs=1e-12)
    assert overall.at["oracle", "score_all"] < overall.at["parts.a", "score_all"] == 1
    assert overall.at["parts.a", "rank_all"] < overall.at["oracle", "rank_all"]
    assert sorted(overall["rank_all"]) == list(range(1, len(overall) + 1))


def test_each_trivial_predictor_is_compared_with_by_itself(tmp_path: Path) -> None:
    made_up(tmp_path)
    overall = rank_overall([rank_task(results, 200, 50) for results in read_results(tmp_path)])
    assert overall.at["oracle", "beats:rate"] == overall.at["oracle", "beats_trivial"] == "yes"
    assert overall.at["wrong_way", "beats:rate"] == "no"
    assert overall.at["rate", "beats:rate"] == ""
