"""What is missing in the store is trained and measured, and recorded as it comes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from suite.errors import BadInput, SuiteError, first_line
from suite.executors import Executor, Job
from suite.measuring.jobs import Point, Wanted, metric_job, probe_job
from suite.measuring.limits import Memory, memory_share
from suite.measuring.place import Place
from suite.measuring.probes import BACKWARD, asked, probe_key
from suite.measuring.rounds import Rounds
from suite.measuring.train import train_job
from suite.metrics import Metric
from suite.metrics.registry import Origin
from suite.progress import Board
from suite.spec.cells import Cell, Environment, Stack, digest, stacks
from suite.spec.task import TaskSpec
from suite.store import Store, StoredCheckpoint, StoredFailure, StoredProbe, StoredRun

_GRACE = 60.0
"""What a job may take beyond a metric's limit until data and metrics are loaded: a machine may be busy."""

_RETRIES = 2
"""How often a stack or a probe is begun again whose worker died: killed for its memory, or its machine was lost."""

_OFF_BY = 3.0
"""An estimate of what a value takes may be too low by this (docs/cost.md: tasks took up to 2.7 times as long)."""

_SETTLED = ("ok", "undefined")
"""What a metric says will be the same whenever it is asked; anything else is tried again."""


@dataclass(frozen=True)
class LostRun:
    """A run that could not be trained: how its stack's last training ended, and why."""

    cell: Cell
    run_id: str
    status: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """A task, its stacks and the place where they are trained and measured.

    What `as_trained` knows besides: `untrained` are the runs of further stacks, which could not be trained; `unmended`
    those of its stacks that are on record, and of which files are missing that could not be made again.
    """

    task: TaskSpec
    stacks: tuple[Stack, ...]
    place: Place
    untrained: tuple[LostRun, ...] = ()
    unmended: tuple[LostRun, ...] = ()

    @property
    def environment(self) -> Environment:
        """The part of the place that is in the keys."""
        return self.place.environment

    def runs(self) -> Iterator[tuple[Cell, str]]:
        """Every cell with its run id."""
        for stack in self.stacks:
            yield from zip(stack.cells, stack.run_ids(self.environment), strict=True)


@dataclass(frozen=True)
class Part(Plan):
    """Whole stacks, which are trained, and some of their runs (by id), which alone are measured."""

    chosen: frozenset[str] = frozenset()

    def runs(self) -> Iterator[tuple[Cell, str]]:
        """The chosen cells, each with its run id."""
        return ((cell, run_id) for cell, run_id in super().runs() if run_id in self.chosen)


def plan(task: TaskSpec, place: Place) -> Plan:
    """The work that a task asks for."""
    return Plan(task, stacks(task), place)


def as_trained(p: Plan, store: Store) -> Plan:
    """The plan of what there is: stacks that are missing, and of which the store says why, are its `untrained` runs.

    A stack that is missing without a reason stays: it was never tried, and whoever asks for its runs is told so. So
    does one whose runs are on record and lack files alone: what was measured of them stands.
    """
    if not (failures := store.failures()):
        return p
    kept, lost, unmended = list[Stack](), list[LostRun](), list[LostRun]()
    for stack in p.stacks:
        why = failures.get(key := stack.key(p.environment))
        if why is None or store.stack(key) is not None:
            kept.append(stack)
            continue
        ids = stack.run_ids(p.environment)
        runs = [LostRun(cell, run, why.status, why.reason) for cell, run in zip(stack.cells, ids, strict=True)]
        if all(store.run(run) is not None for run in ids):
            kept.append(stack)
            unmended += runs
        else:
            lost += runs
    return replace(p, stacks=tuple(kept), untrained=tuple(lost), unmended=tuple(unmended))


class Durations(Protocol):
    """Seconds that jobs take, as far as can be told before: of them the longest begin first."""

    def stack(self, stack: Stack) -> float:
        """To train a stack."""

    def probe(self, task: TaskSpec, name: str) -> float:
        """A probe of one checkpoint of a run with these values."""

    def value(self, task: TaskSpec, metric: str) -> float:
        """A value of a metric there."""


