"""What a worker process does: the probe of a checkpoint, the metrics of a run. Plain arguments in, plain rows out."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from suite.errors import BadInput, first_line
from suite.executors import Progress
from suite.measuring.confinement import confine
from suite.measuring.isolation import Taken, isolated
from suite.measuring.limits import Memory
from suite.measuring.place import Place
from suite.measuring.probes import BACKWARD, Subject, find_probes
from suite.measuring.provenance import device_name, software
from suite.metrics import Estimate, Metric, Run
from suite.metrics.probed.distances import Distances
from suite.metrics.registry import Origin, Value, metrics_of
from suite.spec.cells import digest
from suite.spec.task import TaskSpec
from suite.store import StoredProbe, StoredValue, read_checked
from suite.training.evaluate import evaluate
from suite.training.objective import sample_losses
from suite.training.problem import Problem, Split, fetch, load_problem


@dataclass(frozen=True)
class Point:
    """One checkpoint of a run as a worker is told of it: files, not tensors.

    `data` is the checksum of the data that the run was trained on, None where that was not noted.
    """

    task: TaskSpec
    run_id: str
    step: int
    last: bool
    weights: Path
    initial: Path
    curve: Path
    state: Path | None = None
    data: str | None = None


@dataclass(frozen=True)
class Wanted:
    """One value to measure: a metric at a checkpoint, and the files of the probes that it reads, by name."""

    key: str
    point: Point
    metric: str
    probes: tuple[tuple[str, Path], ...]


def probe_job(key: str, name: str, point: Point, place: Place, progress: Progress) -> StoredProbe:
    """One probe of a checkpoint."""
    place.prepare()
    start, device = time.perf_counter(), device_name(place.device)
    probe, problem = find_probes()[name], _problem_at(point, place)

    def stored(content: bytes | None, status: str, reason: str) -> StoredProbe:
        seconds = time.perf_counter() - start
        return StoredProbe(key, name, point.run_id, point.step, content, status, reason, seconds, device)

    try:
        tensors = probe.measure(_subject(point, problem, place), getattr(point.task.probes, name))
    except (ValueError, RuntimeError) as error:
        place.leave_if_unusable()
        return stored(None, "failed", first_line(error))
    return stored(save({name: t.cpu().contiguous() for name, t in tensors.items()}), "ok", probe.note(tensors))


def _subject(point: Point, problem: Problem, place: Place) -> Subject:
    weights, initial = _tensor(point.weights, place), _tensor(point.initial, place)
    return Subject(problem, point.task, point.step, weights, initial, _state(point, place))


def metric_job(
    wanted: tuple[Wanted, ...],
    origin: Origin,
    place: Place,
    memory: Memory,
    tasks: tuple[TaskSpec, ...],
    progress: Progress,
) -> list[tuple[Any, ...]]:
    """The values wanted, each within `memory`, of metrics of one origin; those of others are not imported here.

    The data of `tasks` are those that further jobs of this process may read.

    A metric that raises is a row with the reason: `undefined` if it raised a plain ValueError, `failed` otherwise. Rows
    are the fields of `StoredValue`, for `suite.measuring.rows`: of a process of strangers nothing but data is read.
    """
    place.prepare()
    for want in wanted[:1]:
        _problem_at(want.point, place)  # to load the data is not the first metric's time
    _fetch(tasks)
    device = device_name(place.device)
    confine(place.device, memory.worker)  # after that: to download needs more than to read
    metrics = _metrics(origin)
    progress(0, len(wanted))
    rows: list[StoredValue] = []
    for done, want in enumerate(wanted, 1):
        rows += _measure(want, metrics[want.metric], place, memory.metric)
        progress(done, len(wanted))
    return [astuple(replace(row, device=device)) for row in rows]


def _measure(want: Wanted, metric: Metric, place: Place, memory: int | None) -> list[StoredValue]:
    start, taken = time.perf_counter(), Taken()
    try:
        run = _run(want, place)
        with isolated(run.seed(f"metric {metric.name}"), place.device, memory) as taken:
            value = _asked(metric, run)
        parts = _components(value)
        seconds = time.perf_counter() - start
        rows = [_row(want, metric, name, value, seconds) for name, value in parts.items()]
    except _Undefined as undefined:
        reason = first_line(undefined.why)
        rows = [failed_value(want, metric, "undefined", reason, time.perf_counter() - start)]
    except BaseException as error:  # noqa: BLE001 - whatever a metric raises is its own failure, SystemExit too
        place.leave_if_unusable()
        rows = [failed_value(want, metric, "failed", first_line(error), time.perf_counter() - start)]
    return [replace(row, memory=taken.memory) for row in rows]


class _Undefined(Exception):
    """A metric says why it has no value here."""

    def __init__(self, why: ValueError) -> None:
        super().__init__()
        self.why = why


def _asked(metric: Metric, run: Run) -> Value | dict[str, Value]:
    """A metric's answer.

    Raises:
        _Undefined: it raised a ValueError; not one of its kinds, which are accidents (of a solver, of a text).
    """
    try:
        return metric.measure(run)
    except ValueError as error:
        if type(error) is ValueError:
            raise _Undefined(error) from error
        raise


def _components(value: Value | dict[str, Value]) -> dict[str, Value]:
    if not isinstance(value, dict):
        return {"": value}
    if not value or not all(isinstance(name, str) and name for name in value):
        raise ValueError("a dict of values needs at least one entry and names for all of them")
    return value


def _row(want: Wanted, metric: Metric, component: str, value: Value, seconds: float) -> StoredValue:
    component.encode()  # raises where it is no text that a file can hold
    number, error = (value.value, value.standard_error) if isinstance(value, Estimate) else (value, None)
    for part in (number,) if error is None else (number, error):
        if isinstance(part, bool) or not isinstance(part, int | float):
            reason = f"returned {type(part).__name__}, not a number"
            return failed_value(want, metric, "failed", reason, seconds, component)
        if not math.isfinite(part):
            return failed_value(want, metric, "failed", f"returned {number} ± {error}", seconds, component)
    point = want.point
    return StoredValue(
        want.key, component, point.run_id, point.step, metric.name, metric.version, metric.fingerprint, float(number),
        None if error is None else float(error), "ok", "", seconds, None, _versions(),
    )  # fmt: skip


def failed_value(
    want: Wanted, metric: Metric, status: str, reason: str, seconds: float, component: str = ""
) -> StoredValue:
    """The row of a value that could not be had."""
    point = want.point
    return StoredValue(
        want.key, component, point.run_id, point.step, metric.name, metric.version, metric.fingerprint, None, None,
        status, reason, seconds, None, _versions(),
    )  # fmt: skip


def _versions() -> str:
    """The packages' versions, as they are stored with a value."""
    return json.dumps(software()["versions"], sort_keys=True)


