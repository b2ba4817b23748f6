"""Damaged task files, results and files of metrics through the command line: the campaign of `python -m tests.fuzz`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import COUNTS, Done, campaign
from tests.reliability.record import Keep, Told

SUBJECTS = ("specs", "metrics", "results")
"""The dearest last: each of its cases is a leaderboard or two."""
_SECONDS_BETWEEN_LINES = 30.0


def take(folder: Path, seed: int, told: Told, keep: Keep) -> dict[str, Any]:
    """The section."""
    subjects: dict[str, Any] = {}
    for subject in SUBJECTS:
        hear = _Heard(subject, told)
        subjects |= campaign(seed, {subject: COUNTS[subject]}, hear)
        keep(_figures(seed, subjects))
    return _figures(seed, subjects)


def _figures(seed: int, subjects: dict[str, Any]) -> dict[str, Any]:
    failures = [f"{subject}: {line}" for subject, found in subjects.items() for line in found["failures"]]
    return {"seed": seed, "subjects": subjects, "failures": failures}


class _Heard:
    """Tells what is wrong at once, and how far it is now and then."""

    def __init__(self, subject: str, told: Told) -> None:
        self._subject, self._told = subject, told
        self._done, self._last = 0, time.monotonic()

    def __call__(self, done: Done) -> None:
        self._done += 1
        for line in done.wrong:
            self._told(f"{self._subject} «{done.case.damage}» {done.case.seed}: {line}")
        if time.monotonic() - self._last > _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._told(f"{self._subject}: {self._done} of {COUNTS[self._subject]}")
