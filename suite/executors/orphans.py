"""The processes that workers leave behind, and their end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

from suite.executors import kernel

_END_SECONDS = 5.0


class Orphans:
    """Processes that workers left behind, which come to this process on Linux (elsewhere init has them)."""

    _users = 0  # the executors that there are in this process now

    def __init__(self) -> None:
        self._before = children()
        self._let(+1)

    @classmethod
    def _let(cls, change: int) -> None:
        cls._users += change
        if sys.platform == "linux":
            kernel.prctl(kernel.SUBREAPER, int(cls._users > 0))

    def close(self) -> None:
        """Leave them to init from now on, as it was."""
        self._let(-1)

    def end(self) -> None:
        """Kill them, and those that come to this process by that."""
        until = time.monotonic() + _END_SECONDS
        while (found := self._found()) and time.monotonic() < until:
            for process in found:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, os.WNOHANG)
            time.sleep(0.01)

    def _found(self) -> set[int]:
        mine, own = children() - self._before, os.getsid(0)
        workers = {process.pid for process in multiprocessing.active_children()}  # after `mine`: new ones are not in it
        return {process for process in mine - workers if _session(process) not in (None, own)}


def children() -> set[int]:
    """This process's children, those that have ended among them; none where that cannot be told."""
    if sys.platform != "linux":
        return set()
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return set()  # the usual case of a worker, in one call
    found = set()
    for process in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if int(process.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(process.parent.name))
    return found


def _session(process: int) -> int | None:
    try:
        return os.getsid(process)
    except ProcessLookupError:
        return None
