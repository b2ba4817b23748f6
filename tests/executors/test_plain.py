"""Nothing that a worker sends runs in the driver."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest

from suite.executors import Job, LocalExecutor
from suite.executors.plain import loads
from suite.store import StoredValue
from tests.executors import sends


def test_data_are_read_and_nothing_else(tmp_path: Path) -> None:
    held = [1, -2.5, "a", None, True, (b"c", {"d": [float("inf")]})]
    assert loads(pickle.dumps(held)) == held
    for other in (sends.Evil(str(tmp_path / "made")), StoredValue, ValueError("x"), print, Path("x")):
        with pytest.raises(pickle.UnpicklingError):
            loads(pickle.dumps(other))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("plain", [True, False])
def test_results_and_errors_come_as_they_did(plain: bool) -> None:
    with LocalExecutor(2) as executor:
        one, other = executor.map([Job("x", job, (), plain=plain) for job in (sends.something, sends.raises)])
    assert {(o.status, o.reason) for o in (one, other)} == {("ok", ""), ("failed", "Own: no luck")}
    assert [1, "a", (2.0, None), {"b": b"c"}] in (one.result, other.result)


def test_a_plain_job_that_returns_code_has_failed(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with LocalExecutor(1) as executor:
        (plain,) = executor.map([Job("x", sends.evil, (str(folder),), plain=True)])
        assert not folder.exists()
        (trusted,) = executor.map([Job("x", sends.evil, (str(folder),))])
    assert (plain.status, plain.result) == ("failed", None)
    assert plain.reason.startswith("its process sent what cannot be read (UnpicklingError: ")
    assert trusted.status == "ok"
    assert folder.exists(), "it would have run"


@pytest.mark.skipif(sys.platform != "linux", reason="it finds the pipe in /proc")
def test_who_writes_into_the_pipe_runs_nothing_and_the_next_have_their_results(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with LocalExecutor(1) as executor:
        (bad,) = executor.map([Job("x", sends.into_the_pipe, (str(folder),))])
        (good,) = executor.map([Job("x", sends.something, ())])
    assert not folder.exists()
    assert bad.status == "failed"
    assert good.status == "ok"
