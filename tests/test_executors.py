"""Whatever becomes of a job is its own outcome and nobody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from suite.executors import Job, LocalExecutor, Progress


def double(x: int, progress: Progress) -> int:
    progress(1, 1)
    return 2 * x


def fail(progress: Progress) -> None:
    raise ValueError("not today\nsecond line")


def hang(progress: Progress) -> None:
    while True:
        time.sleep(1)


def die(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unpicklable(progress: Progress) -> object:
    return lambda: None


def threads(progress: Progress) -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def say_and_sleep(progress: Progress) -> None:
    print(os.getpid(), flush=True)
    time.sleep(60)


def half_way(progress: Progress) -> None:
    progress(1, 2)
    time.sleep(1)


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    with LocalExecutor(2, {"OMP_NUM_THREADS": "1"}) as made:
        yield made


def test_hostile_jobs_are_outcomes_and_the_others_finish(executor: LocalExecutor) -> None:
    jobs = [
        *(Job("g", double, (x,)) for x in range(6)),
        Job("g", fail, ()),
        Job("g", hang, (), limit=1.0),
        Job("g", die, ()),
        Job("g", unpicklable, ()),
        *(Job("g", double, (x,)) for x in range(6, 12)),
    ]
    outcomes = list(executor.map(jobs))
    assert sorted(o.result for o in outcomes if o.job.function is double) == [2 * x for x in range(12)]
    by_function = {o.job.function: o for o in outcomes}
    assert (by_function[fail].status, by_function[fail].reason) == ("failed", "ValueError: not today")
    assert by_function[hang].status == "timeout"
    assert by_function[die].status == "died"
    assert by_function[unpicklable].status == "failed"


def test_workers_have_their_environment_and_are_kept(executor: LocalExecutor) -> None:
    assert [o.result for o in executor.map([Job("g", threads, ())])] == ["1"]
    assert list(executor.map([])) == []


def test_progress_arrives_while_a_job_runs(executor: LocalExecutor) -> None:
    seen: list[float] = []
    list(executor.map([Job("g", half_way, ())], seen.extend))
    assert 0.5 in seen


def test_workers_do_not_outlive_a_killed_driver() -> None:
    script = """
        from suite.executors import Job, LocalExecutor
        from tests.test_executors import say_and_sleep
        with LocalExecutor(1) as executor:
            list(executor.map([Job("g", say_and_sleep, ())]))
    """
    driver = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    driver.kill()
    driver.wait()
    for _ in range(50):
        time.sleep(0.1)
        if not alive(worker):
            return
    raise AssertionError(f"worker {worker} is still there")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with Path(f"/proc/{pid}/stat").open() as stat:
        return stat.read().split(")")[1].split()[0] != "Z"
