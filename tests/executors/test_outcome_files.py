"""Files that a stranger's code may have written are data, or that job's failure: nothing runs, nothing holds us up."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.executors import Job, Outcome, wire
from suite.executors.outcome_files import OutcomeFolder
from tests.executors import sends
from tests.executors.sends import Evil
from tests.executors.test_local import double
from tests.mounts import tmpfs

PLAIN, TRUSTED = (Job("g", double, (1,), plain=plain) for plain in (True, False))
GOOD = {"status": "ok", "result": [1], "reason": "", "seconds": 2.0, "fraction": 1.0}


@pytest.fixture
def folder(tmp_path: Path) -> OutcomeFolder:
    (tmp_path / "outcomes").mkdir()
    return OutcomeFolder(tmp_path / "outcomes")


@pytest.mark.parametrize("job", [PLAIN, TRUSTED])
@pytest.mark.parametrize(
    "left",
    [
        ("ok", [1, "ä", {"b": None}], "", 2.5, 1.0),
        ("failed", None, "ValueError: not today", 0.0, 0.25),
        ("timeout", None, "took longer than 3 s", 3.0, 0.0),
        ("died", None, "its process died (exit code -9)", 1.0, 1e-9),
    ],
)
def test_what_is_left_is_taken_once(job: Job, left: tuple[Any, ...], folder: OutcomeFolder) -> None:
    assert not folder.has(7)
    assert not folder.is_done(7)
    folder.leave(7, Outcome(job, *left))
    assert folder.has(7)
    assert folder.take(7, job) == Outcome(job, *left)
    assert folder.is_done(7)
    assert not folder.has(7)


def test_a_result_that_is_no_json_is_its_jobs_failure(folder: OutcomeFolder) -> None:
    for number, result in enumerate([float("nan"), {1, 2}, Evil("made")]):
        folder.leave(number, Outcome(PLAIN, "ok", result, "", 2.0))
        taken = folder.take(number, PLAIN)
        assert (taken.status, taken.result, taken.seconds) == ("failed", None, 2.0)
        assert taken.reason.startswith("its result cannot be written (")


class Unpicklable:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


def test_a_result_that_cannot_be_pickled_is_its_jobs_failure(folder: OutcomeFolder) -> None:
    for number, result in enumerate([Unpicklable(), lambda: None]):
        folder.leave(number, Outcome(TRUSTED, "ok", result, "", 2.0))
        taken = folder.take(number, TRUSTED)
        assert (taken.status, taken.result, taken.seconds) == ("failed", None, 2.0)
        assert taken.reason.startswith("its result cannot be written (")


def test_a_result_that_has_no_room_is_its_jobs_failure(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=64k") as disk:
        folder = OutcomeFolder(disk)
        folder.leave(0, Outcome(PLAIN, "ok", "x" * 10**6, "", 2.0))
        assert [path.name for path in disk.iterdir()] == ["0.outcome"]
        taken = folder.take(0, PLAIN)
    assert (taken.status, taken.seconds) == ("failed", 2.0)
    assert taken.reason.startswith("its result cannot be written (OSError: [Errno 28]")


def pickled(path: Path, evil: Evil) -> None:
    """As outcomes were left once, and as those of trusted jobs are."""
    path.write_bytes(pickle.dumps(GOOD | {"result": evil}))


def linked(path: Path, evil: Evil) -> None:
    path.with_name("elsewhere").write_text(json.dumps(GOOD))
    path.symlink_to("elsewhere")


def dangling(path: Path, evil: Evil) -> None:
    path.symlink_to("nowhere")


def piped(path: Path, evil: Evil) -> None:
    """Nobody writes into it."""
    os.mkfifo(path)


def piped_with_words(path: Path, evil: Evil) -> None:
    """Who has it open could write into it for ever."""
    os.mkfifo(path)
    os.write(os.open(path, os.O_RDWR | os.O_NONBLOCK), json.dumps(GOOD).encode())


def foldered(path: Path, evil: Evil) -> None:
    path.mkdir()


def huge(path: Path, evil: Evil) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


@pytest.mark.parametrize("write", [pickled, linked, dangling, piped, piped_with_words, foldered, huge])
def test_a_file_that_is_no_outcome_is_its_jobs_failure(
    write: Callable[[Path, Evil], None], folder: OutcomeFolder, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    write(folder.path / "3.outcome", Evil(str(made)))
    assert folder.has(3)
    taken = folder.take(3, PLAIN)
    assert (taken.status, taken.result) == ("failed", None)
    assert taken.reason.startswith("its file of results cannot be read (")
    assert not made.exists()
    assert folder.is_done(3)


def test_who_unpickles_it_is_had(folder: OutcomeFolder, tmp_path: Path) -> None:
    made = tmp_path / "made"
    pickled(folder.path / "3.outcome", Evil(str(made)))
    assert folder.take(3, TRUSTED).status == "ok"
    assert made.is_dir()


@pytest.mark.parametrize(
    "wrong",
    [
        "null",
        "[]",
        "not JSON",
        "[" * 100_000,
        json.dumps(GOOD | {"more": 1}),
        json.dumps({key: value for key, value in GOOD.items() if key != "fraction"}),
        json.dumps(GOOD | {"status": "fine"}),
        json.dumps(GOOD | {"status": ["ok"]}),
        json.dumps(GOOD | {"status": "failed"}),  # and has a result
        json.dumps(GOOD | {"reason": None}),
        json.dumps(GOOD | {"seconds": "2"}),
        json.dumps(GOOD | {"seconds": True}),
        json.dumps(GOOD | {"seconds": -1}),
        json.dumps(GOOD | {"seconds": 10**400}),
        json.dumps(GOOD).replace("2.0", "1e999"),
        json.dumps(GOOD | {"seconds": float("nan")}),
        json.dumps(GOOD | {"result": float("inf")}),
        json.dumps(GOOD | {"fraction": 1.5}),
    ],
)
def test_every_part_of_it_is_looked_at(wrong: str, folder: OutcomeFolder) -> None:
    (folder.path / "0.outcome").write_text(json.dumps(GOOD))
    assert folder.take(0, PLAIN) == Outcome(PLAIN, "ok", [1], "", 2.0)
    (folder.path / "1.outcome").write_text(wrong)
    taken = folder.take(1, PLAIN)
    assert (taken.status, taken.result) == ("failed", None)
    assert taken.reason.startswith("its file of results cannot be read (")


def test_a_reason_holds_no_orders_to_a_terminal(folder: OutcomeFolder) -> None:
    said = {"status": "failed", "result": None, "reason": "\x1b]0;a\ud800\n" + "b" * 10**6}
    (folder.path / "0.outcome").write_text(json.dumps(GOOD | said))
    taken = folder.take(0, PLAIN)
    assert taken.status == "failed"
    assert taken.reason.startswith("\ufffd]0;a?\ufffdb")
    assert len(taken.reason) == 10_000


def test_progress_is_a_number_from_0_to_1(folder: OutcomeFolder) -> None:
    assert folder.fraction(0) is None
    folder.note(0, 0.25)
    assert folder.fraction(0) == 0.25
    for wrong in ("nan", "2", "-1", "half", "", "0" * 10**6):
        (folder.path / "0.fraction").write_text(wrong)
        assert folder.fraction(0) is None
    (folder.path / "0.fraction").unlink()
    os.mkfifo(folder.path / "0.fraction")
    assert folder.fraction(0) is None


def test_what_a_worker_says_of_itself_is_no_number_either() -> None:
    with pytest.raises(ValueError, match="NaN is no number"):
        wire.unpacked(b"[NaN]", True)
    assert sends.something(lambda done, total: None)[0] == wire.unpacked(b"[1]", True)[0]
