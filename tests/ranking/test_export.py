"""Tidy tables: what is in them, and that files give them back, every digit and type."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from suite.errors import BadInput
from suite.ranking.export import KINDS, SUFFIXES, export, frame, read_table
from suite.ranking.leaderboard import rank_overall
from suite.ranking.tables import GAPS, MEASURES, read_results
from suite.ranking.task import rank_task
from tests.ranking.made_up import made_up

PUBLISHED = Path(__file__).parents[2] / "reports/results"
SOME = ("quick/modular-transformer", "confounds/label-noise")
"""Of the published tasks: trajectories, and a grid whose factor no other has."""
AWKWARD = [0.1 + 0.2, 1e-300, 5e-324, 1.7976931348623157e308, np.inf, -np.inf, -0.0, 1 / 3, np.nan]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Made-up results with awkward numbers, words and factors in them."""
    made = tmp_path / "results"
    made_up(made)
    path = made / "a/grid/values/noise.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for row, value in enumerate(AWKWARD):
        table.loc[row, "value"] = repr(value)
    table.loc[3, ["status", "reason"]] = ["failed", 'said "no",\nthen\r\nNA; ≤ 1 µ']
    table.loc[4, "reason"] = "nan"
    table.to_csv(path, index=False)
    _factor(made / "b/trajectory", "optimizer.kind", ["sgd", "None", "", "sgd", "NA", "sgd"] * 8)
    return made


def _factor(folder: Path, name: str, levels: list[Any]) -> None:
    table = pd.read_csv(folder / "runs.csv", dtype=str, keep_default_na=False)
    table[name] = levels
    table.to_csv(folder / "runs.csv", index=False)
    provenance = json.loads((folder / "provenance.json").read_text())
    provenance["factors"].append(name)
    (folder / "provenance.json").write_text(json.dumps(provenance))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("table", KINDS)
def test_files_give_the_frame_back(table: str, suffix: str, root: Path, tmp_path: Path) -> None:
    file = tmp_path / f"out{suffix}"
    made = export(file, root, table=table)
    pd.testing.assert_frame_equal(made, frame(root, table=table), check_exact=True)
    again = read_table(file)
    pd.testing.assert_frame_equal(again, made, check_exact=True)
    for name in made.select_dtypes(float):  # to the bit: −0.0 is not 0.0; only the sign of NaN is nothing
        one, other = (np.where(np.isnan(x), np.nan, x) for x in (made[name].to_numpy(), again[name].to_numpy()))
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_same_bytes_for_the_same_results(suffix: str, root: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for file in files:
        export(file, root)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_pandas_alone_reads_the_parquet(root: Path, tmp_path: Path) -> None:
    made = export(tmp_path / "x.parquet", root)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "x.parquet"), made, check_exact=True)


def test_pandas_alone_reads_the_csv_as_the_documentation_says(root: Path, tmp_path: Path) -> None:
    made = export(tmp_path / "x.csv", root)
    words = {"run_id": str, "spec_hash": str}
    exact: Any = {"float_precision": "round_trip"} if pd.__version__.startswith("2.") else {}
    read = pd.read_csv(tmp_path / "x.csv", dtype=words, **exact)
    for name in ("value", *MEASURES, *GAPS):
        assert np.array_equal(read[name], made[name], equal_nan=True)
    for name in words:
        assert list(read[name]) == list(made[name])


@pytest.mark.slow
def test_published_results_come_back(tmp_path: Path) -> None:
    for table in ("values", "runs", "metrics"):
        made = export(tmp_path / "x.csv", PUBLISHED, table=table)
        pd.testing.assert_frame_equal(read_table(tmp_path / "x.csv"), made, check_exact=True)


def test_values_are_those_of_the_files_one_row_each(root: Path) -> None:
    """Put together once more, cell by cell, from the files themselves."""
    made = frame(root)
    rows = 0
    for folder in (root / "a/grid", root / "b/trajectory"):
        provenance = json.loads((folder / "provenance.json").read_text())
        for path in sorted((folder / "values").glob("*.csv")):
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            rows += len(table)
            for component, part in table.groupby("component"):
                name = f"{path.stem}.{component}" if component else path.stem
                own = made[(made["task"] == provenance["task"]) & (made["metric"] == name)]
                assert list(own["run_id"]) == list(part["run_id"])
                assert list(own["step"]) == [int(step) for step in part["step"]]
                values = [float(text) if text else np.nan for text in part["value"]]
                assert np.array_equal(own["value"], values, equal_nan=True)
                assert [text if isinstance(text, str) else "" for text in own["reason"]] == list(part["reason"])
    assert len(made) == rows
    assert not made.duplicated(["task", "run_id", "step", "metric"]).any()


