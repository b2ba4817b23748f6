"""The store: whole or not at all, one writer, clear errors."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from suite.errors import StoreError
from suite.store import (
    Store,
    StoredCheckpoint,
    StoredFailure,
    StoredProbe,
    StoredRun,
    StoredValue,
    database,
    read_checked,
    write_atomically,
)
from tests.mounts import make_read_only, tmpfs


def a_run(run_id: str = "r1", loss: float = 0.25) -> StoredRun:
    point = StoredCheckpoint(10, b"weights of " + run_id.encode(), loss, 1.0, 0.5, 0.75)
    return StoredRun(run_id, "finished", 3, b"initial", b"curve", (point,), None)


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [a_run("r1"), a_run("r2", math.nan)], 1.5, {"device_name": "x"})
    with Store(tmp_path) as store:
        assert store.stack("s") == ("r1", "r2")
        run = store.run("r1")
        assert run is not None
        assert run.checkpoints[0].train_loss == 0.25
        assert read_checked(store.path(str(run.checkpoints[0].weights))) == b"weights of r1"
        other = store.run("r2")
        assert other is not None
        assert math.isnan(other.checkpoints[0].train_loss)
        assert store.provenance("s") == (1.5, {"device_name": "x"})
        assert store.run("r3") is None


def test_largest_eigenvalues_are_kept_with_the_run(tmp_path: Path) -> None:
    watched = replace(a_run("r1"), sharpness=((0, 0.1), (10, 2.5), (20, math.nan)))
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [watched, a_run("r2")], 1.0, {})
        store.record_stack("s", [watched, a_run("r2")], 1.0, {})
    with Store(tmp_path) as store:
        first, second = store.run("r1"), store.run("r2")
        assert first is not None
        assert second is not None
        assert first.sharpness[:2] == ((0, 0.1), (10, 2.5))
        assert first.sharpness[2][0] == 20
        assert math.isnan(first.sharpness[2][1])
        assert second.sharpness == ()


def test_a_store_of_before_they_were_kept_is_made_one_of_now(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [a_run()], 1.0, {})
        store._db.executescript("DROP TABLE sharpness; DROP TABLE let_go; DROP TABLE awaited; PRAGMA user_version=2;")
    with Store(tmp_path, writing=True) as store:
        assert store.stack("s") == ("r1",)
        store.record_stack("t", [replace(a_run("r2"), sharpness=((0, 1.5),))], 1.0, {})
        runs = [store.run(name) for name in ("r1", "r2")]
        assert [run and run.sharpness for run in runs] == [(), ((0, 1.5),)]


def test_a_stack_with_a_lost_file_counts_as_missing(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [a_run()], 1.0, {})
        run = store.run("r1")
        assert run is not None
        store.path(str(run.initial)).unlink()
        assert store.stack("s") is None
        store.record_stack("s", [a_run()], 1.0, {})
        assert store.stack("s") == ("r1",)


def let_go(store: Store, checksum: str, kind: str = "weights") -> None:
    store._db.execute("INSERT INTO let_go VALUES (?, ?, 1)", (checksum, kind))
    store.path(checksum).unlink()


def test_a_store_of_before_anything_was_let_go_is_made_one_of_now(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [a_run()], 1.0, {})
        store._db.executescript(
            "DROP TABLE let_go; DROP TABLE awaited; DROP INDEX runs_of_stack; PRAGMA user_version=3;"
        )
    with Store(tmp_path, writing=True) as store:
        run = store.run("r1")
        assert run is not None
        let_go(store, str(run.initial))
        assert store.stack("s") == ("r1",)


AS_OF_SCHEMA_4 = """
    DROP TABLE untrained; ALTER TABLE probes DROP COLUMN device; ALTER TABLE metric_values DROP COLUMN device;
    PRAGMA user_version=4;
