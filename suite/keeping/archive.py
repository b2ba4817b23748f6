"""The store as a whole, for whoever frees or checks it: every file, and every row that refers to one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.errors import BadInput
from suite.store import Store, explained

_NAME = re.compile(r"([0-9a-f]{2})[0-9a-f]{62}\.safetensors")
_REFERENCES = """
SELECT initial, 'initial', run_id, 0, '' FROM runs
UNION ALL SELECT curve, 'curve', run_id, 0, '' FROM runs
UNION ALL SELECT distances, 'distances', run_id, 0, '' FROM runs WHERE distances IS NOT NULL
UNION ALL SELECT weights, 'weights', run_id, step, '' FROM checkpoints
UNION ALL SELECT state, 'states', run_id, step, '' FROM checkpoints WHERE state IS NOT NULL
UNION ALL SELECT tensors, 'probes', run_id, step, key FROM probes WHERE tensors IS NOT NULL
"""
_NOWHERE = {
    "checkpoints": "run_id NOT IN (SELECT run_id FROM runs)",
    "sharpness": "run_id NOT IN (SELECT run_id FROM runs)",
    "probes": "run_id NOT IN (SELECT run_id FROM runs UNION SELECT run_id FROM awaited)",
    "metric_values": "run_id NOT IN (SELECT run_id FROM runs UNION SELECT run_id FROM awaited)",
}
"""Rows of a run that is not there; what was measured of a run that is to be trained again waits for it."""


@dataclass(frozen=True)
class Reference:
    """A row's word for a file.

    `kind` is the field of `keep` that it comes under, or `initial` or `curve`; `step` is 0 where it is of a whole run,
    `key` that of a probe.
    """

    checksum: str
    kind: str
    run_id: str
    step: int
    key: str


@dataclass(frozen=True)
class Mark:
    """A file that is let go, of which kind, with so many bytes."""

    checksum: str
    kind: str
    size: int


class Archive(Store):
    """An existing store.

    Raises:
        BadInput: there is none in this folder.
        StoreError: as `Store`.
    """

    def __init__(self, home: Path, writing: bool = False) -> None:
        if not (home / "store.db").is_file():
            raise BadInput(f"there is no store in {home}: set SUITE_HOME to the folder that has one")
        super().__init__(home, writing)

    def references(self) -> list[Reference]:
        """Every row's word for a file; several may be of one file."""
        return [Reference(*row) for row in self._rows(_REFERENCES)]

    def files(self) -> dict[str, int]:
        """The bytes of every tensor file that there is, by checksum."""
        found = {}
        with explained(self.home):
            for folder in os.scandir(self.home / "tensors"):
                for file in os.scandir(folder) if folder.is_dir(follow_symlinks=False) else ():
                    name = _NAME.fullmatch(file.name)
                    if name and name[1] == folder.name and file.is_file(follow_symlinks=False):
                        found[file.name.partition(".")[0]] = file.stat().st_size
        return found

    def let_go(self) -> dict[str, str]:
        """What was let go on purpose: its kind by checksum."""
        return dict(self._rows("SELECT checksum, kind FROM let_go"))

    def stacks(self) -> dict[str, str | None]:
        """The checksum of the data that each recorded stack was trained on, if it noted one, by the stack's key."""
        return {
            key: (json.loads(noted).get("data") or {}).get("checksum")
            for key, noted in self._rows("SELECT key, provenance FROM stacks")
        }

    def stack_of_runs(self) -> dict[str, str]:
        """The stack that each recorded run was trained in."""
        return dict(self._rows("SELECT run_id, stack FROM runs"))

    def metrics_of_runs(self) -> dict[str, set[str]]:
        """The metrics that were tried on each run."""
        found: dict[str, set[str]] = {}
        for run_id, metric in self._rows("SELECT DISTINCT run_id, metric FROM metric_values"):
            found.setdefault(run_id, set()).add(metric)
        return found

    def mark(self, marks: Sequence[Mark], no_longer: Iterable[str]) -> None:
        """Note in one transaction what is let go from now on, and what is no longer.

        Only then may files be removed: a row whose file is gone without a mark says that work is lost.
        """
        with explained(self.home), self._transaction() as db:
            db.executemany("DELETE FROM let_go WHERE checksum = ?", [(checksum,) for checksum in no_longer])
            rows = [(m.checksum, m.kind, m.size) for m in marks]
            db.executemany("INSERT OR REPLACE INTO let_go VALUES (?, ?, ?)", rows)

    def remove(self, checksums: Iterable[str]) -> None:
        """Remove files."""
        with explained(self.home):
            for checksum in checksums:
                self.path(checksum).unlink(missing_ok=True)

    def is_whole(self, checksum: str) -> bool:
        """Whether a file's content has the checksum that it is named by; read in pieces, however large."""
        path = self.path(checksum)
        with explained(path), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == checksum

    def complaints(self) -> list[str]:
        """What SQLite itself finds wrong with the database."""
        return [line for (line,) in self._rows("PRAGMA integrity_check") if line != "ok"]

    def nowhere(self) -> dict[str, int]:
        """How many rows of each table are of a run or a stack that is not there; tables without any are left out."""
        counts = {
            table: self._rows(f"SELECT COUNT(*) FROM {table} WHERE {which}")[0][0]  # noqa: S608 - words of this file
            for table, which in _NOWHERE.items()
        }
        return {table: count for table, count in counts.items() if count}

    def stacks_without_row(self) -> set[str]:
        """Stacks that have runs, and no row that says when and on what they were trained."""
        query = "SELECT DISTINCT stack FROM runs WHERE stack NOT IN (SELECT key FROM stacks)"
        return {key for (key,) in self._rows(query)}

    def forget(self, probes: Iterable[str], stacks: Iterable[str]) -> None:
        """Remove rows in one transaction, so that the next run makes these probes and trains these stacks again.

        What was measured of a stack's runs stays: it holds if they come out as they were, and goes if they do not.
        Rows that point nowhere go too.
        """
        with explained(self.home), self._transaction() as db:
            db.executemany("DELETE FROM probes WHERE key = ?", [(key,) for key in probes])
            for stack in stacks:
                for (run_id,) in self._rows("SELECT run_id FROM runs WHERE stack = ?", stack):
                    db.execute("INSERT OR REPLACE INTO awaited VALUES (?, ?)", (run_id, self.tensors_of(run_id)))
                    _delete(db, {"checkpoints": run_id, "sharpness": run_id, "runs": run_id}, "run_id")
                _delete(db, {"stacks": stack}, "key")
            for table, which in _NOWHERE.items():
                db.execute(f"DELETE FROM {table} WHERE {which}")  # noqa: S608 - words of this file


def _delete(db: sqlite3.Connection, which: Mapping[str, str], column: str) -> None:
    for table, value in which.items():
        db.execute(f"DELETE FROM {table} WHERE {column} = ?", (value,))  # noqa: S608 - words of this file
