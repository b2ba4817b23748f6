"""The README does what it says: its examples are read from it and run, its commands exist."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from tests.command import README, readme_block, suite


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
