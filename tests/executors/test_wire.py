"""Nothing that a worker sends runs in the driver, holds it up or reaches what others measure."""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path

import pytest

from suite.executors import Job, LocalExecutor, Outcome, wire
from suite.executors.worker import Work
from tests.executors import sends
from tests.executors.test_local import BEGUN, double

SHOWN = pytest.mark.skipif(sys.platform != "linux", reason="it finds the pipes in /proc")
FORGED = struct.pack("=cQd", wire.DONE, 16, 0.5) + b'"forged"'


@pytest.mark.parametrize("plain", [True, False])
def test_results_and_errors_come_as_they_did(plain: bool) -> None:
    with LocalExecutor(2) as executor:
        one, other = executor.map([Job("x", job, (), plain=plain) for job in (sends.something, sends.raises)])
    assert {(o.status, o.reason) for o in (one, other)} == {("ok", ""), ("failed", "Own: no luck")}
    made = [1, "a", [2.0, None] if plain else (2.0, None), {"b": 3}]
    assert made in (one.result, other.result)


def test_a_plain_job_that_returns_code_has_failed(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with LocalExecutor(1) as executor:
        (plain,) = executor.map([Job("x", sends.evil, (str(folder),), plain=True)])
        assert not folder.exists()
        (trusted,) = executor.map([Job("x", sends.evil, (str(folder),))])
    assert (plain.status, plain.result) == ("failed", None)
    assert plain.reason == "TypeError: Object of type Evil is not JSON serializable"
    assert trusted.status == "ok"
    assert folder.exists(), "it would have run"


@SHOWN
@BEGUN
@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(sends.Evil("made")),
        struct.pack("=cQ", wire.DONE, 2**40),
        struct.pack("=cQ", wire.DONE, 2**25),  # of which no more comes
        struct.pack("=cQd", wire.MOVED, 8, float("nan")),
        struct.pack("=cQd", wire.MOVED, 8, 0.9) + struct.pack("=cQd", wire.MOVED, 8, 0.1),
        b"b",
    ],
    ids=["pickle", "huge", "half", "nan", "falling", "byte"],
)
def test_who_writes_into_the_pipes_harms_its_own_job_alone(
    content: bytes, preload: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with LocalExecutor(2, preload=preload) as executor:
        bad = Job("x", sends.into_the_pipes, (content,), limit=3.0, plain=True)
        found = {o.job.arguments: o for o in executor.map([bad, *(Job("g", double, (x,)) for x in range(6))])}
    assert found.pop(bad.arguments).status in ("failed", "timeout", "died")
    assert [found[(x,)].result for x in range(6)] == [0, 2, 4, 6, 8, 10]
    assert list(tmp_path.iterdir()) == []


@SHOWN
def test_what_is_forged_is_that_jobs_own_result(tmp_path: Path) -> None:
    with LocalExecutor(1) as executor:
        (bad,) = executor.map([Job("x", sends.into_the_pipes, (FORGED,), plain=True)])
        executor.renew()
        (good,) = executor.map([Job("x", double, (1,), plain=True)])
    assert (bad.result, good.result) == ("forged", 2)


@SHOWN
def test_no_more_reports_than_a_job_has_to_make_put_its_limit_off() -> None:
    with LocalExecutor(1) as executor:
        (outcome,) = executor.map([Job("x", sends.for_ever, (), limit=2.0, plain=True, reports=50)])
    assert (outcome.status, outcome.reason) == ("failed", "its process said more reports than it has to make")


@SHOWN
@BEGUN
def test_nothing_leads_to_the_processes_that_others_depend_on(preload: tuple[str, ...]) -> None:
    with LocalExecutor(1, preload=preload) as executor:
        (outcome,) = executor.map([Job("x", sends.not_closed, ())])
        (counted,) = executor.map([Job("x", sends.threads, ())])
    assert outcome.result == []
    assert counted.result == (2, 1)


def test_the_deepest_folders_go_too() -> None:
    with LocalExecutor(1) as executor:
        (outcome,) = executor.map([Job("x", sends.deep, ())])
        assert outcome.status == "ok"
        assert Path(outcome.result, "d").is_dir()
    assert not Path(outcome.result).exists()


def test_words_are_one_line_that_a_terminal_can_show() -> None:
    assert wire.words(b"a\x1b]0;b\nc" + b"\xff") == "a�]0;b�c�"
    assert len(wire.words(b"a" * 10**6)) == 10_000


def test_messages_in_pieces_and_several_at_once() -> None:
    reader, writer = os.pipe()
    listener = wire.Listener(reader)
    assert listener.read(True) is None
    wire.tell(writer, wire.BEGUN)
    wire.tell(writer, wire.MOVED, 0.5)
    os.write(writer, FORGED[:12])
    assert listener.read(True) == [(wire.BEGUN, 0.0, b""), (wire.MOVED, 0.5, b"")]
    os.write(writer, FORGED[12:])
    assert listener.read(True) == [(wire.DONE, 0.5, b'"forged"')]
    os.close(writer)
    with pytest.raises(EOFError):
        listener.read(True)


@pytest.mark.parametrize("kinds", [(wire.MOVED,), (wire.DONE,), (wire.BEGUN, wire.BEGUN)])
def test_what_is_out_of_turn_is_garbled(kinds: tuple[bytes, ...]) -> None:
    work = Work(0, Job("x", double, (1,)))
    for kind in kinds[:-1]:
        work.take(kind, 0.0, b"1")
    with pytest.raises(wire.Garbled):
        work.take(kinds[-1], 0.0, b"1")


def test_it_may_fail_before_it_is_begun() -> None:
    outcome = Work(0, Job("x", double, (1,))).take(wire.FAILED, 0.5, b"no such module")
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.reason) == ("failed", "no such module")
