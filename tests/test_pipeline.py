"""The main job from outside: a user's folder, the command line, and nothing else."""

from __future__ import annotations

import contextlib
import csv
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from suite.data.digits import Digits
from suite.errors import StoreError
from suite.measuring.measure import Laboratory, plan
from suite.measuring.place import Place
from suite.metrics import find_metrics
from suite.progress import Board
from suite.publishing import write_results
from suite.spec.loading import load_task
from suite.store import Store
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
import os
from suite.metrics import Run, metric


@metric(title="Raises", family="x", source="x", sign=1)
def raises(run: Run) -> float:
    raise RuntimeError("no luck")


@metric(title="Nowhere defined", family="x", source="x", sign=1)
def undefined(run: Run) -> float:
    raise ValueError("not here")


@metric(title="Defined somewhere", family="x", source="x", sign=1)
def half_defined(run: Run) -> float:
    if run.batch_size == 32:
        raise ValueError("not here")
    return 1.0


@metric(title="Of another optimizer", family="x", source="x", sign=1, optimizers=("adamw",))
def adaptive(run: Run) -> float:
    return 1.0


@metric(title="Dies", family="x", source="x", sign=1)
def dies(run: Run) -> float:
    os._exit(7)
"""

# Metrics are measured in the order of their names: a_hangs comes before all others.
HANGING = """\
import time
from suite.metrics import Run, metric


@metric(title="Hangs", family="x", source="x", sign=1, cost="free")
def a_hangs(run: Run) -> float:
    while True:
        time.sleep(1)
"""

# It looks for one input of each set through everything that Python can reach in its process.
PEEPING = """\
import gc, json
from pathlib import Path

import numpy as np
import torch
from suite.metrics import Run, metric

WANTED = json.loads(Path(__file__).with_name("wanted.json").read_text())


def arrays():
    seen, todo = set(), [o for o in gc.get_objects() if type(o).__name__ != "frame"]
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, torch.Tensor):
            if one.device.type == "cpu" and one.layout == torch.strided:
                yield one.detach().numpy()
        elif isinstance(one, np.ndarray):
            yield one
            todo.append(one.base)
        else:
            todo += gc.get_referents(one)


@metric(title="Peeps", family="x", source="x", sign=1, cost="free")
def peeps(run: Run) -> dict[str, float]:
    wanted = {name: np.array(row, dtype=np.float32) for name, row in WANTED.items()}
    found = dict.fromkeys(wanted, 0.0)
    own = {id(row) for row in wanted.values()}
    for array in arrays():
        if id(array) not in own and array.ndim == 2 and array.shape[1] == 64 and array.dtype == np.float32:
            for name, row in wanted.items():
                found[name] += float((array == row).all(1).any())
    return found
"""


@pytest.fixture
def place(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy for each test: none sees what another left there, whatever their order."""
    return shutil.copytree(tiny_run, tmp_path / "user")


