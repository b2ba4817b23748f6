"""Damaged task files, results and files of metrics through the command line: the campaign of `python -m tests.fuzz`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.campaign import COUNTS, Done, campaign

_SECONDS_BETWEEN_LINES = 30.0


def take(folder: Path, seed: int, told: Callable[[str], object]) -> dict[str, Any]:
    """The section."""
    count, last = 0, time.monotonic()

    def hear(done: Done) -> None:
        nonlocal count, last
        count += 1
        for line in done.wrong:
            told(f"{done.case.subject} «{done.case.damage}» {done.case.seed}: {line}")
        if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            told(f"{count} of {sum(COUNTS.values())}")

    subjects = campaign(seed, COUNTS, hear)
    failures = [f"{subject}: {line}" for subject, found in subjects.items() for line in found["failures"]]
    return {"seed": seed, "subjects": subjects, "failures": failures}
