"""Files of tensors, whole or not there; and the errors of files and database in one clear line."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

from suite.errors import StoreError

UNFINISHED = ".tmp-"
"""How the names of files begin that are being written."""

BROKEN = (
    "it is damaged: put a copy of it back, or move store.db* out of that folder and run again (all is then made anew)"
)
"""What to do about a database that is none."""

_ADVICE = "the store must be a folder you can write to (set SUITE_HOME to choose another)"


class DamagedStore(StoreError):
    """The database itself is no whole database."""


def read_checked(path: Path) -> bytes:
    """The content of a stored tensor file.

    Raises:
        StoreError: it is missing, or its content does not have the checksum it is named by.
    """
    with explained(path):
        if not path.exists():
            raise StoreError(_why_gone(path))
        content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != path.stem:
        raise StoreError(f"{path} is damaged (its checksum is not its name): `suite verify --repair`, then run again")
    return content


def _why_gone(path: Path) -> str:
    """Why a tensor file is not there, by the store that it lies in; the words are the same for all of one kind."""
    where = f"{(path.parent.parent.parent / 'store.db').absolute().as_uri()}?mode=ro"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(where, uri=True)) as db:
        for (kind,) in db.execute("SELECT kind FROM let_go WHERE checksum = ?", (path.stem,)):
            return (
                f"{kind} that are needed here were let go by `suite gc`: "
                f"`suite gc --restore {kind}` with the task, and the next run makes them again"
            )
    return f"{path} is not there: `suite verify` says what it was and how to have it made again"


def write_atomically(target: Path, content: bytes) -> None:
    """Write a file whole or not at all: to a temporary name, flushed to the disk, then renamed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=UNFINISHED)
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


@contextlib.contextmanager
def explained(where: Path, advice: str = _ADVICE) -> Iterator[None]:
    """Turn the system's errors into one clear line: where, why, and `advice` unless the disk is full.

    Raises:
        StoreError: SQLite or the system raised something in the block.
        DamagedStore: SQLite says that the database is none, or not whole.
    """
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DamagedStore(f"{where / 'store.db'}: {error}; {BROKEN}") from error
        raise StoreError(_line(where, str(error), code == sqlite3.SQLITE_FULL, advice)) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(_line(where, reason, error.errno == errno.ENOSPC, advice)) from error


def _line(where: Path, reason: str, full: bool, advice: str) -> str:
    if full:
        return f"{where}: the disk is full; free some space and run again: what was recorded is kept"
    return f"{where}: {reason}; {advice}"
