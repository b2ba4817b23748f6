"""Stacked training against the one-cell-at-a-time loop: ratios within one run. `extra_info` has cell-steps per second.

`digits-mlp3` whole, and of the paper's MLP-3 on MNIST some epochs of batch size 16, where a step's overhead is most of
it: with one thread each; and on two cores, where the suite has two workers and a plain loop has PyTorch's two threads
(a second loop beside the first would be another way to use them: that comparison is the one of one thread each).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from suite.spec.cells import Stack, cells, stacks
from suite.spec.loading import load_task
from suite.spec.task import TaskSpec
from suite.training.problem import load_problem, load_test_split
from suite.training.reference import train_cell
from suite.training.stacked import train_stack

TASKS = Path(__file__).parents[2] / "tasks"
CPU = torch.device("cpu")
Way = Callable[[TaskSpec], None]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As the suite's workers have; the loop is faster with one, too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def in_stacks(task: TaskSpec) -> None:
    for stack in stacks(task):
        train_stack(stack, load_problem(task, CPU, torch.float32), load_test_split(task, CPU, torch.float32))


def one_at_a_time(task: TaskSpec) -> None:
    for cell in cells(task):
        train_cell(cell, load_problem(task, CPU, torch.float32))


ways = pytest.mark.parametrize("way", [in_stacks, one_at_a_time], ids=["stacked", "loop"])


@pytest.mark.benchmark(group="digits-mlp3, all 50 cells")
@ways
def test_training(benchmark: BenchmarkFixture, way: Way) -> None:
    _measure(benchmark, way, load_task(TASKS / "quick/digits-mlp3.yaml"))


@pytest.mark.benchmark(group="mnist/mlp3, two epochs of the 10 cells of batch size 16")
@pytest.mark.skipif("SUITE_DATA_DIR" not in os.environ, reason="reads MNIST: SUITE_DATA_DIR is not set")
@ways
def test_training_in_small_batches(benchmark: BenchmarkFixture, way: Way) -> None:
    task = small_batches(2, [0, 1])
    load_data(task)
    _measure(benchmark, way, task)


@pytest.mark.benchmark(group="mnist/mlp3, one epoch of cells of batch size 16, two cores")
@pytest.mark.skipif("SUITE_DATA_DIR" not in os.environ, reason="reads MNIST: SUITE_DATA_DIR is not set")
@pytest.mark.parametrize("way", ["two workers, a stack each", "loop of two threads"])
def test_training_in_small_batches_on_two_cores(benchmark: BenchmarkFixture, way: str) -> None:
    if way.startswith("loop"):
        torch.set_num_threads(2)
        task = small_batches(1, [0])
        load_data(task)
        _measure(benchmark, one_at_a_time, task)
        return
    task = small_batches(1, [0, 1, 2, 3])
    with ProcessPoolExecutor(2, get_context("spawn"), load_data, (task,)) as pool:
        assert all(pool.map(_ready, range(2)))
        _measure(benchmark, lambda task: _in_workers(pool, task), task)


def small_batches(epochs: int, seeds: list[int]) -> TaskSpec:
    """The cells of batch size 16 of MLP-3 on MNIST: steps and nothing else, as the loop takes them."""
    whole = load_task(TASKS / "mnist/mlp3.yaml")
    grid = whole.grid | {"training.batch_size": [16], "seed": seeds}
    plain = {"epochs": epochs, "sharpness": None, "trajectory": None, "stack_size": 10}
    return whole.model_copy(update={"grid": grid, "training": whole.training.model_copy(update=plain)})


def load_data(task: TaskSpec) -> None:
    """Read them once, so that no way of training is charged for it."""
    torch.set_num_threads(torch.get_num_threads() if in_main() else 1)
    load_problem(task, CPU, torch.float32)
    load_test_split(task, CPU, torch.float32)


def in_main() -> bool:
    """Whether this is the process that measures, not a worker."""
    return parent_process() is None


def _ready(number: int) -> bool:
    """Done when a worker has started: of two at once, each has one."""
    time.sleep(1)
    return number >= 0


def _in_workers(pool: ProcessPoolExecutor, task: TaskSpec) -> None:
    done = list(pool.map(_train, stacks(task)))
    assert len(done) == 2


def _train(stack: Stack) -> int:
    task = stack.cells[0].task
    return len(train_stack(stack, load_problem(task, CPU, torch.float32), load_test_split(task, CPU, torch.float32)))


def _measure(benchmark: BenchmarkFixture, way: Way, task: TaskSpec) -> None:
    benchmark.pedantic(way, args=(task,), rounds=2, warmup_rounds=0)
    samples = len(load_problem(task, CPU, torch.float32).train)
    steps = sum(cell.task.training.total_steps(samples) for cell in cells(task))
    stats: Any = benchmark.stats
    if stats:  # none with --benchmark-disable
        benchmark.extra_info["cell_steps_per_second"] = round(steps / stats.stats.min)
