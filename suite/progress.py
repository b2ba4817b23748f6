"""Progress of long work: bars with counts and time left on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from suite.errors import BadInput, first_line
from suite.executors import Executor, Job, Outcome

STATUS = "status.json"
"""In the store's folder: what the last run said of itself."""
_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_WORDS = 1.0
_SILENCE = 60.0
_SECONDS_TO_GUESS = 5.0
_PART_TO_GUESS = 0.002
"""Before so many seconds, and that part of the work, the time left is not guessed at."""


class Board:
    """Shows how far the jobs of each group are. Use it as a context manager around the work.

    Other processes are told every second that the work goes on, also while there are no jobs.

    Args:
        console: where.
        quiet: show nothing.
        status: a file that says the same for other processes (`read_status`), if any.
    """

    def __init__(self, console: Console, quiet: bool = False, status: Path | None = None) -> None:
        self._console, self._quiet = console, quiet
        self._status = StatusFile(status) if status else None
        self._bars = console.is_terminal and not quiet
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, disable=not self._bars)

    def __enter__(self) -> Board:
        self._progress.start()
        if self._status:
            self._status.begin()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()
        if self._status:
            stopped = kind is not None and issubclass(kind, KeyboardInterrupt)  # SIGTERM is one too: suite.cli
            self._status.end("done" if kind is None else "interrupted" if stopped else "failed")

    def hide(self) -> None:
        """Show nothing more: what is printed from now on stands where the bars were. Other processes are told on."""
        self._progress.stop()

    def follow(
        self,
        stage: str,
        unit: str,
        jobs: Sequence[Job],
        executor: Executor,
        revise: Callable[[Job], Job] = lambda job: job,
    ) -> Iterator[Outcome]:
        """The outcomes of `executor.map(jobs)` as they come, shown under `stage` and each job's group.

        Args:
            stage: what is done, such as `train`.
            unit: what is counted, in the plural: one job is one of these.
            jobs: in the order in which they should start.
            executor: where they run.
            revise: what becomes of a job just before it starts.
        """
        groups = {g: _Group(f"{stage:7} {g}", unit, n) for g, n in Counter(job.group for job in jobs).items()}
        bars = {g: self._progress.add_task(group.title, total=group.total, count=group.count())
                for g, group in groups.items()}  # fmt: skip
        if self._status:
            self._status.add(groups.values())
        for outcome in executor.map(jobs, lambda fractions: self._tick(bars, groups, jobs, fractions), revise):
            name = outcome.job.group
            group = groups[name]
            group.note(outcome.status == "ok")
            group.done = max(group.done, float(group.ended))
            if self._status:
                self._status.write(now=group.ended == group.total or outcome.status != "ok")
            self._progress.update(bars[name], completed=group.ended, count=group.count())
            if group.ended == group.total or outcome.status != "ok":
                self._line(group, group.ended)
            yield outcome

    def tell(self, title: str, unit: str) -> Callable[[int, int], None]:
        """Shows one piece of work that is no job: a function that is told how many units are done, and of how many."""
        group, bar = _Group(title, unit, 1), self._progress.add_task(title, total=None, count="")

        def told(done: int, total: int) -> None:
            group.total, group.finished = total, done
            waited = group.started(done) and time.monotonic() - group.told > _SECONDS_BETWEEN_LINES
            self._progress.update(bar, completed=done, total=total, count=group.count())
            if waited or done == total:
                self._line(group, done)

        return told

    def _tick(
        self, bars: dict[str, TaskID], groups: dict[str, _Group], jobs: Sequence[Job], fractions: Sequence[float]
    ) -> None:
        sums = dict.fromkeys(bars, 0.0)
        for job, fraction in zip(jobs, fractions, strict=True):
            sums[job.group] += fraction
        for name, group in groups.items():
            group.done = sums[name]
            group.running = sum(job.group == name and 0 < f < 1 for job, f in zip(jobs, fractions, strict=True))
            self._progress.update(bars[name], completed=sums[name])
            if group.started(sums[name]) and time.monotonic() - group.told > _SECONDS_BETWEEN_LINES:
                self._line(group, sums[name])
        if self._status:
            self._status.write()

    def _line(self, group: _Group, done: float) -> None:
        """Where there are no bars: how far a group is."""
        group.told = time.monotonic()
        if not self._bars and not self._quiet:
            self._console.print(group.line(done), highlight=False, markup=False, soft_wrap=True)


