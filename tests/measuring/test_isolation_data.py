"""Before a process is confined, the data that it may read later are fetched: afterwards it can download nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from suite.errors import BadInput
from suite.measuring import jobs
from suite.measuring.limits import Memory
from suite.measuring.place import Place
from suite.submission.trial import trial_task
from suite.training import problem

DIGITS, OTHER = trial_task(), trial_task(data={"kind": "digits", "split_seed": 3})


def test_data_come_first_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(jobs, "fetch", lambda task: done.append(task.data))
    monkeypatch.setattr(jobs, "confine", lambda device, share: done.append((device.type, share)))
    monkeypatch.setattr(jobs, "_fetched", set())
    for _ in range(2):
        found = jobs.metric_job((), None, Place.of("cpu", "float32"), Memory(1, 2), (DIGITS, OTHER), lambda *_: None)
        assert found == []
    assert done == [DIGITS.data, OTHER.data, ("cpu", 2), ("cpu", 2)]


@pytest.mark.parametrize(("files", "loads"), [({}, 0), ({"a": Path("/a")}, 0), ({"a": Path("/a"), "b": None}, 1)])
def test_only_what_is_not_there_is_fetched(files: Any, loads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(self: Any, *_: Any) -> None:
        loaded.append(self)
        raise BadInput("it cannot be had: whoever needs it says so")

    monkeypatch.setattr(type(DIGITS.data), "files", classmethod(lambda cls, *_: files))
    monkeypatch.setattr(type(DIGITS.data), "load", load)
    problem.fetch(DIGITS)
    assert len(loaded) == loads