class Laboratory:
    """Does what is missing of some plans. What fails is a row with its reason, and the rest goes on.

    Metrics must not meet test data: the executor that `measure` is given is never the one that `train` was given.

    `metric_limit` is the seconds that a metric may take on a checkpoint, whatever the tasks say (None: as they say).
    By `durations` the longest jobs begin first, those that take as long, or all (None), in the order of the plans.
    """

    def __init__(
        self, store: Store, board: Board, metric_limit: float | None = None, durations: Durations | None = None
    ) -> None:
        self.store, self.board, self.metric_limit, self.durations = store, board, metric_limit, durations

    def train(self, plans: Sequence[Plan], executor: Executor) -> None:
        """Train every stack that is not in the store, longest first; which could not be is recorded (`as_trained`)."""
        jobs: list[Job] = []
        keys: dict[int, str] = {}
        missing = [(p, s) for p in plans for s in p.stacks if self.store.stack(s.key(p.environment)) is None]
        if (durations := self.durations) is not None:
            missing.sort(key=lambda pair: -durations.stack(pair[1]))
        for p, stack in missing:
            key = stack.key(p.environment)
            if key not in keys.values():
                job = Job(p.task.name, train_job, (stack, p.place), retries=_RETRIES)
                jobs.append(job)
                keys[id(job)] = key
        for outcome in self.board.follow("train", "stacks", jobs, executor):
            key = keys[id(outcome.job)]
            if outcome.status == "ok":
                self.store.record_stack(key, *outcome.result)
            else:
                self.store.record_failure(StoredFailure(key, outcome.status, outcome.reason, outcome.seconds))

    def probe(self, plans: Sequence[Plan], metrics: dict[str, Metric], executor: Executor) -> None:
        """Measure every probe that a metric reads and that is not in the store, one job a probe of a checkpoint."""
        # the other way round, so that of two that come to the same the first by name stands for both
        names = probes_read(metrics.values())[::-1]
        jobs = {
            key: Job(p.task.name, probe_job, (key, name, point, p.place), retries=_RETRIES)
            for p in plans
            for points in self._points(p)
            for name in names
            for point in points
            if asked(point.task, name, point.last) is not None
            if not _have(self.store.probe(key := probe_key(point.run_id, point.step, point.task, name)))
        }
        ordered = list(jobs.values())
        if (durations := self.durations) is not None:
            ordered.sort(key=lambda job: -durations.probe(job.arguments[2].task, job.arguments[1]))
        for o in self.board.follow("probe", "probes", ordered, executor):
            key, name, point, _ = o.job.arguments
            lost = StoredProbe(key, name, point.run_id, point.step, None, o.status, o.reason, o.seconds)
            self.store.record_probes([o.result if o.status == "ok" else lost])

    def measure(self, plans: Sequence[Plan], metrics: dict[str, Metric], executor: Executor) -> None:
        """Measure every value that is not in the store, one job a run; whoever breaks a job is then set apart.

        Metrics of each file and each installed module run after those of this package, in workers of their own: what
        they do to their process reaches no value of another author's metric.
        """
        rounds = Rounds(metrics, self.store.record_values)
        for origin in dict.fromkeys((None, *(one.origin for one in metrics.values()))):
            own = {name: one for name, one in metrics.items() if one.origin == origin}
            jobs = list(self._jobs(plans, own, origin, executor.memory or memory_share(executor.workers)))
            if (durations := self.durations) is not None:
                jobs.sort(key=lambda job: _turn(job, durations))
            self._finish(jobs, rounds, executor)
            if jobs and origin is not None:
                executor.renew()

    def _jobs(self, plans: Sequence[Plan], metrics: dict[str, Metric], origin: Origin, share: int) -> Iterator[Job]:
        tasks = tuple({p.task.data.model_dump_json(): p.task for p in plans}.values())
        for p in plans:
            limits = p.task.limits
            memory, seconds = _memory(p, share), self.metric_limit or limits.metric_seconds
            for points in self._points(p):
                if wanted := tuple(self._wanted(points, metrics)):
                    what = (wanted, origin, p.place, memory, tasks)
                    reports = len(wanted) + 1
                    yield Job(p.task.name, metric_job, what, seconds, _GRACE, plain=True, reports=reports)

    def _finish(self, jobs: list[Job], rounds: Rounds, executor: Executor) -> None:
        stage = "measure"
        while jobs:
            left: list[Job] = []
            for outcome in self.board.follow(stage, "runs", jobs, executor, rounds.revise):
                left += rounds.settle(outcome)
            jobs, stage = left, "retry"

    def _wanted(self, points: Iterable[Point], metrics: dict[str, Metric]) -> Iterator[Wanted]:
        for point in points:
            for metric in metrics.values():
                files = self._files(point, metric) if applies(metric, point.task, point.last) else None
                if files is None:
                    continue  # not asked for here, or the probe's own row says why there is nothing to measure
                key = value_key(point, metric)
                if not any(value.status in _SETTLED for value in self.store.values(key)):
                    yield Wanted(key, point, metric.name, files)

    def _files(self, point: Point, metric: Metric) -> tuple[tuple[str, Path], ...] | None:
        """The files of the probes that a metric reads, or None where one of them could not be made."""
        found = []
        for name in metric.probes:
            if name == BACKWARD:
                run = self.store.run(point.run_id)
                tensors = run.distances if run else None
            else:
                probe = self.store.probe(probe_key(point.run_id, point.step, point.task, name))
                tensors = probe.tensors if probe else None
            if not isinstance(tensors, str):
                return None
            found.append((name, self.store.path(tensors)))
        return tuple(found)

    def _points(self, p: Plan) -> Iterator[list[Point]]:
        """The checkpoints of each run."""
        data: dict[str, str | None] = {}  # a stack's provenance is read once for all its runs
        for cell, run_id in p.runs():
            run = self.store.run(run_id)
            if run is None:
                raise SuiteError(
                    f"{p.task.name}: run {run_id} is not trained yet: `suite train` with the same task file first"
                )
            if (stack := self.store.stack_of(run_id)) not in data:
                _, noted = self.store.provenance(stack)
                data[stack] = noted.get("data", {}).get("checksum")
            yield [self._point(cell.task, run, c, data[stack]) for c in run.checkpoints]

    def _point(self, task: TaskSpec, run: StoredRun, at: StoredCheckpoint, data: str | None) -> Point:
        path = self.store.path
        state = path(str(at.state)) if at.state else None
        last = at.step == run.checkpoints[-1].step
        weights, initial, curve = path(str(at.weights)), path(str(run.initial)), path(str(run.curve))
        return Point(task, run.run_id, at.step, last, weights, initial, curve, state, data)


