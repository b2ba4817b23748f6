"""What CONTRIBUTING tells a stranger, done to the letter: from an empty folder to a line on the leaderboard."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import TINY

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
NAME = "weight_kurtosis"


def _section() -> str:
    (section,) = re.findall(r"^## A metric.*?(?=^## )", TEXT, re.DOTALL | re.MULTILINE)
    return str(section)


def _commands(before: str, after: str = "") -> list[list[str]]:
    """The commands of a part of the section, in its order."""
    part = _section().split(before)[0].split(after)[-1] if after else _section().split(before)[0]
    return [
        shlex.split(line) for line in re.findall(r"^    (\S.*)$", re.sub(r"```.*?```", "", part, flags=re.DOTALL), re.M)
    ]


def _files() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", _section(), re.DOTALL | re.MULTILINE)


def _done(folder: Path, words: list[str], store: Path, path: Path | None = None) -> str:
    """A command as it stands there, by this Python; it must succeed. What it printed."""
    programs = {"suite": [sys.executable, "-m", "suite"], "python": [sys.executable]}
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"} | {"SUITE_HOME": str(store), "COLUMNS": "150"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    words = [*programs.get(words[0], [words[0]]), *words[1:]]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{shlex.join(words)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _with_task(folder: Path) -> Path:
    """A folder whose quick suite is a tiny task: the real one takes minutes."""
    (folder / "tasks" / "quick").mkdir(parents=True)
    few = TINY.replace("  training.batch_size: [32, 64]\n", "")
    (folder / "tasks" / "quick" / "tiny.yaml").write_text(few)
    return folder


@pytest.mark.slow
def test_a_stranger_reaches_the_leaderboard(tmp_path: Path) -> None:
    outside, store = _with_task(tmp_path / "outside"), tmp_path / "store"
    new, *others = _commands("**Publish.**")
    assert [words[:3] for words in (new, *others)] == [
        ["suite", "new", "metric"],
        ["python", "-m", "pytest"],
        ["suite", "check", f"{NAME}.py"],
        ["suite", "run", "--metric"],
    ]
    _done(outside, new, store)
    metric, test = _files()
    for file, text in ((f"{NAME}.py", metric), (f"test_{NAME}.py", test)):
        assert (outside / file).exists(), "what `suite new metric` wrote is what is filled in"
        (outside / file).write_text(text, encoding="utf-8")
    said = [_done(outside, words, store) for words in others]
    assert f"{NAME}: nothing is wrong" in said[1]
    assert "values of tiny/digits: 6 of 6" in said[1]
    assert re.search(rf"{NAME} is \d+ of \d+ with a score of", said[1])
    assert "Kurtosis of the weights" in (store / "reports" / "leaderboard.md").read_text(encoding="utf-8")

    clone = _with_task(tmp_path / "clone")
    shutil.copytree(ROOT / "suite", clone / "suite", ignore=shutil.ignore_patterns("__pycache__"))
    (clone / "tests" / "metrics").mkdir(parents=True)
    _done(clone, ["suite", "publish"], store, clone)
    values = clone / "reports" / "results" / "tiny" / "digits"
    before = {path: path.read_bytes() for path in values.rglob("*") if path.is_file()}
    for file in (f"{NAME}.py", f"test_{NAME}.py"):
        shutil.copy(outside / file, clone)
    for words in _commands("**Pull request.**", "**Publish.**"):
        _done(clone, words, store, clone)
    after = {path: path.read_bytes() for path in values.rglob("*") if path.is_file()}
    assert {path.relative_to(values).as_posix() for path in after if after[path] != before.get(path)} == {
        f"values/{NAME}.csv",
        "metrics.json",
    }
    with (values / "values" / f"{NAME}.csv").open() as rows:
        assert all(float(row["value"]) > 1 for row in csv.DictReader(rows))
    entries = json.loads((values / "metrics.json").read_text())
    assert [e for e in entries if e["name"] != NAME] == json.loads(before[values / "metrics.json"])
    assert "Kurtosis of the weights" in (clone / "leaderboard.md").read_text(encoding="utf-8")


def test_the_commands_that_nobody_runs_are_gits() -> None:
    left = _commands("CI trains the quick suite", "**Pull request.**")
    assert {words[0] for words in left} == {"git"}
    named = [word for words in left for word in words if "/" in word]
    assert named == [f"suite/metrics/{NAME}.py", f"tests/metrics/test_{NAME}.py"]