@pytest.fixture(scope="module")
def again(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A second run and what it said: with a metric from outside, of networks that an older version trained, after a run
    that was killed while it wrote its results."""
    place = shutil.copytree(tiny_run, tmp_path_factory.mktemp("again") / "user")
    (place / ".suite/reports/.results-killed/new").mkdir(parents=True)
    (place / "largest_weight.py").write_text(METRIC)
    with sqlite3.connect(place / ".suite/store.db") as db:
        for key, text in db.execute("SELECT key, provenance FROM stacks").fetchall():
            noted = json.loads(text)
            assert noted["versions"]["torch"]
            assert set(noted) >= {"commit", "dirty"}
            noted["versions"]["torch"], noted["commit"] = "1.0.old", "0123abc"
            db.execute("UPDATE stacks SET provenance = ? WHERE key = ?", (json.dumps(noted), key))
    code, out, err = suite(place, "run", "tasks/tiny", "--metric", "largest_weight.py")
    assert code == 0, err
    return place, out


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
    costs = provenance["metric_costs"]
    assert 0 < costs["training_loss"]["seconds"] < 10
    assert 0 <= costs["training_loss"]["memory_mib"] < 1000
    assert all(len(str(c["seconds"]).strip("0.").split("e")[0]) == 1 for c in costs.values()), "one digit"


def test_spectra_are_published_in_few_numbers(place: Path) -> None:
    results = place / ".suite/reports/results"
    with (results / "tiny/digits/spectra.csv").open() as file:
        rows = list(csv.DictReader(file))
    leading = {row["run_id"]: float(row["exponent"]) for row in reversed(rows)}  # the first of each run is its largest
    meant = {row["run_id"]: float(row["value"]) for row in values(place, "rds_sharpness")}
    assert leading == pytest.approx(meant, rel=1e-5)
    with (results / "tiny/grokking/spectra.csv").open() as file:
        points = {(row["run_id"], row["step"]) for row in csv.DictReader(file)}
    assert len(points) == 2 * len({run for run, _ in points}) == 8  # of 16 checkpoints the first and last of four runs


@pytest.mark.whole
def test_a_second_run_does_nothing_and_ends_the_same(place: Path) -> None:
    board = place / ".suite/reports/leaderboard.md"
    before, seconds = board.read_bytes(), (place / ".suite/store.db").stat().st_mtime_ns
    code, out, err = suite(place, "run", "tasks/tiny")
    assert code == 0, err
    assert "train  " not in out
    assert board.read_bytes() == before
    assert (place / ".suite/store.db").stat().st_mtime_ns == seconds


@pytest.mark.whole
def test_a_metric_is_one_file_from_outside_and_never_retrains(again: tuple[Path, str]) -> None:
    place, out = again
    assert len(METRIC.splitlines()) <= 20
    assert "train  " not in out
    assert "Largest weight" in (place / ".suite/reports/leaderboard.md").read_text()
    assert all(float(row["value"]) > 0 for row in values(place, "largest_weight"))


@pytest.mark.slow
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


@pytest.mark.slow
def test_metrics_without_values_are_told_of_once_and_hurt_nobody(place: Path) -> None:
    """What each hostile act becomes: tests/measuring/test_hostile.py."""
    names = ("weight_norm", "training_loss", "hessian_trace")
    before = [values(place, name) for name in names]
    with sqlite3.connect(place / ".suite/store.db") as db:
        db.execute(f"DELETE FROM metric_values WHERE metric IN {names}")
    (place / "hostile.py").write_text(HOSTILE)
    words = ("run", "tasks/tiny/digits.yaml", "--metric", "hostile.py", "--quiet")
    code, _, err = suite(place, *words)
    assert code == 1
    assert err.splitlines() == [
        "tiny/digits: dies: 12 × died: its process died (exit code 7)",
        "tiny/digits: raises: 12 × failed: RuntimeError: no luck",
        "tiny/digits: undefined: 12 × undefined: ValueError: not here",
    ]
    assert Counter(row["status"] for row in values(place, "half_defined")) == {"ok": 6, "undefined": 6}
    assert not (place / ".suite/reports/results/tiny/digits/values/adaptive.csv").exists()
    assert [values(place, name) for name in names] == before
    with sqlite3.connect(place / ".suite/store.db") as db:  # what is undefined stays so, what failed is tried again
        db.execute("UPDATE metric_values SET seconds = 0")
    assert suite(place, *words)[0] == 1
    with sqlite3.connect(place / ".suite/store.db") as db:
        again = db.execute("SELECT DISTINCT metric FROM metric_values WHERE seconds > 0").fetchall()
    assert sorted(name for (name,) in again) == ["dies", "raises"]


@pytest.mark.slow
def test_a_hanging_metric_is_soon_given_up_and_the_others_are_measured(place: Path) -> None:
    (place / "hanging.py").write_text(HANGING)
    code = (
        "import sys; from pathlib import Path; from rich.console import Console; from suite import pipeline\n"
        "if __name__ == '__main__':\n"
        "    options = pipeline.Options(Path('.suite'), metric_files=(Path('hanging.py'),), metric_limit=15.0,"
        " workers=2, quiet=True)\n"
        "    print(*pipeline.run([Path('fresh.yaml')], options, Console()), sep='\\n')\n"
    )
    (place / "drive.py").write_text(code)
    (place / "fresh.yaml").write_text(TINY.replace("tiny/digits", "fresh").replace("epochs: 3", "epochs: 2"))
    done = subprocess.run([sys.executable, "drive.py"], cwd=place, capture_output=True, text=True, check=True)
    rows = values(place, "a_hangs", "fresh")
    assert {row["status"] for row in rows} == {"timeout"}
    reasons = [row["reason"] for row in rows]
    assert 3 <= reasons.count("took longer than 15 s") <= 6
    assert reasons.count("not tried: it took too long on 3 values of this task") >= 6
    assert "fresh: a_hangs" in done.stdout
    for name in ("sharpness_dimension", "weight_norm", "training_loss"):
        assert [row["status"] for row in values(place, name, "fresh")] == ["ok"] * 12


@pytest.mark.whole
def test_no_test_data_in_the_process_of_a_metric(tmp_path: Path) -> None:
    folder = workplace(tmp_path)
    data = Digits().load((), tmp_path)
    wanted = {"train": data.train_inputs[5].tolist(), "test": data.test_inputs[5].tolist()}
    (folder / "wanted.json").write_text(json.dumps(wanted))
    (folder / "peeping.py").write_text(PEEPING)
    code, _, err = suite(folder, "run", "tasks/tiny/digits.yaml", "--metric", "peeping.py", "--quiet")
    assert code == 0, err
    found = {name: [float(r["value"]) for r in values(folder, "peeps") if r["component"] == name] for name in wanted}
    assert min(found["train"]) >= 1, "a metric finds what is there"
    assert found["test"] == [0.0] * 12


@pytest.mark.slow
def test_an_edited_metric_file_is_measured_again(place: Path) -> None:
    for text, factor in [(METRIC, 1.0), (METRIC.replace("abs().max()", "abs().max() * 2"), 2.0)]:
        (place / "largest_weight.py").write_text(text)
        assert suite(place, "run", "tasks/tiny", "--metric", "largest_weight.py", "--quiet")[0] == 0
        found = [float(row["value"]) for row in values(place, "largest_weight")]
        if factor == 1.0:
            first = found
    assert found == [2 * value for value in first]


def test_a_failed_probe_fails_only_what_reads_it(place: Path) -> None:
    with sqlite3.connect(place / ".suite/store.db") as db:
        db.execute("UPDATE probes SET status = 'failed', tensors = NULL, reason = 'as a test'")
        db.execute("DELETE FROM metric_values")
    folder = Path(".suite")
    with Store(place / folder, writing=True) as store:
        calls = _offline_measure(store, place)
    assert calls["weight_norm"] == calls["learning_rate"] == 12
    assert "hessian_trace" not in calls


def _offline_measure(store: Store, place: Path) -> Counter[str]:
    """How often each metric is wanted on the tiny grid, by what the laboratory itself says."""
    made = plan(load_task(place / "tasks/tiny/digits.yaml"), Place.of("cpu", "float32"))
    laboratory = Laboratory(store, Board(Console(quiet=True), quiet=True))
    metrics = find_metrics()
    return Counter(w.metric for points in laboratory._points(made) for w in laboratory._wanted(points, metrics))


@pytest.mark.parametrize("names", [("outer", "outer/inner"), ("outer/inner", "outer")])
@pytest.mark.slow
def test_results_inside_other_results_are_refused_before_any_work(place: Path, names: tuple[str, str]) -> None:
    for number, name in enumerate(names):
        (place / f"{number}.yaml").write_text(TINY.replace("tiny/digits", name))
    code, _, err = suite(place, "run", "0.yaml", "1.yaml", "--quiet")
    assert (code, err.count("\n")) == (2, 1)
    assert "one inside the other" in err
    assert suite(place, "run", "0.yaml", "--quiet")[0] == 0
    code, _, err = suite(place, "run", "1.yaml", "--quiet")
    assert code == 2
    assert "one inside the other" in err
    assert len(values(place, "weight_norm", names[0])) == 12


@pytest.mark.whole
def test_versions_and_commit_are_those_of_training(again: tuple[Path, str]) -> None:
    provenance = json.loads((again[0] / ".suite/reports/results/tiny/digits/provenance.json").read_text())
    assert (provenance["versions"]["torch"], provenance["commit"]) == ("1.0.old", "0123abc")


@pytest.mark.whole
def test_what_a_killed_run_left_among_the_reports_is_removed(again: tuple[Path, str]) -> None:
    assert not list((again[0] / ".suite/reports").glob(".results-*"))


def test_reports_that_cannot_be_written_are_one_clear_error(place: Path) -> None:
    shutil.rmtree(place / ".suite/reports")
    (place / ".suite/reports").write_text("not a folder")
    for words in (("run", "tasks/tiny"), ("publish", "tasks/tiny", "--results", ".suite/reports/results")):
        code, _, err = suite(place, *words)
        assert (code, err.count("\n")) == (2, 1), err
        assert "results cannot be written there" in err


def test_a_disk_that_fills_up_while_results_are_written_keeps_the_old_ones(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(load_task(place / "tasks/tiny/digits.yaml"), Place.of("cpu", "float32"))
    root = place / ".suite/reports/results"
    before = (root / "tiny/digits/runs.csv").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with Store(place / ".suite") as store, pytest.raises(StoreError, match="disk is full"):
        write_results(made, store, {"weight_norm": find_metrics()["weight_norm"]}, root)
    assert (root / "tiny/digits/runs.csv").read_bytes() == before
    assert not list(root.parent.glob(".results-*"))


def test_help_answers_at_once() -> None:
    program = "import sys, time; t = time.perf_counter(); sys.argv = ['suite', '--help']\nfrom suite.cli import main\n"
    program += "try: main()\nfinally: print(time.perf_counter() - t, *sys.modules, file=sys.stderr)"
    seconds = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        first, *modules = done.stderr.split()
        seconds.append(float(first))
        assert not {"torch", "pandas", "scipy", "sklearn", "pydantic", "matplotlib"} & set(modules)
    assert min(seconds) < 0.5


@pytest.mark.whole
def test_a_task_is_one_file(place: Path) -> None:
    task = TINY.replace("tiny/digits", "mine").replace("relu", "gelu").replace("epochs: 3", "epochs: 1")
    (place / "mine.yaml").write_text(task)
    code, _, err = suite(place, "validate", "mine.yaml")
    assert code == 0, err
    code, _, err = suite(place, "run", "mine.yaml", "--quiet")
    assert code == 0, err
    assert len(values(place, "codimension", "mine")) == 12


@pytest.mark.whole
def test_publish_and_leaderboard_check_without_torch(place: Path) -> None:
    code, _, err = suite(place, "publish", "tasks/tiny")
    assert code == 0, err
    program = (
        "import sys; sys.argv = ['suite', 'leaderboard']\n"
        "from suite.cli import main\n"
        "try: main()\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "False")
    assert suite(place, "leaderboard", "--check")[0] == 0
    board = place / "leaderboard.md"
    board.write_text(board.read_text() + "edited by hand\n")
    code, _, err = suite(place, "leaderboard", "--check")
    assert code == 1
    assert "leaderboard.md" in err


@pytest.mark.slow
def test_interrupt_says_so_and_keeps_what_is_done(tmp_path: Path) -> None:
    folder = workplace(tmp_path)
    process = start(folder, "run", "tasks/tiny", "--quiet")
    while not stacks(folder):  # with one stack trained most of the work is still to come
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "goes on from there" in err
    assert "Traceback" not in err
    kept = stacks(folder)
    code, _, err = suite(folder, "run", "tasks/tiny", "--quiet")
    assert code == 0, err
    assert kept.items() <= stacks(folder).items(), "a stack was trained twice"


def stacks(folder: Path) -> dict[str, float]:
    """The stacks on record and how long each took: a second training would not take the same time to the last bit."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder / '.suite/store.db'}?mode=ro", uri=True)) as db:
            return dict(db.execute("SELECT key, seconds FROM stacks").fetchall())
    except sqlite3.OperationalError:  # not there yet
        return {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "tasks/tinny"), "tiny"),
        (("run", "tasks/tiny", "--device", "cuda:9"), "--device cuda:9"),
        (("run", "tasks/tiny", "--device", "tpu"), "auto, cpu, cuda"),
        (("run", "tasks/tiny", "--dtype", "int8"), "float32 or float64"),
        (("run", "tasks/tiny", "--metric", "absent.py"), "absent.py"),
        (
            ("publish", "tasks/tiny/digits.yaml", "--dtype", "float64"),
            "is not trained yet: `suite train` with the same task file first",
        ),
        (("leaderboard", "--results", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_clear_error(place: Path, words: tuple[str, ...], said: str) -> None:
    code, _, err = suite(place, *words)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_metric_file_is_named_as_it_was_given(tmp_path: Path) -> None:
    folder = workplace(tmp_path)
    (folder / "mine.py").symlink_to(os.devnull)
    code, _, err = suite(folder, "run", "tasks/tiny", "--dry-run", "--metric", "mine.py")
    assert code == 2
    assert "mine.py: not a Python file" in err


def test_read_only_store_is_one_clear_error(tmp_path: Path) -> None:
    folder = workplace(tmp_path)
    (folder / ".suite").write_text("not a folder")
    assert_one_clear_error(*suite(folder, "run", "tasks/tiny"))
    (folder / ".suite").unlink()
    (folder / ".suite").mkdir(mode=0o555)
    if os.geteuid() == 0:  # whom a mode does not stop: a file system that nobody can write to
        (folder / ".suite").rmdir()
        (folder / ".suite").symlink_to("/sys")
    assert_one_clear_error(*suite(folder, "run", "tasks/tiny"))


def assert_one_clear_error(code: int, _: str, err: str) -> None:
    assert (code, err.count("\n")) == (2, 1), err
    assert "SUITE_HOME" in err


@pytest.mark.slow
def test_the_spectrum_of_a_run_and_of_its_weights(place: Path) -> None:
    with (place / ".suite/reports/results/tiny/digits/runs.csv").open(encoding="utf-8") as file:
        run_id = next(csv.DictReader(file))["run_id"]
    words = ("spectrum", run_id[:12], "--task", "tasks/tiny/digits.yaml", "--runs", "3", "--steps", "8")
    code, out, err = suite(place, *words, "--json", "--plot", "drawn.svg")
    assert code == 0, err
    told = {row["quantity"]: row["value"] for row in json.loads(out)}
    assert told["runs"] == told["minibatches"] == 3
    assert 0 < told["SD of w − η∇L, pooled"] <= told["parameters d"]
    assert (place / "drawn.svg").read_text(encoding="utf-8").startswith("<?xml")
    for wrong, said in {
        ("spectrum", "nosuchrun", "--task", "tasks/tiny/digits.yaml"): "no such file, and not just one trained run",
        ("spectrum", "x.pt", "--task", "tasks/tiny/digits.yaml"): "x.pt: no such file",
        ("spectrum", run_id): "give one of --task TASK and --model",
        ("spectrum", run_id, "--task", "tasks/tiny"): "one task is meant",
        (*words, "--plot", "nowhere/x.svg"): "there is no folder nowhere",
        (*words, "--plot", "x.txt"): "ends in .svg, .pdf or .png",
        (*words, "--batch-size", "0"): "a whole number from 1, or full",
        (*words, "--learning-rate", "inf"): "positive, finite",
    }.items():
        code, out, err = suite(place, *wrong)
        assert code == 2, wrong
        assert said in err
        assert "Traceback" not in err
