"""Worker processes on this machine."""

from __future__ import annotations

import atexit
import os
import selectors
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from suite.errors import SuiteError, first_line
from suite.executors import begin, wire
from suite.executors.clearing import clear, temporary_folder
from suite.executors.job import Job, Outcome
from suite.executors.orphans import Orphans
from suite.executors.worker import Work, Worker, why_it_died

_LOOK_SECONDS = 0.2
_MOMENT = 1.0
"""Seconds within which a process that can say nothing any more has ended by itself, and its exit code tells why."""
_MOST_STARTS = 3
"""Of workers for one job that they did not come to begin, and one after another where there is none."""
_PAUSE_SECONDS = 5.0
"""Without a further worker after one that could not be started, where there are others."""


class LocalExecutor:
    """Worker processes on this machine, started as there are jobs for them and kept from one `map` to the next.

    Use it as a context manager. What its workers leave among their temporary files goes with it, and so do, on Linux,
    the processes that they leave behind: as soon as their worker was killed or died, and at the latest by `renew` and
    at the end. They are told by their session: until then this process may begin none of its own in another session
    than its own.

    Args:
        workers: how many; one for each device, or one for each core.
        environment: variables set in the workers, and before what is preloaded imports anything (the number of
            threads, for one). Of those of this process they are told what computing needs.
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
        self._beginning = begin.Beginning(preload, environment or {})
        self._folder, self._claim = temporary_folder("suite-workers-")
        self._environment = {**(environment or {}), "TMPDIR": self._folder}
        self._orphans = Orphans()
        self._alive: list[Worker] = []
        self._not_before = 0.0  # no further worker
        atexit.register(self._end_workers)  # before Python waits for child processes

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end_workers()
        self._orphans.close()
        clear(self._folder)
        os.close(self._claim)
        atexit.unregister(self._end_workers)

    def renew(self) -> None:
        """End the workers: the next job starts new ones, in which nothing is left of what ran before."""
        self._end_workers()

    def _end_workers(self) -> None:
        while self._alive:
            self._alive.pop().end()
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

        Raises:
            SuiteError: there is no worker, and none can be started. As long as there is one, it goes on with that.
        """
        run = _Map(jobs, revise)
        looked = time.monotonic()
        try:
            while run.waiting or run.failed or any(worker.work for worker in self._alive):
                self._hand_out(run)
                ended = [*self._heard(run), *self._late(run)]
                if time.monotonic() - looked >= _LOOK_SECONDS:
                    looked = time.monotonic()
                    if tick:
                        tick(run.fractions(self._alive))
                self._hand_out(run)  # before whoever takes an outcome takes its time over it
                yield from ended
        finally:
            for worker in [one for one in self._alive if one.work]:  # nobody asks for what comes of these
                self._end(worker)

    def _hand_out(self, run: _Map) -> None:
        """Let no worker be without a job while there is one, and no job be without a worker that could have one."""
        idle = [worker for worker in self._alive if worker.work is None]
        while run.waiting and (idle or len(self._alive) < self.workers):
            worker = idle.pop() if idle else self._new_worker()
            if worker is None:
                return
            work = run.next()
            try:
                worker.give(work)
            except Exception as error:  # noqa: BLE001 - whatever pickling it raises
                run.failed.append(run.done(work, work.outcome("failed", first_line(error))))
                idle.append(worker)

    def _new_worker(self) -> Worker | None:
        """A further one; None where it could not be started a moment ago, and others do the work.

        Raises:
            SuiteError: there are no others.
        """
        if self._alive and time.monotonic() < self._not_before:
            return None
        environment = {**begin.kept(), **self._environment}
        for tries in range(_MOST_STARTS):
            try:
                worker = Worker(self._beginning, environment, self._seats)
            except (OSError, EOFError) as error:
                failure = error
                if self._alive:  # no process to be had now, or no memory: those that work are not to wait for it
                    self._not_before = time.monotonic() + _PAUSE_SECONDS
                    return None
                time.sleep(tries * _LOOK_SECONDS)
            else:
                self._alive.append(worker)
                return worker
        raise SuiteError(f"no worker process can be started here: {first_line(failure)}")

    def _heard(self, run: _Map) -> Iterator[Outcome]:
        """Wait a moment for what workers say, or for their end."""
        yield from run.told()
        with selectors.DefaultSelector() as selector:
            for worker in self._alive:
                selector.register(worker.heard.pipe, selectors.EVENT_READ, worker)
                selector.register(worker.ended, selectors.EVENT_READ, worker)
                if worker.told.waits:
                    selector.register(worker.told.pipe, selectors.EVENT_WRITE, worker)
            ready = {id(key.data): key.data for key, _ in selector.select(_LOOK_SECONDS)}
        for worker in ready.values():
            if (outcome := self._listen(worker, run)) is not None:
                yield outcome

    def _listen(self, worker: Worker, run: _Map) -> Outcome | None:
        """Take what a worker said; an outcome, if its job has one by that or by its end."""
        work = worker.work
        worker.told.go_on()
        try:
            outcome = worker.hear()
        except EOFError:
            return self._lost(worker, run)
        except wire.Garbled as error:
            self._end(worker)
            return run.done(work, work.outcome("failed", f"its process said {error}")) if work else None
        if outcome is not None and work is not None:
            worker.work = None
            return run.done(work, outcome)
        return None if worker.lives() else self._lost(worker, run)

    def _lost(self, worker: Worker, run: _Map) -> Outcome | None:
        """A worker that has ended, or can say nothing any more: its job's outcome, unless it is begun again."""
        work, outcome = worker.work, worker.last_words()
        code = self._end(worker, _MOMENT)
        if work is None:
            return None
        if outcome is None and run.again(work):
            return None
        return run.done(work, outcome or work.outcome("died", why_it_died(code)))

    def _late(self, run: _Map) -> Iterator[Outcome]:
        for worker in list(self._alive):
            work = worker.work
            if work is not None and (reason := work.late()) is not None:
                self._end(worker)
                yield run.done(work, work.outcome("timeout", reason))

    def _end(self, worker: Worker, wait: float = 0.0) -> int | None:
        self._alive.remove(worker)
        code = worker.end(wait)
        self._orphans.end()
        return code


class _Map:
    """The jobs of one call of `map`."""

    def __init__(self, jobs: Sequence[Job], revise: Callable[[Job], Job]) -> None:
        self.waiting = deque(enumerate(jobs))
        self.failed: list[Outcome] = []
        self._done = [0.0] * len(jobs)
        self._revise = revise
        self._deaths, self._starts = Counter[int](), Counter[int]()

    def next(self) -> Work:
        """The next job, as it is by now."""
        number, job = self.waiting.popleft()
        return Work(number, self._revise(job))

    def done(self, work: Work, outcome: Outcome) -> Outcome:
        """Note that this is the outcome of that."""
        self._done[work.number] = 1.0
        return outcome

    def told(self) -> list[Outcome]:
        """Outcomes of jobs that no worker got."""
        told, self.failed = self.failed, []
        return told

    def again(self, work: Work) -> bool:
        """Whether a job whose process died is begun again, as the next: it has tries left, or was not to blame."""
        counter, most = (self._starts, _MOST_STARTS) if work.begun is None else (self._deaths, work.job.retries)
        counter[work.number] += 1
        if counter[work.number] > most:
            return False
        self.waiting.appendleft((work.number, work.job))
        return True

    def fractions(self, workers: Sequence[Worker]) -> list[float]:
        """How much is done of each job."""
        now = list(self._done)
        for worker in workers:
            if worker.work is not None:
                now[worker.work.number] = worker.work.fraction
        return now
