"""Stacked training against the one-cell-at-a-time loop: ratios within one run, one thread each.

`digits-mlp3` whole; of the paper's MLP-3 on MNIST two epochs of batch size 16, 7,500 steps of ten cells, where
a step's overhead is most of it. `extra_info` has cell-steps per second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from suite.spec.cells import cells, stacks
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
    whole = load_task(TASKS / "mnist/mlp3.yaml")
    grid = whole.grid | {"training.batch_size": [16]}
    plain = {"epochs": 2, "sharpness": None, "trajectory": None}  # steps and nothing else, as the loop takes them
    task = whole.model_copy(update={"grid": grid, "training": whole.training.model_copy(update=plain)})
    load_problem(task, CPU, torch.float32)  # the data are read once
    load_test_split(task, CPU, torch.float32)
    _measure(benchmark, way, task)


def _measure(benchmark: BenchmarkFixture, way: Way, task: TaskSpec) -> None:
    benchmark.pedantic(way, args=(task,), rounds=2, warmup_rounds=0)
    samples = len(load_problem(task, CPU, torch.float32).train)
    steps = sum(cell.task.training.total_steps(samples) for cell in cells(task))
    stats: Any = benchmark.stats
    if stats:  # none with --benchmark-disable
        benchmark.extra_info["cell_steps_per_second"] = round(steps / stats.stats.min)
