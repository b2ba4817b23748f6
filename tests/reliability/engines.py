"""Ray and Slurm on this machine: the same outcomes and values as without, also when a node is lost or preempted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.reliability.record import Keep, Told
from tests.reliability.tested import tested, wrong

FILES = ("tests/executors/test_slurm.py", "tests/executors/test_ray.py", "tests/executors/test_whole_runs.py")


def take(folder: Path, seed: int, told: Told, keep: Keep) -> dict[str, Any]:
    """The section."""
    rows = tested(FILES, folder, told)
    return {"tests": rows, "failures": wrong(rows)}
