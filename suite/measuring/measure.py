"""What is missing in the store is trained and measured, and recorded as it comes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.errors import SuiteError
from suite.executors import Job, LocalExecutor, Outcome
from suite.measuring.jobs import Place, Point, Wanted, failed_value, metric_job, probe_job
from suite.measuring.probes import PROBE_VERSION
from suite.measuring.train import train_job
from suite.metrics import Metric
from suite.progress import Board
from suite.spec.cells import Cell, Environment, Stack, digest, stacks
from suite.spec.task import TaskSpec
from suite.store import Store, StoredProbe

METRIC_LIMIT = 120.0
"""Seconds that a metric may take on one checkpoint."""


@dataclass(frozen=True)
class Plan:
    """A task, its stacks and the place where they are trained and measured."""

    task: TaskSpec
    stacks: tuple[Stack, ...]
    place: Place

    @property
    def environment(self) -> Environment:
        """The part of the place that is in the keys: the kind of device (`cuda:1` is `cuda`) and the dtype."""
        return Environment(self.place.device.split(":")[0], self.place.dtype)

    def runs(self) -> Iterator[tuple[Cell, str]]:
        """Every cell with its run id."""
        for stack in self.stacks:
            yield from zip(stack.cells, stack.run_ids(self.environment), strict=True)


def plan(task: TaskSpec, place: Place) -> Plan:
    """The work that a task asks for."""
    return Plan(task, stacks(task), place)


class Laboratory:
    """Does what is missing of some plans. Training errors end the work; failed probes and metrics are rows."""

    def __init__(self, store: Store, executor: LocalExecutor, board: Board) -> None:
        self.store, self.executor, self.board = store, executor, board

    def train(self, plans: Sequence[Plan]) -> None:
        """Train every stack that is not in the store, longest first.

        Raises:
            SuiteError: a stack could not be trained; the others are recorded first.
        """
        jobs: list[Job] = []
        keys: dict[int, str] = {}
        missing = [(p, s) for p in plans for s in p.stacks if self.store.stack(s.key(p.environment)) is None]
        for p, stack in sorted(missing, key=lambda pair: -_cost(pair[1])):
            key = stack.key(p.environment)
            if key not in keys.values():
                arguments = (stack, stack.run_ids(p.environment), p.place.device, p.place.dtype)
                job = Job(p.task.name, train_job, arguments)
                jobs.append(job)
                keys[id(job)] = key
        failures = []
        for outcome in self.board.follow("train  ", jobs, self.executor):
            if outcome.status == "ok":
                self.store.record_stack(keys[id(outcome.job)], *outcome.result)
            else:
                failures.append(f"{outcome.job.group}: training {outcome.status}: {outcome.reason}")
        if failures:
            raise SuiteError("\n".join(dict.fromkeys(failures)))

    def probe(self, plans: Sequence[Plan]) -> None:
        """Measure every spectral probe that is not in the store, one job a run."""
        jobs = []
        for p in plans:
            for points in self._points(p):
                missing = tuple((k, pt) for k, pt in points if not _have(self.store.probe(k)))
                if missing:
                    jobs.append(Job(p.task.name, probe_job, (missing, p.place)))
        for outcome in self.board.follow("probe  ", jobs, self.executor):
            if outcome.status == "ok":
                self.store.record_probes(outcome.result)
            else:
                points = outcome.job.arguments[0]
                lost = [StoredProbe(k, pt.run_id, pt.step, None, outcome.status, outcome.reason, outcome.seconds)
                        for k, pt in points]  # fmt: skip
                self.store.record_probes(lost)

    def measure(self, plans: Sequence[Plan], metrics: dict[str, Metric], files: tuple[Path, ...]) -> None:
        """Measure every value that is not in the store, one job a run; whoever breaks a job is then tried alone."""
        jobs = [
            Job(p.task.name, metric_job, (wanted, files, p.place), METRIC_LIMIT)
            for p in plans
            for points in self._points(p)
            if (wanted := tuple(self._wanted(points, metrics)))
        ]
        broken = [o for o in self.board.follow("measure", jobs, self.executor) if not self._recorded(o)]
        alone = [
            Job(o.job.group, metric_job, ((want,), *o.job.arguments[1:]), METRIC_LIMIT)
            for o in broken
            for want in o.job.arguments[0]
        ]
        for outcome in self.board.follow("retry  ", alone, self.executor):
            if not self._recorded(outcome):
                want = outcome.job.arguments[0][0]
                metric = metrics[want.metric]
                row = failed_value(want, metric, outcome.status, outcome.reason, outcome.seconds)
                self.store.record_values([row])

    def _recorded(self, outcome: Outcome) -> bool:
        if outcome.status == "ok":
            self.store.record_values(outcome.result)
        return outcome.status == "ok"

    def _wanted(self, points: Iterable[tuple[str, Point]], metrics: dict[str, Metric]) -> Iterator[Wanted]:
        for probe_key, point in points:
            probe = self.store.probe(probe_key)
            if probe is None or not isinstance(probe.tensors, str):
                continue  # the probe's own row says why there is nothing to measure here
            for metric in metrics.values():
                key = value_key(point, metric, probe_key)
                if not any(value.status == "ok" for value in self.store.values(key)):
                    yield Wanted(key, point, metric.name, self.store.path(probe.tensors))

    def _points(self, p: Plan) -> Iterator[list[tuple[str, Point]]]:
        """The checkpoints of each run, by probe key."""
        for cell, run_id in p.runs():
            run = self.store.run(run_id)
            if run is None:
                raise SuiteError(f"{p.task.name}: run {run_id} is not trained yet: `suite train {p.task.name}` first")
            initial = self.store.path(str(run.initial))
            yield [
                (
                    probe_key(run_id, c.step, cell.task),
                    Point(cell.task, run_id, c.step, self.store.path(str(c.weights)), initial),
                )
                for c in run.checkpoints
            ]


def probe_key(run_id: str, step: int, task: TaskSpec) -> str:
    """The name of a checkpoint's spectral probe."""
    return digest("probe", PROBE_VERSION, run_id, step, task.probes.spectrum.model_dump(mode="json"))


def value_key(point: Point, metric: Metric, probe: str) -> str:
    """The name of a value: run, checkpoint, metric and its version, and the probe if the metric reads one."""
    read = probe if metric.cost == "spectrum" else ""
    return digest("value", point.run_id, point.step, metric.name, metric.version, read)


def _have(probe: StoredProbe | None) -> bool:
    return probe is not None and probe.status == "ok"


def _cost(stack: Stack) -> float:
    """A stack's relative training time: steps, each with a fixed part and one that grows with the inputs seen."""
    task = stack.cells[0].task
    size = task.data.train_size()
    return task.training.total_steps(size) * (200 + len(stack.cells) * task.training.batch(size))
