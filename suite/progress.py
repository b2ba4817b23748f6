"""Progress of long work: bars with counts and time left on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from suite.executors import Executor, Job, Outcome

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_TO_GUESS = 5.0
_PART_TO_GUESS = 0.002
"""Before so many seconds, and that part of the work, the time left is not guessed at."""


class Board:
    """Shows how far the jobs of each group are. Use it as a context manager around the work."""

    def __init__(self, console: Console, quiet: bool = False) -> None:
        self._console, self._quiet = console, quiet
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
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
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
        for outcome in executor.map(jobs, lambda fractions: self._tick(bars, groups, jobs, fractions), revise):
            name = outcome.job.group
            group = groups[name]
            group.note(outcome.status == "ok")
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
            self._progress.update(bars[name], completed=sums[name])
            if group.started(sums[name]) and time.monotonic() - group.told > _SECONDS_BETWEEN_LINES:
                self._line(group, sums[name])

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
        elapsed = time.monotonic() - self._begun
        known = elapsed > _SECONDS_TO_GUESS and done > _PART_TO_GUESS * self.total
        guess = f", about {_duration(elapsed * (self.total - done) / done)} left" if known else ""
        return f"{self.title}: {self.count()}, {done / self.total:.0%} done{guess}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
