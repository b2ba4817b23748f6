"""Jobs, pure functions of plain arguments with a picklable result, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

Progress = Callable[[int, int], None]

UNUSABLE_DEVICE = 86
"""Exit code of a worker whose device no longer answers: nothing that runs in that process can succeed any more."""

UNUSABLE_PROCESS = 87
"""Exit code of a worker in which what a job did to the process could not be undone."""


@dataclass(frozen=True)
class Job:
    """`function(*arguments, progress)` in a worker.

    Attributes:
        group: what its progress is shown under.
        function: a function of a module.
        arguments: picklable.
        limit: most seconds from one report of progress to the next, the first from when it has begun in its worker
            (None: as long as it takes).
        grace: further seconds until its first report, for what it imports and loads, and after its last, for its result
            to arrive.
        retries: how often it is begun again where its process died (killed for its memory, its machine lost) before
            that is its outcome.
        plain: its result is numbers, words, lists and dictionaries of them, and travels as JSON: code of strangers runs
            where it is made.
        reports: how often it reports progress at most (None: as often as it likes); one that does so more often is
            ended: no stranger's code is to put its limit off for ever.
    """

    group: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    limit: float | None = None
    grace: float = 0.0
    retries: int = 0
    plain: bool = False
    reports: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of a job: `ok` with its result, or `failed`, `timeout`, `died` with a reason in one line.

    `fraction` is how far it had come by its last report.
    """

    job: Job
    status: str
    result: Any
    reason: str
    seconds: float
    fraction: float = 1.0


@dataclass(frozen=True)
class Needs:
    """What a worker is given on other machines.

    Attributes:
        cpus: cores.
        gpus: devices, or the part of one that it shares with other workers.
        memory: bytes (None: as the cluster gives them out).
        seconds: of the longest job, for engines that end what takes longer (None: as the cluster says).
    """

    cpus: int = 1
    gpus: float = 0.0
    memory: int | None = None
    seconds: float | None = None


class Executor(Protocol):
    """Where jobs run. One that is left as a context manager leaves nothing behind."""

    @property
    def workers(self) -> int:
        """How many jobs run at a time, as far as it is known now."""

    @property
    def memory(self) -> int | None:
        """The bytes that a worker may take, or None where they share this machine."""

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

    def renew(self) -> None:
        """End the workers: the next job starts new ones, in which nothing is left of what ran before."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exception: object) -> None: ...