def test_the_columns_of_the_run_stand_beside_its_values(root: Path) -> None:
    made = frame(root)
    runs = frame(root, table="runs").set_index(["task", "run_id", "step"])
    shared = [name for name in made.columns if name in runs.columns]
    assert {"eta", "b", "seed", "optimizer.kind", "included", "run_status", *MEASURES, *GAPS} <= set(shared)
    points = pd.MultiIndex.from_frame(made[["task", "run_id", "step"]])
    beside = runs.loc[points, shared].reset_index(drop=True)
    pd.testing.assert_frame_equal(made[shared], beside, check_exact=True)


def test_included_is_the_rule_of_the_task(root: Path) -> None:
    runs = frame(root, table="runs")
    grid = runs[runs["task"] == "a/grid"]
    # made_up: r4 and r5 did not learn, r6 diverged
    assert list(grid["run_id"][~grid["included"]]) == ["r4", "r5", "r6"]
    assert list(runs["included"]) == [kept for result in read_results(root) for kept in result.included]


def test_factors_are_the_union_over_tasks(root: Path) -> None:
    runs = frame(root, table="runs")
    grid, other = (runs[runs["task"] == task] for task in ("a/grid", "b/trajectory"))
    assert grid["optimizer.kind"].isna().all()
    assert other["b"].isna().all()
    assert runs["b"].dtype == runs["eta"].dtype == float
    levels = list(other["optimizer.kind"][:6])
    assert levels[:2] == ["sgd", "None"]
    assert pd.isna(levels[2])
    assert levels[4] == "NA"


def test_a_factor_with_numbers_in_one_task_and_words_in_another_is_words(root: Path, tmp_path: Path) -> None:
    _factor(root / "a/grid", "optimizer.kind", [8, 0.1, 1 / 3] * 6)
    runs = export(tmp_path / "x.csv", root, table="runs")
    assert list(runs["optimizer.kind"][:3]) == ["8", "0.1", "0.3333333333333333"]
    pd.testing.assert_frame_equal(read_table(tmp_path / "x.csv"), runs)


def test_types_do_not_depend_on_the_tasks(root: Path) -> None:
    one, both = frame(root, ["a/grid"]), frame(root)
    assert set(one["task"]) == {"a/grid"}
    shared = [name for name in both if name in one]
    assert dict(one[shared].dtypes) == dict(both[shared].dtypes)
    assert str(one["spec_hash"].dtype) == str(one["reason"].dtype) == "string"
    assert str(one["step"].dtype) == str(one["version"].dtype) == "Int64"


def test_metrics_say_what_metrics_json_says(root: Path) -> None:
    path = root / "a/grid/metrics.json"
    entries = json.loads(path.read_text())
    entries[0] |= {"version": 7, "fingerprint": "00ab", "probes": ["spectrum", "gradients"], "outside": True}
    path.write_text(json.dumps(entries))
    metrics = frame(root, table="metrics").set_index(["task", "metric"])
    row = metrics.loc[("a/grid", entries[0]["name"])]
    assert (row["version"], row["fingerprint"], row["probes"]) == (7, "00ab", "spectrum, gradients")
    assert row["outside"]
    assert not metrics.loc[("b/trajectory", entries[0]["name"]), "outside"]
    assert metrics.loc[("a/grid", "parts.a"), "title"] == "Parts: a"
    values = frame(root)
    own = values[(values["task"] == "a/grid") & (values["metric"] == entries[0]["name"])]
    assert set(own["version"]) == {7}
    assert set(own["fingerprint"]) == {"00ab"}