def applies(metric: Metric, task: TaskSpec, last: bool) -> bool:
    """Whether a metric is defined at a checkpoint (which may be its run's last).

    It is for the task's optimizer, it says itself that it applies, and the task asks for all probes that it reads.

    Raises:
        BadInput: what it says itself raises.
    """
    try:
        defined = task.training.optimizer.kind in metric.optimizers and bool(metric.applies(task))
    except Exception as error:
        raise BadInput(f"metric {metric.name}: applies: {first_line(error)}") from error
    return defined and all(asked(task, name, last) is not None for name in metric.probes)


def probes_read(metrics: Iterable[Metric]) -> list[str]:
    """The probes that any of these metrics reads, by name; those that training makes itself are not among them."""
    return sorted({name for metric in metrics for name in metric.probes if name != BACKWARD})


def value_key(point: Point, metric: Metric) -> str:
    """The name of a value: run, checkpoint, metric, its version and its code, and the probes that it reads."""
    read = [probe_key(point.run_id, point.step, point.task, name) for name in metric.probes if name != BACKWARD]
    return digest("value", point.run_id, point.step, metric.name, metric.version, metric.fingerprint, read)


def _memory(p: Plan, share: int) -> Memory:
    """The limit on a metric's memory, at most a worker's share; none on CUDA, which maps far more than it uses."""
    if p.environment.device != "cpu":
        return Memory()
    said = p.task.limits.metric_memory_gib
    return Memory(share if said is None else min(share, int(said * 2**30)), share)


def _have(probe: StoredProbe | None) -> bool:
    return probe is not None and probe.status == "ok"


def _turn(job: Job, durations: Durations) -> tuple[bool, float]:
    """The place of the values of a run among those of others: what takes longest begins first.

    Unless a value may take longer than its limit: such runs come last, those with the shortest of these values first. A
    metric that exceeds its limit a few times is given up on all values that are left, which then are no shorter ones.
    """
    wanted: tuple[Wanted, ...] = job.arguments[0]
    each, limit = [durations.value(want.point.task, want.metric) for want in wanted], job.limit or math.inf
    longest = max(each)
    return (True, longest) if longest * _OFF_BY >= limit else (False, -sum(each))