@dataclass
class _Group:
    """How far the jobs of one group are."""

    title: str
    unit: str
    total: int
    finished: int = 0
    failed: int = 0
    told: float = field(default_factory=time.monotonic)
    done: float = 0.0
    running: int = 0
    _begun: float | None = None

    @property
    def ended(self) -> int:
        return self.finished + self.failed

    def note(self, ok: bool) -> None:
        if ok:
            self.finished += 1
        else:
            self.failed += 1

    def started(self, done: float) -> bool:
        """Whether some of it is under way but not all; the clock starts with the first that is."""
        if self._begun is None and done > 0:
            self._begun = time.monotonic()
        return done > 0 and self.ended < self.total

    def count(self) -> str:
        lost = f", {self.failed} failed" if self.failed else ""
        return f"{self.finished}/{self.total} {self.unit}{lost}"

    def line(self, done: float) -> str:
        if self.ended == self.total or self._begun is None or done <= 0:
            return f"{self.title}: {self.count()}"
        left = self.left(done)
        guess = f", about {duration(left)} left" if left is not None else ""
        return f"{self.title}: {self.count()}, {done / self.total:.0%} done{guess}"

    def left(self, done: float) -> float | None:
        """Seconds, as far as they can be guessed at; None before that, and after all."""
        elapsed = 0.0 if self._begun is None else time.monotonic() - self._begun
        known = elapsed > _SECONDS_TO_GUESS and done > _PART_TO_GUESS * self.total and self.ended < self.total
        return elapsed * (self.total - done) / done if known else None

    def standing(self) -> Standing:
        running = min(self.running, self.total - self.ended)  # a worker says that it is done a little later
        return Standing(self.title, self.unit, self.total, self.finished, self.failed, running, self.done,
                        self.left(self.done))  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """How far one kind of work on one task is, for other processes.

    Attributes:
        title: the stage and the task.
        unit: what is counted, in the plural.
        total, finished, failed, running: how many.
        done: finished and failed ones, and parts of those that run.
        left: seconds, as far as that can be guessed at.
    """

    title: str
    unit: str
    total: int
    finished: int
    failed: int
    running: int
    done: float
    left: float | None


@dataclass(frozen=True)
class Status:
    """What a run says of itself: who it is, how far all of its work was at `told` (seconds since 1970), how it ended.

    `end` is None while it runs, or where it was killed. `started` tells its process from later ones of that number.
    """

    process: int
    host: str
    command: str
    begun: float
    told: float
    end: str | None
    work: tuple[Standing, ...]
    started: str | None = None

    @property
    def state(self) -> str:
        """`running`, how it ended, or `killed`: it is gone and did not say that it ends.

        On another host that cannot be looked at: there it is `silent` once it has said nothing for a minute.
        """
        if self.end is not None:
            return self.end
        if self.host != socket.gethostname():
            return "running" if time.time() - self.told < _SILENCE else "silent"
        there = process_started(self.process)
        if self.started is not None and there is not None and there != self.started:
            return "killed"  # and its number given to another
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return "killed"
        except PermissionError:  # somebody else's, and there
            pass
        return "running"


def process_started(process: int) -> str | None:
    """When a process began, with the boot of its machine: no other process there has both its number and this.

    None where it is not to be seen (it is gone, or this is no Linux); another word where it has ended, unasked how.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        said = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    words = said.rpartition(")")[2].split()  # its name, before that, may be anything
    return "ended" if words[0] in "ZX" else f"{boot} {words[19]}"


class StatusFile:
    """Writes a `Status`, about once a second from `begin` to `end`; a disk that is full is for others to tell."""

    def __init__(self, path: Path) -> None:
        self._path, self._groups = path, list[_Group]()
        self._begun, self._written = time.time(), 0.0
        self._started = process_started(os.getpid())
        self._end: str | None = None
        self._one, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def begin(self) -> None:
        """Say from now on that it is under way, whatever this process is at."""
        self._thread.start()

    def _beat(self) -> None:
        while not self._over.wait(_SECONDS_BETWEEN_WORDS):
            self.write()

    def add(self, groups: Iterable[_Group]) -> None:
        """Further work."""
        self._groups += groups
        self.write(now=True)

    def write(self, now: bool = False) -> None:
        """Say how far it is, unless that was just said."""
        with self._one:
            if now or time.monotonic() - self._written >= _SECONDS_BETWEEN_WORDS:
                self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        work = tuple(group.standing() for group in self._groups)
        program = Path(sys.argv[0])  # of `python -m suite`, a file in the package
        command = " ".join([program.parent.name if program.stem == "__main__" else program.name, *sys.argv[1:]])
        status = Status(
            os.getpid(), socket.gethostname(), command, self._begun, time.time(), self._end, work, self._started
        )
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            part = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            part.write_text(json.dumps(asdict(status), indent=1), encoding="utf-8")
            part.replace(self._path)

    def end(self, how: str) -> None:
        """Say that it is over: done, failed or interrupted."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._end = how
        self.write(now=True)


def read_status(path: Path) -> Status | None:
    """What the last run said, or None if there was none.

    Raises:
        BadInput: the file is not one of ours.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return Status(**{**said, "work": tuple(Standing(**one) for one in said["work"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path} is not what a run wrote ({first_line(error)}): delete it") from None


def duration(seconds: float) -> str:
    """Roughly, for people."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
