"""Faults that are injected on purpose, each a test: disks, databases, tensors, clocks, signals, second drivers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.reliability.record import Keep, Told
from tests.reliability.tested import tested, wrong

FILES = (
    "tests/test_faults.py",
    "tests/test_faults_runs.py",
    "tests/test_store.py",
    "tests/keeping/test_verify.py",
    "tests/keeping/test_gc.py::test_killed_between_rows_and_files",
)


def take(folder: Path, seed: int, told: Told, keep: Keep) -> dict[str, Any]:
    """The section."""
    rows = tested(FILES, folder, told)
    return {"tests": rows, "failures": wrong(rows)}
