"""What goes wrong during a run, from outside: nothing recorded is lost, nothing is made anew in silence."""

from __future__ import annotations

import contextlib
import gzip
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from suite.data.digits import Digits
from suite.store import Store
from tests.command import TINY, install, start, suite, workplace
from tests.mounts import tmpfs
from tests.test_pipeline import stacks, values

pytestmark = pytest.mark.slow

RUN = ("run", "tasks/tiny", "--quiet")
MEASURE = ("measure", "tasks/tiny", "--quiet")  # writes the results too, and neither trains nor reports

OF_WEIGHTS = '''\
"""Largest weight."""

from suite.metrics import Run, metric


@metric(title="Largest weight", family="norms", source="an example", sign=1, cost="free")
def largest_weight(run: Run) -> float:
    """Largest absolute parameter."""
    return float(run.weights.abs().max())
'''

OF_SPECTRA = OF_WEIGHTS.replace('cost="free"', 'probes=("spectrum",)').replace("largest_weight", "number_of_weights")
OF_SPECTRA = OF_SPECTRA.replace("float(run.weights.abs().max())", "float(run.spectrum.size)")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = workplace(tmp_path_factory.mktemp("calm"))
    code, _, err = suite(folder, *RUN)
    assert code == 0, err
    return folder


@pytest.fixture
def place(done: Path, tmp_path: Path) -> Path:
    """A copy for each test."""
    return shutil.copytree(done, tmp_path / "user")


def results(folder: Path) -> dict[str, bytes]:
    """The tables of results."""
    root = folder / ".suite/reports/results"
    files = list(root.rglob("*.csv"))
    assert len(files) > 20
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def leaderboard(folder: Path) -> bytes:
    return (folder / ".suite/reports/leaderboard.md").read_bytes()


def let_go(folder: Path, keep: str, *words: str) -> list[str]:
    """`suite gc` with that policy of both tasks."""
    for file in (folder / "tasks/tiny").glob("*.yaml"):
        file.write_text(f"{file.read_text().partition('keep:')[0]}keep: {keep}\n")
    code, out, err = suite(folder, "gc", *words)
    assert (code, err) == (0, "")
    return out.splitlines()


def test_what_is_let_go_is_neither_made_again_nor_missed_until_a_metric_needs_it(place: Path) -> None:
    trained, expected = stacks(place), results(place)
    assert let_go(place, "{probes: none}")[-1].startswith("let go: 8 files")
    (place / "count.py").write_text(OF_SPECTRA)
    code, _, err = suite(place, *MEASURE, "--metric", "count.py")
    assert code == 1
    assert err == (
        "tiny/grokking: number_of_weights: 8 × failed: probes that are needed here were let go by `suite gc`: "
        "`suite gc --restore probes` with the task, and the next run makes them again\n"
    )
    assert [row["status"] for row in values(place, "number_of_weights")] == ["ok"] * 12
    assert expected.items() <= results(place).items(), "all else is as it was"
    assert suite(place, "gc", "--restore", "probes", "tiny/grokking")[0] == 0
    code, _, err = suite(place, *MEASURE, "--metric", "count.py")
    assert code == 0, err
    assert [row["status"] for row in values(place, "number_of_weights", "tiny/grokking")] == ["ok"] * 16
    assert stacks(place) == trained, "probes are made of weights: nothing was trained for them"


def test_weights_that_are_let_go_by_force(place: Path) -> None:
    trained, expected = stacks(place), results(place)
    assert let_go(place, "{weights: last, states: last}", "--force")[-1].startswith("let go: 24 files")
    (place / "largest.py").write_text(OF_WEIGHTS)
    code, _, err = suite(place, *RUN, "--metric", "largest.py")
    assert code == 1
    assert err.startswith("tiny/grokking: largest_weight: 12 × failed: weights that are needed here were let go")
    assert err.count("\n") == 1
    assert stacks(place) == trained
    code, out, _ = suite(place, "gc", "--restore", "weights")
    assert (code, out.splitlines()[1:]) == (0, ["    suite run tasks/tiny/grokking.yaml"])
    assert suite(place, "train", "tasks/tiny", "--quiet")[0] == 0
    assert len(stacks(place).items() - trained.items()) == 1, "one stack is trained again, the grid's are not"
    code, _, err = suite(place, *MEASURE, "--metric", "largest.py")
    assert code == 0, err
    assert len(values(place, "largest_weight", "tiny/grokking")) == 16
    assert expected.items() <= results(place).items()


