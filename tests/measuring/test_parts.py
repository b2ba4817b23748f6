"""A stack that does not fit is trained in parts: the same runs, in their order, and it is said in how many."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.executors import Progress
from suite.measuring import train
from suite.measuring.place import Place
from suite.spec.cells import Stack, stacks
from suite.spec.loading import load_task
from tests.command import TINY

CPU = Place.of("cpu", "float32")


def nothing(done: int, total: int) -> None:
    pass


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    (tmp_path / "task.yaml").write_text(TINY)
    return max(stacks(load_task(tmp_path / "task.yaml")), key=lambda one: len(one.cells))  # six cells


def fits(most: int, error: Exception) -> Callable[[Stack, Progress], list[str]]:
    """Training on a device that has room for so many cells."""

    def records(part: Stack, progress: Progress) -> list[str]:
        progress(1, 2)
        if len(part.cells) > most:
            raise error
        progress(2, 2)
        return [repr(cell) for cell in part.cells]

    return records


@pytest.mark.parametrize(("most", "sizes"), [(6, [6]), (5, [3, 3]), (3, [3, 3]), (2, [1, 2, 1, 2]), (1, [1] * 6)])
def test_parts_are_halves_and_cells_keep_their_order(stack: Stack, most: int, sizes: list[int]) -> None:
    told: list[float] = []
    fake = fits(most, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB"))
    parts = list(
        train.train_in_parts(stack, CPU.device, fake, lambda done, total: told.append(done / total))  # type: ignore[arg-type]
    )
    assert [len(part) for part in parts] == sizes
    assert [one for part in parts for one in part] == [repr(cell) for cell in stack.cells]
    assert told[-1] == 1.0


@pytest.mark.parametrize(
    ("most", "error"), [(5, RuntimeError("shapes do not match")), (0, torch.OutOfMemoryError("all"))]
)
def test_what_halving_does_not_help_is_raised(stack: Stack, most: int, error: RuntimeError) -> None:
    with pytest.raises(RuntimeError, match=str(error)):
        list(train.train_in_parts(stack, CPU.device, fits(most, error), nothing))  # type: ignore[arg-type]


def test_numpy_says_it_in_other_words(stack: Stack) -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(2**50, dtype=np.float64)
    parts = list(train.train_in_parts(stack, CPU.device, fits(4, caught.value), nothing))  # type: ignore[arg-type]
    assert [len(part) for part in parts] == [3, 3]


def test_a_cpu_says_it_in_other_words(stack: Stack) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float64)
    parts = list(train.train_in_parts(stack, CPU.device, fits(4, caught.value), nothing))  # type: ignore[arg-type]
    assert [len(part) for part in parts] == [3, 3]


ADVICE = (
    "\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be "
    "incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
)
REFUSED = [
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),  # before its version 9
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError(f"CUDA error: out of memory{ADVICE}"),
    RuntimeError("CUDA driver error: out of memory"),
]
BROKEN = [
    RuntimeError(f"CUDA error: an illegal memory access was encountered{ADVICE}"),
    RuntimeError(f"CUDA error: device-side assert triggered{ADVICE}"),
    RuntimeError(f"CUDA error: unspecified launch failure{ADVICE}"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, m, n, k )`"),
]
"""Torch's words; there is no device in these tests that could say them."""


def halved(stack: Stack, error: RuntimeError) -> list[int]:
    """The sizes of the parts on a GPU that has room for four of six cells."""
    fake = fits(4, error)
    return [len(part) for part in train.train_in_parts(stack, torch.device("cuda", 0), fake, nothing)]  # type: ignore[arg-type]


@pytest.mark.parametrize("error", REFUSED)
def test_gpus_and_their_libraries_say_it_in_other_words(
    stack: Stack, error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "synchronize", asked.append)
    assert halved(stack, error) == [3, 3]
    assert asked == [torch.device("cuda", 0)]


@pytest.mark.parametrize("error", BROKEN)
def test_a_stack_on_a_device_that_broke_is_not_halved(
    stack: Stack, error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    with pytest.raises(RuntimeError) as caught:
        halved(stack, error)
    assert caught.value is error


def test_what_a_library_says_on_a_device_that_broke_is_not_of_memory(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(device: torch.device) -> None:
        raise BROKEN[1]

    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    with pytest.raises(RuntimeError) as caught:
        halved(stack, REFUSED[0])
    assert caught.value is REFUSED[0]


def test_a_job_in_parts_is_the_same_runs(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _, provenance = train.train_job(stack, CPU, nothing)
    assert provenance["parts"] == 1
    real = train.train_stack

    def small(part: Stack, *others: object) -> object:
        if len(part.cells) > 3:
            raise torch.OutOfMemoryError("no room")
        return real(part, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(train, "train_stack", small)
    parts, _, provenance = train.train_job(stack, CPU, nothing)
    assert provenance["parts"] == 2
    assert [run.run_id for run in parts] == [run.run_id for run in whole]
    for one, other in zip(whole, parts, strict=True):
        assert one.checkpoints[-1].train_loss == pytest.approx(other.checkpoints[-1].train_loss, rel=1e-5)
        assert one.checkpoints[-1].test_loss == pytest.approx(other.checkpoints[-1].test_loss, rel=1e-5)
