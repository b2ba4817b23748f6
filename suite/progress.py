"""Progress of long work: bars with counts and time left on a terminal, plain lines elsewhere, nothing if quiet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from suite.executors import Job, LocalExecutor, Outcome


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
        jobs: Sequence[Job],
        executor: LocalExecutor,
        revise: Callable[[Job], Job] = lambda job: job,
    ) -> Iterator[Outcome]:
        """The outcomes of `executor.map(jobs)`, shown under `stage` and each job's group as they come."""
        totals = Counter(job.group for job in jobs)
        done = dict.fromkeys(totals, 0)
        bars = {g: self._progress.add_task(f"{stage} {g}", total=n, count=f"0/{n}") for g, n in totals.items()}
        for outcome in executor.map(jobs, lambda fractions: self._tick(bars, jobs, fractions), revise):
            group = outcome.job.group
            done[group] += 1
            count = f"{done[group]}/{totals[group]}"
            self._progress.update(bars[group], completed=done[group], count=count)
            if not self._bars and not self._quiet and _worth_a_line(done[group], totals[group]):
                self._console.print(f"{stage} {group}: {count}", highlight=False)
            yield outcome

    def _tick(self, bars: dict[str, TaskID], jobs: Sequence[Job], fractions: Sequence[float]) -> None:
        sums = dict.fromkeys(bars, 0.0)
        for job, fraction in zip(jobs, fractions, strict=True):
            sums[job.group] += fraction
        for group, bar in bars.items():
            self._progress.update(bar, completed=sums[group])


def _worth_a_line(done: int, total: int) -> bool:
    """Ten lines a group, more or less, and always the last."""
    return done == total or done * 10 // total > (done - 1) * 10 // total
