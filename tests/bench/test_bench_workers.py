"""What it takes to begin a worker that has imported what jobs need: as a fork of one that has, or anew."""

from __future__ import annotations

import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from suite.executors import Job, LocalExecutor, Progress
from suite.measuring.place import WORKER_MODULES, WORKER_VARIABLES


def imported(progress: Progress) -> bool:
    """Import what training and measuring need."""
    for module in WORKER_MODULES:
        __import__(module)
    return "torch" in sys.modules


@pytest.mark.benchmark(group="a worker begun, and its first job done")
@pytest.mark.parametrize("preload", [WORKER_MODULES, ()], ids=["forked", "spawned"])
def test_a_new_worker_and_its_first_job(benchmark: BenchmarkFixture, preload: tuple[str, ...]) -> None:
    """Beyond the first: that one waits for the process that all are forks of."""
    with LocalExecutor(1, WORKER_VARIABLES, preload=preload) as executor:

        def begin() -> list[object]:
            executor.renew()
            return [outcome.result for outcome in executor.map([Job("g", imported, ())])]

        assert benchmark.pedantic(begin, rounds=3, warmup_rounds=1) == [True]