def test_a_tensor_that_is_damaged_is_named_and_made_anew_by_the_commands_that_are_said(place: Path) -> None:
    expected, before = results(place), stacks(place)
    run_id = values(place, "weight_norm")[0]["run_id"]
    with Store(place / ".suite") as store:
        run = store.run(run_id)
        assert run is not None
        file = store.path(str(run.checkpoints[-1].weights))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (place / "largest.py").write_text(OF_WEIGHTS)
    code, _, err = suite(place, *MEASURE, "--metric", "largest.py")
    assert code == 1
    inside = file.relative_to(place)
    assert err == (
        f"tiny/digits: largest_weight: 1 × failed: {inside} is damaged (its checksum is not its name): "
        "`suite verify --repair`, then run again\n"
    )
    code, out, _ = suite(place, "verify")
    assert code == 1
    damage, redo, *_ = out.splitlines()
    assert damage.startswith(f"{inside}: weights of run {run_id}")
    assert redo.strip() == "suite verify --repair && suite run tasks/tiny/digits.yaml"
    for command in redo.strip().split(" && "):
        code, _, err = suite(place, *shlex.split(command)[1:])
        assert code == 0, err
    assert len(stacks(place).items() - before.items()) == 1
    assert suite(place, "verify", "--quiet")[0] == 0
    code, _, err = suite(place, *MEASURE, "--metric", "largest.py")
    assert code == 0, err
    assert len(values(place, "largest_weight")) == 12
    assert expected.items() <= results(place).items()


BACKWARDS = """\
import itertools, time

_real, _readings = time.time, itertools.count()


def _set_back():
    return _real() - 3600.0 * next(_readings)


time.time = _set_back
"""


def workers_of(process: subprocess.Popen[str]) -> set[int]:
    """The processes that a process began."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(entry.read_text().rpartition(")")[2].split()[1]) == process.pid:
                found.add(int(entry.parent.name))
    return found


def runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_clock_that_goes_back_a_second_driver_and_sigterm(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process sees every hour as the one before it. Two drivers on one store, of which the first is terminated."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(BACKWARDS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=os.pathsep)
    folder = workplace(tmp_path / "rough")
    first = start(folder, *RUN)
    while not stacks(folder):
        assert first.poll() is None
        time.sleep(0.05)
    code, _, err = suite(folder, *RUN)
    assert (code, err.count("\n")) == (2, 1)
    assert ".suite is in use by another `suite` process" in err
    assert first.poll() is None, "it is not disturbed"
    workers = workers_of(first)
    assert workers
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=10)
    assert first.returncode == 143
    assert err == "terminated: what was finished is kept; the same command goes on from there\n"
    while any(runs(worker) for worker in workers):
        time.sleep(0.05)
    kept = stacks(folder)
    code, _, err = suite(folder, *RUN)
    assert code == 0, err
    assert kept.items() <= stacks(folder).items(), "a stack was trained twice"
    assert (results(folder), leaderboard(folder)) == (results(done), leaderboard(done))
    assert suite(folder, "verify", "--quiet")[0] == 0


def test_a_disk_that_fills_up_during_a_run(done: Path, tmp_path: Path) -> None:
    folder = workplace(tmp_path / "rough")
    with tmpfs(folder / ".suite", "size=400k") as disk:
        code, _, err = suite(folder, *RUN)
        assert (code, err.count("\n")) == (2, 1), err
        assert "the disk is full; free some space and run again: what was recorded is kept" in err
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        kept = stacks(folder)
        assert kept
        code, _, err = suite(folder, *RUN)
        assert code == 0, err
        assert kept.items() <= stacks(folder).items()
        assert (results(folder), leaderboard(folder)) == (results(done), leaderboard(done))


IMAGES = """\
name: images
title: A few images
kind: grid
data: {kind: mnist, train_limit: 64}
model: {kind: mlp, widths: [2]}
training:
  optimizer: {kind: sgd, learning_rate: 0.1}
  batch_size: 32
  epochs: 1
