"""What takes longest begins first: stacks, probes and the values of runs, by whatever is said of their seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from suite.executors import Job, Outcome
from suite.measuring.jobs import Point
from suite.measuring.measure import Laboratory, Plan, plan, value_key
from suite.measuring.place import Place
from suite.metrics import find_metrics
from suite.progress import Board
from suite.spec.cells import Cell, Stack
from suite.spec.task import TaskSpec
from suite.store import Store, StoredCheckpoint, StoredRun
from tests.command import TINY

METRICS = {
    name: find_metrics()[name] for name in ("hessian_trace", "gradient_variance", "weight_norm", "training_loss")
}


class Said:
    """Seconds by batch size, probe and metric."""

    def stack(self, stack: Stack) -> float:
        return {16: 1.0, 32: 5.0, 64: 3.0}[int(stack.cells[0].task.training.batch_size)]

    def probe(self, task: TaskSpec, name: str) -> float:
        return {"spectrum": 10.0, "gradients": 1.0}[name] * int(task.training.batch_size)

    def value(self, task: TaskSpec, metric: str) -> float:
        return {16: 1000.0, 32: 20.0, 64: 30.0}[int(task.training.batch_size)] if metric == "weight_norm" else 1.0


class Noting:
    """An executor that does nothing but note what it is asked for, in which order."""

    memory, workers = 2**30, 1

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def map(
        self, jobs: Sequence[Job], tick: Callable[[Sequence[float]], None], revise: Callable[[Job], Job]
    ) -> Iterator[Outcome]:
        self.jobs += jobs
        return iter(())


@pytest.fixture
def made() -> Plan:
    spec = yaml.safe_load(TINY) | {"grid": {"training.batch_size": [16, 32, 64], "seed": [0]}}
    spec["probes"] |= {"gradients": {}}
    return plan(TaskSpec.model_validate(spec), Place.of("cpu", "float32"))


def _asked(home: Path, made: Plan, durations: Said | None) -> tuple[list[int], list[tuple[str, int]], list[int]]:
    """The batch sizes of stacks, the probes with theirs, and those of the runs whose values are measured."""
    training, probing, measuring = (Noting() for _ in range(3))
    with Store(home, writing=True) as store:
        laboratory = Laboratory(store, Board(Console(quiet=True), quiet=True), durations=durations)
        laboratory.train([made], training)  # type: ignore[arg-type]
        for stack in made.stacks:
            point = StoredCheckpoint(9, b"weights", 0.1, 1.0, 0.2, 0.9)
            (run_id,) = stack.run_ids(made.environment)
            run = StoredRun(run_id, "finished", 296, b"initial", b"curve", (point,))
            store.record_stack(stack.key(made.environment), [run], 1.0, {})
        laboratory.probe([made], METRICS, probing)  # type: ignore[arg-type]
        laboratory.measure([made], METRICS, measuring)  # type: ignore[arg-type]
    stacks = [job.arguments[0].cells[0].task for job in training.jobs]
    probes = [(job.arguments[1], job.arguments[2].task.training.batch_size) for job in probing.jobs]
    runs = [job.arguments[0][0].point.task for job in measuring.jobs]
    return [task.training.batch_size for task in stacks], probes, [task.training.batch_size for task in runs]


def test_the_longest_jobs_begin_first(tmp_path: Path, made: Plan) -> None:
    stacks, probes, runs = _asked(tmp_path, made, Said())
    assert stacks == [32, 64, 16]
    assert probes == [(name, size) for name in ("spectrum", "gradients") for size in (64, 32, 16)]
    assert runs == [64, 32, 16], "but for those that may take longer than their limit of 120 s, which come last"


def test_without_anything_said_they_begin_as_they_are_planned(tmp_path: Path, made: Plan) -> None:
    stacks, probes, runs = _asked(tmp_path, made, None)
    assert stacks == runs == [16, 32, 64]
    assert probes == [(name, size) for size in (16, 32, 64) for name in ("spectrum", "gradients")]


def test_of_values_that_may_exceed_their_limit_the_shortest_come_first(tmp_path: Path, made: Plan) -> None:
    assert _asked(tmp_path, _limited(made, 40.0), Said())[2] == [32, 64, 16]


def _limited(made: Plan, seconds: float) -> Plan:
    limits = made.task.limits.model_copy(update={"metric_seconds": seconds})
    return plan(made.task.model_copy(update={"limits": limits}), made.place)


class Slow:
    """An executor in which each value takes what is said of it, and all else fails at once."""

    memory, workers = 2**30, 1

    def map(
        self, jobs: Sequence[Job], tick: Callable[[Sequence[float]], None], revise: Callable[[Job], Job]
    ) -> Iterator[Outcome]:
        for job in map(revise, jobs):
            wanted = job.arguments[0]
            slow = [n for n, w in enumerate(wanted) if Said().value(w.point.task, w.metric) > (job.limit or 0)]
            if slow:
                yield Outcome(job, "timeout", None, "took too long", job.limit or 0, slow[0] / len(wanted))
            else:
                yield Outcome(job, "failed", None, "as a test", 0.0)


def test_a_metric_that_is_too_slow_on_the_largest_is_tried_on_all_others(tmp_path: Path, made: Plan) -> None:
    """It is given up after a few values that took too long: no shorter ones may be left then."""
    spec = made.task.model_copy(update={"grid": {"training.batch_size": [16, 32, 64], "seed": [0, 1, 2, 3, 4]}})
    five = _limited(plan(spec, made.place), 900.0)
    with Store(tmp_path, writing=True) as store:
        laboratory = Laboratory(store, Board(Console(quiet=True), quiet=True), durations=Said())
        for stack in five.stacks:
            point = StoredCheckpoint(9, b"weights", 0.1, 1.0, 0.2, 0.9)
            runs = [StoredRun(r, "finished", 296, b"i", b"c", (point,)) for r in stack.run_ids(five.environment)]
            store.record_stack(stack.key(five.environment), runs, 1.0, {})
        laboratory.measure([five], {"weight_norm": METRICS["weight_norm"]}, Slow())  # type: ignore[arg-type]
        points = [(cell.task.training.batch_size, point_of(cell, run)) for cell, run in five.runs()]
        found = [(size, store.values(value_key(p, METRICS["weight_norm"]))[0].reason) for size, p in points]
    assert {reason for size, reason in found if size != 16} == {"as a test"}
    reasons = sorted(reason for size, reason in found if size == 16)
    assert reasons == ["not tried: it took too long on 3 values of this task"] * 2 + ["took too long"] * 3


def point_of(cell: Cell, run_id: str) -> Point:
    return Point(cell.task, run_id, 9, True, Path(), Path(), Path())
