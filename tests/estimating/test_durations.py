"""How long single jobs take: in sum what a dry run prints, worked out once for each shape."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from suite import pipeline
from suite.estimating import durations, estimate
from suite.estimating.devices import CPU
from suite.estimating.durations import Durations
from suite.estimating.estimate import affordable, decomposed, known_metrics, measures
from suite.estimating.work import trained
from suite.metrics import find_metrics
from suite.metrics.registry import COSTS
from suite.spec.cells import Stack, stacks
from suite.spec.task import TaskSpec
from tests.command import TINY

GRIDS: dict[str, dict[str, list[Any]]] = {
    "rates": {"training.optimizer.learning_rate": [0.1, 0.2, 0.3], "seed": [0, 1, 2]},
    "momenta": {"training.optimizer.momentum": [0.0, 0.5], "training.optimizer.weight_decay": [0.0, 0.1]},
    "sizes": {"training.batch_size": [16, 64, "full"], "training.epochs": [1, 2]},
    "data": {"data.test_fraction": [0.2, 0.8], "training.loss": ["cross_entropy", "mse"]},
    "probes": {"probes.spectrum.minibatches": [1, 5]},
}


def a_task(grid: dict[str, list[Any]], **training: Any) -> TaskSpec:
    spec = yaml.safe_load(TINY) | {"grid": grid}
    spec["training"] |= training
    spec["probes"] = {"spectrum": {"kind": "dense", "minibatches": 2}, "gradients": {}}
    return TaskSpec.model_validate(spec)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("grid", GRIDS)
def test_in_sum_they_are_what_a_dry_run_prints(grid: str, dtype: str) -> None:
    # of a stack whose cells differ in probes, or in having momentum, a dry run counts the first cell's
    task, metrics = a_task(GRIDS[grid], stack_size=1 if grid in ("probes", "momenta") else 64), known_metrics()
    whole, one = estimate.estimate(task, metrics, CPU, 1, dtype), Durations(CPU, metrics, dtype)
    work = stacks(task)
    assert sum(one.stack(stack) for stack in work) == pytest.approx(whole.seconds["training"])
    cells = [cell.task for stack in work for cell in stack.cells]
    asked = [name for name in whole.probes if whole.probes[name].jobs]
    assert asked == ["spectrum", "gradients"]
    read = {name for metric in metrics for name in metric.probes}
    spans = [decomposed(first.stack.cells[0].task, first, read) for first in trained(task)]
    by_data = {repr(first.stack.cells[0].task.data): span for first, span in zip(trained(task), spans, strict=True)}
    once = sum(CPU.seconds(estimate.in_dtype(span, dtype), "probe") for span in by_data.values())
    assert sum(one.probe(cell, name) for cell in cells for name in asked) + once == pytest.approx(
        whole.seconds["probes"]
    )
    values = [
        one.value(cell, metric.name) for cell in cells for metric in metrics if estimate._measured(cell, metric, 1)
    ]
    assert (len(values), sum(values)) == (whole.values, pytest.approx(whole.seconds["metrics"]))


def test_what_takes_longer_is_known_to() -> None:
    one = Durations(CPU, known_metrics(), "float32")
    wide, narrow = (a_task({}, epochs=1).model_copy(update={"model": a_model(width)}) for width in (300, 4))
    cell = stacks(wide)[0].cells[0]
    assert one.stack(stacks(wide)[0]) > one.stack(stacks(narrow)[0])
    assert one.stack(Stack((cell, cell))) > one.stack(Stack((cell,)))
    assert one.probe(wide, "spectrum") > one.probe(narrow, "spectrum")
    assert one.value(wide, "epsilon_sharpness") > one.value(narrow, "epsilon_sharpness") > one.value(narrow, "steps")


def a_model(width: int) -> Any:
    return a_task({}).model.model_copy(update={"widths": [width]})


def test_it_is_worked_out_once_for_each_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Stack] = []
    counted = durations.stack_of
    monkeypatch.setattr(durations, "stack_of", lambda stack: asked.append(stack) or counted(stack))
    grid = {"training.optimizer.learning_rate": [0.01 * n for n in range(1, 21)], "training.batch_size": [16, 32]}
    work, one = stacks(a_task(grid | {"seed": [0, 1, 2]}, stack_size=1)), Durations(CPU, known_metrics(), "float32")
    assert len(work) == 120
    for stack in work:
        one.stack(stack)
    assert len(asked) == 2
    for stack in work:
        one.probe(stack.cells[0].task, "spectrum")
        one.value(stack.cells[0].task, "epsilon_sharpness")
    assert len(asked) == 2 + 2


def test_a_network_that_cannot_be_counted_begins_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(stack: Stack) -> None:
        raise RuntimeError("data dependent")

    monkeypatch.setattr(durations, "stack_of", broken)
    one, work = Durations(CPU, known_metrics(), "float32"), stacks(a_task({}))
    assert one.stack(work[0]) == one.probe(work[0].cells[0].task, "spectrum") == math.inf


@pytest.mark.parametrize("cost", COSTS)
def test_a_class_of_cost_has_all_that_is_no_dearer_and_the_trivial_ones(cost: str) -> None:
    metrics = find_metrics()
    found = affordable(metrics, cost)
    assert {one.name for one in known_metrics(cost=cost)} == set(found), "a dry run counts what a run measures"
    for name, one in metrics.items():
        assert (name in found) == (one.trivial or COSTS.index(one.cost) <= COSTS.index(cost)), name


def test_a_run_orders_its_work_by_them(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY)
    options = pipeline.Options(tmp_path / "home", device="cpu", dtype="float64", quiet=True)
    with pipeline._laboratory([tmp_path / "tiny.yaml"], options, Console(quiet=True)) as (laboratory, (made,), metrics):
        assert isinstance(laboratory.durations, Durations)
        known = Durations(CPU, measures(metrics), "float64")
        first = made.stacks[0]
        assert laboratory.durations.stack(first) == known.stack(first) > 0
        assert laboratory.durations.value(first.cells[0].task, "weight_norm") > 0
