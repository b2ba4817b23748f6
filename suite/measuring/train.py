"""Training as a job: a stack in, plain bytes out; run in a worker process, on the device it is given."""

from __future__ import annotations

import itertools
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
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

_REFUSED = re.compile(r"DefaultCPUAllocator: |CUDA( driver)? error: out of memory|_ALLOC(ATION)?_FAILED\b")
"""What errors say that are of no kind of their own: torch on a CPU, CUDA, and cuBLAS, cuDNN and their like."""


def train_job(stack: Stack, place: Place, progress: Progress) -> Trained:
    """Train a stack; its runs with their tensors as safetensors bytes, the seconds it took, and its provenance."""
    place.prepare()
    start = time.perf_counter()
    try:
        runs, description, parts = _train(stack, place, progress)
    except RuntimeError:
        place.leave_if_unusable()
        raise
    provenance = {"device_name": device_name(place.device), "data": description, "parts": parts, **software()}
    return runs, time.perf_counter() - start, provenance


def _train(stack: Stack, place: Place, progress: Progress) -> tuple[tuple[StoredRun, ...], dict[str, Any], int]:
    """Its runs, what is to be said of the data, and how many parts it had to be trained in."""
    task = stack.cells[0].task
    test = load_test_split(task, place.device, place.dtype)  # first: then both parts come of one reading
    problem = load_problem(task, place.device, place.dtype)
    parts = list(
        train_in_parts(stack, place.device, lambda part, told: train_stack(part, problem, test, told), progress)
    )
    named = zip(stack.run_ids(place.environment), itertools.chain.from_iterable(parts), strict=True)
    kept = task.training.trajectory
    runs = tuple(_stored(run_id, record, problem, kept) for run_id, record in named)
    return runs, asdict(problem.description), len(parts)


def train_in_parts(
    stack: Stack, device: torch.device, train: Callable[[Stack, Progress], Sequence[RunRecord]], progress: Progress
) -> Iterator[Sequence[RunRecord]]:
    """A stack's records, whole or, where that takes more memory than there is, of its halves, and so on.

    Cells see the same data in the same order in whatever company, but sums may be rounded otherwise: who reads the
    results is told of it by `parts` in their provenance.

    Raises:
        RuntimeError, MemoryError: a single cell runs out of memory, or it is about something else.
    """
    waiting, done = deque([stack]), 0
    while waiting:
        part = waiting.popleft()
        whole, before = len(stack.cells), done

        def told(now: int, total: int, cells: int = len(part.cells), before: int = before, whole: int = whole) -> None:
            progress(before * total + cells * now, whole * total)

        try:
            records = train(part, told)
        except (RuntimeError, MemoryError) as error:  # torch's, and that of numpy and Python
            if len(part.cells) == 1 or not _is_of_memory(error, device):
                raise
            middle = len(part.cells) // 2
            waiting.extendleft((Stack(part.cells[middle:]), Stack(part.cells[:middle])))
        else:
            done += len(part.cells)
            yield records
        if device.type == "cuda":  # after the error's own frames are gone, which hold what it ran out of memory with
            torch.cuda.empty_cache()


def _is_of_memory(error: RuntimeError | MemoryError, device: torch.device) -> bool:
    """Whether memory was refused, of a device that still answers.

    After an error inside a kernel CUDA's libraries may say as they begin that they cannot allocate.
    """
    refused = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _REFUSED.search(str(error)) is not None
    if refused and device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except RuntimeError:
            return False
    return refused


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
