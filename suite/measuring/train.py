"""Training as a job: a stack in, plain bytes out; run in a worker process, on the device it is given."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from safetensors.torch import save
from torch import Tensor

from suite.executors import Progress
from suite.measuring.distances import trajectory_distances
from suite.measuring.place import Place
from suite.measuring.provenance import device_name, software
from suite.spec.cells import Stack
from suite.spec.training import Trajectory
from suite.store import StoredCheckpoint, StoredRun
from suite.training.problem import Problem, load_problem, load_test_split
from suite.training.record import Checkpoint, RunRecord
from suite.training.stacked import train_stack

Trained = tuple[tuple[StoredRun, ...], float, dict[str, Any]]


def train_job(stack: Stack, place: Place, progress: Progress) -> Trained:
    """Train a stack; its runs with their tensors as safetensors bytes, the seconds it took, and its provenance."""
    place.prepare()
    start = time.perf_counter()
    try:
        runs, description = _train(stack, place, progress)
    except RuntimeError:
        place.leave_if_unusable()
        raise
    provenance = {"device_name": device_name(place.device), "data": description, **software()}
    return runs, time.perf_counter() - start, provenance


def _train(stack: Stack, place: Place, progress: Progress) -> tuple[tuple[StoredRun, ...], dict[str, Any]]:
    task = stack.cells[0].task
    test = load_test_split(task, place.device, place.dtype)  # first: then both parts come of one reading
    problem = load_problem(task, place.device, place.dtype)
    records = train_stack(stack, problem, test, progress)
    named = zip(stack.run_ids(place.environment), records, strict=True)
    kept = task.training.trajectory
    return tuple(_stored(run_id, record, problem, kept) for run_id, record in named), asdict(problem.description)


def _stored(run_id: str, record: RunRecord, problem: Problem, kept: Trajectory | None) -> StoredRun:
    """A run as it is stored: of its trajectory the distances alone, which are thousands of times smaller."""
    distances = None
    if kept is not None and record.trajectory is not None:
        distances = save(trajectory_distances(problem, record.trajectory, kept.samples, kept.every))
    points = tuple(_point(c) for c in record.checkpoints)
    initial, curve = _bytes(record.initial), _bytes(record.curve)
    size = len(record.initial)
    return StoredRun(run_id, record.status, size, initial, curve, points, distances, record.sharpness)


def _point(checkpoint: Checkpoint) -> StoredCheckpoint:
    return StoredCheckpoint(
        checkpoint.step,
        _bytes(checkpoint.weights),
        checkpoint.train_loss,
        checkpoint.train_accuracy,
        checkpoint.test_loss,
        checkpoint.test_accuracy,
        save({str(number): part.contiguous() for number, part in enumerate(checkpoint.state)})
        if checkpoint.state
        else None,
    )


def _bytes(tensor: Tensor) -> bytes:
    return save({"tensor": tensor.contiguous()})
