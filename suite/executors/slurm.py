"""Workers as jobs of Slurm, submitted by submitit (https://github.com/facebookincubator/submitit).

Jobs are dealt out to bundles, a job of Slurm each. A bundle does its jobs one after another in a worker process, as
`LocalExecutor` does on this machine, and leaves every outcome in a folder that all machines share. A bundle that is
preempted is queued again and does what is left of it; what one that is gone had not done goes into new bundles. One
whose driver is gone ends itself.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from suite.errors import BadInput, SuiteError, first_line
from suite.executors.agent import forget_main
from suite.executors.heartbeat import Heartbeat, Listener
from suite.executors.job import Job, Needs, Outcome
from suite.executors.local import LocalExecutor
from suite.executors.outcome_files import OutcomeFolder

_LOOK_SECONDS = 1.0
BUNDLES_PER_WORKER = 4
"""More bundles than workers: whoever is done early takes another."""
_MOST_LOSSES = 3
_PAUSES = (15.0, 30.0, 60.0, 120.0, 240.0)
"""Seconds before jobs are submitted anew that Slurm did not take: its controller may be away for a while."""
_MORE_TIME = 2.0
"""What the limit of a bundle that ran out of time is multiplied by for what is left of it."""
_MOMENT = 2.0
"""Seconds before the death of a worker is believed to be its own: Slurm may be ending this process too."""
_BEAT_SECONDS = 10.0
_PATIENCE = 300.0
"""Seconds without a sign of the driver after which a bundle ends: longer than shared file systems hold news back."""
_OUT_OF_TIME = "timed-out"
"""Submitit's word in the error by which it ends a bundle a moment before Slurm does."""
_ALONE = "the command that submitted this job is gone: nobody waits for what it makes"
_COMMANDS = ("srun", "sbatch")
"""What submitit asks Slurm by: without it, this machine is none of its login nodes."""
DEFAULT_WORKERS = 16
_DEFAULT_MEMORY = 4 * 2**30


@dataclass(frozen=True)
class Bundle:
    """Jobs, each with its number, and the folder in which their outcomes are left.

    Attributes:
        jobs: in the order in which they are done.
        folder: that is the driver's, too.
        environment: as of `LocalExecutor`.
        patience: seconds without a heartbeat in the folder after which it ends.
    """

    jobs: tuple[tuple[int, Job], ...]
    folder: OutcomeFolder
    environment: tuple[tuple[str, str], ...]
    patience: float

    def __call__(self) -> None:
        """Do the jobs that have no outcome yet, as long as somebody waits for them."""
        try:
            self._do()
        except RuntimeError as error:
            if _OUT_OF_TIME in str(error):
                self._late.touch()
            raise

    def ran_out_of_time(self) -> bool:
        """Whether it left a mark that says so; there is none any more after that."""
        try:
            self._late.unlink()
        except OSError:
            return False
        return True

    @property
    def _late(self) -> Path:
        return self.folder.path / f"{self.jobs[0][0]}.late"

    def _do(self) -> None:
        forget_main()
        signal.signal(signal.SIGTERM, _leave_now)
        driver = Listener(self.folder.path, f"{self.jobs[0][0]}.now", self.patience)
        _stay_for(driver)
        left = {id(job): number for number, job in self.jobs if not self.folder.is_done(number)}
        jobs = [job for _, job in self.jobs if id(job) in left]

        def tick(fractions: list[float]) -> None:
            _stay_for(driver)
            for job, fraction in zip(jobs, fractions, strict=True):
                if 0 < fraction < 1:
                    self.folder.note(left[id(job)], fraction)

        with LocalExecutor(1, dict(self.environment)) as executor:
            for outcome in executor.map(jobs, tick):
                if outcome.status == "died":
                    time.sleep(_MOMENT)
                self.folder.leave(left[id(outcome.job)], outcome)

    def checkpoint(self) -> Any:
        """What submitit queues again where this is preempted: the same; what is done is not done again."""
        return importlib.import_module("submitit.helpers").DelayedSubmission(self)


def _stay_for(driver: Listener) -> None:
    if driver.alone():
        sys.exit(_ALONE)


def _leave_now(number: int, frame: Any) -> None:
    """Slurm ends this job, and all processes of it at once: the death of our worker is not its job's outcome."""
    sys.exit(128 + number)


