"""Training as a job: a stack in, plain bytes out; run in a worker process, on the device it is given."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from suite.executors import Progress
from suite.spec.cells import Stack
from suite.store import StoredCheckpoint, StoredRun
from suite.training.problem import load_problem, load_test_split
from suite.training.record import Checkpoint, RunRecord
from suite.training.stacked import train_stack

Trained = tuple[tuple[StoredRun, ...], float, dict[str, Any]]


def train_job(stack: Stack, run_ids: tuple[str, ...], device: str, dtype: str, progress: Progress) -> Trained:
    """Train a stack; its runs with their tensors as safetensors bytes, the seconds it took, and its provenance."""
    prepare(device)
    start = time.perf_counter()
    task, at, kind = stack.cells[0].task, torch.device(device), getattr(torch, dtype)
    problem = load_problem(task, at, kind)
    records = train_stack(stack, problem, load_test_split(task, at, kind), progress)
    runs = tuple(_stored(run_id, record) for run_id, record in zip(run_ids, records, strict=True))
    provenance = {"device_name": device_name(device), "data": asdict(problem.description)}
    return runs, time.perf_counter() - start, provenance


def device_name(device: str) -> str:
    """What people call the device, such as "NVIDIA H200" or "AMD EPYC"."""
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def prepare(device: str) -> None:
    """Settings of a worker that decide the bits of its results: one thread a worker, no reduced precision on CUDA."""
    torch.set_num_threads(1)
    if device != "cpu":
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


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
