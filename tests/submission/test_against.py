"""The rule by which recomputed values are held against published ones, on made-up networks; and who is a duplicate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.metrics import Metric, find_metrics
from suite.ranking.tables import read_results
from suite.submission.against import against_published
from suite.submission.findings import Finding
from suite.submission.neighbours import duplicates, nearest_metrics
from suite.submission.places import place_of
from tests.ranking.made_up import row, write_task

ONE = replace(find_metrics()["weight_norm"], name="noise")


def _runs(kind: str, seeds: int = 2) -> pd.DataFrame:
    random = np.random.default_rng(0)
    steps = range(4) if kind == "trajectory" else (10,)
    grid = [(e, b, s) for e in (0.1, 0.2, 0.3) for b in (8, 16, 32, 64) for s in range(seeds)]
    return pd.DataFrame(
        [
            row(f"r{n}", step, random) | {"eta": e, "b": b, "seed": s}
            for n, (e, b, s) in enumerate(grid)
            for step in steps
        ]
    )


def _made(root: Path, kind: str = "grid", seeds: int = 2) -> Path:
    write_task(root / "a/grid", kind, _runs(kind, seeds), ["eta", "b", "seed"])
    _complete(root / "a/grid")
    return root


def _complete(folder: Path) -> None:
    """With a value of `lucky`, the gap, for every network."""
    (folder / "values/lucky.csv").write_text((folder / "values/oracle.csv").read_text())


def _change(root: Path, losses: slice | None = None, values: dict[int, float] | None = None, factor: float = 1) -> None:
    """Other losses in some rows, other values in some rows, all values times a factor."""
    runs, noise = root / "a/grid/runs.csv", root / "a/grid/values/noise.csv"
    table = pd.read_csv(runs)
    if losses is not None:
        table.loc[losses, "train_loss"] *= 1.1
        table.to_csv(runs, index=False)
    table = pd.read_csv(noise)
    table["value"] *= factor
    for at, value in (values or {}).items():
        table.loc[at, "value"] = value
    table.to_csv(noise, index=False)


def _judged(tmp_path: Path, one: Metric = ONE) -> Finding:
    (finding,) = against_published(one, read_results(tmp_path / "mine"), tmp_path / "published")
    return finding


@pytest.fixture(params=["grid", "trajectory"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name in ("mine", "published"):
        _made(tmp_path / name, request.param)
    return tmp_path


def test_the_same_values_are_good(both: Path) -> None:
    finding = _judged(both)
    assert finding.state == "good"
    assert finding.said.endswith("same networks within 1%")


@pytest.mark.parametrize(("factor", "state"), [(1.005, "good"), (1.05, "wrong"), (-1.0, "wrong"), (3.0, "wrong")])
def test_values_of_the_same_networks_agree_within_a_hundredth(both: Path, factor: float, state: str) -> None:
    _change(both / "published", factor=factor)
    assert _judged(both).state == state


def test_one_jump_in_twenty_is_let_pass_and_two_are_not(both: Path) -> None:
    value = {at: float(v) for at, v in pd.read_csv(both / "mine/a/grid/values/noise.csv")["value"].items()}
    _change(both / "published", values={0: value[1]})  # as far as two networks differ, not as far as the moon
    assert _judged(both).state == "good"
    _change(both / "published", values={0: 1e3})
    assert _judged(both).state == "wrong"
    _change(both / "published", values={at: value[at] * 1.2 for at in range(len(value) // 10)})
    assert _judged(both).state == "wrong"


def test_other_networks_may_differ_as_seeds_do_and_no_more(both: Path) -> None:
    """Half of the networks are others here; their values are drawn again, as another seed would."""
    drawn = np.random.default_rng(5).random(100)
    half = len(pd.read_csv(both / "mine/a/grid/runs.csv")) // 2
    _change(both / "published", losses=slice(0, half - 1), values=dict(enumerate(drawn[:half])))
    finding = _judged(both)
    assert finding.state == "good"
    assert f"{half} other networks" in finding.said
    _change(both / "published", values=dict(enumerate(10 * drawn[:half])))
    assert _judged(both).state == "wrong"


def test_without_repeated_seeds_other_networks_cannot_be_judged(tmp_path: Path) -> None:
    for name in ("mine", "published"):
        _made(tmp_path / name, seeds=1)
    _change(tmp_path / "published", losses=slice(0, 5), values=dict.fromkeys(range(6), 1e6))
    finding = _judged(tmp_path)
    assert finding.state == "good"
    assert "6 other networks cannot be compared" in finding.said
    _change(tmp_path / "published", losses=slice(6, None))
    assert _judged(tmp_path).state == "wrong", "nothing at all could be compared"


def test_values_that_are_not_there_or_of_other_code_are_wrong(both: Path) -> None:
    described = both / "published/a/grid/metrics.json"
    entries = json.loads(described.read_text())
    described.write_text(json.dumps([e | {"fingerprint": "old"} for e in entries]))
    assert "other code" in _judged(both).said
    assert _judged(both).state == "wrong"
    described.write_text(json.dumps([e | {"fingerprint": ONE.fingerprint} for e in entries]))
    assert _judged(both).state == "good"
    described.write_text(json.dumps([e for e in entries if e["name"] != "noise"]))
    finding = _judged(both)
    assert finding.state == "wrong"
    assert "suite publish --metric noise" in finding.said


def test_other_run_ids_are_wrong_and_a_task_that_is_not_published_is_told(both: Path) -> None:
    for file in (both / "published/a/grid/runs.csv", both / "published/a/grid/values/noise.csv"):
        file.write_text(file.read_text().replace("r0,", "other,"))
    folder = both / "published/a/grid/values"
    for file in folder.iterdir():
        file.write_text(file.read_text().replace("r0,", "other,"))
    assert _judged(both).state == "wrong"
    (finding,) = against_published(ONE, read_results(both / "mine"), both / "nowhere")
    assert finding.state == "told"


def test_a_value_that_is_missing_here_alone_counts_as_another(both: Path) -> None:
    noise = both / "mine/a/grid/values/noise.csv"
    table = pd.read_csv(noise)
    table.loc[: len(table) // 4, ["value", "status"]] = [np.nan, "failed"]
    table.to_csv(noise, index=False)
    assert _judged(both).state == "wrong"


def test_a_duplicate_is_whoever_orders_the_networks_of_every_task_alike(both: Path) -> None:
    """In these results wrong_way is −gap, oracle, lucky and parts are the gap, noise and rate are others."""
    results = read_results(both / "mine")
    assert duplicates("oracle", results) == ["lucky", "parts.a", "parts.b", "wrong_way"]
    assert duplicates("noise", results) == []
    assert duplicates("parts", results) == ["lucky", "oracle", "wrong_way"]
    rows = nearest_metrics("oracle", results)
    assert {row["metric"] for row in rows} == {"lucky", "parts.a", "parts.b", "wrong_way", "noise", "rate"}
    assert {row["metric"]: row["a/grid"] for row in rows}["wrong_way"] == "τ -1.00 ρ -1.00"
    assert {row["metric"] for row in rows[:4]} == {"lucky", "parts.a", "parts.b", "wrong_way"}


def test_who_varies_on_a_task_where_the_other_does_not_is_no_duplicate(tmp_path: Path) -> None:
    _made(tmp_path / "mine")
    write_task(tmp_path / "mine/b/second", "grid", _runs("grid"), ["eta", "b", "seed"])
    _complete(tmp_path / "mine/b/second")
    assert "lucky" in duplicates("oracle", read_results(tmp_path / "mine"))
    file = tmp_path / "mine/b/second/values/lucky.csv"
    table = pd.read_csv(file)
    table["value"] = 1.0
    table.to_csv(file, index=False)
    assert "lucky" not in duplicates("oracle", read_results(tmp_path / "mine"))


def test_few_networks_that_both_have_values_for_are_no_duplicate(both: Path) -> None:
    file = both / "mine/a/grid/values/lucky.csv"
    table = pd.read_csv(file)
    table.loc[len(table) // 5 :, ["value", "status"]] = [np.nan, "undefined"]
    table.to_csv(file, index=False)
    results = read_results(both / "mine")
    assert duplicates("oracle", results) == ["parts.a", "parts.b", "wrong_way"]
    said = {row["metric"]: row["a/grid"] for row in nearest_metrics("oracle", results)}
    assert said["lucky"] == f"τ +1.00 ρ +1.00 of {len(table) // 5}"


def test_the_place_is_the_leaderboards(both: Path) -> None:
    said = place_of("oracle", read_results(both / "mine")).said
    assert "with a score of +1.000" in said
    assert "0 of 1 trivial predictors stand above it; beats the best trivial predictor, rate: yes" in said
    assert "1 of 1 trivial predictors stand above it" in place_of("wrong_way", read_results(both / "mine")).said
