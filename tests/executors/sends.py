"""Jobs that send what they should not."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import Any

from suite.executors import Progress, wire
from suite.executors.begin import unwatched


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


class Own(Exception):
    """An error that the driver does not know."""


def something(progress: Progress) -> list[Any]:
    return [1, "a", (2.0, None), {"b": 3}]


def raises(progress: Progress) -> None:
    raise Own("no luck")


def evil(folder: str, progress: Progress) -> Evil:
    return Evil(folder)


def pipes() -> list[int]:
    """Whatever this process can write into."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if int(one.name) > 2 and str(one.readlink()).startswith("pipe:"):
                os.set_blocking(int(one.name), False)
                found.append(int(one.name))
    return found


def into_the_pipes(content: bytes, progress: Progress) -> int:
    """Speaks to the driver past the suite, through whatever is open, and goes on."""
    for pipe in pipes():
        with contextlib.suppress(OSError):
            os.write(pipe, content)
    time.sleep(2)
    return 1


def for_ever(progress: Progress) -> None:
    """Does nothing but say that it moves."""
    for done in range(10**9):
        wire.tell(progress._said, wire.MOVED, done / 10**9)  # type: ignore[attr-defined]
        time.sleep(0.01)


def not_closed(progress: Progress) -> list[int]:
    """Of what processes of Python's inherit: the pipes that can be written into, beside this worker's own."""
    own = {resource_tracker._resource_tracker._fd, forkserver._forkserver._forkserver_alive_fd} - {None}
    return [pipe for pipe in pipes() if pipe in own]


def deep(progress: Progress) -> str:
    """Leaves folders in folders that no recursion comes to the end of."""
    place = tempfile.gettempdir()
    os.chdir(place)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    Path("file").touch()
    os.chdir("/")
    return place


def threads(progress: Progress) -> tuple[int, int]:
    """How many threads run, and how many while none of the suite's own does but this one."""
    before = threading.active_count()
    with unwatched():
        return before, threading.active_count()