"""


def test_a_store_of_before_devices_were_noted_is_made_one_of_now(tmp_path: Path) -> None:
    value = StoredValue("v", "", "r1", 10, "m", 1, "f", 0.3, None, "ok", "", 1.0, 7, "{}", "GPU one")
    probe = StoredProbe("p", "spectrum", "r1", 10, b"t", "ok", "", 0.1, "GPU one")
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [a_run()], 1.0, {})
        store.record_probes([probe])
        store.record_values([value])
        store._db.executescript(AS_OF_SCHEMA_4)
    with Store(tmp_path, writing=True) as store:
        before = store.probe("p")
        assert before is not None
        assert (before.seconds, before.device) == (0.1, None)
        assert store.values("v") == (replace(value, device=None),)
        assert store.failures() == {}
        store.record_probes([replace(probe, key="q")])
        store.record_values([replace(value, key="w")])
        after = store.probe("q")
        assert after is not None
        assert [after.device, store.values("w")[0].device] == ["GPU one", "GPU one"]


HOLDS = """
    import fcntl, sys
    lock = open(sys.argv[1], "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(home: Path) -> Iterator[None]:
    """Another process has the lock, as a driver of any version."""
    words = [sys.executable, "-c", textwrap.dedent(HOLDS), str(home / "lock")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.communicate()


def test_a_store_that_an_older_driver_has_at_hand_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes has fewer columns than this version's tables."""
    monkeypatch.setattr(database, "_MIGRATES_WITHIN", 0.1)
    row = ("p", "x", "r", 1, None, "failed", "", 0.1)
    with Store(tmp_path, writing=True) as store:
        store._db.executescript(AS_OF_SCHEMA_4)
    with held(tmp_path):
        with pytest.raises(StoreError) as error:
            Store(tmp_path)
        said = f"{tmp_path} is in use by a run of an older version of suite (its schema is 4, this suite reads 5): "
        assert str(error.value) == f"{said}wait for its end, then try again"
        with contextlib.closing(sqlite3.connect(tmp_path / "store.db")) as older, older:
            older.execute("INSERT INTO probes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
    with Store(tmp_path) as reader, Store(tmp_path, writing=True):  # the reader kept no lock
        assert reader.probe("p") == StoredProbe(*row)


def test_a_reader_waits_for_another_that_makes_the_store_one_of_now(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        store._db.executescript(AS_OF_SCHEMA_4)
    lock = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    ended = threading.Timer(0.2, os.close, [lock])
    ended.start()
    with Store(tmp_path) as store:
        assert store.failures() == {}
    ended.join()


def test_a_reader_of_a_store_of_now_needs_no_lock(tmp_path: Path) -> None:
    Store(tmp_path, writing=True).close()
    with held(tmp_path), Store(tmp_path) as store:
        assert store.failures() == {}


def test_an_older_store_on_a_read_only_disk_is_one_line(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "size=4m") as disk:
        with Store(disk / "home", writing=True) as store:
            store._db.executescript(AS_OF_SCHEMA_4)
        make_read_only(disk)
        with pytest.raises(StoreError, match=r"^\S+/home: .*; the store must be a folder you can write to .*$"):
            Store(disk / "home")


def test_a_stack_that_could_not_be_trained_is_on_record_until_it_is(tmp_path: Path) -> None:
    died = StoredFailure("s", "died", "exit code -9", 2.5)
    with Store(tmp_path, writing=True) as store:
        store.record_failure(replace(died, status="failed"))
        store.record_failure(died)
        store.record_failure(replace(died, key="t"))
    with Store(tmp_path, writing=True) as store:
        assert store.failures() == {"s": died, "t": replace(died, key="t")}
        assert store.stack("s") is None
        store.record_stack("s", [a_run()], 1.0, {})
        assert list(store.failures()) == ["t"]


def test_what_was_let_go_counts_as_there_until_it_is_made_again(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [a_run()], 1.0, {})
        store.record_probes([StoredProbe("p", "spectrum", "r1", 10, b"t", "ok", "", 0.1)])
        run, probe = store.run("r1"), store.probe("p")
        assert run is not None
        assert probe is not None
        weights, tensors = str(run.checkpoints[0].weights), str(probe.tensors)
        let_go(store, weights)
        let_go(store, tensors, "probes")
        assert store.stack("s") == ("r1",)
        assert store.probe("p") == probe
        with pytest.raises(StoreError, match=r"^probes that are needed here were let go by .*--restore probes"):
            read_checked(store.path(tensors))
        store.record_stack("s", [a_run()], 1.0, {})
        store.record_probes([probe, replace(probe, tensors=b"t")])
        for checksum in (weights, tensors):  # there again, and lost from now on if they are gone
            store.path(checksum).unlink()
        assert store.stack("s") is None
        assert store.probe("p") is None
        with pytest.raises(StoreError, match="is not there: `suite verify`"):
            read_checked(store.path(tensors))


def test_values_go_with_the_weights_that_they_were_measured_on(tmp_path: Path) -> None:
    value = StoredValue("v", "", "r1", 10, "m", 1, "f", 0.3, None, "ok", "", 1.0, 7, "{}")
    probe = StoredProbe("p", "spectrum", "r1", 10, b"t", "ok", "", 0.1)
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [a_run("r1"), a_run("r2")], 1.0, {})
        store.record_probes([probe, replace(probe, key="p2", run_id="r2")])
        store.record_values([value, replace(value, key="v2", run_id="r2")])
        store.record_stack("s", [a_run("r1"), a_run("r2")], 2.0, {})
        assert store.values("v"), "the same weights again: what was measured on them holds"
        assert store.probe("p")
        other = replace(a_run("r1").checkpoints[0], step=7, weights=b"of another machine")
        store.record_stack("s", [replace(a_run("r1"), checkpoints=(other,)), a_run("r2")], 3.0, {})
        assert store.values("v") == ()
        assert store.probe("p") is None
        assert [len(store.values("v2")), store.probe("p2") is not None] == [1, True]
        run = store.run("r1")
        assert run is not None
        assert [c.step for c in run.checkpoints] == [7], "of the earlier weights nothing is left"


def test_probes_and_values_replace_failed_ones(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        store.record_probes([StoredProbe("p", "spectrum", "r1", 10, None, "failed", "why", 0.1)])
        store.record_probes([StoredProbe("p", "spectrum", "r1", 10, b"t", "ok", "", 0.1)])
        probe = store.probe("p")
        assert probe is not None
        assert probe.status == "ok"
        failed = StoredValue("v", "", "r1", 10, "m", 1, "f", None, None, "timeout", "slow", 1.0, None, "{}")
        store.record_values([failed])
        good = [StoredValue("v", c, "r1", 10, "m", 1, "f", 0.3, None, "ok", "", 1.0, 7, "{}") for c in ("a", "b")]
        store.record_values(good)
        assert store.values("v") == tuple(good)


def test_damaged_file_is_named(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        path = store.path(store.keep(b"content"))
    path.write_bytes(b"c0ntent")
    with pytest.raises(StoreError, match=f"{path} is damaged.*suite verify --repair"):
        read_checked(path)


def test_second_driver_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        with pytest.raises(StoreError, match="in use by another"):
            Store(tmp_path, writing=True)
        store.record_stack("s", [a_run()], 1.0, {})
    Store(tmp_path, writing=True).close()


def test_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("x")
    with pytest.raises(StoreError, match="SUITE_HOME"):
        Store(tmp_path / "home", writing=True)


def test_store_of_another_schema_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        store._db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="schema 99"):
        Store(tmp_path)


def test_full_disk_is_said_and_leaves_the_store_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path, writing=True) as store:
        store.record_stack("s", [a_run("r1")], 1.0, {})

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="disk is full"):
            store.record_stack("t", [StoredRun("r9", "finished", 3, b"new", b"", ())], 1.0, {})
        monkeypatch.undo()
        assert store.stack("t") is None
        assert store.stack("s") == ("r1",)
        assert not list(tmp_path.rglob(".tmp-*"))


def test_what_a_killed_driver_left_half_written_is_removed(tmp_path: Path) -> None:
    with Store(tmp_path, writing=True) as store:
        kept = store.path(store.keep(b"content"))
    half = kept.parent / ".tmp-half"
    half.write_bytes(b"cont")
    Store(tmp_path).close()
    assert half.exists(), "a reader must not touch what a driver may be writing"
    Store(tmp_path, writing=True).close()
    assert not half.exists()
    assert kept.exists()


def test_write_atomically_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(5, "io")))
    with pytest.raises(OSError, match="io"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_kill_in_the_middle_of_recording_loses_nothing_recorded(tmp_path: Path) -> None:
    script = """
        import itertools, sys
        from pathlib import Path
        from suite.store import Store, StoredCheckpoint, StoredRun
        with Store(Path(sys.argv[1]), writing=True) as store:
            for i in itertools.count():
                points = tuple(StoredCheckpoint(s, b"%d %d" % (i, s), 0.0, 0.0, 0.0, 0.0) for s in range(5))
                store.record_stack(f"s{i}", [StoredRun(f"r{i}", "finished", 1, b"%d" % i, b"", points)], 1.0, {})
                print(i, flush=True)
    """
    worker = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    said = [int(worker.stdout.readline()) for _ in range(20)][-1]
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    with Store(tmp_path, writing=True) as store:
        for i in range(said + 1):
            run = store.run(f"r{i}")
            assert run is not None
            assert [read_checked(store.path(str(c.weights))) for c in run.checkpoints] == [
                b"%d %d" % (i, s) for s in range(5)
            ]
