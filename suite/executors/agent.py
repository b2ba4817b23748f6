"""What does jobs on another machine: a worker process there, held as on this one."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.executors.job import Job, Outcome
from suite.executors.local import LocalExecutor
from suite.executors.parcel import Missing, NamedFile, Parcel

Answer = tuple[str, Any, str, float, float]
"""An outcome without its job: status, result, reason, seconds, fraction."""
_MOST_KEPT = 2**30
"""Bytes of files that are kept for further jobs, those of the job at hand besides."""


class Agent:
    """Does jobs one at a time in a worker process of its own, which may die without harm to it.

    Args:
        environment: as of `LocalExecutor`.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._executor = LocalExecutor(1, environment)
        self._files = tempfile.TemporaryDirectory(prefix="suite-files-")
        self._kept: dict[NamedFile, int] = {}  # bytes, those first that were not needed for longest
        self._fraction = 0.0

    def fraction(self) -> float:
        """How much of the job at hand is done."""
        return self._fraction

    def do(self, parcel: Parcel, contents: Mapping[NamedFile, bytes]) -> Answer | Missing:
        """Do a packed job; what became of it, or the files that it needs to come along.

        It is unpacked in the worker: this process imports nothing of what the job needs.

        Raises:
            OSError: there is no room for the files.
        """
        for file, content in contents.items():
            self._keep(file, content, parcel.files)
        self._fraction = 0.0
        job = parcel.unpacked(self._cache)
        if isinstance(job, Missing):
            return job
        for file in parcel.files:
            if file in self._kept:
                self._kept[file] = self._kept.pop(file)  # to the end
        (outcome,) = self._executor.map([job], self._note)
        self._evict(_MOST_KEPT)
        return outcome.status, outcome.result, outcome.reason, outcome.seconds, outcome.fraction

    @property
    def _cache(self) -> Path:
        return Path(self._files.name)

    def _keep(self, file: NamedFile, content: bytes, needed: Sequence[NamedFile]) -> None:
        """Keep a file; where there is no room for it, in the place of all that is not needed now."""
        try:
            file.keep(content, self._cache)
        except OSError:
            self._evict(0, needed)
            file.keep(content, self._cache)
        self._kept[file] = len(content)

    def _evict(self, most: int, needed: Sequence[NamedFile] = ()) -> None:
        """Remove files until no more than so many bytes are kept."""
        for file in [one for one in self._kept if one not in needed]:
            if sum(self._kept.values()) <= most:
                return
            with contextlib.suppress(OSError):
                file.kept_in(self._cache).unlink()
            del self._kept[file]

    def _note(self, fractions: list[float]) -> None:
        (self._fraction,) = fractions

    def close(self) -> None:
        """End the worker and what it left behind, and remove its files."""
        try:
            self._executor.__exit__()
        finally:
            self._files.cleanup()


def outcome_of(job: Job, answer: Answer) -> Outcome:
    """The outcome of the driver's own job."""
    return Outcome(job, *answer)


def forget_main() -> None:
    """Let workers not run this process's main module again, as Python begins them where it has a file.

    It is an engine's own, which has no place in a worker.
    """
    vars(sys.modules["__main__"]).pop("__file__", None)
