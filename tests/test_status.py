"""`suite status` says how far a run is, from another process."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from suite import cli, pipeline, progress
from suite.cli.app import Terminated
from suite.errors import BadInput
from suite.executors import Job, LocalExecutor, Progress
from suite.progress import STATUS, Board, Standing, Status, read_status
from tests.command import TINY, start, suite, workplace


def double(x: int, progress: Progress) -> int:
    if x < 0:
        raise ValueError("below zero")
    return 2 * x


def test_a_board_says_what_becomes_of_its_jobs(tmp_path: Path) -> None:
    file = tmp_path / "home" / STATUS
    console = Console(quiet=True)
    with LocalExecutor(1) as executor, Board(console, True, file) as board:
        for _ in board.follow("train", "stacks", [Job("a", double, (x,)) for x in (1, -1)], executor):
            during = read_status(file)
            assert during is not None
            assert (during.state, during.process) == ("running", os.getpid())
        list(board.follow("probe", "probes", [Job("a", double, (1,))], executor))
    after = read_status(file)
    assert after is not None
    assert after.state == after.end == "done"
    assert after.work == (
        Standing("train   a", "stacks", 2, 1, 1, 0, 2.0, None),
        Standing("probe   a", "probes", 1, 1, 0, 0, 1.0, None),
    )


def test_a_board_that_is_left_by_an_error_says_so(tmp_path: Path) -> None:
    for error, end in ((ValueError, "failed"), (KeyboardInterrupt, "interrupted"), (Terminated, "interrupted")):
        with pytest.raises(error), Board(Console(quiet=True), True, tmp_path / STATUS):
            raise error
        found = read_status(tmp_path / STATUS)
        assert found is not None
        assert found.state == end


def test_it_is_told_that_a_run_goes_on_while_there_are_no_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results, ranking and the report may take minutes, and from another machine nothing else is to be seen of it."""
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_WORDS", 0.01)
    file = tmp_path / STATUS
    with Board(Console(quiet=True), True, file) as board:
        board.hide()
        times = set[float]()
        until = time.monotonic() + 20
        while len(times) < 3 and time.monotonic() < until:
            if (found := read_status(file)) is not None:
                times.add(found.told)
                assert found.state == "running"
        assert len(times) == 3
    after = file.read_bytes()
    time.sleep(0.1)
    assert file.read_bytes() == after  # and then no more
    assert json.loads(after)["end"] == "done"


def test_a_run_is_done_when_its_report_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[str]()

    def report(*words: object) -> None:
        during = read_status(tmp_path / STATUS)
        assert during is not None
        seen.append(during.state)

    monkeypatch.setattr(pipeline, "report", report)
    task = tmp_path / "two.yaml"
    task.write_text(TINY.replace("[0.03, 0.1, 0.3]", "[0.1]").replace("[0, 1]", "[0]"))
    options = pipeline.Options(home=tmp_path, device="cpu", cost="free", workers=1, quiet=True)
    assert pipeline.run([task], options, Console(quiet=True)) == []
    after = read_status(tmp_path / STATUS)
    assert after is not None
    assert (seen, after.state) == (["running"], "done")
    assert [one.running for one in after.work] == [0] * len(after.work)


@pytest.mark.parametrize("program", ["/usr/bin/suite", "/somewhere/suite/__main__.py"])
def test_it_is_called_by_the_name_of_the_command(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [program, "run", "a.yaml"])
    with pytest.raises(KeyboardInterrupt), Board(Console(quiet=True), True, tmp_path / STATUS):
        raise KeyboardInterrupt
    found = read_status(tmp_path / STATUS)
    assert found is not None
    assert found.command == "suite run a.yaml"


def test_who_is_gone_without_a_word_was_killed(tmp_path: Path) -> None:
    gone = os.fork()
    if not gone:
        os._exit(0)
    os.waitpid(gone, 0)
    now = time.time()
    host = os.uname().nodename
    assert Status(gone, host, "suite run", now, now, None, ()).state == "killed"
    assert Status(os.getpid(), host, "suite run", now, now, None, ()).state == "running"
    assert Status(1, "elsewhere", "suite run", now, now, None, ()).state == "running"
    assert Status(1, "elsewhere", "suite run", now, now - 100, None, ()).state == "silent"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells processes of one number apart")
def test_another_process_of_its_number_is_not_taken_for_a_run(tmp_path: Path) -> None:
    with Board(Console(quiet=True), True, tmp_path / STATUS):
        while (said := read_status(tmp_path / STATUS)) is None:
            time.sleep(0.1)
    assert said.started
    assert said.state == "running"
    boot, began = said.started.split()
    for other in (f"{boot} {int(began) - 1}", f"another-{boot} {began}"):
        assert replace(said, started=other).state == "killed"
    assert replace(said, process=1).state == "killed"  # there, and never one of ours
    told, tell = os.pipe()
    gone = os.fork()
    if not gone:
        os.read(told, 1)
        os._exit(0)
    its = replace(said, process=gone, started=progress.process_started(gone))
    assert its.state == "running"
    os.write(tell, b"x")
    os.waitid(os.P_PID, gone, os.WEXITED | os.WNOWAIT)
    assert its.state == "killed"  # it has ended, and nobody asked how
    os.waitpid(gone, 0)
    assert its.state == "killed"


def test_a_file_that_is_none_of_ours(tmp_path: Path) -> None:
    assert read_status(tmp_path / STATUS) is None
    for text in ("", "{}", "[1]", '{"work": [{}]}'):
        (tmp_path / STATUS).write_text(text)
        with pytest.raises(BadInput, match=r"status\.json is not what a run wrote .*: delete it$"):
            read_status(tmp_path / STATUS)


def test_without_a_run_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_HOME", str(tmp_path))
    done = CliRunner().invoke(cli.app, ["status"])
    assert "no run of a suite is known in" in str(done.exception)


@pytest.mark.slow
def test_it_follows_a_run_to_its_end(tmp_path: Path) -> None:
    place = workplace(tmp_path)
    process = start(place, "run", "tasks/tiny/digits.yaml", "--quiet")
    while not (place / ".suite" / STATUS).exists():
        time.sleep(0.1)
        assert process.poll() is None
    code, out, err = suite(place, "status", "--follow")
    assert (code, err) == (0, "")
    assert process.wait() == 0
    assert "suite run tasks/tiny/digits.yaml --quiet: running (process" in " ".join(out.split())
    assert ": done (process" in " ".join(out.split())
    code, out, err = suite(place, "status", "--json")
    (found,) = json.loads(out)
    assert found["state"] == "done"
    assert {one["title"].split()[0] for one in found["work"]} == {"train", "probe", "measure"}
    assert all(one["finished"] == one["total"] for one in found["work"])
