"""The README does what it says: its examples are read from it and run, its commands exist."""

from __future__ import annotations

import csv
import re
import subprocess
from pathlib import Path

import pytest

from suite.spec.loading import load_task
from tests.command import README, readme_block, suite


@pytest.mark.whole
def test_the_metric_and_the_task_of_the_readme(tmp_path: Path) -> None:
    metric, task = readme_block("python", "@metric("), readme_block("yaml", "kind: grid")
    (tmp_path / "largest_weight.py").write_text(metric)
    (tmp_path / "my-task.yaml").write_text(task)
    assert len(metric.splitlines()) <= 20
    code, _, err = suite(tmp_path, "run", "my-task.yaml", "--metric", "largest_weight.py", "--quiet")
    assert code == 0, err
    with (tmp_path / ".suite/reports/results/my/digits/values/largest_weight.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    assert {row["status"] for row in rows} == {"ok"}
    assert all(float(row["value"]) > 0 for row in rows)


def test_the_commands_of_the_readme_are_commands(tmp_path: Path) -> None:
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"\.venv/bin/suite ([a-z]+)", text))
    assert {"run", "validate", "doctor"} <= named
    for command in sorted(named):
        assert suite(tmp_path, command, "--help")[0] == 0, command


def test_the_make_targets_of_the_readme_are_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", README.with_name("Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^ +make ([a-z]+)", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert {"run", "test"} <= named <= targets


def test_make_run_says_which_leaderboard_is_whose() -> None:
    """The published files are listed after a run of one's own: a heading stands between."""
    words = ["make", "--no-print-directory", "-n", "run"]  # itself started by make, it would announce its folder
    recipe = subprocess.run(words, cwd=README.parent, capture_output=True, text=True, check=True).stdout
    *_, run, heading, published = recipe.splitlines()
    assert run.endswith("suite run --cost gradient")
    assert published.endswith("suite leaderboard")
    said = subprocess.run(["sh", "-c", heading], env={"SUITE_HOME": "mine"}, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"\nYours is mine/reports/leaderboard\.md\. The published one.*:\n", said.stdout)


def test_the_description_of_grokking_is_what_its_published_runs_show() -> None:
    root = README.parent
    description = load_task(root / "tasks/quick/modular-grokking.yaml").description
    with (root / "reports/results/quick/modular-grokking/runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    learned: dict[str, int] = {}
    for row in rows:
        if float(row["train_accuracy"]) == 1:
            learned.setdefault(row["run_id"], int(row["step"]))
    last = {row["run_id"]: float(row["test_accuracy"]) for row in rows}  # a run's rows are in the order of its steps
    assert set(learned) == set(last)
    assert f"Training accuracy is 1 within {max(learned.values()):,} steps" in description
    assert f"it is between {min(last.values()):.2f} and {max(last.values()):.2f}" in description
