"""The rule by which recomputed values are held against published ones, on made-up networks; and who is a duplicate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.metrics import Metric, find_metrics
from suite.publishing import described
from suite.ranking.tables import read_results
from suite.submission.against import against_published
from suite.submission.agreement import wrong_gaps
from suite.submission.findings import Finding
from suite.submission.neighbours import duplicates, nearest_metrics
from suite.submission.places import place_of
from tests.ranking.made_up import row, write_task

ONE = replace(find_metrics()["weight_norm"], name="noise")


def _runs(kind: str, seeds: int = 2) -> pd.DataFrame:
    random = np.random.default_rng(0)
    steps = range(4) if kind == "trajectory" else (10,)
    grid = [(e, b, s) for e in (0.1, 0.2, 0.3) for b in (8, 16, 32, 64) for s in range(seeds)]
    runs = pd.DataFrame(
        [
            row(f"r{n}", step, random) | {"eta": e, "b": b, "seed": s}
            for n, (e, b, s) in enumerate(grid)
            for step in steps
        ]
    )
    return runs.assign(test_accuracy=1 - runs["accuracy_gap"])


def _made(root: Path, kind: str = "grid", seeds: int = 2) -> Path:
    write_task(root / "a/grid", kind, _runs(kind, seeds), ["eta", "b", "seed"])
    _complete(root / "a/grid")
    return root


def _complete(folder: Path) -> None:
    """With a value of `lucky`, the gap, for every network, and the entry of a real metric."""
    (folder / "values/lucky.csv").write_text((folder / "values/oracle.csv").read_text())
    _describe(folder, {})


def _describe(folder: Path, more: dict[str, object]) -> None:
    """What publishing would write of `noise`, but for some words."""
    entries = json.loads((folder / "metrics.json").read_text())
    own = json.loads(json.dumps(described(ONE))) | more
    (folder / "metrics.json").write_text(json.dumps([own if e["name"] == "noise" else e for e in entries]))


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
    finding, gaps = against_published(one, read_results(tmp_path / "mine"), tmp_path / "published")
    assert (gaps.what, gaps.state) == ("published gaps of a/grid", "good")
    return finding


def _set(root: Path, column: str, values: np.ndarray, file: str = "values/noise.csv") -> None:
    table = pd.read_csv(root / "a/grid" / file)
    table[column] = values
    table.to_csv(root / "a/grid" / file, index=False)


@pytest.fixture(params=["grid", "trajectory"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name in ("mine", "published"):
        _made(tmp_path / name, request.param)
    return tmp_path


def test_the_same_values_are_good(both: Path) -> None:
    finding = _judged(both)
    assert finding.state == "good"
    values = pd.read_csv(both / "mine/a/grid/values/noise.csv")["value"]
    spread = min(float(np.subtract(*np.percentile(values, [75, 25]))) / 1.349, values.median())
    assert finding.said.endswith(f"same networks within 1% + {0.001 * spread:.1e}")


def _lose(root: Path, runs: list[str]) -> None:
    """Results in which these networks could not be trained."""
    folder = root / "a/grid"
    for file in [folder / "runs.csv", *(folder / "values").iterdir()]:
        table = pd.read_csv(file)
        table[~table["run_id"].isin(runs)].to_csv(file, index=False)
    rows = [f"{run},0.1,8,0,died,exit code -9" for run in runs]
    (folder / "untrained.csv").write_text("\n".join(["run_id,eta,b,seed,status,reason", *rows, ""]))


def test_networks_that_could_not_be_trained_when_published_are_not_compared(both: Path) -> None:
    _lose(both / "published", ["r0", "r1"])
    finding = _judged(both)
    assert finding.state == "good"
    left = len(pd.read_csv(both / "published/a/grid/runs.csv"))
    assert 0 < left < len(pd.read_csv(both / "mine/a/grid/runs.csv"))
    assert finding.said.startswith(f"{left} of {left} ")


def test_networks_that_cannot_be_trained_here_leave_published_values_without_a_witness(both: Path) -> None:
    published = len(pd.read_csv(both / "published/a/grid/runs.csv"))
    _lose(both / "mine", ["r0", "r1"])
    finding = _judged(both)
    assert finding.state == "wrong"
    assert finding.said.startswith(f"{published * 22 // 24} of {published} published networks are of this task")
    assert finding.said.endswith("; 2 could not be trained here, `suite run` tries them again")


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


def test_other_networks_may_differ_as_seeds_do_and_no_more(tmp_path: Path) -> None:
    """Half of the networks are others here; their values are drawn again, as another seed would."""
    for name in ("mine", "published"):
        _made(tmp_path / name, seeds=4)
    drawn = np.random.default_rng(5).random(100)
    half = len(pd.read_csv(tmp_path / "mine/a/grid/runs.csv")) // 2
    _change(tmp_path / "published", losses=slice(0, half - 1), values=dict(enumerate(drawn[:half])))
    _regap(tmp_path / "published")
    finding = _judged(tmp_path)
    assert finding.state == "good", finding.said
    assert f"{half} other networks differ by" in finding.said
    _change(tmp_path / "published", values=dict(enumerate(10 * drawn[:half])))
    assert _judged(tmp_path).state == "wrong"


def _regap(root: Path) -> None:
    """Gaps that agree with the losses again."""
    runs = pd.read_csv(root / "a/grid/runs.csv")
    runs["signed_loss_gap"] = runs["test_loss"] - runs["train_loss"]
    runs["loss_gap"] = runs["signed_loss_gap"].abs()
    runs.to_csv(root / "a/grid/runs.csv", index=False)


def _decades(tmp_path: Path, factor: dict[int, float]) -> Finding:
    """All networks are others; settings differ by factors of 10, seeds by 2 %, from the ninth setting on by factors."""
    for name, seed in (("mine", 1), ("published", 2)):
        _made(tmp_path / name, seeds=3)
        setting = np.arange(36) // 3
        noise = np.exp(np.where(setting < 8, 0.02, 1.0) * np.random.default_rng(seed).standard_normal(36))
        scale = np.array([factor.get(int(k), 1.0) for k in setting]) if name == "published" else 1.0
        _set(tmp_path / name, "value", scale * noise * 10.0**setting)
    _change(tmp_path / "published", losses=slice(None))
    _regap(tmp_path / "published")
    return _judged(tmp_path)


def test_every_setting_is_held_against_its_own_seeds(tmp_path: Path) -> None:
    """On one scale for all, the seeds of the largest setting (some 10¹⁰ apart) would let anything pass."""
    finding = _decades(tmp_path / "honest", {})
    assert finding.state == "good", finding.said
    assert "36 other networks differ by" in finding.said
    assert "in 12 settings from its own seeds" in finding.said
    finding = _decades(tmp_path / "changed", dict.fromkeys(range(8), 1.3))
    assert finding.state == "wrong"
    assert float(finding.said.split("differ by ")[1].split()[0]) < 3
    assert float(finding.said.split("p = ")[1].split(",")[0]) < 1e-3
    ours, theirs = (
        pd.read_csv(tmp_path / "changed" / n / "a/grid/values/noise.csv")["value"] for n in ("mine", "published")
    )
    seeds = ours.groupby(np.arange(36) // 3).var().mean()
    assert ((ours - theirs) ** 2).mean() < 9 * 2 * seeds, "within three times what seeds do, on one scale"


def test_counts_of_which_seeds_often_agree_pass(tmp_path: Path) -> None:
    """Two seeds of the same count are no spread of 0 that no other network could be within."""
    for name, seed in (("mine", 3), ("published", 4)):
        _made(tmp_path / name)
        _set(tmp_path / name, "value", np.random.default_rng(seed).poisson(1.0, 24).astype(float))
    _change(tmp_path / "published", losses=slice(None))
    _regap(tmp_path / "published")
    finding = _judged(tmp_path)
    assert finding.state == "good", finding.said


def test_values_of_other_networks_may_not_predict_the_gap_better(tmp_path: Path) -> None:
    """Seeds differ as much as anything here, so that no spread tells; the order of the published values does."""
    for name in ("mine", "published"):
        _made(tmp_path / name, seeds=2)
    gap = pd.read_csv(tmp_path / "published/a/grid/runs.csv")["test_loss"].to_numpy()
    _set(tmp_path / "published", "value", gap * 1.0)
    _change(tmp_path / "published", losses=slice(None))
    _regap(tmp_path / "published")
    finding = _judged(tmp_path)
    assert finding.state == "wrong"
    assert "τ with loss_gap" in finding.said
    assert "p = " in finding.said
    p = float(finding.said.split("p = ")[1].split(",")[0])
    assert p > 0.001, "the spread alone would have let it pass"


def test_values_that_other_networks_lack_are_missed(tmp_path: Path) -> None:
    for name in ("mine", "published"):
        _made(tmp_path / name, seeds=3)
    _change(tmp_path / "published", losses=slice(None))
    _regap(tmp_path / "published")
    assert _judged(tmp_path).state == "good"
    value = pd.read_csv(tmp_path / "published/a/grid/values/noise.csv")["value"].to_numpy(copy=True)
    value[5] = np.nan
    _set(tmp_path / "published", "value", value)
    assert _judged(tmp_path).state == "good", "one in twenty"
    value[6:9] = np.nan
    _set(tmp_path / "published", "value", value)
    finding = _judged(tmp_path)
    assert finding.state == "wrong"
    assert "4 of 36 have a value in one of the two alone" in finding.said


def test_a_wild_published_value_does_not_widen_what_is_near(both: Path) -> None:
    """One value of 10⁶ makes a standard deviation of published values of which a thousandth lets all others pass."""
    value = pd.read_csv(both / "mine/a/grid/values/noise.csv")["value"].to_numpy()
    changed = value + 0.3
    changed[0] = 1e6
    _set(both / "published", "value", changed)
    finding = _judged(both)
    assert finding.state == "wrong"
    assert finding.said.startswith(f"0 of {len(value)} same networks")


def test_gaps_are_what_losses_and_accuracies_make_them(both: Path) -> None:
    """On all four of them, and with NaN (a network that diverged) as NaN."""
    (results,) = read_results(both / "published")
    assert wrong_gaps(results) == []
    runs = pd.read_csv(both / "published/a/grid/runs.csv")
    for gap in ("accuracy_gap", "loss_gap", "signed_accuracy_gap", "signed_loss_gap"):
        changed = runs[gap].to_numpy(copy=True)
        changed[3] += 1e-6
        _set(both / "published", gap, changed, "runs.csv")
        _, finding = against_published(ONE, read_results(both / "mine"), both / "published")
        assert (finding.what, finding.state) == ("published gaps of a/grid", "wrong")
        assert finding.said.startswith(f"{gap} of 1 of {len(runs)}")
        runs.to_csv(both / "published/a/grid/runs.csv", index=False)
    runs.loc[0, ["test_loss", "loss_gap", "signed_loss_gap"]] = np.nan
    runs.to_csv(both / "published/a/grid/runs.csv", index=False)
    (results,) = read_results(both / "published")
    assert wrong_gaps(results) == []


@pytest.mark.parametrize(("word", "value"), [("sign", -1), ("trivial", True), ("title", "Nicer"), ("cost", "search")])
def test_the_entry_is_what_publishing_writes(both: Path, word: str, value: object) -> None:
    assert _judged(both).state == "good"
    _describe(both / "published/a/grid", {word: value})
    finding = _judged(both)
    assert finding.state == "wrong"
    assert f"metrics.json has another {word};" in finding.said


def test_published_values_of_tasks_that_are_not_recomputed_are_named(both: Path) -> None:
    write_task(both / "published/large/one", "grid", _runs("grid"), ["eta", "b", "seed"])
    *_, finding = against_published(ONE, read_results(both / "mine"), both / "published")
    assert (finding.what, finding.state) == ("other published values", "told")
    assert "large/one" in finding.said


def test_without_repeated_seeds_other_networks_cannot_be_judged_by_spread(tmp_path: Path) -> None:
    for name in ("mine", "published"):
        _made(tmp_path / name, seeds=1)
    _change(tmp_path / "published", losses=slice(0, 1), values=dict.fromkeys(range(2), 1e6))
    _regap(tmp_path / "published")
    finding = _judged(tmp_path)
    assert finding.state == "good", finding.said
    assert "2 other networks cannot be compared" in finding.said
    _change(tmp_path / "published", losses=slice(2, None))
    _regap(tmp_path / "published")
    assert _judged(tmp_path).state == "wrong", "nothing at all could be compared"


def test_values_that_are_not_there_or_of_other_code_are_wrong(both: Path) -> None:
    folder = both / "published/a/grid"
    _describe(folder, {"fingerprint": "old"})
    assert "other code" in _judged(both).said
    assert _judged(both).state == "wrong"
    _describe(folder, {})
    assert _judged(both).state == "good"
    entries = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps([e for e in entries if e["name"] != "noise"]))
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
