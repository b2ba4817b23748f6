"""The main job from outside: a user's folder, the command line, and nothing else."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command import TINY, start, suite, workplace

METRIC = '''\
"""Last-layer norm, as an example of a metric from outside the package."""

from suite.metrics import Run, metric


@metric(title="Largest weight", family="norms", source="an example", sign=1, cost="free")
def largest_weight(run: Run) -> float:
    """Largest absolute parameter."""
    return float(run.weights.abs().max())
'''

HOSTILE = """\
import os, time
from suite.metrics import Run, metric


@metric(title="Raises", family="x", source="x", sign=1)
def raises(run: Run) -> float:
    raise RuntimeError("no luck")


@metric(title="Not a number", family="x", source="x", sign=1)
def not_a_number(run: Run) -> float:
    return float("nan")


@metric(title="Dies", family="x", source="x", sign=1)
def dies(run: Run) -> float:
    os._exit(7)


@metric(title="Meddles", family="x", source="x", sign=1)
def meddles(run: Run) -> float:
    run.weights.zero_()
    return 1.0
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = workplace(tmp_path_factory.mktemp("user"))
    code, out, err = suite(folder, "run", "tasks/tiny")
    assert code == 0, err
    assert "tiny/digits" in out
    return folder


@pytest.fixture
def place(done: Path, tmp_path: Path) -> Path:
    """A copy for each test: none sees what another left there, whatever their order."""
    return shutil.copytree(done, tmp_path / "user")


SOURCE = """\
from typing import Literal

from suite.data.digits import Digits


class Reversed(Digits):
    kind: Literal["reversed-digits"] = "reversed-digits"
"""


def values(place: Path, metric: str, task: str = "tiny/digits") -> list[dict[str, str]]:
    with (place / ".suite/reports/results" / task / "values" / f"{metric}.csv").open() as file:
        return list(csv.DictReader(file))


def test_results_and_report_are_written(place: Path) -> None:
    reports = place / ".suite" / "reports"
    rows = values(place, "sharpness_dimension")
    assert len(rows) == 12
    assert {row["status"] for row in rows} == {"ok"}
    assert len(values(place, "hessian_trace", "tiny/grokking")) == 4 * 4
    board = (reports / "leaderboard.md").read_text()
    assert "Sharpness dimension" in board
    assert (reports / "site" / "index.html").exists()
    provenance = json.loads((reports / "results/tiny/digits/provenance.json").read_text())
    assert provenance["parameters"] == 64 * 4 + 4 * 10
    assert provenance["versions"]["torch"]


def test_a_second_run_does_nothing_and_ends_the_same(place: Path) -> None:
    board = place / ".suite/reports/leaderboard.md"
    before, seconds = board.read_bytes(), (place / ".suite/store.db").stat().st_mtime_ns
    code, out, err = suite(place, "run", "tasks/tiny")
    assert code == 0, err
    assert "train  " not in out
    assert board.read_bytes() == before
    assert (place / ".suite/store.db").stat().st_mtime_ns == seconds


def test_a_metric_is_one_file_from_outside_and_never_retrains(place: Path) -> None:
    (place / "largest_weight.py").write_text(METRIC)
    assert len(METRIC.splitlines()) <= 20
    code, out, err = suite(place, "run", "tasks/tiny", "--metric", "largest_weight.py")
    assert code == 0, err
    assert "train  " not in out
    assert "Largest weight" in (place / ".suite/reports/leaderboard.md").read_text()
    assert all(float(row["value"]) > 0 for row in values(place, "largest_weight"))


def test_installed_packages_bring_metrics_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed, folder = tmp_path / "site", workplace(tmp_path / "user")
    (installed / "outsider-1.0.dist-info").mkdir(parents=True)
    (installed / "outsider-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.0\n")
    (installed / "outsider-1.0.dist-info/entry_points.txt").write_text(
        "[suite.metrics]\nlargest = outsider_metric\n[suite.data]\nreversed = outsider_data\n"
    )
    (installed / "outsider_metric.py").write_text(METRIC)
    (installed / "outsider_data.py").write_text(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(installed))
    (folder / "mine.yaml").write_text(TINY.replace("{kind: digits}", "{kind: reversed-digits}"))
    code, _, err = suite(folder, "run", "mine.yaml", "--quiet")
    assert code == 0, err
    assert len(values(folder, "largest_weight")) == 12


def test_hostile_metrics_are_rows_and_hurt_nobody(place: Path) -> None:
    before = values(place, "weight_norm")
    (place / "hostile.py").write_text(HOSTILE)
    code, _, err = suite(place, "run", "tasks/tiny/digits.yaml", "--metric", "hostile.py", "--quiet")
    assert code == 1
    assert "tiny/digits: raises: 12 × failed: RuntimeError: no luck" in err
    assert "tiny/digits: dies: 12 × died: its process died (exit code 7)" in err
    assert "not_a_number: 12 × failed: returned nan" in err
    assert {row["status"] for row in values(place, "meddles")} == {"ok"}
    assert values(place, "weight_norm") == before


def test_a_task_is_one_file(place: Path) -> None:
    task = TINY.replace("tiny/digits", "mine").replace("relu", "gelu").replace("epochs: 3", "epochs: 1")
    (place / "mine.yaml").write_text(task)
    code, _, err = suite(place, "validate", "mine.yaml")
    assert code == 0, err
    code, _, err = suite(place, "run", "mine.yaml", "--quiet")
    assert code == 0, err
    assert len(values(place, "codimension", "mine")) == 12


def test_publish_and_leaderboard_check(place: Path) -> None:
    code, _, err = suite(place, "publish", "tasks/tiny")
    assert code == 0, err
    code, _, err = suite(place, "leaderboard")
    assert code == 0, err
    assert suite(place, "leaderboard", "--check")[0] == 0
    board = place / "leaderboard.md"
    board.write_text(board.read_text() + "edited by hand\n")
    code, _, err = suite(place, "leaderboard", "--check")
    assert code == 1
    assert "leaderboard.md" in err


def test_leaderboard_never_imports_torch(place: Path) -> None:
    program = (
        "import sys; sys.argv = ['suite', 'leaderboard']\n"
        "from suite.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    suite(place, "publish", "tasks/tiny")
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "False"


def test_interrupt_says_so_and_keeps_what_is_done(tmp_path: Path) -> None:
    folder = workplace(tmp_path)
    process = start(folder, "run", "tasks/tiny", "--quiet")
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    if process.returncode:
        assert "goes on from there" in err
        assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "tasks/tinny"), "tiny"),
        (("run", "tasks/tiny", "--device", "cuda:9"), "--device cuda:9"),
        (("run", "tasks/tiny", "--device", "tpu"), "auto, cpu, cuda"),
        (("run", "tasks/tiny", "--dtype", "int8"), "float32 or float64"),
        (("run", "tasks/tiny", "--metric", "absent.py"), "absent.py"),
        (("publish", "tasks/tiny/digits.yaml", "--dtype", "float64"), "suite"),
        (("leaderboard", "--results", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_clear_error(place: Path, words: tuple[str, ...], said: str) -> None:
    code, _, err = suite(place, *words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_read_only_store_is_one_clear_error(tmp_path: Path) -> None:
    folder = workplace(tmp_path)
    (folder / ".suite").write_text("not a folder")
    code, _, err = suite(folder, "run", "tasks/tiny")
    assert code == 2
    assert "SUITE_HOME" in err
    assert "Traceback" not in err