grid:
  seed: [0, 1]
probes:
  spectrum: {kind: lanczos, runs: 1, steps: 4}
  gradients: null
"""


@pytest.mark.data
def test_a_task_that_cannot_be_trained_does_not_keep_others_from_their_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workplace(tmp_path)
    broken = TINY.replace("tiny/digits", "tiny/broken").replace("{kind: digits}", "{kind: mnist}")
    (folder / "tasks/tiny/broken.yaml").write_text(broken)
    (folder / "data/mnist").mkdir(parents=True)
    (folder / "data/mnist/train-images-idx3-ubyte.gz").write_bytes(b"no images")
    monkeypatch.setenv("SUITE_DATA_DIR", str(folder / "data"))
    code, _, err = suite(folder, *RUN, "--cost", "free")
    assert code == 2
    assert err.splitlines()[-1].startswith("tiny/broken: 12 of 12 networks could not be trained: failed: ")
    assert "train-images-idx3-ubyte.gz" in err
    assert len(results(folder)) > 20
    assert b"tiny/digits" in leaderboard(folder)
    assert b"tiny/broken" not in leaderboard(folder)
    assert suite(folder, "train", "tasks/tiny", "--quiet")[0] == 2


def test_a_data_file_that_is_replaced_midway(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process holds what it reads against the published checksums, between training and measuring too."""
    shutil.copytree(data_dir / "mnist", tmp_path / "data/mnist")
    monkeypatch.setenv("SUITE_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "images.yaml").write_text(IMAGES)
    code, _, err = suite(tmp_path, "train", "images.yaml", "--quiet")
    assert code == 0, err
    file = tmp_path / "data/mnist/train-labels-idx1-ubyte.gz"
    labels = bytearray(gzip.decompress(file.read_bytes()))
    labels[8] ^= 1
    file.rename(tmp_path / "kept")
    file.write_bytes(gzip.compress(bytes(labels)))
    code, _, err = suite(tmp_path, "measure", "images.yaml", "--quiet")
    assert code == 1
    assert [line for line in err.splitlines() if f"{file} is not the published file" not in line] == []
    (tmp_path / "kept").replace(file)
    code, _, err = suite(tmp_path, "measure", "images.yaml", "--quiet")
    assert code == 0, err


INKED = '''\
"""A data source that holds its file against nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from suite.data.digits import Digits


class Inked(Digits):
    """Digits, split as a file says."""

    kind: Literal["inked"] = "inked"

    def load(self, folders: tuple[Path, ...], cache: Path):
        """The images."""
        return Digits(split_seed=int((folders[0] / "ink").read_text())).load(folders, cache)
'''


def test_a_data_file_without_a_published_checksum_that_is_replaced_midway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a stack was trained on is noted: nothing else is measured in its name."""
    monkeypatch.setenv("PYTHONPATH", str(install(tmp_path / "site", "suite.data", INKED)), prepend=os.pathsep)
    monkeypatch.setenv("SUITE_DATA_DIR", str(tmp_path))
    (tmp_path / "images.yaml").write_text(IMAGES.replace("{kind: mnist, train_limit: 64}", "{kind: inked}"))
    file = tmp_path / "ink"
    file.write_text("1")
    code, _, err = suite(tmp_path, "train", "images.yaml", "--quiet")
    assert code == 0, err
    file.write_text("2")
    code, _, err = suite(tmp_path, "measure", "images.yaml", "--quiet")
    assert code == 1
    trained, now = (Digits(split_seed=n).load((), tmp_path).description.checksum[:12] for n in (1, 2))
    said = f"was trained on data of checksum {trained}…, its source now gives {now}…: put those data back, or train on"
    assert [line for line in err.splitlines() if not (line.startswith("images: ") and said in line)] == []
    assert {row["status"] for row in values(tmp_path, "weight_norm", "images")} == {"failed"}
    file.write_text("1")
    code, _, err = suite(tmp_path, "measure", "images.yaml", "--quiet")
    assert code == 0, err
    assert {row["status"] for row in values(tmp_path, "weight_norm", "images")} == {"ok"}
