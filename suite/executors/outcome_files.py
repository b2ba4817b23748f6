"""Outcomes as files, in a folder that all machines share: a job of Slurm leaves them there, the driver takes them.

Where a stranger's code runs, it may come to write there, too, on a machine that cannot keep it from that. So what
becomes of a plain job is JSON in its file, read as data and nothing else, and no file is read that is none, or that is
larger than it can be.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.errors import first_line
from suite.executors import wire
from suite.executors.job import Job, Outcome

_STATUSES = ("ok", "failed", "timeout", "died")
_KEYS = {"status", "result", "reason", "seconds", "fraction"}
_MOST_PLAIN = wire.MOST_PLAIN + 2**20
"""Bytes of a plain job's outcome: its result and some words."""
_MOST_FRACTION = 100


@dataclass(frozen=True)
class OutcomeFolder:
    """The folder, in which a job has a number.

    Attributes:
        path: outcomes are `NUMBER.outcome` in it, progress of jobs at hand is `NUMBER.fraction`.
    """

    path: Path

    def leave(self, number: int, outcome: Outcome) -> None:
        """Leave what became of a job; a result that cannot be packed, or has no room here, is that job's failure.

        Raises:
            OSError: there is no room for that either.
        """
        try:
            _write(self._outcome(number), _packed(outcome))
        except Exception as error:  # noqa: BLE001 - whatever a result may do; a disk that is full has room for a line
            why = f"its result cannot be written ({first_line(error)})"
            lost = Outcome(outcome.job, "failed", None, why, outcome.seconds, outcome.fraction)
            _write(self._outcome(number), _packed(lost))

    def note(self, number: int, fraction: float) -> None:
        """Leave how much of a job is done."""
        _write(self._fraction(number), repr(fraction).encode())

    def is_done(self, number: int) -> bool:
        """Whether a job's outcome was left, be it taken by now or not."""
        return self.has(number) or self._taken(number).exists()

    def has(self, number: int) -> bool:
        """Whether a job's outcome is there to be taken."""
        return os.path.lexists(self._outcome(number))

    def take(self, number: int, job: Job) -> Outcome:
        """The outcome of the driver's own job; a mark is left in its place, should a bundle with it be queued again."""
        file = self._outcome(number)
        try:
            outcome = _unpacked(_read(file, _MOST_PLAIN if job.plain else None), job)
        except Exception as error:  # noqa: BLE001 - whatever a file may hold
            outcome = Outcome(job, "failed", None, f"its file of results cannot be read ({first_line(error)})", 0.0)
        with contextlib.suppress(OSError):  # a folder is there, the disk is full: it is taken all the same
            self._taken(number).touch()
            file.unlink()
        return outcome

    def fraction(self, number: int) -> float | None:
        """How much of a job is done, where that was noted."""
        try:
            fraction = float(_read(self._fraction(number), _MOST_FRACTION))
        except (OSError, ValueError):  # not begun
            return None
        return fraction if 0 <= fraction <= 1 else None

    def _outcome(self, number: int) -> Path:
        return self.path / f"{number}.outcome"

    def _taken(self, number: int) -> Path:
        return self.path / f"{number}.taken"

    def _fraction(self, number: int) -> Path:
        return self.path / f"{number}.fraction"


def _packed(outcome: Outcome) -> bytes:
    said = {key: getattr(outcome, key) for key in _KEYS}
    return wire.packed(said, outcome.job.plain)


def _unpacked(content: bytes, job: Job) -> Outcome:
    """The outcome that was packed.

    Raises:
        Exception: it is none.
    """
    said = wire.unpacked(content, job.plain)
    if not isinstance(said, dict) or set(said) != _KEYS:
        raise ValueError("it is no outcome")
    if said["status"] not in _STATUSES or (said["status"] != "ok" and said["result"] is not None):
        raise ValueError("its status is none")
    if not isinstance(said["reason"], str):
        raise ValueError("its reason is none")
    seconds, fraction = _number(said["seconds"]), _number(said["fraction"])
    if not (seconds >= 0 and 0 <= fraction <= 1):
        raise ValueError("its seconds or its fraction are none")
    reason = wire.words(said["reason"].encode("utf-8", "replace"))
    return Outcome(job, said["status"], said["result"], reason, seconds, fraction)


def _number(said: Any) -> float:
    return float(said) if type(said) in (int, float) and math.isfinite(said) else math.nan


def _write(target: Path, content: bytes) -> None:
    """Whole or not at all: the driver may look at any moment."""
    part = tempfile.NamedTemporaryFile(dir=target.parent, prefix=".part-", delete=False)  # noqa: SIM115 - closed below
    try:
        with part:
            part.write(content)
        Path(part.name).replace(target)
    except BaseException:
        Path(part.name).unlink(missing_ok=True)  # a part takes the room that the next one needs
        raise


def _read(file: Path, most: int | None) -> bytes:
    """What a file holds that is one, no link and no pipe that nobody writes into, of so many bytes at most.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file.
    """
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:  # noqa: PTH123
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode) or (most is not None and found.st_size > most):
            raise ValueError("it is no file, or too large")
        return opened.read() if most is None else opened.read(most)
