"""Worker processes on this machine."""

from __future__ import annotations

import os
import pickle
import queue
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pebble import ProcessExpired, ProcessPool

from suite.errors import first_line
from suite.executors import begin
from suite.executors.job import UNUSABLE_DEVICE, UNUSABLE_PROCESS, Job, Outcome
from suite.executors.orphans import Orphans
from suite.executors.plain import loads

_LOOK_SECONDS = 0.2
_STARTED = 1e-9
"""The fraction done of a job that has begun, and twice that once it has reported that nothing is done; 0 until then."""


class LocalExecutor:
    """Worker processes on this machine, started with the first job and kept from one `map` to the next.

    Use it as a context manager. What its workers leave among their temporary files goes with it, and so do, on Linux,
    the processes that they leave behind: a moment after their worker was killed or died, if jobs go on, and at the
    latest by `renew` and at the end. They are told by their session: until then this process may begin none of its own
    in another session than its own.

    Args:
        workers: how many; one for each device, or one for each core.
        environment: variables set in the workers before they import anything (the number of threads, for one).
        devices: the CUDA devices that workers are dealt out to, as CUDA_VISIBLE_DEVICES names them: each sees one, as
            its device 0. None: all see what this process sees.
        preload: modules that a process of their own imports once, of which all workers are then forks: they begin in
            no time (on Linux). Nothing but imports happens in it: what a worker did is in no other.
    """

    memory: int | None = None

    def __init__(
        self,
        workers: int,
        environment: Mapping[str, str] | None = None,
        devices: Sequence[str] = (),
        preload: Sequence[str] = (),
    ) -> None:
        self.workers = max(1, workers)
        self._seats = tuple(devices[number % len(devices)] for number in range(self.workers)) if devices else ()
        self._context = begin.context(preload, environment or {})
        self._folder = tempfile.TemporaryDirectory(prefix="suite-workers-")
        self._environment = {**(environment or {}), "TMPDIR": self._folder.name}
        # lock-free on purpose: a worker killed while it reports must not leave a lock behind
        self._fractions = self._context.RawArray("d", 2 * self.workers + 8)
        self._processes = self._context.RawArray("l", len(self._fractions))
        # taken from the left, given back on the right: the slot of a job that is being killed rests before it is reused
        self._free = deque(range(len(self._fractions)))
        self._orphans = Orphans()
        self._ending: set[int] = set()  # workers that are being killed, or were just alive
        self._pool = self._new_pool()

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_workers()
        self._orphans.close()
        self._folder.cleanup()

    def renew(self) -> None:
        """End the workers: the next job starts new ones, in which nothing is left of what ran before."""
        self._end_workers()
        self._pool = self._new_pool()

    def _end_workers(self) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()
        self._orphans.end()

    def map(
        self,
        jobs: Sequence[Job],
        tick: Callable[[list[float]], None] | None = None,
        revise: Callable[[Job], Job] = lambda job: job,
    ) -> Iterator[Outcome]:
        """Run all jobs, first come first served, and yield their outcomes as they end.

        Args:
            jobs: in the order in which they should start (longest first keeps all workers busy to the end).
            tick: called a few times a second with the fraction done of every job.
            revise: what a job has become by the time a worker is about to take it.
        """
        waiting, running, fractions = deque(enumerate(jobs)), dict[int, _Running](), [0.0] * len(jobs)
        deaths = Counter[int]()
        ended: queue.Queue[int] = queue.Queue()
        looked = time.monotonic()
        while waiting or running:
            while waiting and len(running) <= self.workers:  # one more than work at a time: nobody waits for the next
                number, job = waiting.popleft()
                running[number] = self._start(revise(job), number, ended)
            number_or_none = _next(ended)
            if time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                for number, one in running.items():
                    fractions[number] = one.look()
                self._look_after()
                if tick:
                    tick(fractions)
            if number_or_none is not None:
                done = running.pop(number_or_none)
                outcome = done.outcome()
                fractions[number_or_none] = 1.0
                if outcome.status in ("timeout", "died"):
                    self._ending.add(self._processes[done.slot])
                self._free.append(done.slot)
                if outcome.status == "died" and deaths[number_or_none] < done.job.retries:
                    deaths[number_or_none] += 1
                    waiting.appendleft((number_or_none, done.job))
                else:
                    yield outcome

    def _look_after(self) -> None:
        """End what workers left behind that are gone by now."""
        gone = {process for process in self._ending if not _exists(process)}
        if gone:
            self._ending -= gone
            self._orphans.end()

    def _start(self, job: Job, number: int, ended: queue.Queue[int]) -> _Running:
        slot = self._free.popleft()
        self._fractions[slot], self._processes[slot] = 0.0, 0
        if not self._pool.active:  # pebble gives up where a worker dies between two jobs
            self._pool = self._new_pool()
        future = self._pool.schedule(_call, args=[slot, job.function, job.arguments])
        future.add_done_callback(partial(_announce, ended, number))
        return _Running(job, slot, future, self._fractions, self._processes)

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.workers,
            context=self._context,
            initializer=_prepare,
            initargs=(self._fractions, self._processes, {**begin.kept(), **self._environment}, self._seats),
        )


