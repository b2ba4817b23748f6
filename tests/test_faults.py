"""What goes wrong around the store: full and read-only disks, a truncated database, a clock set back, SIGTERM."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from suite.errors import StoreError
from suite.keeping.archive import Archive
from suite.keeping.house import free_store, verify_store
from suite.store import DamagedStore, Store, StoredCheckpoint, StoredRun, StoredValue
from tests.mounts import make_read_only, tmpfs

SUITE = Path(__file__).parents[1] / "suite"


def a_run(name: str, size: int = 10) -> StoredRun:
    point = StoredCheckpoint(1, name.encode() * size, 0.1, 1.0, 0.2, 0.9)
    return StoredRun(name, "finished", 3, b"initial", b"curve", (point,))


def a_value(key: str) -> StoredValue:
    return StoredValue(key, "", "r0", 1, "m", 1, "f", 0.5, None, "ok", "", 1.0, None, "{}" + " " * 4000)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    said = str(error.value)
    assert "\n" not in said
    return said


def until_it_fails(work: Callable[[int], object]) -> tuple[int, str]:
    """The number of the call that failed, from 0, and what it said in one line."""
    for number in range(1000):
        try:
            work(number)
        except StoreError as error:
            (said,) = str(error).splitlines()
            return number, said
    pytest.fail("nothing fails")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    with tmpfs(tmp_path / "disk", "size=1m") as disk:
        yield disk


def test_a_disk_that_fills_up_keeps_what_is_recorded_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 500_000)
    home = small_disk / "home"
    with Store(home, writing=True) as store:
        recorded, said = until_it_fails(lambda n: store.record_stack(f"s{n}", [a_run(f"r{n}", 20_000)], 1.0, {}))
        assert "the disk is full; free some space and run again: what was recorded is kept" in said
        assert 3 < recorded < 100
        ballast.unlink()
        store.record_stack(f"s{recorded}", [a_run(f"r{recorded}", 20_000)], 1.0, {})
    assert not list(home.rglob(".tmp-*"))
    with Archive(home) as archive:
        assert [archive.stack(f"s{i}") for i in range(recorded + 1)] == [(f"r{i}",) for i in range(recorded + 1)]
    assert verify_store(home, [], home, False, lambda *_: None).damages == []


def test_a_disk_that_fills_up_while_rows_are_written(small_disk: Path) -> None:
    """There is room for the tensors, of which there are none, and none for the rows."""
    home = small_disk / "home"
    with Store(home, writing=True) as store:
        store.record_stack("s", [a_run("r0")], 1.0, {})
        number, said = until_it_fails(lambda n: store.record_values([a_value(f"{n} {part}") for part in range(10)]))
        assert "the disk is full" in said
    with Store(home) as store:
        assert store.stack("s") == ("r0",)
        assert [bool(store.values(f"{number - 1} {part}")) for part in range(10)] == [True] * 10
        assert not any(store.values(f"{number} {part}") for part in range(10)), "half of a transaction"


def test_a_store_on_a_read_only_disk_is_refused_in_one_line_and_left_as_it_is(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=4m") as disk:
        home = disk / "home"
        with Store(home, writing=True) as store:
            store.record_stack("s", [a_run("r0")], 1.0, {})
        make_read_only(disk)
        before = {path: path.stat().st_size for path in home.rglob("*")}
        refused: list[Callable[[], object]] = [
            lambda: Store(home, writing=True),
            lambda: Store(home),
            lambda: free_store(home, [], home, False, False),
            lambda: verify_store(home, [], home, True, lambda *_: None),
        ]
        for work in refused:
            with pytest.raises(StoreError) as error:
                work()
            assert str(home) in one_line(error)
            assert "SUITE_HOME" in str(error.value)
        assert {path: path.stat().st_size for path in home.rglob("*")} == before


def truncated(home: Path, size: float) -> Path:
    """A store whose database lost its end: a share of it is left, or so many bytes."""
    with Store(home, writing=True) as store:
        store.record_stack("s", [a_run(f"r{i}") for i in range(20)], 1.0, {})
        store.record_values([a_value(str(i)) for i in range(20)])
    file = home / "store.db"
    length = file.stat().st_size
    os.truncate(file, int(size * length) if isinstance(size, float) else size)
    return file


@pytest.mark.parametrize("size", [0, 50, 512, 4096, 0.5, 0.99])
def test_a_truncated_database_is_one_clear_line_and_nothing_is_made_anew_in_silence(
    tmp_path: Path, size: float
) -> None:
    file = truncated(tmp_path / "home", size)
    content = file.read_bytes()
    for writing in (True, False):
        with pytest.raises(DamagedStore) as error:
            Store(tmp_path / "home", writing)
        said = one_line(error)
        assert str(file) in said
        assert "put a copy of it back, or move store.db* out of that folder and run again" in said
    assert file.read_bytes() == content
    found = verify_store(tmp_path / "home", [], tmp_path, False, lambda *_: None)
    assert [one.what for one in found.damages] == ["store.db"]
    assert not found.can_be_repaired
    for part in tmp_path.glob("home/store.db*"):
        part.rename(tmp_path / part.name)
    with Store(tmp_path / "home", writing=True) as store:
        assert store.stack("s") is None
        store.record_stack("s", [a_run("r0")], 1.0, {})


def test_a_database_that_was_just_begun_is_none_that_was_emptied(tmp_path: Path) -> None:
    """Killed before its first page was written, with no tensors yet."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/store.db").touch()
    with Store(tmp_path / "home", writing=True) as store:
        store.record_stack("s", [a_run("r0")], 1.0, {})
        assert store.stack("s") == ("r0",)


WALL = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime", "st_mtime", "st_mtime_ns",
        "getmtime", "getctime", "st_ctime"}  # fmt: skip


SHOWN = {
    "progress.py": "what `suite status` says of a run from another terminal: when it was last heard of",
    "cli/watching.py": "the same",
    "executors/heartbeat.py": "times of one file system's clock are compared with one another",
}


def test_nothing_that_is_done_depends_on_the_time_of_day() -> None:
    """Then no clock that is set back can change it, nor its order."""
    used = {
        path.relative_to(SUITE).as_posix()
        for path in SUITE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in WALL
    }
    assert used <= set(SHOWN)


STUCK = """
    import sys, time
    import suite.cli
    module = sys.modules["suite.cli.app"]
    module._SECONDS_TO_END = 1.0

    def work() -> None:
        try:
            print("working", flush=True)
            time.sleep(600)
        finally:
            while True:  # something that does not end, as a worker that cannot be killed
                time.sleep(1)

    module.app = work
    module.main()
"""


def test_sigterm_ends_the_command_even_where_its_end_hangs() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(STUCK)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # once more changes nothing
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err == "terminated: what was finished is kept; the same command goes on from there\n"


ENDING = """
    import sys, time
    import suite.cli
    from suite.errors import BadInput
    module = sys.modules["suite.cli.app"]

    @module.app.command("wait")
    def wait() -> None:
        try:
            print("working", flush=True)
            time.sleep(600)
        except KeyboardInterrupt:
            print("left", flush=True)
            {then}

    sys.argv = ["suite", "wait"]
    module.main()
"""


@pytest.mark.parametrize("then", ["raise", "raise BadInput('what came of it')", "pass"])
def test_sigterm_leaves_the_work_of_a_command_and_says_one_line_whatever_comes_of_it(then: str) -> None:
    program = textwrap.dedent(ENDING.format(then=then))
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "left\n")
    assert err == "terminated: what was finished is kept; the same command goes on from there\n"
