"""Training as a job: a stack in, plain bytes out; run in a worker process, on the device it is given."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from safetensors.torch import save
from torch import Tensor

from suite.executors import Progress
from suite.measuring.place import Place
from suite.measuring.provenance import device_name, software
from suite.spec.cells import Stack
from suite.store import StoredCheckpoint, StoredRun
from suite.training.problem import load_problem, load_test_split
from suite.training.record import Checkpoint, RunRecord
from suite.training.stacked import train_stack

Trained = tuple[tuple[StoredRun, ...], float, dict[str, Any]]


def train_job(stack: Stack, place: Place, progress: Progress) -> Trained:
    """Train a stack; its runs with their tensors as safetensors bytes, the seconds it took, and its provenance."""
    place.prepare()
    start = time.perf_counter()
    try:
        records, description = _train(stack, place, progress)
    except RuntimeError:
        place.leave_if_unusable()
        raise
    run_ids = stack.run_ids(place.environment)
    runs = tuple(_stored(run_id, record) for run_id, record in zip(run_ids, records, strict=True))
    provenance = {"device_name": device_name(place.device), "data": description, **software()}
    return runs, time.perf_counter() - start, provenance


def _train(stack: Stack, place: Place, progress: Progress) -> tuple[tuple[RunRecord, ...], dict[str, Any]]:
    task = stack.cells[0].task
    test = load_test_split(task, place.device, place.dtype)  # first: then both parts come of one reading
    problem = load_problem(task, place.device, place.dtype)
    return train_stack(stack, problem, test, progress), asdict(problem.description)


def _stored(run_id: str, record: RunRecord) -> StoredRun:
    trajectory = None if record.trajectory is None else _bytes(record.trajectory)
    points = tuple(_point(c) for c in record.checkpoints)
    return StoredRun(run_id, record.status, len(record.initial), _bytes(record.initial), points, trajectory)


def _point(checkpoint: Checkpoint) -> StoredCheckpoint:
    return StoredCheckpoint(
        checkpoint.step,
        _bytes(checkpoint.weights),
        checkpoint.train_loss,
        checkpoint.train_accuracy,
        checkpoint.test_loss,
        checkpoint.test_accuracy,
    )


def _bytes(tensor: Tensor) -> bytes:
    return save({"tensor": tensor.contiguous()})