@dataclass
class _Running:
    """A job that was handed over, seen from the driver."""

    job: Job
    slot: int
    future: Future[Any]
    fractions: Any
    processes: Any
    begun: float | None = None
    moved: float = 0.0
    last: float = field(default=-1.0)
    stalled: bool = False
    gone: bool = False

    def look(self) -> float:
        """The fraction done; ends the job if it has not moved for longer than its limit, or its process is gone."""
        now, fraction = time.monotonic(), float(self.fractions[self.slot])
        if self.future.running():
            if self.begun is None or fraction != self.last:
                self.begun, self.moved, self.last = self.begun or now, now, fraction
            elif fraction and not _exists(self.processes[self.slot]):
                self.gone = self.future.cancel()  # it ended with exit code 0, which the pool takes for no accident
            elif fraction and self.job.limit is not None and now - self.moved > self.job.limit + self._grace(fraction):
                self.stalled = self.future.cancel()  # kills its worker
        return fraction

    def _grace(self, fraction: float) -> float:
        return self.job.grace if fraction == _STARTED or fraction >= 1 else 0.0

    def outcome(self) -> Outcome:
        """What became of it, once its future is done. Whatever a job raised is told, never raised again."""
        fraction = float(self.fractions[self.slot])
        seconds = 0.0 if self.begun is None else time.monotonic() - self.begun
        if self.stalled:
            return Outcome(self.job, "timeout", None, f"took longer than {self.job.limit:g} s", seconds, fraction)
        if self.gone:
            return Outcome(self.job, "died", None, _why_it_died(0), seconds, fraction)
        error = self.future.exception()
        if isinstance(error, ProcessExpired):
            return Outcome(self.job, "died", None, _why_it_died(error.exitcode), seconds, fraction)
        if error is not None:
            return Outcome(self.job, "failed", None, first_line(error), seconds, fraction)
        result, seconds, failure = self.future.result()
        if failure is not None:
            return Outcome(self.job, "failed", None, failure, seconds, fraction)
        return self._read(result, seconds, fraction)

    def _read(self, result: bytes, seconds: float, fraction: float) -> Outcome:
        """The outcome of a job that came to its end."""
        try:
            read = loads(result) if self.job.plain else pickle.loads(result)  # noqa: S301 - no stranger's code ran there
        except Exception as error:  # noqa: BLE001 - whatever a worker may send
            said = f"its process sent what cannot be read ({first_line(error)})"
            return Outcome(self.job, "failed", None, said, seconds, fraction)
        return Outcome(self.job, "ok", read, "", seconds)


def _next(ended: queue.Queue[int]) -> int | None:
    try:
        return ended.get(timeout=_LOOK_SECONDS)
    except queue.Empty:
        return None


def _announce(ended: queue.Queue[int], number: int, future: Future[Any]) -> None:
    ended.put(number)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _why_it_died(exitcode: int) -> str:
    if exitcode == UNUSABLE_DEVICE:
        return "a device error left its process unusable"
    if exitcode == UNUSABLE_PROCESS:
        return "what it did to its process could not be undone"
    return f"its process died (exit code {exitcode})"


_fractions: Any = None
_processes: Any = None


def _prepare(fractions: Any, processes: Any, environment: dict[str, str], seats: tuple[str, ...]) -> None:
    """In a new worker."""
    global _fractions, _processes  # one pair per worker process, set once at its start
    _fractions, _processes = fractions, processes
    begin.worker(environment, seats)


def _call(slot: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[bytes, float, str | None]:
    start = time.perf_counter()

    def progress(done: int, total: int) -> None:
        _fractions[slot] = max(2 * _STARTED, done / max(1, total))

    _processes[slot] = os.getpid()
    _fractions[slot] = _STARTED  # from here on its limit counts: what it needs was imported as it was unpickled
    try:
        # pickled here: a result that cannot travel is this job's failure, not the worker's death
        result = pickle.dumps(function(*arguments, progress))
    except BaseException as error:  # noqa: BLE001 - whatever a job raises is its outcome, SystemExit too
        return b"", time.perf_counter() - start, first_line(error)
    return result, time.perf_counter() - start, None