class SlurmExecutor:
    """Workers on a Slurm cluster; this process stays to write the store.

    Args:
        folder: on a file system that all machines share, for what is submitted, its logs and outcomes.
        workers: bundles that run at a time at most; None: 16.
        environment: variables set in the workers before they import anything.
        needs: of one worker.
        options: further ones of `sbatch`, such as `partition` or `account`.
        cluster: `slurm`, or `local`: submitit's own processes on this machine, for trying.

    Raises:
        BadInput: submitit is not installed, there is no Slurm here, or an option is none of Slurm's.
    """

    def __init__(
        self,
        folder: Path,
        workers: int | None,
        environment: Mapping[str, str],
        needs: Needs | None = None,
        options: Mapping[str, str] | None = None,
        cluster: str = "slurm",
    ) -> None:
        if importlib.util.find_spec("submitit") is None:
            raise BadInput(
                "--executor slurm: submitit is not installed here: pip install -c constraints.txt -e '.[slurm]'"
            )
        if cluster == "slurm" and (lacks := [word for word in _COMMANDS if shutil.which(word) is None]):
            raise BadInput(
                f"--executor slurm: there is no {' and no '.join(lacks)} here; "
                "give the command on a login node of Slurm, or leave --executor out"
            )
        submitit: Any = importlib.import_module("submitit")
        self.workers, self._needs = workers or DEFAULT_WORKERS, needs or Needs()
        self._folder, self._environment = folder.resolve(), tuple(environment.items())
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._submitter: Any = submitit.AutoExecutor(
                self._folder / "submitted",
                cluster,
                # what runs out of time is submitted anew by this process: it would be begun as often again each time
                slurm_max_num_timeout=0,
                local_max_num_timeout=0,
            )
            self._submitter.update_parameters(**self._parameters(options or {}))
        except (RuntimeError, OSError, NameError, ValueError, TypeError) as error:
            raise BadInput(f"--executor slurm: {first_line(error)}") from None
        self._submitted: list[_Submitted] = []
        self._waiting: list[_Waiting] = []

    def _parameters(self, options: Mapping[str, str]) -> dict[str, Any]:
        needs = self._needs
        found: dict[str, Any] = {
            "name": "suite",
            "cpus_per_task": needs.cpus,
            "mem_gb": math.ceil(self.memory / 2**30),
            "slurm_array_parallelism": self.workers,
            "slurm_additional_parameters": {"requeue": True, **options},
        }
        if needs.gpus:
            found["gpus_per_node"] = math.ceil(needs.gpus)  # Slurm shares no device between its jobs
        if needs.seconds is not None:
            found["timeout_min"] = math.ceil(needs.seconds / 60)
        return found

    @property
    def memory(self) -> int:
        """The bytes that a worker may take, as Slurm is asked for."""
        return self._needs.memory or _DEFAULT_MEMORY

    def __enter__(self) -> Self:
        """Remove what drivers left that are gone: the store has one at a time. Their bundles end by that."""
        for outcomes in self._folder.glob("outcomes-*"):
            shutil.rmtree(outcomes, ignore_errors=True)
        self._forget()
        return self

    def __exit__(self, *exception: object) -> None:
        for one in self._submitted:
            with contextlib.suppress(Exception):  # it may have ended by itself
                one.handle.cancel()
        self._forget()

    def _forget(self) -> None:
        """Remove what was submitted, and submitit's own results of it; logs are kept."""
        for file in (self._folder / "submitted").glob("*.pkl"):
            file.unlink(missing_ok=True)

    def renew(self) -> None:
        """Nothing is to be done: every bundle has a worker of its own."""

    def map(
        self,
        jobs: Sequence[Job],
        tick: Callable[[list[float]], None] | None = None,
        revise: Callable[[Job], Job] = lambda job: job,
    ) -> Iterator[Outcome]:
        """As `Executor.map`; jobs are revised as they are submitted. One whose bundle is lost goes into another.

        Raises:
            SuiteError: Slurm does not take the jobs at first; those that it does not take again are lost.
        """
        self._waiting.clear()
        revised, losses = [revise(job) for job in jobs], Counter[int]()
        with contextlib.ExitStack() as held:
            outcomes = tempfile.TemporaryDirectory(dir=self._folder, prefix="outcomes-", ignore_cleanup_errors=True)
            folder = OutcomeFolder(Path(held.enter_context(outcomes)))
            held.enter_context(Heartbeat(folder.path, _BEAT_SECONDS))
            self._submit(list(enumerate(revised)), folder, self._needs.seconds)
            fractions = [0.0] * len(jobs)
            while self._submitted or self._waiting:
                for one in list(self._submitted):
                    over = one.handle.done()  # before its outcomes are read: what comes later is not lost
                    for number in one.arrived():
                        fractions[number] = 1.0
                        yield one.take(number, revised[number])
                    if over or not one.left:
                        self._submitted.remove(one)
                    if over and one.left:
                        yield from self._again(one, revised, losses)
                for due in [one for one in self._waiting if one.at <= time.monotonic()]:
                    self._waiting.remove(due)
                    yield from self._submit_anew(due, folder)
                if tick:
                    self._look(fractions)
                    tick(fractions)
                time.sleep(_LOOK_SECONDS)

    def _submit(self, jobs: Sequence[tuple[int, Job]], folder: OutcomeFolder, seconds: float | None) -> None:
        """Deal jobs out, the longest first to each, as one array of which each has so much time.

        Raises:
            SuiteError: Slurm does not take them.
        """
        if not jobs:
            return
        count = min(len(jobs), BUNDLES_PER_WORKER * self.workers)
        bundles = [Bundle(tuple(jobs[first::count]), folder, self._environment, _PATIENCE) for first in range(count)]
        try:
            if seconds is not None:
                self._submitter.update_parameters(timeout_min=math.ceil(seconds / 60))
            with self._submitter.batch():
                handles = [self._submitter.submit(bundle) for bundle in bundles]
            self._submitted += [
                _Submitted(b, h, seconds, {n for n, _ in b.jobs}) for b, h in zip(bundles, handles, strict=True)
            ]
        except Exception as error:  # noqa: BLE001 - submitit's own, of sbatch, of the file system
            raise SuiteError(f"Slurm did not take the jobs: {first_line(error)}") from None

    def _submit_anew(self, jobs: _Waiting, folder: OutcomeFolder) -> Iterator[Outcome]:
        """Submit what waits for it, or let it wait again; after so many tries it is lost, and all else goes on."""
        try:
            self._submit(jobs.jobs, folder, jobs.seconds)
        except SuiteError as error:
            if jobs.tries < len(_PAUSES):
                # it may be more time than it grants that Slurm did not like
                at = time.monotonic() + _PAUSES[jobs.tries]
                self._waiting.append(_Waiting(jobs.jobs, self._needs.seconds, at, jobs.tries + 1))
                return
            for _, job in jobs.jobs:
                yield Outcome(job, "died", None, f"its job of Slurm ended, and then {error}", 0.0, 0.0)

    def _again(self, lost: _Submitted, jobs: list[Job], losses: Counter[int]) -> Iterator[Outcome]:
        """Let what a bundle had not done that is over be submitted anew; what was lost too often ends with that.

        Lost is the job it was at; where it had done nothing at all, it may not have begun, and all of them are.
        """
        order = [number for number, _ in lost.bundle.jobs if number in lost.left]
        for number in order if len(order) == len(lost.bundle.jobs) else order[:1]:
            losses[number] += 1
            if losses[number] > _MOST_LOSSES:
                lost.left.remove(number)
                reason = f"its job of Slurm ended {losses[number]} times before it was done ({lost.handle.state})"
                yield Outcome(jobs[number], "died", None, reason, 0.0, 0.0)
        seconds = lost.seconds
        if seconds is not None and lost.ran_out_of_time():
            seconds *= _MORE_TIME
        if left := [(number, jobs[number]) for number in order if number in lost.left]:
            self._waiting.append(_Waiting(left, seconds))

    def _look(self, fractions: list[float]) -> None:
        for one in self._submitted:
            for number in one.left:
                if (fraction := one.bundle.folder.fraction(number)) is not None:
                    fractions[number] = fraction


@dataclass(frozen=True)
class _Waiting:
    """Jobs to be submitted anew with so much time, not before `at`, and how often Slurm did not take them."""

    jobs: list[tuple[int, Job]]
    seconds: float | None
    at: float = 0.0
    tries: int = 0


@dataclass
class _Submitted:
    """A bundle, submitit's handle of it, its time, and the numbers of its jobs that have no outcome yet."""

    bundle: Bundle
    handle: Any
    seconds: float | None
    left: set[int] = field(default_factory=set)

    def arrived(self) -> list[int]:
        """Jobs that have an outcome by now."""
        return sorted(number for number in self.left if self.bundle.folder.has(number))

    def ran_out_of_time(self) -> bool:
        """Whether that is why it is over: by its own word, or by Slurm's.

        Submitit's own file of results says it too; but that is a pickle, and a stranger's code may have run by then.
        """
        return self.bundle.ran_out_of_time() or str(self.handle.state).startswith("TIMEOUT")

    def take(self, number: int, job: Job) -> Outcome:
        """An outcome that has arrived."""
        self.left.remove(number)
        return self.bundle.folder.take(number, job)
