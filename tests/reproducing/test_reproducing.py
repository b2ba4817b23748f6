"""Published cells made again: the choice, the verdict, and the command from outside."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from suite.errors import BadInput
from suite.measuring.measure import plan
from suite.measuring.place import Place
from suite.ranking.tables import TaskResults
from suite.reproducing.chosen import choose, spread_evenly
from suite.reproducing.judged import TOLERANCES, judge, seed_spread
from suite.reproducing.shown import show
from suite.spec.loading import load_task
from tests.command import TINY, suite


@pytest.fixture(scope="module")
def published(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two published tasks, and no store left: a fresh clone."""
    folder = shutil.copytree(tiny_run, tmp_path_factory.mktemp("user") / "clone")
    assert suite(folder, "publish", "tasks/tiny")[0] == 0
    shutil.rmtree(folder / ".suite")
    return folder


@pytest.fixture
def clone(published: Path, tmp_path: Path) -> Path:
    return shutil.copytree(published, tmp_path / "clone")


def edit(file: Path, change: Callable[[dict[str, str]], None]) -> None:
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    for row in rows:
        change(row)
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.whole
def test_what_is_made_again_is_identical_and_the_local_report_is_not_touched(clone: Path) -> None:
    results = clone / "reports/results"
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    code, out, err = suite(clone, "run", "tasks/tiny", "--cells", "2")
    assert code == 0, err
    assert out.splitlines()[-1] == "tiny/grokking: identical"
    assert "tiny/digits: identical" in out.splitlines()
    assert out.count("codimension ") == 4, "a table a cell"
    assert not (clone / ".suite/reports").exists()
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_only_whole_stacks_are_trained_and_a_second_call_trains_nothing(clone: Path) -> None:
    code, out, err = suite(clone, "run", "tiny/digits", "--cells", "1")
    assert code == 0, err
    assert "train   tiny/digits: 1/1 stacks" in out
    assert "measure tiny/digits: 1/1 runs" in out
    code, again, _ = suite(clone, "run", "tiny/digits", "--cells", "1")
    assert code == 0
    assert "train " not in again
    assert "measure " not in again
    code, out, _ = suite(clone, "run", "tiny/digits", "--cells", "1", "--quiet")
    assert (code, out.splitlines()[-1]) == (0, "tiny/digits: identical")
    assert "codimension " not in out
    code, _, err = suite(clone, "publish", "tiny/digits", "--results", "other")
    assert (code, err.count("\n")) == (2, 1)
    assert "is not trained yet" in err
    assert not list((clone / "other").rglob("*.csv"))


@pytest.mark.slow
def test_runs_of_a_whole_store_that_are_not_measured_are_not_published(clone: Path) -> None:
    (clone / "tasks/tiny/one.yaml").write_text(
        TINY.replace("tiny/digits", "tiny/one").replace("[32, 64]", "[32]").replace("[0.03, 0.1, 0.3]", "[0.1]")
    )
    assert suite(clone, "run", "tiny/one", "--quiet")[0] == 0
    assert suite(clone, "publish", "tiny/one")[0] == 0
    shutil.rmtree(clone / ".suite")
    assert suite(clone, "run", "tiny/one", "--cells", "1", "--quiet")[0] == 0  # one stack of two runs, one measured
    code, _, err = suite(clone, "publish", "tiny/one", "--results", "other")
    assert (code, err.count("\n")) == (2, 1)
    assert "is not measured yet" in err


@pytest.mark.slow
def test_other_published_numbers_are_told_of_and_fail(clone: Path) -> None:
    file = clone / "reports/results/tiny/digits/runs.csv"
    edit(file, lambda row: row.update(train_loss=repr(float(row["train_loss"]) * 1.001)))
    provenance = clone / "reports/results/tiny/digits/provenance.json"
    noted = json.loads(provenance.read_text())
    noted["versions"]["torch"], noted["device_name"] = "1.0.old", "Another processor"
    provenance.write_text(json.dumps(noted))
    code, out, _ = suite(clone, "run", "tiny/digits", "--cells", "2", "--json")
    assert code == 1
    (said,) = json.loads(out)
    assert not said["within"]
    assert said["verdict"].startswith("tiny/digits: NOT within tolerance: 2 contracting cells: losses differ by 0.001 ")
    assert said["settings"]["versions.torch"]["published"] == "1.0.old"
    assert said["settings"]["device_name"]["published"] == "Another processor"
    for cell in said["cells"]:
        assert cell["differences"]["train_loss"] == pytest.approx(0.001 / 1.001, rel=1e-6)
        assert cell["differences"]["test_loss"] == cell["differences"]["codimension"] == 0
    edit(file, lambda row: row.update(train_loss=repr(float(row["train_loss"]) / 1.001 * 1.00005)))
    code, out, _ = suite(clone, "run", "tiny/digits", "--cells", "2", "--quiet")
    assert code == 0
    assert out.splitlines()[-1].startswith("tiny/digits: within tolerance: 2 contracting cells: losses differ by 5e-05")


