"""Whether the driver is still there, for jobs that it submitted to other machines and that would outlive it.

The driver touches a file that they all see. When it last did so is told by the file system's clock, as is the time now:
the clocks of machines differ.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Self

_FILE = "alive"
_LOOKS = 10
"""In the time after which the driver is given up."""


class Heartbeat:
    """The driver's part: touches a file in `folder` every few seconds, from when it is entered until it is left."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self._file, self._seconds = folder / _FILE, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Self:
        self._file.touch()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._over.wait(self._seconds):
            with contextlib.suppress(OSError):  # the next may be heard
                self._file.touch()


class Listener:
    """The other machine's part.

    Args:
        folder: of the heartbeat.
        name: of a file in it that only this one touches, to learn what time it is there.
        patience: seconds without a beat after which the driver is gone.
    """

    def __init__(self, folder: Path, name: str, patience: float) -> None:
        self._beat, self._now, self._patience = folder / _FILE, folder / name, patience
        self._heard = time.monotonic()
        self._looked = float("-inf")

    def alone(self) -> bool:
        """Whether the driver is gone, or has removed the folder: nobody waits for anything any more.

        It may be asked as often as one likes: it looks now and then.
        """
        now = time.monotonic()
        if now - self._looked < self._patience / _LOOKS:
            return False
        self._looked = now
        try:
            self._now.touch()
            silent = _touched(self._now) - _touched(self._beat)
        except FileNotFoundError:
            return True
        except OSError:  # the file system does not answer: who cannot hear the driver for as long has none
            return now - self._heard > self._patience
        self._heard = now
        return silent > self._patience


def _touched(file: Path) -> float:
    with file.open("rb") as opened:  # what is known of a file that is not open may be old on a network's file system
        return os.fstat(opened.fileno()).st_mtime
