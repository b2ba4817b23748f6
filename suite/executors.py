"""Where jobs run. One small interface: `map` takes jobs and yields each outcome as it comes, whatever became of it.

Jobs are pure: a function of a module and plain arguments in, a picklable result out. A job that raises, hangs past its
limit or dies is an outcome like any other and touches nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from pebble import ProcessExpired, ProcessPool

Progress = Callable[[int, int], None]

_SLOTS = 65536
"""Jobs whose progress is shown at a time; more than that share places, which only blurs the display."""


@dataclass(frozen=True)
class Job:
    """`function(*arguments, progress)` in a worker, for at most `limit` seconds (None: as long as it takes).

    `group` is what its progress is shown under.
    """

    group: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    limit: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `ok` with its result, or `failed`, `timeout`, `died` with a reason in one line."""

    job: Job
    status: str
    result: Any
    reason: str
    seconds: float


class LocalExecutor:
    """Worker processes on this machine, kept from one `map` to the next. Use it as a context manager.

    Args:
        workers: how many; one for each device, or one for each core.
        environment: variables set in the workers before they import anything (the number of threads, for one).
    """

    def __init__(self, workers: int, environment: dict[str, str] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        # lock-free on purpose: a worker killed while it reports must not leave a lock behind
        self._fractions = context.RawArray("d", _SLOTS)
        self._environment = environment or {}
        self._pool = ProcessPool(
            max_workers=max(1, workers),
            context=context,
            initializer=_prepare,
            initargs=(os.getpid(), self._fractions, self._environment),
        )

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()

    def map(self, jobs: Sequence[Job], tick: Callable[[list[float]], None] | None = None) -> Iterator[Outcome]:
        """Run all jobs, first come first served, and yield their outcomes as they end.

        Args:
            jobs: in the order in which they should start (longest first keeps all workers busy to the end).
            tick: called a few times a second with the fraction done of every job.
        """
        ended: queue.Queue[tuple[int, Future[Any]]] = queue.Queue()
        for slot, job in enumerate(jobs):
            self._fractions[slot % _SLOTS] = 0.0
            future = self._pool.schedule(_call, args=[slot, job.function, job.arguments], timeout=job.limit)
            future.add_done_callback(partial(_announce, ended, slot))
        left = len(jobs)
        while left:
            try:
                slot, done = ended.get(timeout=0.2)
            except queue.Empty:
                if tick:
                    tick([self._fractions[slot % _SLOTS] for slot in range(len(jobs))])
                continue
            left -= 1
            self._fractions[slot % _SLOTS] = 1.0
            yield _outcome(jobs[slot], done)


def _announce(ended: queue.Queue[tuple[int, Future[Any]]], slot: int, future: Future[Any]) -> None:
    ended.put((slot, future))


def _outcome(job: Job, future: Future[Any]) -> Outcome:
    try:
        result, seconds, failure = future.result()
    except TimeoutError:
        return Outcome(job, "timeout", None, f"took longer than {job.limit:g} s", job.limit or 0.0)
    except ProcessExpired as error:
        return Outcome(job, "died", None, f"its process died (exit code {error.exitcode})", 0.0)
    if failure is not None:
        return Outcome(job, "failed", None, failure, seconds)
    return Outcome(job, "ok", pickle.loads(result), "", seconds)  # noqa: S301 - from our own worker


_fractions: Any = None


def _prepare(parent: int, fractions: Any, environment: dict[str, str]) -> None:
    """In a new worker: leave Ctrl-C to the driver, and do not outlive it."""
    global _fractions  # noqa: PLW0603 - one per worker process, set once at its start
    _fractions = fractions
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _call(slot: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bytes, float, str | None]:
    start = time.perf_counter()

    def progress(done: int, total: int) -> None:
        _fractions[slot % _SLOTS] = done / max(1, total)

    try:
        # pickled here: a result that cannot travel is this job's failure, not the worker's death
        result = pickle.dumps(function(*arguments, progress))
    except Exception as error:  # noqa: BLE001 - whatever a job raises is its outcome
        return b"", time.perf_counter() - start, _line(error)
    return result, time.perf_counter() - start, None


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:500]
