"""Pooled against averaged SD, and quadrature against exact spectra, on real networks: `python -m tests.bench.pooling`.

A 3 × 3 corner of the quick suite's digits task, trained here: d − SD from all eigenvalues of 20 minibatches, averaged
as in Definition 4.2 and pooled as in SD-SLQ, and from 500 Lanczos runs on the same minibatches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from suite.curvature import AveragedQuantiles, HessianOperator, Quadrature, SpectralMeasure, Step, spectral_measure
from suite.curvature.dense import minibatch_eigenvalues, padded
from suite.measuring.probes.spectrum import minibatch, reduced_loss
from suite.spec.cells import stacks
from suite.spec.loading import load_task
from suite.training.problem import Problem, load_problem, load_test_split
from suite.training.stacked import train_stack

TASK = Path(__file__).parents[2] / "tasks/quick/digits-mlp3.yaml"
RATES, BATCHES, CPU = (0.05, 0.1, 0.2), (32, 64, 128), torch.device("cpu")
DRAWS, RUNS, STEPS, DEFLATED = 20, 500, 60, 40


@dataclass(frozen=True)
class Cell:
    """d − SD of one network at its training batch size."""

    learning_rate: float
    batch: int
    averaged: float
    pooled: float
    quadrature_averaged: float
    quadrature_pooled: float


def cells() -> Iterator[Cell]:
    """The nine networks, seed 0."""
    task = load_task(TASK)
    problem, test = load_problem(task, CPU, torch.float32), load_test_split(task, CPU, torch.float32)
    exact = load_problem(task, CPU, torch.float64)
    for stack in stacks(task):
        batch = stack.cells[0].task.training.batch(len(problem.train))
        if batch in BATCHES:
            for cell, record in zip(stack.cells, train_stack(stack, problem, test), strict=True):
                eta = cell.task.training.optimizer.learning_rate
                if eta in RATES and cell.task.seed == 0:
                    yield measured(exact, record.checkpoints[-1].weights.double(), eta, batch)


def measured(problem: Problem, weights: Tensor, eta: float, batch: int) -> Cell:
    """All eigenvalues, and 500 runs with the largest eigenpairs deflated, on the same minibatches."""

    def operands(draw: int) -> tuple[Callable[[Tensor], Tensor], Tensor, int]:
        at = minibatch(draw, batch, len(problem.train))
        return reduced_loss(problem, weights, problem.train.inputs[at], problem.train.targets[at])

    def operator(draw: int) -> HessianOperator:
        loss, at, zeros = operands(draw)
        return HessianOperator(loss, at, rows=32, zeros=zeros)

    rows = [minibatch_eigenvalues(*operands(draw)[:2])[0] for draw in range(DRAWS)]
    exact = SpectralMeasure.of_eigenvalues(padded(rows), len(weights))
    found = spectral_measure(operator, RUNS, STEPS, probes_per_draw=RUNS // DRAWS, deflate=DEFLATED)
    estimators = AveragedQuantiles(Step(eta)), Quadrature(Step(eta))
    values = [len(weights) - estimator(measure) for measure in (exact, found) for estimator in estimators]
    return Cell(eta, batch, *values)


def table() -> str:
    """In Markdown."""
    lines = [
        "| η | b | averaged (Def. 4.2) | pooled | pooled is lower by | averaged, 500 runs | pooled, 500 runs |",
        "| --- | --- " + "| ---: " * 5 + "|",
    ]
    for c in cells():
        less = f"{1 - c.pooled / c.averaged:.1%}"
        errors = [
            f"{found:.2f} ({found / true - 1:+.1%})"
            for found, true in ((c.quadrature_averaged, c.averaged), (c.quadrature_pooled, c.pooled))
        ]
        lines.append(
            f"| {c.learning_rate} | {c.batch} | {c.averaged:.2f} | {c.pooled:.2f} | {less} | {' | '.join(errors)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
