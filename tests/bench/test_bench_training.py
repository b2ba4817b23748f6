"""Stacked training against the one-cell-at-a-time loop on `digits-mlp3`: a ratio within one run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from suite.spec.cells import cells, stacks
from suite.spec.loading import load_task
from suite.spec.task import TaskSpec
from suite.training.problem import load_problem, load_test_split
from suite.training.reference import train_cell
from suite.training.stacked import train_stack

TASK = Path(__file__).parents[2] / "tasks/quick/digits-mlp3.yaml"
CPU = torch.device("cpu")


def in_stacks(task: TaskSpec) -> None:
    for stack in stacks(task):
        train_stack(stack, load_problem(task, CPU, torch.float32), load_test_split(task, CPU, torch.float32))


def one_at_a_time(task: TaskSpec) -> None:
    for cell in cells(task):
        train_cell(cell, load_problem(task, CPU, torch.float32))


@pytest.mark.benchmark(group="digits-mlp3, all 50 cells")
@pytest.mark.parametrize("way", [in_stacks, one_at_a_time], ids=["stacked", "loop"])
def test_training(benchmark: BenchmarkFixture, way: object) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the suite's workers do; the loop is faster with one, too
    try:
        benchmark.pedantic(way, args=(load_task(TASK),), rounds=2, warmup_rounds=0)
    finally:
        torch.set_num_threads(threads)
