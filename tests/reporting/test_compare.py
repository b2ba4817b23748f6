"""What a comparison says: in the terminal at several widths, as Markdown, as JSON, and through the command."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from suite import cli
from suite.errors import BadInput
from suite.ranking.changes import SetComparison
from suite.ranking.compare import Difference, Estimate, MetricComparison, OnTask
from suite.reporting.compare import as_json, compare, in_short, markdown, parts, print_parts
from tests.ranking.made_up import made_up


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made_up(tmp_path / "before")
    return tmp_path / "before"


@pytest.fixture
def after(root: Path) -> Path:
    """A copy with one value changed in the fourth digit, one task less."""
    copy = Path(shutil.copytree(root, root.parent / "after"))
    path = copy / "a/grid/values/noise.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[2, "value"] = repr(float(table["value"][2]) * 1.001)
    table.to_csv(path, index=False)
    shutil.rmtree(copy / "b")
    return copy


def _said(found: Any, width: int, everything: bool = False) -> str:
    console = Console(record=True, width=width)
    print_parts(console, parts(found, everything))
    return console.export_text()


def _made(*differences: tuple[float, float]) -> MetricComparison:
    """Tasks with these differences and corrected p-values."""
    nothing = Estimate(0.0, 0.0, 0.0)
    tasks = [
        OnTask(f"t/{i}", "grid", nothing, nothing, Difference(d, d, d, 0.5), p, nothing, 9, 9, "settings", [])
        for i, (d, p) in enumerate(differences)
    ]
    return MetricComparison("x", "y", "X", "Y", tasks, {}, nothing, nothing, Difference(0.05, -0.1, 0.2, 0.48))


def test_the_sentence_by_hand() -> None:
    assert in_short(_made((0.2, 0.2), (0.1, 0.04), (-0.3, 0.01))) == (
        "x predicts better than y on 2 of 3 tasks, certainly on 1; y better than x on 1, certainly on 1; "
        "overall difference +0.05 [−0.10, +0.20], p = 0.48."
    )
    assert "on 1 of 1 task, certainly on none; y better than x on 0, certainly on none;" in in_short(_made((0.2, 0.9)))
    assert "none of these tasks: nothing can be said" in in_short(_made())
    unknown = dataclasses.replace(_made((0.2, 0.9)), difference=Difference(0.2, *[float("nan")] * 3))
    assert in_short(unknown).endswith("overall difference +0.20, p not known: too few settings.")


def test_a_p_that_is_below_five_per_cent_is_not_rounded_up_to_it() -> None:
    made = dataclasses.replace(_made((0.2, 0.2)), difference=Difference(0.2, 0.001, 0.4, 0.0499))
    assert in_short(made).endswith("p < 0.05.")
    made = dataclasses.replace(made, difference=Difference(0.2, -0.001, 0.4, 0.0501))
    assert in_short(made).endswith("p = 0.05.")


def test_the_sentence_is_of_the_results(root: Path) -> None:
    found = compare("oracle", "noise", root, None)
    assert isinstance(found, MetricComparison)
    text = " ".join(_said(found, 300).split())
    assert f"In short: {in_short(found)}" in text
    ahead = sum(task.difference.value > 0 for task in found.tasks)
    assert in_short(found).startswith(f"oracle predicts better than noise on {ahead} of 2 tasks")


@pytest.mark.parametrize("width", [60, 80, 160])
def test_no_line_is_wider_than_the_terminal_and_no_number_is_cut(width: int, root: Path, after: Path) -> None:
    for found in (compare("oracle", "noise", root, None), compare(str(root), str(after), root, None)):
        text = _said(found, width, everything=True)
        assert max(cell_len(line) for line in text.splitlines()) <= width
        assert "…" not in text
        rows = [line for line in text.splitlines() if re.search(r"\S {2,}\S", line)]  # of tables; sentences may break
        assert width < 80 or all(line.count("[") == line.count("]") for line in rows)


def test_metric_names_are_whole_at_eighty_columns(root: Path, after: Path) -> None:
    text = _said(compare(str(root), str(after), root, None), 80, everything=True)
    for name in ("wrong_way", "oracle", "parts.a"):
        assert re.search(rf"^{re.escape(name)} ", text, re.MULTILINE)


def test_columns_that_have_no_room_are_named(root: Path, after: Path) -> None:
    found = compare(str(root), str(after), root, None)
    assert "No room for" not in _said(found, 160)
    assert "No room for: else, in s.e. (a wider terminal has it, and so has --json)." in " ".join(
        _said(found, 45).split()
    )


def test_only_what_changed_is_shown_unless_all_is_asked_for(root: Path, after: Path) -> None:
    found = compare(str(root), str(after), root, None)
    assert isinstance(found, SetComparison)
    text = " ".join(_said(found, 200).split())
    assert "Only before: b/trajectory." in text
    assert "Tasks in both: 1 with differences, 0 without." in text
    assert "Metrics that differ: 1; that do not: 6." in text
    assert "noise 1 of 18 0 0 0 0.1 %" in text
    assert "oracle" not in text
    assert "oracle" in _said(found, 200, everything=True)


def test_the_same_set_says_that_nothing_changed(root: Path) -> None:
    text = " ".join(_said(compare(str(root), str(root), root, None), 200).split())
    assert "Tasks in both: 0 with differences, 2 without." in text
    assert "Metrics with another score or rank: 0; without: 7" in text
    assert "→" not in text


def test_one_tasks_folder_is_a_set_too(root: Path) -> None:
    found = compare(str(root / "a/grid"), str(root), root, None)
    assert isinstance(found, SetComparison)
    assert (found.only_before, found.only_after) == ([], ["b/trajectory"])
    assert [task.task for task in found.tasks] == ["a/grid"]
    narrowed = compare(str(root / "a/grid"), str(root), root, ["a/grid"])
    assert isinstance(narrowed, SetComparison)
    assert narrowed.only_after == []


def test_tasks_narrow_a_comparison_of_metrics(root: Path) -> None:
    found = compare("oracle", "noise", root, ["a/grid"])
    assert isinstance(found, MetricComparison)
    assert [task.task for task in found.tasks] == ["a/grid"]
    assert found.difference == found.tasks[0].difference


def test_json_is_valid_and_says_all(root: Path, after: Path) -> None:
    def strict(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    found = compare("lucky", "rate", root, None)
    read = json.loads(as_json(found), parse_constant=strict)
    assert isinstance(found, MetricComparison)
    assert read["in_short"] == in_short(found)
    assert read["difference"]["p"] == found.difference.p
    assert read["tasks"][1]["alike"]["value"] is None  # rate is the same along a run
    sets = json.loads(as_json(compare(str(root), str(after), root, None)), parse_constant=strict)
    assert sets["only_before"] == ["b/trajectory"]
    assert [m["metric"] for m in sets["tasks"][0]["metrics"] if m["changed"]] == ["noise"]


def test_markdown_escapes_words_from_outside(root: Path, after: Path) -> None:
    path = after / "a/grid/provenance.json"
    provenance = json.loads(path.read_text())
    provenance["title"] = "<script>alert(1)</script> | *x*"
    path.write_text(json.dumps(provenance))
    text = markdown(parts(compare(str(root), str(after), root, None)))
    assert "\\<script\\>alert(1)\\</script\\> \\| \\*x\\*" in text
    assert "<script>" not in text.replace("\\<", "")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert rows
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1


# the command


def _run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, list(words), env={"COLUMNS": "150"})
    return done.exit_code, done.output if done.exception is None else f"{done.output}{done.exception}"


def test_the_command_compares_and_never_fails_for_a_difference(root: Path, after: Path) -> None:
    code, text = _run("compare", "oracle", "noise", "--results", str(root))
    assert (code, "oracle predicts better than noise" in text) == (0, True)
    code, text = _run("compare", str(root), str(after), "--markdown")
    assert (code, text.startswith("**Before and after**")) == (0, True)
    code, text = _run("compare", str(root), str(root), "--json")
    assert (code, json.loads(text)["only_after"]) == (0, [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("orcle", "noise"), "orcle: no such metric in the results of a/grid, b/trajectory; did you mean oracle?"),
        (("oracle", "{root}"), "before is a folder and oracle is none: compare two metrics, or two folders of results"),
        (("{root}", "oracle"), "before is a folder and oracle is none: compare two metrics, or two folders of results"),
        (
            ("{root}/nope", "{root}"),
            "before/nope: no such folder; give two folders of results, or two names of metrics",
        ),
        (("{root}", "{root}/a/grid/values"), "values: no results"),
        (("oracle", "noise", "--task", "a/b"), "no results of a/b; there are those of a/grid, b/trajectory"),
        (("{root}", "{root}", "--task", "a/b"), "has results of it; there are those of a/grid, b/trajectory"),
    ],
)
def test_bad_input(words: tuple[str, ...], said: str, root: Path) -> None:
    done = CliRunner().invoke(cli.app, ["compare", *(w.format(root=root) for w in words), "--results", str(root)])
    assert isinstance(done.exception, BadInput)
    assert said in str(done.exception)
    assert "\n" not in str(done.exception)


def test_the_export_command_writes_what_it_says(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    code, text = _run("export", str(file), "--results", str(root), "--table", "runs", "--task", "b/trajectory")
    lines = file.read_text().splitlines()
    assert (code, "".join(text.split("\n"))) == (0, f"{file}: 48 rows, {lines[0].count(',') + 1} columns")
    assert len(lines) == 49
