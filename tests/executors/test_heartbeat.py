"""Who waits for a driver hears whether it is there, whatever the clocks of both say."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from suite.executors.heartbeat import Heartbeat, Listener


def listener(folder: Path) -> Listener:
    return Listener(folder, "0.now", 100.0)


def ago(folder: Path, seconds: float) -> None:
    """Let the last beat be so old."""
    then = time.time() - seconds
    os.utime(folder / "alive", (then, then))


def test_a_driver_that_is_there_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Heartbeat(tmp_path, 1000.0):
        assert not listener(tmp_path).alone()
        ago(tmp_path, 90.0)
        assert not listener(tmp_path).alone()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 10.0**6)  # the clock of this machine
        assert not listener(tmp_path).alone()


def test_one_that_has_said_nothing_for_too_long_is_gone(tmp_path: Path) -> None:
    with Heartbeat(tmp_path, 1000.0):
        heard = listener(tmp_path)
        assert not heard.alone()
        ago(tmp_path, 110.0)
        assert not heard.alone()  # it has just looked
        assert listener(tmp_path).alone()


def test_one_whose_folder_is_gone_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "outcomes"
    folder.mkdir()
    with Heartbeat(folder, 1000.0):
        shutil.rmtree(folder)
    assert listener(folder).alone()


def test_it_goes_on_being_heard_and_ends_with_its_block(tmp_path: Path) -> None:
    def later(is_so: Callable[[], bool]) -> bool:
        until = time.monotonic() + 60
        while not is_so() and time.monotonic() < until:
            time.sleep(0.01)
        return is_so()

    with Heartbeat(tmp_path, 0.02) as heart:
        for _ in range(2):
            ago(tmp_path, 1000.0)
            assert later(lambda: not listener(tmp_path).alone())
    assert not heart._thread.is_alive()


def test_a_file_system_that_does_not_answer_is_no_end_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, *rest: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Heartbeat(tmp_path, 1000.0):
        heard = listener(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "touch", broken)
            assert not heard.alone()
            now += 90
            assert not heard.alone()
        now += 15
        assert not heard.alone()  # heard again
        monkeypatch.setattr(Path, "touch", broken)
        now += 95
        assert not heard.alone()
        now += 10
        assert heard.alone()
