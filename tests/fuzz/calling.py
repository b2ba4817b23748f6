"""The command line called as a user calls it, in a process of its own that a watchdog ends.

The process is forked from this one: everything is imported already, so that a call takes milliseconds and not seconds.
What it does to itself (its limits, its working folder, its modules) ends with it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import suite.metrics.importing
from suite.executors import kernel

LIMIT = 120.0
"""Seconds of a processor, or without any of it, after which a call hangs, and is ended.

Not of the clock: machines are shared, and a process that waits for its turn does not hang.
"""
IMPORTING = 10.0
"""Seconds that a file of metrics has to be imported, instead of the many that it has in life."""
_MEMORY = 12 * 2**30
"""Bytes of data: what asks for more is no command that reads a small file."""
_FILE = 2**28
"""Bytes of the largest file that a call may write, its output included."""
_NEEDED = (
    "cli", "estimating.estimate", "estimating.shown", "pipeline", "ranking.claims", "ranking.export", "ranking.task",
    "reporting.board", "reporting.build", "reporting.compare", "spec.claims", "spec.loading", "submission.check",
)  # fmt: skip
_FILES = "stdout", "stderr"


@dataclass(frozen=True)
class Ended:
    """How a call ended.

    Attributes:
        words: of the command line.
        status: the exit status; negative: the signal that ended it; None: the watchdog did.
        out, err: what it printed.
        seconds: what it took.
    """

    words: tuple[str, ...]
    status: int | None
    out: bytes
    err: bytes
    seconds: float


@cache
def ready() -> None:
    """Import what commands need once, before any call."""
    from suite.metrics import find_metrics

    for name in _NEEDED:
        importlib.import_module(f"suite.{name}")
    find_metrics()


def call(words: tuple[str, ...], folder: Path, importing: float = IMPORTING, limit: float = LIMIT) -> Ended:
    """`suite WORDS` in `folder`, in a fork of this process; to be imported files have `importing` seconds."""
    logs = [folder.parent / f"{folder.name}.{name}" for name in _FILES]
    for log in logs:
        log.write_bytes(b"")
    start = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        _become(words, folder, logs, importing)
    status = _waited(child, limit)
    seconds = time.monotonic() - start
    out, err = (log.read_bytes()[: 2**22] for log in logs)
    for log in logs:
        log.unlink()
    return Ended(words, status, out, err, seconds)


def started(words: tuple[str, ...], folder: Path, importing: float = IMPORTING, limit: float = 5 * LIMIT) -> Ended:
    """The same as a new process of Python, with all its imports: nothing of this process is in it, not `importing`."""
    environment = _environment(folder) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "suite", *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=limit)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        status = None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if status is None:
        out, err = process.communicate()
    return Ended(words, status, out, err, time.monotonic() - start)


def _environment(folder: Path) -> dict[str, str]:
    dropped = ("SUITE_DATA_DIR", "SUITE_COST", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"SUITE_HOME": str(folder / "store"), "COLUMNS": "120"}


def _become(words: tuple[str, ...], folder: Path, logs: list[Path], importing: float) -> None:
    """What the child does, to its end: it never comes back."""
    status = 70
    try:
        os.setsid()  # it and all that it starts are one group
        with contextlib.suppress(OSError, AttributeError):  # it ends with this process, on Linux
            kernel.prctl(kernel.DEATH_SIGNAL, signal.SIGKILL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, log in enumerate(logs, 1):
            os.dup2(os.open(log, os.O_WRONLY | os.O_APPEND), number)
        os.closerange(3, 64)
        for number, name in enumerate(_FILES, 1):
            errors = ("strict", "backslashreplace")[number - 1]
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", errors=errors))
        sys.stdin = os.fdopen(0, encoding="utf-8")
        sys.__stdout__, sys.__stderr__, sys.__stdin__ = sys.stdout, sys.stderr, sys.stdin
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(_environment(folder))
        sys.argv = ["suite", *words]
        sys.modules["__main__"] = ModuleType("__main__")  # workers would import this process's own, whatever that is
        suite.metrics.importing.LIMIT = importing
        status = _called()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
    finally:
        os._exit(status)


def _called() -> int:
    """The exit status that the interpreter would make of what `main` ends with."""
    from suite.cli import main

    try:
        main()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        os.write(2, str(end.code).encode())
        return 1
    except BaseException:  # noqa: BLE001 - whatever it is, the interpreter would print it
        os.write(2, traceback.format_exc().encode("utf-8", "backslashreplace"))
        return 1
    return 0


def _waited(child: int, limit: float) -> int | None:
    """How the child ended; None where it had to be ended. All that it started is ended with it."""
    status, pause, used, moved = None, 0.001, 0.0, time.monotonic()
    while True:
        pid, code = os.waitpid(child, os.WNOHANG)
        if pid:
            status = os.waitstatus_to_exitcode(code)
            break
        if (now := _used(child)) > used:
            used, moved = now, time.monotonic()
        if used > limit or time.monotonic() > moved + limit:
            break
        time.sleep(pause)
        pause = min(0.05, 2 * pause)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    if status is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return status


def _used(child: int) -> float:
    """Seconds of a processor that a process has had, and those of its children that it waited for."""
    try:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
