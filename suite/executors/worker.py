"""One worker process: what runs in it, and how the driver has it."""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from suite.errors import first_line
from suite.executors import begin, wire
from suite.executors.job import UNUSABLE_DEVICE, UNUSABLE_PROCESS, Job, Outcome

_STARTED = 1e-9
"""The fraction done of a job that has begun, and twice that once it has reported that nothing is done; 0 until then."""
_STEPS = 10_000
"""Of more reports than these, those are sent that make a difference of one in so many."""
_BEGIN_SECONDS = 600.0
"""Within these a worker has begun a job that has a limit: it has imported what the job needs."""
_END_SECONDS = 10.0


@dataclass
class Work:
    """A job in the hands of a worker.

    Attributes:
        number: its place among the jobs of a map.
        handed, begun, moved: when it was given to the worker, when that began it (None: not yet), and the last report.
        fraction: how much of it is done.
        reports: how many reports came.
    """

    number: int
    job: Job
    handed: float = field(default_factory=time.monotonic)
    begun: float | None = None
    moved: float = 0.0
    fraction: float = 0.0
    reports: int = 0

    def take(self, kind: bytes, number: float, content: bytes) -> Outcome | None:
        """Take a message; the outcome if that is the last.

        Raises:
            wire.Garbled: no worker says that now.
        """
        if kind == wire.FAILED:  # it may be that it could not be begun
            return self.outcome("failed", wire.words(content), number)
        if (kind == wire.BEGUN) != (self.begun is None):
            raise wire.Garbled("something out of turn")
        if kind == wire.DONE:
            return self._done(content, number)
        if kind == wire.BEGUN:
            self.begun = self.moved = time.monotonic()
            self.fraction = _STARTED
        else:
            self._move(number)
        return None

    def _move(self, fraction: float) -> None:
        fraction = max(2 * _STARTED, fraction)
        if fraction < self.fraction:
            raise wire.Garbled("that less is done than before")
        self.reports += 1
        if self.job.reports is not None and self.reports > self.job.reports:
            raise wire.Garbled("more reports than it has to make")
        self.fraction, self.moved = fraction, time.monotonic()

    def _done(self, content: bytes, seconds: float) -> Outcome:
        try:
            return Outcome(self.job, "ok", wire.unpacked(content, self.job.plain), "", seconds)
        except Exception as error:  # noqa: BLE001 - whatever a worker may send
            return self.outcome("failed", f"its process sent what cannot be read ({first_line(error)})", seconds)

    def late(self) -> str | None:
        """Why it is to be ended, if it takes too long."""
        if self.job.limit is None:
            return None
        now = time.monotonic()
        if self.begun is None:
            wait = max(_BEGIN_SECONDS, self.job.grace)
            return f"was not begun within {wait:g} s" if now - self.handed > wait else None
        grace = self.job.grace if not self.reports or self.fraction >= 1 else 0.0
        return f"took longer than {self.job.limit:g} s" if now - self.moved > self.job.limit + grace else None

    def outcome(self, status: str, reason: str, seconds: float | None = None) -> Outcome:
        """What became of it, if that is not its result."""
        if seconds is None:
            seconds = 0.0 if self.begun is None else time.monotonic() - self.begun
        return Outcome(self.job, status, None, reason, seconds, self.fraction)