def _run(want: Wanted, place: Place) -> Run:
    """What a metric is given: copies of its own of everything it could change."""
    point = want.point
    kept = _problem_at(point, place)
    train = Split(kept.train.inputs.clone(), kept.train.targets.clone())
    problem = replace(kept, train=train, model=replace(kept.model, module=copy.deepcopy(kept.model.module)))
    return Run(
        key=_run_key(point.task),
        task=point.task.model_copy(deep=True),
        step=point.step,
        weights=_tensor(point.weights, place),
        initial=_tensor(point.initial, place),
        network=problem.model,
        sample_loss=partial(sample_losses, problem.objective),
        whole=partial(evaluate, problem, split=problem.train),
        inputs=problem.train.inputs,
        targets=problem.train.targets,
        state=_state(point, place),
        curve=_tensor(point.curve, Place.of("cpu", "float32")),
        probes={name: _loaded(point.task, name, file) for name, file in want.probes},
    )


def _loaded(task: TaskSpec, name: str, file: Path) -> object:
    """A probe as metrics read it."""
    tensors = load(read_checked(file))
    if name == BACKWARD:
        return Distances.from_arrays(tensors)
    return find_probes()[name].load(getattr(task.probes, name), tensors)


def _run_key(task: TaskSpec) -> str:
    return digest(task.model_dump(mode="json", include={"data", "model", "training", "seed"}))


def _tensor(path: Path, place: Place) -> Tensor:
    return load(read_checked(path))["tensor"].to(place.device)


def _state(point: Point, place: Place) -> tuple[Tensor, ...]:
    """The optimizer's state at a checkpoint; empty where there is none, or where only stack-mates have momentum."""
    if point.state is None or getattr(point.task.training.optimizer, "momentum", None) == 0:
        return ()
    parts = load(read_checked(point.state))
    return tuple(parts[str(number)].to(place.device) for number in range(len(parts)))


_fetched: set[str] = set()


def _fetch(tasks: tuple[TaskSpec, ...]) -> None:
    """Once a process: once it is confined there is no use in it."""
    for task in tasks:
        key = task.data.model_dump_json()
        if key not in _fetched:
            _fetched.add(key)
            fetch(task)


def _problem_at(point: Point, place: Place) -> Problem:
    """The problem that a checkpoint solves.

    Raises:
        BadInput: the data cannot be had, or are not those that it was trained on.
    """
    problem = _problem(point.task, place)
    now = problem.description.checksum
    if point.data not in (None, now):
        raise BadInput(
            f"run {point.run_id} was trained on data of checksum {str(point.data)[:12]}…, its source now gives "
            f"{now[:12]}…: put those data back, or train on these in another store (SUITE_HOME)"
        )
    return problem


_problems: dict[str, Problem] = {}


def _problem(task: TaskSpec, place: Place) -> Problem:
    """The problem of a task, kept while tasks with the same data, model and loss follow one another."""
    parts = task.model_dump(mode="json", include={"data", "model"})
    key = digest(parts, task.training.loss, str(place.device), str(place.dtype))
    if key not in _problems:
        _problems.clear()
        _problems[key] = load_problem(task, place.device, place.dtype)
    return _problems[key]


@lru_cache(maxsize=1)
def _metrics(origin: Origin) -> Mapping[str, Metric]:
    return {one.name: one for one in metrics_of(origin)}
