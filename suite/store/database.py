"""The rows of the store, and the one process that writes them."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from suite.errors import StoreError
from suite.store.files import BROKEN, UNFINISHED, DamagedStore, explained, write_atomically
from suite.store.records import StoredCheckpoint, StoredFailure, StoredProbe, StoredRun, StoredValue

SCHEMA_VERSION = 5
_ADDED_TO = (0, 2, 3, 4)
"""Versions (0: an empty store) from which a store becomes one of this version by the tables and columns it has not."""
_ADDED_COLUMNS = (("probes", "device"), ("metric_values", "device"))
"""Text columns that were added to tables, the last of theirs: NULL in older rows."""
_MIGRATES_WITHIN = 5.0
"""Seconds that other openers of this version take at most, while they hold the lock, to make a store one of theirs."""

# let_go: checksums of files that are gone on purpose; awaited: runs whose rows were removed so that they are trained
# again, and what they were made of; untrained: stacks whose last training came to nothing
_SCHEMA = """
CREATE TABLE IF NOT EXISTS stacks (key TEXT PRIMARY KEY, seconds REAL NOT NULL, provenance TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, stack TEXT NOT NULL REFERENCES stacks(key), status TEXT NOT NULL,
    parameters INTEGER NOT NULL, initial TEXT NOT NULL, curve TEXT NOT NULL, distances TEXT);
CREATE INDEX IF NOT EXISTS runs_of_stack ON runs(stack);
CREATE TABLE IF NOT EXISTS checkpoints (
    run_id TEXT NOT NULL REFERENCES runs(run_id), step INTEGER NOT NULL, weights TEXT NOT NULL,
    train_loss REAL, train_accuracy REAL, test_loss REAL, test_accuracy REAL, state TEXT, PRIMARY KEY (run_id, step));
CREATE TABLE IF NOT EXISTS sharpness (
    run_id TEXT NOT NULL REFERENCES runs(run_id), step INTEGER NOT NULL, value REAL, PRIMARY KEY (run_id, step));
CREATE TABLE IF NOT EXISTS probes (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, run_id TEXT NOT NULL, step INTEGER NOT NULL, tensors TEXT,
    status TEXT NOT NULL, reason TEXT NOT NULL, seconds REAL NOT NULL, device TEXT);
CREATE TABLE IF NOT EXISTS metric_values (
    key TEXT NOT NULL, component TEXT NOT NULL, run_id TEXT NOT NULL, step INTEGER NOT NULL, metric TEXT NOT NULL,
    version INTEGER NOT NULL, source TEXT NOT NULL, value REAL, standard_error REAL, status TEXT NOT NULL,
    reason TEXT NOT NULL, seconds REAL NOT NULL, memory INTEGER, versions TEXT NOT NULL, device TEXT,
    PRIMARY KEY (key, component));