BAD = {
    "0 cells": (("tiny/digits", "--cells", "0"), "give 1 to 12"),
    "more than there are": (("tiny/digits", "--cells", "13"), "give 1 to 12"),
    "another folder without results": (("tiny/digits", "--cells", "1", "--results", "tasks"), "tasks: no results"),
    "not published": (("tiny/new", "--cells", "1"), "no results of tiny/new"),
    "another task file": (("other.yaml", "--cells", "1"), "training.epochs: 3 → 4"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_made_again_is_one_line(case: str, published: Path, tmp_path: Path) -> None:
    clone = shutil.copytree(published, tmp_path / "clone")
    (clone / "tasks/tiny/new.yaml").write_text(TINY.replace("tiny/digits", "tiny/new"))
    (clone / "other.yaml").write_text(TINY.replace("epochs: 3", "epochs: 4"))
    words, meant = BAD[case]
    code, _, err = suite(clone, "run", *words)
    assert (code, err.count("\n")) == (2, 1), err
    assert meant in err
    assert not (clone / ".suite").exists()


def test_runs_are_matched_by_their_cells_where_ids_are_of_another_device(clone: Path) -> None:
    task = load_task(clone / "tasks/tiny/digits.yaml")
    root = clone / "reports/results"
    same, other = (choose(plan(task, Place.of("cpu", dtype)), 3, root) for dtype in ("float32", "float64"))
    assert set(same.names.items()) == {(run, run) for run in same.names}
    assert set(other.names.values()) == set(same.names.values())
    assert not set(other.names) & set(same.names)
    cells = [{run: cell.factors for cell, run in one.part.runs()} for one in (same, other)]
    assert [cells[0][published] for published in other.names.values()] == [cells[1][here] for here in other.names]


def test_a_task_file_with_other_probes_is_the_same_work(clone: Path) -> None:
    task = load_task(clone / "tasks/tiny/digits.yaml")
    probes = task.probes.model_copy(update={"exponents": None, "whole": None})
    made = plan(task.model_copy(update={"probes": probes}), Place.of("cpu", "float32"))
    assert len(choose(made, 2, clone / "reports/results").names) == 2


def test_a_published_spec_that_is_not_read_any_more_is_one_clear_error(clone: Path) -> None:
    file = clone / "reports/results/tiny/digits/provenance.json"
    noted = json.loads(file.read_text())
    noted["spec"]["training"]["epochs"] = "many"
    file.write_text(json.dumps(noted))
    made = plan(load_task(clone / "tasks/tiny/digits.yaml"), Place.of("cpu", "float32"))
    with pytest.raises(BadInput, match=r"spec\.training\.epochs"):
        choose(made, 1, clone / "reports/results")


@pytest.mark.parametrize(
    ("total", "count", "places"), [(50, 3, [8, 24, 41]), (5, 5, [0, 1, 2, 3, 4]), (4, 1, [1]), (7, 2, [1, 5])]
)
def test_spread_evenly(total: int, count: int, places: list[int]) -> None:
    assert spread_evenly([str(n) for n in range(total)], count) == [str(place) for place in places]


@pytest.mark.parametrize("total", range(1, 30))
def test_as_many_runs_as_asked_for_in_order_and_the_ends_no_further_than_the_middle(total: int) -> None:
    for count in range(1, total + 1):
        found = [int(run) for run in spread_evenly([str(n) for n in range(total)], count)]
        assert len(set(found)) == count
        assert found == sorted(found)
        gaps = np.diff(found)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


LOSS = {"a0": 0.1, "a1": 0.12, "b0": 1.0, "b1": 2.0, "c0": 1.0, "c1": 3.0}
EDGE = {"a0": 0.5, "a1": 0.9, "b0": 1.1, "b1": 0.8, "c0": 1.5, "c1": 1.2}


def made_up(loss: dict[str, float] = LOSS, edge: dict[str, float] | None = EDGE, **columns: object) -> TaskResults:
    """Three settings of two seeds; b and c have a run beyond the edge."""
    runs = pd.DataFrame(
        [
            {
                "run_id": run, "step": 10, "status": "finished", "rate": run[0], "seed": float(run[1]),
                "train_loss": value, "train_accuracy": 1.0, "test_loss": 2 * value, "test_accuracy": 0.5,
                "accuracy_gap": 0.5, "loss_gap": value, "signed_accuracy_gap": 0.5, "signed_loss_gap": value,
            }
            for run, value in loss.items()
        ]
    ).assign(**columns)  # fmt: skip
    metrics = {"codimension": {run: 100 * loss[run] for run in loss}} | ({"edge_ratio": edge} if edge else {})
    values = pd.DataFrame(
        [
            {"run_id": run, "step": 10, "metric": metric, "value": value, "status": "ok", "reason": None}
            for metric, own in metrics.items()
            for run, value in own.items()
        ]
    )
    provenance = {
        "targets": ["loss_gap"], "include": {}, "factors": ["rate", "seed"], "device": "cpu", "dtype": "float32",
        "versions": {"torch": "1"}, "spec": {"probes": {}},
    }  # fmt: skip
    described = pd.DataFrame({"title": {name: name for name in metrics}})
    return TaskResults("made/up", "Made up", "grid", provenance, described, runs, values)


def test_a_chaotic_cell_may_differ_as_seeds_do_and_a_contracting_one_may_not() -> None:
    published = made_up()
    spread = seed_spread(published, {run: edge > 1 for run, edge in EDGE.items()})
    # by hand: the pairs of b and c differ by factors of 2 and 3
    typical = np.sqrt((np.log(2) ** 2 + np.log(3) ** 2) / 2)
    assert spread["train_loss"] == pytest.approx(1 - np.exp(-2 * typical))
    assert spread["codimension"] == pytest.approx(spread["train_loss"])
    for factor, within in [(1.5, True), (np.exp(2 * typical) * 0.99, True), (np.exp(2 * typical) * 1.01, False)]:
        here = made_up(LOSS | {"b0": LOSS["b0"] * factor})
        found = judge(published, here)
        assert [cell.within for cell in found.cells] == [True, True, within, True, True, True]
        assert not found.identical
    assert judge(published, made_up(LOSS | {"a0": 0.1 * (1 + 0.9e-4)})).within
    strict = judge(published, made_up(LOSS | {"a0": 0.1 * (1 + 1.1e-4)}))
    assert not strict.within
    assert "6" not in strict.line().split(":")[2]
    assert strict.line().startswith("made/up: NOT within tolerance: 3 contracting cells: losses differ by 0.00011 (at")
    assert judge(published, published).line() == "made/up: identical"


def test_without_an_edge_ratio_or_seeds_the_strict_tolerances_hold() -> None:
    loose = made_up(LOSS | {"b0": 1.5}, None)
    found = judge(made_up(edge=None), loose)
    assert {cell.chaotic for cell in found.cells} == {None}
    assert [cell.within for cell in found.cells] == [True, True, False, True, True, True]
    alone = {"a0": 0.1, "b0": 1.0}
    found = judge(made_up(alone, {"a0": 0.5, "b0": 1.5}), made_up({"a0": 0.1, "b0": 1.01}, {"a0": 0.5, "b0": 1.5}))
    assert found.cells[1].tolerances == TOLERANCES
    assert not found.within


def test_what_only_one_side_has_is_not_within() -> None:
    published = made_up()
    values = published.values
    gone = (values["metric"] == "codimension") & (values["run_id"] == "b0")
    found = judge(published, replace(published, values=values[~gone]))
    assert [cell.missing for cell in found.cells] == [0, 0, 1, 0, 0, 0]
    assert [cell.within for cell in found.cells] == [True, True, False, True, True, True]
    runs = published.runs
    later = replace(published, runs=runs.assign(step=[10, 10, 10, 10, 10, 20]))
    assert not judge(published, later).cells[-1].within


def test_a_run_that_diverges_only_here_is_not_identical() -> None:
    published = made_up()
    status = ["diverged", *["finished"] * 5]
    found = judge(published, replace(published, runs=published.runs.assign(status=status)))
    assert not found.identical
    assert not found.cells[0].within
    assert "status" in found.line()


def test_metrics_of_which_the_code_changed_are_named() -> None:
    sides = [made_up(), made_up()]
    sides = [replace(s, metrics=s.metrics.assign(fingerprint=[k, "same"])) for k, s in zip("xy", sides, strict=True)]
    names = [setting.name for setting in judge(*sides).settings]
    changed = sides[0].metrics.index[0]
    assert names == [f"metrics.{changed}.fingerprint"]
    written = io.StringIO()
    show(Console(file=written, width=500), judge(*sides), quiet=True)
    assert f"metrics whose code has changed since (1), with the same values: {changed}\n" in written.getvalue()
    assert "fingerprint" not in written.getvalue()


def test_published_results_of_this_repository_can_be_chosen_from() -> None:
    """Every published task is still the work that its task file asks for."""
    root = Path(__file__).parents[2]
    files = sorted((root / "reports/results").rglob("provenance.json"))
    assert files
    for file in files:
        name = file.parent.relative_to(root / "reports/results").as_posix()
        made = plan(load_task(root / "tasks" / f"{name}.yaml"), Place.of("cpu", "float32"))
        assert len(choose(made, 3, root / "reports/results").names) == 3