class Worker:
    """A process that does one job after the other, and two pipes that nobody else has.

    Args:
        beginning: what it is begun with.
        environment: all variables that it is to have.
        seats: as `LocalExecutor` deals them out.

    Raises:
        OSError, EOFError: it could not be begun.
    """

    def __init__(self, beginning: begin.Beginning, environment: Mapping[str, str], seats: Sequence[str]) -> None:
        context = beginning.context
        its_tasks, tasks = context.Pipe(duplex=False)
        said, its_words = context.Pipe(duplex=False)
        self._ends = (tasks, said)
        try:
            self._process = context.Process(
                target=serve, args=(its_tasks, its_words, dict(environment), tuple(seats)), name="suite-worker"
            )
            beginning.start(self._process)
        except BaseException:
            self._close()
            raise
        finally:
            its_tasks.close()
            its_words.close()
        self.told, self.heard = wire.Teller(tasks.fileno()), wire.Listener(said.fileno())
        self.work: Work | None = None

    @property
    def ended(self) -> int:
        """Ready to be read once the process has ended."""
        return int(self._process.sentinel)

    def lives(self) -> bool:
        """Whether the process has not ended."""
        return bool(self._process.is_alive())

    def give(self, work: Work) -> None:
        """Hand it a job; it has none.

        Raises:
            Exception: the job cannot be pickled.
        """
        self.told.task((work.job.function, work.job.arguments, work.job.plain))
        self.work = work
        self.told.go_on()

    def hear(self) -> Outcome | None:
        """Take what it has said; the outcome of its job, if it has one by that.

        Raises:
            wire.Garbled: it said what no worker says.
            EOFError: it can say nothing any more.
        """
        plain = self.work is None or self.work.job.plain
        outcome = None
        for message in self.heard.read(plain) or []:
            if self.work is None or outcome is not None:
                raise wire.Garbled("something that nobody asked for")
            outcome = self.work.take(*message)
        return outcome

    def last_words(self) -> Outcome | None:
        """What is left to be heard of a process that has ended: its outcome, if it got as far as that."""
        work = self.work
        with contextlib.suppress(EOFError, wire.Garbled):
            while work is not None and (messages := self.heard.read(work.job.plain)) is not None:
                for message in messages:
                    if (outcome := work.take(*message)) is not None:
                        return outcome
        return None

    def end(self, wait: float = 0.0) -> int | None:
        """Kill it, if it does not end by itself within these seconds; its exit code if it did."""
        self._process.join(wait)
        code: int | None = self._process.exitcode
        self._process.kill()
        self._process.join(_END_SECONDS)
        if self._process.exitcode is not None:
            self._process.close()
        self._close()
        return code

    def _close(self) -> None:
        for pipe in self._ends:
            pipe.close()


def why_it_died(exitcode: int | None) -> str:
    """In words; no exit code: it had not ended, but could not be heard any more."""
    if exitcode is None:
        return "its process closed what it speaks through"
    if exitcode == UNUSABLE_DEVICE:
        return "a device error left its process unusable"
    if exitcode == UNUSABLE_PROCESS:
        return "what it did to its process could not be undone"
    return f"its process died (exit code {exitcode})"


def serve(tasks: Connection, said: Connection, environment: dict[str, str], seats: tuple[str, ...]) -> None:
    """In the worker: do one job after the other, until the driver ends."""
    begin.worker(environment, seats)
    with contextlib.suppress(OSError):  # whatever has become of the pipes, there is nothing left to do
        while (task := wire.next_task(tasks.fileno())) is not None:
            _do(task, said.fileno())


def _do(task: bytes, said: int) -> None:
    start = time.perf_counter()
    try:
        function, arguments, plain = pickle.loads(task)  # noqa: S301 - the driver's
        start = time.perf_counter()
        wire.tell(said, wire.BEGUN)  # from here on its limit counts: what it needs was imported as it was unpickled
        # packed here: a result that cannot travel is this job's failure, not the worker's death
        content = wire.packed(function(*arguments, _Reports(said)), plain)
    except BaseException as error:  # noqa: BLE001 - whatever a job raises is its outcome, SystemExit too
        wire.tell(said, wire.FAILED, time.perf_counter() - start, first_line(error).encode("utf-8", "replace"))
    else:
        wire.tell(said, wire.DONE, time.perf_counter() - start, content)


class _Reports:
    """The progress that a job is given to call. Of very many reports it sends those that make a difference."""

    def __init__(self, said: int) -> None:
        self._said, self._sent = said, -1.0

    def __call__(self, done: int, total: int) -> None:
        fraction = min(1.0, max(0.0, done / max(1, total)))
        if fraction > self._sent and (total <= _STEPS or fraction - self._sent >= 1 / _STEPS):
            self._sent = fraction
            wire.tell(self._said, wire.MOVED, fraction)
