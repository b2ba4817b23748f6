"""What a worker process does: the probe of a checkpoint, the metrics of a run. Plain arguments in, plain rows out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from suite.errors import first_line
from suite.executors import Progress
from suite.measuring.limits import memory_limit
from suite.measuring.place import Place
from suite.measuring.probes import load_spectrum, retried, spectral_probe
from suite.metrics import Estimate, Metric, Run, find_metrics
from suite.metrics.registry import Value
from suite.spec.cells import digest
from suite.spec.task import TaskSpec
from suite.store import StoredProbe, StoredValue, read_checked
from suite.training.evaluate import evaluate
from suite.training.problem import Problem, Split, load_problem


@dataclass(frozen=True)
class Point:
    """One checkpoint of a run as a worker is told of it: files, not tensors."""

    task: TaskSpec
    run_id: str
    step: int
    weights: Path
    initial: Path


@dataclass(frozen=True)
class Wanted:
    """One value to measure: a metric at a checkpoint, and the file of the probe if the metric reads one."""

    key: str
    point: Point
    metric: str
    probe: Path | None


def probe_job(key: str, point: Point, place: Place, progress: Progress) -> StoredProbe:
    """The spectral probe of a checkpoint."""
    place.prepare()
    start = time.perf_counter()
    problem, spec = _problem(point.task, place), point.task.probes.spectrum
    try:
        weights = _tensor(point.weights, place)
        tensors = spectral_probe(problem, weights, spec, point.task.training.batch(len(problem.train)))
    except (ValueError, RuntimeError) as error:
        place.leave_if_unusable()
        seconds = time.perf_counter() - start
        return StoredProbe(key, point.run_id, point.step, None, "failed", first_line(error), seconds)
    content = save({name: t.cpu().contiguous() for name, t in tensors.items()})
    seconds = time.perf_counter() - start
    return StoredProbe(key, point.run_id, point.step, content, "ok", retried(tensors), seconds)


def metric_job(
    wanted: tuple[Wanted, ...], files: tuple[Path, ...], place: Place, memory: int | None, progress: Progress
) -> list[StoredValue]:
    """The values wanted, each within `memory` bytes. A metric that raises is a row with the reason."""
    place.prepare()
    metrics = _metrics(files)
    rows: list[StoredValue] = []
    for done, want in enumerate(wanted, 1):
        rows += _measure(want, metrics[want.metric], place, memory)
        progress(done, len(wanted))
    return rows


def _measure(want: Wanted, metric: Metric, place: Place, memory: int | None) -> list[StoredValue]:
    start = time.perf_counter()
    try:
        run = _run(want, place)
        with memory_limit(memory):
            parts = _components(metric.measure(run))
        seconds = time.perf_counter() - start
        return [_row(want, metric, name, value, seconds) for name, value in parts.items()]
    except BaseException as error:  # noqa: BLE001 - whatever a metric raises is its own failure, SystemExit too
        place.leave_if_unusable()
        return [failed_value(want, metric, "failed", first_line(error), time.perf_counter() - start)]


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
        want.key, component, point.run_id, point.step, metric.name, metric.version, float(number),
        None if error is None else float(error), "ok", "", seconds,
    )  # fmt: skip


def failed_value(
    want: Wanted, metric: Metric, status: str, reason: str, seconds: float, component: str = ""
) -> StoredValue:
    """The row of a value that could not be had."""
    point = want.point
    return StoredValue(
        want.key, component, point.run_id, point.step, metric.name, metric.version, None, None, status, reason, seconds
    )


def _run(want: Wanted, place: Place) -> Run:
    """What a metric is given: copies of its own of everything it could change."""
    point = want.point
    kept = _problem(point.task, place)
    spectrum = None
    if want.probe is not None:
        spectrum = load_spectrum(point.task.probes.spectrum, load(read_checked(want.probe)))
    problem = replace(kept, train=Split(kept.train.inputs.clone(), kept.train.targets.clone()))
    return Run(
        key=_run_key(point.task),
        task=point.task.model_copy(deep=True),
        step=point.step,
        weights=_tensor(point.weights, place),
        initial=_tensor(point.initial, place),
        batch_loss=problem.loss,
        whole_loss=lambda weights: evaluate(problem, weights[None], problem.train)[0, 0],
        inputs=problem.train.inputs,
        targets=problem.train.targets,
        probe=spectrum,
    )


def _run_key(task: TaskSpec) -> str:
    return digest(task.model_dump(mode="json", include={"data", "model", "training", "seed"}))


def _tensor(path: Path, place: Place) -> Tensor:
    return load(read_checked(path))["tensor"].to(place.device)


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
def _metrics(files: tuple[Path, ...]) -> Mapping[str, Metric]:
    return find_metrics(files)
