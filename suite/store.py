"""The local store: rows in SQLite, tensors as safetensors files named by their checksum.

Written by one process (the driver). Rows change in transactions and files are renamed into place when complete, so that
`kill -9` at any moment leaves a store in which everything recorded is whole. The unit of training is a stack: all its
runs are recorded at once or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import StoreError

SCHEMA_VERSION = 3
_ADDED_TO = (0, 2)
"""Versions (0: an empty store) from which a store becomes one of this version by the tables it has not."""

_UNFINISHED = ".tmp-"
_ADVICE = "the store must be a folder you can write to (set SUITE_HOME to choose another)"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS stacks (key TEXT PRIMARY KEY, seconds REAL NOT NULL, provenance TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (
    run_id TEXT PRIMARY KEY, stack TEXT NOT NULL REFERENCES stacks(key), status TEXT NOT NULL,
    parameters INTEGER NOT NULL, initial TEXT NOT NULL, curve TEXT NOT NULL, distances TEXT);
CREATE TABLE IF NOT EXISTS checkpoints (
    run_id TEXT NOT NULL REFERENCES runs(run_id), step INTEGER NOT NULL, weights TEXT NOT NULL,
    train_loss REAL, train_accuracy REAL, test_loss REAL, test_accuracy REAL, state TEXT, PRIMARY KEY (run_id, step));
CREATE TABLE IF NOT EXISTS sharpness (
    run_id TEXT NOT NULL REFERENCES runs(run_id), step INTEGER NOT NULL, value REAL, PRIMARY KEY (run_id, step));
CREATE TABLE IF NOT EXISTS probes (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, run_id TEXT NOT NULL, step INTEGER NOT NULL, tensors TEXT,
    status TEXT NOT NULL, reason TEXT NOT NULL, seconds REAL NOT NULL);
CREATE TABLE IF NOT EXISTS metric_values (
    key TEXT NOT NULL, component TEXT NOT NULL, run_id TEXT NOT NULL, step INTEGER NOT NULL, metric TEXT NOT NULL,
    version INTEGER NOT NULL, source TEXT NOT NULL, value REAL, standard_error REAL, status TEXT NOT NULL,
    reason TEXT NOT NULL, seconds REAL NOT NULL, memory INTEGER, versions TEXT NOT NULL, PRIMARY KEY (key, component));
"""


@dataclass(frozen=True)
class StoredCheckpoint:
    """A checkpoint to record or as recorded.

    `weights` and `state` (the optimizer's, None where it has none) are a safetensors file's content, or its checksum
    once stored.
    """

    step: int
    weights: bytes | str
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    state: bytes | str | None = None


@dataclass(frozen=True)
class StoredRun:
    """A run to record, or as recorded; tensors as in `StoredCheckpoint`.

    `curve` is the mean loss of each epoch, `distances` those between the last iterates (None if not asked for),
    `sharpness` steps and the largest eigenvalue there, ascending (none if not asked for).
    """

    run_id: str
    status: str
    parameters: int
    initial: bytes | str
    curve: bytes | str
    checkpoints: tuple[StoredCheckpoint, ...]
    distances: bytes | str | None = None
    sharpness: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class StoredProbe:
    """A probe of a checkpoint: `status` ok with `tensors`, or failed/timeout/died with a reason."""

    key: str
    name: str
    run_id: str
    step: int
    tensors: bytes | str | None
    status: str
    reason: str
    seconds: float


@dataclass(frozen=True)
class StoredValue:
    """One value (or one component of it) of a metric at a checkpoint, or the reason why there is none.

    Attributes:
        source: hash of the metric's code.
        seconds: what it took.
        memory: bytes it took at most beyond what was there at its start, or None where that cannot be told.
        versions: of the packages that computed it, as JSON.
    """

    key: str
    component: str
    run_id: str
    step: int
    metric: str
    version: int
    source: str
    value: float | None
    standard_error: float | None
    status: str
    reason: str
    seconds: float
    memory: int | None
    versions: str