def test_a_failure_of_a_metric_with_components_is_a_row_of_its_own(root: Path) -> None:
    path = root / "a/grid/values/parts.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table = table[table["run_id"] != "r3"]
    failed = dict.fromkeys(table.columns, "") | {"run_id": "r3", "step": "10", "status": "timeout", "reason": "slow"}
    pd.concat([table, pd.DataFrame([failed])]).to_csv(path, index=False)
    values = frame(root)
    (row,) = values[values["metric"] == "parts"].to_dict("records")
    assert (row["run_id"], row["status"], row["reason"], row["version"]) == ("r3", "timeout", "slow", 1)


def test_rankings_are_those_of_the_leaderboard(root: Path) -> None:
    rankings = [rank_task(result) for result in read_results(root)]
    rows = pd.concat([ranking.rows for ranking in rankings], ignore_index=True)
    made = frame(root, table="ranking")
    assert list(made["task"]) == [r.results.name for r in rankings for _ in range(len(r.rows))]
    for name in ("tau", "low", "high", "p", "p_holm", "partial:eta"):
        assert np.array_equal(made[name], rows[name], equal_nan=True)
    assert list(made["n"]) == list(rows["n"])
    overall = rank_overall(rankings)
    table = frame(root, table="overall")
    assert list(table["metric"]) == list(overall.index)
    assert np.array_equal(table["score"], overall["score"], equal_nan=True)
    assert list(table["rank"].dropna()) == list(overall["rank"].dropna())


@pytest.mark.parametrize("table", KINDS)
def test_every_column_is_explained(table: str) -> None:
    """docs/comparing.md names it, or its part before the colon; factors and tasks name themselves."""
    text = (Path(__file__).parents[2] / "docs/comparing.md").read_text(encoding="utf-8")
    read = read_results(PUBLISHED, SOME)
    theirs = {result.name for result in read} | {name for r in read for name in r.provenance["factors"]}
    explained = set(re.findall(r"`([\w]+(?::)?)[^`]*`", text))
    for name in set(frame(PUBLISHED, SOME, table).columns) - theirs:
        assert (name if ":" not in name else f"{name.partition(':')[0]}:") in explained, name


# what goes wrong


@pytest.mark.parametrize("name", ["x.xlsx", "x", "x.parquet.gz", "csv"])
def test_other_suffixes(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"{name}: cannot tell the format; let the name end in \.parquet, \.csv"):
        export(tmp_path / name, PUBLISHED)
    assert list(tmp_path.iterdir()) == []


def test_no_such_table_task_or_results(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="value: no such table; there are values, runs, metrics, ranking, overall"):
        export(tmp_path / "x.csv", root, table="value")
    with pytest.raises(BadInput, match="no results of a/b"):
        export(tmp_path / "x.csv", root, ["a/b"])
    with pytest.raises(BadInput, match="no results"):
        frame(tmp_path / "nowhere")
    assert not (tmp_path / "x.csv").exists()


def test_a_folder_that_is_not_there_or_a_folder_of_that_name(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none/x\.csv cannot be written \(No such file or directory\)"):
        export(tmp_path / "none/x.csv", root)
    (tmp_path / "x.csv").mkdir()
    with pytest.raises(BadInput, match=r"x\.csv cannot be written"):
        export(tmp_path / "x.csv", root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "x.csv"]


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.csv"
    file.write_text("old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BadInput, match="No space left on device"):
        export(file, root)
    assert file.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results", "x.csv"]


def test_a_file_is_as_readable_as_any_other(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    export(tmp_path / "x.csv", root)
    assert (tmp_path / "x.csv").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_factor_with_the_name_of_a_column(root: Path) -> None:
    _factor(root / "a/grid", "value", [1] * 18)
    with pytest.raises(BadInput, match="a/grid: a factor is called value"):
        frame(root)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("not Parquet")
    with pytest.raises(BadInput, match=r"x\.parquet: cannot be read"):
        read_table(tmp_path / "x.parquet")
    with pytest.raises(BadInput, match=r"y\.csv: cannot be read"):
        read_table(tmp_path / "y.csv")


@pytest.mark.parametrize(
    "words",
    [
        ["export", "out.parquet", "--results", "results", "--table", "overall"],
        ["compare", "oracle", "noise", "--results", "results"],
        ["compare", "results", "results/a/grid", "--json"],
    ],
)
def test_the_commands_never_import_torch(words: list[str], root: Path) -> None:
    program = (
        f"import sys; sys.argv = {['suite', *words]!r}\n"
        "from suite.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root.parent,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "False")
    assert done.stdout