CREATE TABLE IF NOT EXISTS let_go (checksum TEXT PRIMARY KEY, kind TEXT NOT NULL, bytes INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS awaited (run_id TEXT PRIMARY KEY, tensors TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS untrained (
    key TEXT PRIMARY KEY, status TEXT NOT NULL, reason TEXT NOT NULL, seconds REAL NOT NULL);
"""


class Store:
    """Opens (and makes) the store at `home`. `writing=True` takes the lock that only one driver holds.

    A store of an older version becomes one of this by whoever opens it first, unless a driver has it at hand.

    Raises:
        StoreError: the folder cannot be written, is used by another driver, or is of another schema (which a driver of
            an older version works in, or which is not known).
        DamagedStore: the database is no whole database.
    """

    def __init__(self, home: Path, writing: bool = False) -> None:
        self.home = home
        self._lock: int | None = None
        with contextlib.ExitStack() as undone, explained(home):
            (home / "tensors").mkdir(parents=True, exist_ok=True)
            if writing:
                undone.callback(os.close, self._take_lock())
                self._sweep()
            self._refuse_a_cut_one()
            self._db = sqlite3.connect(home / "store.db", isolation_level=None, timeout=30)
            undone.callback(self._db.close)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._check_schema()
            undone.pop_all()

    def close(self) -> None:
        """Release the database and the lock."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def stack(self, key: str) -> tuple[str, ...] | None:
        """The run ids of a recorded stack whose tensor files are all there or were let go on purpose, else None."""
        rows = self._rows("SELECT run_id, initial, curve, distances FROM runs WHERE stack = ?", key)
        if not rows:
            return None
        query = "SELECT weights, state FROM checkpoints JOIN runs USING (run_id) WHERE stack = ?"
        sums = [s for row in (*(row[1:] for row in rows), *self._rows(query, key)) for s in row if s]
        return tuple(r[0] for r in rows) if all(self._counts_as_there(s) for s in sums) else None

    def run(self, run_id: str) -> StoredRun | None:
        """A recorded run with its checkpoints by ascending step, tensors by checksum."""
        rows = self._rows("SELECT * FROM runs WHERE run_id = ?", run_id)
        if not rows:
            return None
        query = (
            "SELECT step, weights, train_loss, train_accuracy, test_loss, test_accuracy, state "
            "FROM checkpoints WHERE run_id = ? ORDER BY step"
        )
        points = tuple(StoredCheckpoint(r[0], r[1], *_numbers(r[2:6]), state=r[6]) for r in self._rows(query, run_id))
        found = self._rows("SELECT step, value FROM sharpness WHERE run_id = ? ORDER BY step", run_id)
        sharpness = tuple((int(step), _number(value)) for step, value in found)
        _, _, status, parameters, initial, curve, distances = rows[0]
        return StoredRun(run_id, status, parameters, initial, curve, points, distances, sharpness)

    def stack_of(self, run_id: str) -> str:
        """The key of a recorded run's stack."""
        ((key,),) = self._rows("SELECT stack FROM runs WHERE run_id = ?", run_id)
        return str(key)

    def record_stack(self, key: str, runs: Iterable[StoredRun], seconds: float, provenance: dict[str, Any]) -> None:
        """Record a whole stack, its tensors first, in one transaction; replaces what a damaged one left.

        Where a run's tensors are others than they were (of another machine, say), probes and values of what it was go.
        """
        with explained(self.home):
            kept = [(run, *self._kept(run)) for run in runs]
            with self._transaction() as db:
                db.execute("INSERT OR REPLACE INTO stacks VALUES (?, ?, ?)", (key, seconds, json.dumps(provenance)))
                db.execute("DELETE FROM untrained WHERE key = ?", (key,))
                for run, tensors, points in kept:
                    self._replace(db, run.run_id, made_of(tensors, [(p[1], p[2], p[7]) for p in points]))
                    row = (run.run_id, key, run.status, run.parameters, *tensors)
                    db.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", row)
                    db.executemany("INSERT INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?)", points)
                    watched = [(run.run_id, step, value) for step, value in run.sharpness]
                    db.executemany("INSERT INTO sharpness VALUES (?, ?, ?)", watched)
                    _take_back(db, [*tensors, *(s for p in points for s in (p[2], p[7]))])

    def record_failure(self, failure: StoredFailure) -> None:
        """Record that a stack could not be trained, until it is."""
        row = (failure.key, failure.status, failure.reason, failure.seconds)
        with explained(self.home), self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO untrained VALUES (?, ?, ?, ?)", row)

    def failures(self) -> dict[str, StoredFailure]:
        """The stacks that could not be trained when they were last tried, by key."""
        return {row[0]: StoredFailure(*row) for row in self._rows("SELECT * FROM untrained")}

    def tensors_of(self, run_id: str) -> str | None:
        """What a run is made of, in one word (`made_of`): as recorded, or as it was when its rows were removed."""
        rows = self._rows("SELECT initial, curve, distances FROM runs WHERE run_id = ?", run_id)
        if not rows:
            awaited = self._rows("SELECT tensors FROM awaited WHERE run_id = ?", run_id)
            return awaited[0][0] if awaited else None
        query = "SELECT step, weights, state FROM checkpoints WHERE run_id = ? ORDER BY step"
        return made_of(rows[0], self._rows(query, run_id))

    def _kept(self, run: StoredRun) -> tuple[tuple[str | None, ...], list[tuple[Any, ...]]]:
        """A run's tensors as files: the checksums of its row, and the rows of its checkpoints."""
        tensors = (self.keep(run.initial), self.keep(run.curve), self.keep(run.distances) if run.distances else None)
        points = [
            (run.run_id, c.step, self.keep(c.weights), c.train_loss, c.train_accuracy, c.test_loss, c.test_accuracy,
             self.keep(c.state) if c.state else None)
            for c in run.checkpoints
        ]  # fmt: skip
        return tensors, points

    def _replace(self, db: sqlite3.Connection, run_id: str, made: str) -> None:
        """Remove a run's rows; its probes and values too, if it was made of other tensors."""
        before = self.tensors_of(run_id)
        if before is not None and before != made:
            for table in ("probes", "metric_values"):
                db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))  # noqa: S608 - words of this file
        for table in ("checkpoints", "sharpness", "runs", "awaited"):
            db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))  # noqa: S608 - words of this file

    def probe(self, key: str) -> StoredProbe | None:
        """A recorded probe, or None; one whose file is gone counts as missing, unless it was let go on purpose."""
        rows = self._rows("SELECT * FROM probes WHERE key = ?", key)
        if not rows or (rows[0][4] and not self._counts_as_there(rows[0][4])):
            return None
        return StoredProbe(*rows[0])

    def record_probes(self, probes: Iterable[StoredProbe]) -> None:
        """Record probes in one transaction."""
        with explained(self.home):
            rows = []
            for p in probes:
                tensors = self.keep(p.tensors) if p.tensors else None
                rows.append((p.key, p.name, p.run_id, p.step, tensors, p.status, p.reason, p.seconds, p.device))
            with self._transaction() as db:
                db.executemany("INSERT OR REPLACE INTO probes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
                _take_back(db, [row[4] for row in rows])

    def values(self, key: str) -> tuple[StoredValue, ...]:
        """The recorded components of a value; empty if it was never measured."""
        query = "SELECT * FROM metric_values WHERE key = ? ORDER BY component"
        return tuple(StoredValue(*row) for row in self._rows(query, key))

    def record_values(self, values: Iterable[StoredValue]) -> None:
        """Record values in one transaction; what an earlier attempt left under the same keys goes."""
        rows = [
            (v.key, v.component, v.run_id, v.step, v.metric, v.version, v.source, v.value, v.standard_error, v.status,
             v.reason, v.seconds, v.memory, v.versions, v.device)
            for v in values
        ]  # fmt: skip
        with explained(self.home), self._transaction() as db:
            db.executemany("DELETE FROM metric_values WHERE key = ?", [(key,) for key in {row[0] for row in rows}])
            places = ", ".join("?" * 15)
            db.executemany(f"INSERT INTO metric_values VALUES ({places})", rows)  # noqa: S608 - question marks alone

    def provenance(self, stack: str) -> tuple[float, dict[str, Any]]:
        """The seconds a recorded stack took to train, and what was noted of where and on what data.

        Raises:
            StoreError: there is nothing of it.
        """
        rows = self._rows("SELECT seconds, provenance FROM stacks WHERE key = ?", stack)
        if not rows:
            raise StoreError(
                f"{self.home / 'store.db'}: stack {stack} says not when and on what it was trained: "
                "`suite verify --repair`, then run again"
            )
        return float(rows[0][0]), json.loads(rows[0][1])

    def path(self, checksum: str) -> Path:
        """Where the file of that checksum lies."""
        return self.home / "tensors" / checksum[:2] / f"{checksum}.safetensors"

    def keep(self, content: bytes | str) -> str:
        """Write a file's content under its sha256 (hex) and return that; a checksum passes through."""
        if isinstance(content, str):
            return content
        checksum = hashlib.sha256(content).hexdigest()
        target = self.path(checksum)
        if not target.exists():
            write_atomically(target, content)
        return checksum

    def _counts_as_there(self, checksum: str) -> bool:
        return self.path(checksum).exists() or bool(self._rows("SELECT 1 FROM let_go WHERE checksum = ?", checksum))

    def _refuse_a_cut_one(self) -> None:
        """SQLite takes an empty file for a new database, and misses that of the last page a part is gone."""
        file, log = self.home / "store.db", self.home / "store.db-wal"
        # pages may still be in the log, which is removed after they are all in the file
        if _is_cut(file) and not (log.exists() and log.stat().st_size) and _is_cut(file):
            raise DamagedStore(f"{file}: its end is missing; {BROKEN}")
        if file.exists() and not file.stat().st_size and any((self.home / "tensors").glob("*/*.safetensors")):
            raise DamagedStore(f"{file}: it is empty, and there are tensors beside it; {BROKEN}")

    def _take_lock(self) -> int:
        try:
            self._lock = _lock_of(self.home)
        except BlockingIOError as error:
            raise StoreError(
                f"{self.home} is in use by another `suite` process: wait for it, or set SUITE_HOME to another folder"
            ) from error
        return self._lock

    def _sweep(self) -> None:
        """Remove what a killed driver had not finished writing; nobody else writes while the lock is held."""
        for left in (self.home / "tensors").glob(f"*/{UNFINISHED}*"):
            left.unlink()

    def _check_schema(self) -> None:
        version = self._version()
        if version not in (*_ADDED_TO, SCHEMA_VERSION):
            raise StoreError(
                f"{self.home / 'store.db'} has schema {version}, this suite reads {SCHEMA_VERSION}: "
                "move the folder away or set SUITE_HOME to another one"
            )
        if version != SCHEMA_VERSION:
            self._migrate()

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        """Make it a store of this version, with the driver's lock: the rows of an older driver would not fit it."""
        if self._lock is not None:
            self._add_what_is_new()
            return
        end = time.monotonic() + _MIGRATES_WITHIN
        while (version := self._version()) != SCHEMA_VERSION:
            try:
                lock = _lock_of(self.home)
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise StoreError(
                        f"{self.home} is in use by a run of an older version of suite (its schema is {version}, this "
                        f"suite reads {SCHEMA_VERSION}): wait for its end, then try again"
                    ) from error
                time.sleep(0.05)
                continue
            try:
                self._add_what_is_new()
            finally:
                os.close(lock)

    def _add_what_is_new(self) -> None:
        """In one transaction, unless another process was quicker: tables and columns, then the version."""
        with self._transaction() as db:
            if self._version() == SCHEMA_VERSION:
                return
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            for table, column in _ADDED_COLUMNS:
                if column not in {row[1] for row in db.execute(f"PRAGMA table_info({table})")}:
                    db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with explained(self.home):
            return self._db.execute(query, parameters).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            # a full disk has already rolled the transaction back
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _lock_of(home: Path) -> int:
    """The lock of the one driver, held until it is closed.

    Raises:
        BlockingIOError: another process has it.
    """
    lock = os.open(home / "lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(lock)
        raise
    return lock


def made_of(tensors: Iterable[str | None], points: Iterable[tuple[Any, ...]]) -> str:
    """A name for a run's tensors: of the checksums in its row, and of (step, weights, state) of its checkpoints."""
    return hashlib.sha256(json.dumps([list(tensors), *map(list, points)]).encode()).hexdigest()


def _is_cut(file: Path) -> bool:
    """Whether a database has fewer bytes than its first page says."""
    with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
        head, size = opened.read(100), file.stat().st_size
        page = int.from_bytes(head[16:18], "big")
        return len(head) == 100 and int.from_bytes(head[28:32], "big") * (65536 if page == 1 else page) > size
    return False


def _take_back(db: sqlite3.Connection, checksums: Iterable[str | None]) -> None:
    """Tensors that are recorded (again) are no longer let go."""
    db.executemany("DELETE FROM let_go WHERE checksum = ?", [(checksum,) for checksum in checksums if checksum])


def _numbers(row: tuple[Any, ...]) -> tuple[float, float, float, float]:
    first, second, third, fourth = (_number(v) for v in row)
    return first, second, third, fourth


def _number(value: float | None) -> float:
    """SQLite keeps no NaN: it gives None back, and a diverged run's loss is NaN."""
    return float("nan") if value is None else float(value)
