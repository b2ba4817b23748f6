"""What a worker process does for one run: its probes, then its metrics. Plain arguments in, plain rows out."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from suite.executors import Progress
from suite.measuring.probes import load_spectrum, spectral_probe
from suite.measuring.train import prepare
from suite.metrics import Estimate, Metric, Run, find_metrics
from suite.metrics.registry import Value
from suite.spec.cells import digest
from suite.spec.task import TaskSpec
from suite.store import StoredProbe, StoredValue, read_checked
from suite.training.problem import Problem, load_problem


@dataclass(frozen=True)
class Place:
    """Where to work: `device` such as `cuda:0`, `dtype` of training."""

    device: str
    dtype: str


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
    """One value to measure: a metric at a checkpoint whose probe lies in `probe`."""

    key: str
    point: Point
    metric: str
    probe: Path


def probe_job(points: tuple[tuple[str, Point], ...], place: Place, progress: Progress) -> list[StoredProbe]:
    """The spectral probe of each checkpoint, by probe key."""
    prepare(place.device)
    made = []
    for done, (key, point) in enumerate(points, 1):
        start = time.perf_counter()
        problem, spec = _problem(point.task, place), point.task.probes.spectrum
        try:
            tensors = spectral_probe(problem, _tensor(point.weights, place), spec, _batch_size(point.task, problem))
        except (ValueError, RuntimeError) as error:
            made.append(_failed_probe(key, point, error, time.perf_counter() - start))
        else:
            content = save({name: t.cpu().contiguous() for name, t in tensors.items()})
            made.append(StoredProbe(key, point.run_id, point.step, content, "ok", "", time.perf_counter() - start))
        progress(done, len(points))
    return made


def metric_job(
    wanted: tuple[Wanted, ...], files: tuple[Path, ...], place: Place, progress: Progress
) -> list[StoredValue]:
    """The values wanted. A metric that raises is a row with the reason; each sees fresh copies of what it may touch."""
    prepare(place.device)
    metrics = _metrics(files)
    rows: list[StoredValue] = []
    for done, want in enumerate(wanted, 1):
        rows += _measure(want, metrics[want.metric], place)
        progress(done, len(wanted))
    return rows


def _measure(want: Wanted, metric: Metric, place: Place) -> list[StoredValue]:
    start = time.perf_counter()
    try:
        parts = _components(metric.measure(_run(want, place)))
    except Exception as error:  # noqa: BLE001 - whatever a metric raises is that metric's failure
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return [failed_value(want, metric, "failed", reason, time.perf_counter() - start)]
    seconds = time.perf_counter() - start
    return [_row(want, metric, name, value, seconds) for name, value in parts.items()]


def _components(value: Value | dict[str, Value]) -> dict[str, Value]:
    if not isinstance(value, dict):
        return {"": value}
    if not value or not all(isinstance(name, str) and name for name in value):
        raise ValueError("a dict of values needs at least one entry and names for all of them")
    return value


def _row(want: Wanted, metric: Metric, component: str, value: Value, seconds: float) -> StoredValue:
    number, error = (value.value, value.standard_error) if isinstance(value, Estimate) else (value, None)
    if isinstance(number, bool) or not isinstance(number, int | float):
        reason = f"returned {type(number).__name__}, not a number"
        return failed_value(want, metric, "failed", reason, seconds, component)
    if not math.isfinite(number) or (error is not None and not math.isfinite(error)):
        return failed_value(want, metric, "failed", f"returned {number} ± {error}", seconds, component)
    point = want.point
    return StoredValue(
        want.key, component, point.run_id, point.step, metric.name, metric.version, float(number), error, "ok", "",
        seconds,
    )  # fmt: skip


def failed_value(
    want: Wanted, metric: Metric, status: str, reason: str, seconds: float, component: str = ""
) -> StoredValue:
    """The row of a value that could not be had."""
    point = want.point
    return StoredValue(
        want.key, component, point.run_id, point.step, metric.name, metric.version, None, None, status, reason, seconds
    )


def _failed_probe(key: str, point: Point, error: Exception, seconds: float) -> StoredProbe:
    reason = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return StoredProbe(key, point.run_id, point.step, None, "failed", reason, seconds)


def _run(want: Wanted, place: Place) -> Run:
    point = want.point
    problem = _problem(point.task, place)
    spectrum = load_spectrum(point.task.probes.spectrum, load(read_checked(want.probe)))
    return Run(
        key=_run_key(point.task),
        task=point.task,
        step=point.step,
        weights=_tensor(point.weights, place),
        initial=_tensor(point.initial, place),
        batch_loss=problem.loss,
        inputs=problem.train.inputs,
        targets=problem.train.targets,
        spectrum=spectrum,
    )


def _run_key(task: TaskSpec) -> str:
    return digest(task.model_dump(mode="json", include={"data", "model", "training", "seed"}))


def _tensor(path: Path, place: Place) -> Tensor:
    return load(read_checked(path))["tensor"].to(place.device)


def _batch_size(task: TaskSpec, problem: Problem) -> int:
    return task.training.batch(len(problem.train))


_problems: dict[str, Problem] = {}


def _problem(task: TaskSpec, place: Place) -> Problem:
    """The problem of a task, kept while tasks with the same data, model and loss follow one another."""
    parts = task.model_dump(mode="json", include={"data", "model"})
    key = digest(parts, task.training.loss, place.device, place.dtype)
    if key not in _problems:
        _problems.clear()
        _problems[key] = load_problem(task, torch.device(place.device), getattr(torch, place.dtype))
    return _problems[key]


@lru_cache(maxsize=1)
def _metrics(files: tuple[Path, ...]) -> Mapping[str, Metric]:
    return find_metrics(files)