class Store:
    """Opens (and makes) the store at `home`. `writing=True` takes the lock that only one driver holds.

    Raises:
        StoreError: the folder cannot be written, is used by another driver, or is of another schema.
    """

    def __init__(self, home: Path, writing: bool = False) -> None:
        self.home = home
        self._lock: int | None = None
        with explained(home):
            (home / "tensors").mkdir(parents=True, exist_ok=True)
            if writing:
                self._take_lock()
                self._sweep()
            self._db = sqlite3.connect(home / "store.db", isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._check_schema()

    def close(self) -> None:
        """Release the database and the lock."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def stack(self, key: str) -> tuple[str, ...] | None:
        """The run ids of a recorded stack whose tensor files are all there, else None."""
        rows = self._rows("SELECT run_id, initial, curve, distances FROM runs WHERE stack = ?", key)
        if not rows:
            return None
        query = "SELECT weights, state FROM checkpoints JOIN runs USING (run_id) WHERE stack = ?"
        sums = [s for row in (*(row[1:] for row in rows), *self._rows(query, key)) for s in row if s]
        return tuple(r[0] for r in rows) if all(self.path(s).exists() for s in sums) else None

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

    def record_stack(self, key: str, runs: Iterable[StoredRun], seconds: float, provenance: dict[str, Any]) -> None:
        """Record a whole stack, its tensors first, in one transaction; replaces what a damaged one left."""
        with explained(self.home):
            rows, points, sharpness = [], [], []
            for run in runs:
                tensors = (self.keep(run.initial), self.keep(run.curve), run.distances and self.keep(run.distances))
                rows.append((run.run_id, key, run.status, run.parameters, *tensors))
                points += [
                    (run.run_id, c.step, self.keep(c.weights), c.train_loss, c.train_accuracy, c.test_loss,
                     c.test_accuracy, c.state and self.keep(c.state))
                    for c in run.checkpoints
                ]  # fmt: skip
                sharpness += [(run.run_id, step, value) for step, value in run.sharpness]
            with self._transaction() as db:
                db.execute("INSERT OR REPLACE INTO stacks VALUES (?, ?, ?)", (key, seconds, json.dumps(provenance)))
                db.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
                db.executemany("INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?)", points)
                db.executemany("INSERT OR REPLACE INTO sharpness VALUES (?, ?, ?)", sharpness)

    def probe(self, key: str) -> StoredProbe | None:
        """A recorded probe, or None; one whose file is gone counts as missing."""
        rows = self._rows("SELECT * FROM probes WHERE key = ?", key)
        if not rows or (rows[0][4] and not self.path(rows[0][4]).exists()):
            return None
        return StoredProbe(*rows[0])

    def record_probes(self, probes: Iterable[StoredProbe]) -> None:
        """Record probes in one transaction."""
        with explained(self.home):
            rows = [
                (p.key, p.name, p.run_id, p.step, p.tensors and self.keep(p.tensors), p.status, p.reason, p.seconds)
                for p in probes
            ]
            with self._transaction() as db:
                db.executemany("INSERT OR REPLACE INTO probes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def values(self, key: str) -> tuple[StoredValue, ...]:
        """The recorded components of a value; empty if it was never measured."""
        query = "SELECT * FROM metric_values WHERE key = ? ORDER BY component"
        return tuple(StoredValue(*row) for row in self._rows(query, key))

    def record_values(self, values: Iterable[StoredValue]) -> None:
        """Record values in one transaction; what an earlier attempt left under the same keys goes."""
        rows = [
            (v.key, v.component, v.run_id, v.step, v.metric, v.version, v.source, v.value, v.standard_error, v.status,
             v.reason, v.seconds, v.memory, v.versions)
            for v in values
        ]  # fmt: skip
        with explained(self.home), self._transaction() as db:
            db.executemany("DELETE FROM metric_values WHERE key = ?", [(key,) for key in {row[0] for row in rows}])
            db.executemany(f"INSERT INTO metric_values VALUES ({', '.join('?' * 14)})", rows)  # noqa: S608

    def provenance(self, stack: str) -> tuple[float, dict[str, Any]]:
        """The seconds a recorded stack took to train, and what was noted of where and on what data."""
        (row,) = self._rows("SELECT seconds, provenance FROM stacks WHERE key = ?", stack)
        return float(row[0]), json.loads(row[1])

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

    def _take_lock(self) -> None:
        self._lock = os.open(self.home / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{self.home} is in use by another `suite` process: wait for it, or set SUITE_HOME to another folder"
            ) from error

    def _sweep(self) -> None:
        """Remove what a killed driver had not finished writing; nobody else writes while the lock is held."""
        for left in (self.home / "tensors").glob(f"*/{_UNFINISHED}*"):
            left.unlink()

    def _check_schema(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (*_ADDED_TO, SCHEMA_VERSION):
            raise StoreError(
                f"{self.home / 'store.db'} has schema {version}, this suite reads {SCHEMA_VERSION}: "
                "move the folder away or set SUITE_HOME to another one"
            )
        if version != SCHEMA_VERSION:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")

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


def read_checked(path: Path) -> bytes:
    """The content of a stored tensor file.

    Raises:
        StoreError: it is missing, or its content does not have the checksum it is named by.
    """
    with explained(path):
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.stem:
        raise StoreError(f"{path} is damaged (its checksum is not its name): delete it and run again")
    return content


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name, flushed to the disk, then renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=_UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)  # noqa: PTH105 - Path.replace is the same call
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        raise


def _numbers(row: tuple[Any, ...]) -> tuple[float, float, float, float]:
    first, second, third, fourth = (_number(v) for v in row)
    return first, second, third, fourth


def _number(value: float | None) -> float:
    """SQLite keeps no NaN: it gives None back, and a diverged run's loss is NaN."""
    return float("nan") if value is None else float(value)


@contextlib.contextmanager
def explained(where: Path, advice: str = _ADVICE) -> Iterator[None]:
    """Turn the system's errors into one clear line: where, why, and `advice` unless the disk is full.

    Raises:
        StoreError: SQLite or the system raised something in the block.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_line(where, str(error), "full" in str(error), advice)) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(_line(where, reason, error.errno == errno.ENOSPC, advice)) from error


def _line(where: Path, reason: str, full: bool, advice: str) -> str:
    if full:
        return f"{where}: the disk is full; free some space and run again: what was recorded is kept"
    return f"{where}: {reason}; {advice}"
