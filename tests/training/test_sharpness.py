"""The largest eigenvalue along training: against dense matrices, and without any influence on what is trained."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import suite.training.sharpness as module
from suite.curvature import dense_hessian
from suite.measuring.place import Place
from suite.measuring.train import train_job
from suite.metrics import find_metrics
from suite.spec.cells import Cell, Stack, cells, stacks
from suite.store import Store
from suite.training.problem import Problem, load_problem, load_test_split
from suite.training.record import RunRecord
from suite.training.sharpness import LargestEigenvalue, edge_ratio, sample
from suite.training.stacked import train_stack
from tests.metrics.test_spectrum import dense, value_of, with_spectrum
from tests.training.test_stacked import CPU, task, train

MLP = {"kind": "mlp", "widths": [8], "activation": "gelu"}
TRANSFORMER: dict[str, object] = {
    "data": {"kind": "modular", "modulus": 7, "operation": "add", "encoding": "tokens", "train_fraction": 0.8},
    "model": {"kind": "transformer", "layers": 1, "width": 4, "heads": 2},
}


def dense_top(problem: Problem, weights: torch.Tensor, samples: int) -> float:
    """Of all eigenvalues, in float64."""
    at = sample(len(problem.train), samples)
    inputs, targets = problem.train.inputs[at], problem.train.targets[at]
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    matrix = dense_hessian(lambda flat: problem.loss(flat, inputs, targets), weights.double())
    return float(torch.linalg.eigvalsh(matrix)[-1])


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize(
    ("changes", "samples"),
    [
        ({}, 300),
        ({"model": MLP}, 5000),
        ({"training": {"optimizer": {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9}}}, 300),
        (TRANSFORMER, 39),
    ],
    ids=["relu", "gelu, all inputs", "momentum", "transformer"],
)
def test_float32_values_along_training_are_those_of_dense_matrices(
    changes: dict[str, Any], samples: int, loss: str
) -> None:
    training = {
        "batch_size": 16,
        "steps": 60,
        "loss": loss,
        "checkpoints": {"kind": "log", "count": 4, "initial": True},
        "sharpness": {"kind": "log", "count": 4, "samples": samples},
    }
    rates = {"training.optimizer.learning_rate": [0.02, 0.2]}
    changes = {**changes, "training": training | changes.get("training", {}), "grid": rates}
    spec = task(**changes)
    problem = load_problem(spec, CPU, torch.float32)
    for record in train(spec):
        assert [step for step, _ in record.sharpness] == [point.step for point in record.checkpoints]
        for (_, value), point in zip(record.sharpness, record.checkpoints, strict=True):
            assert value == pytest.approx(dense_top(problem, point.weights, samples), rel=0.01)


def test_it_is_the_largest_and_not_the_one_of_largest_size() -> None:
    """Of w ↦ Σ a w² / 2 the Hessian is diag a."""
    problem = load_problem(task(), CPU, torch.float64)
    diagonal = torch.tensor([-9.0, -1.0, 0.5, 2.0], dtype=torch.float64)

    class Quadratic(LargestEigenvalue):
        def _part(self, flat: torch.Tensor, start: int, stop: int) -> torch.Tensor:
            return (diagonal * flat * flat).sum() / 2

    assert Quadratic(problem, 10, 20, 1e6)(torch.ones(4, dtype=torch.float64)) == pytest.approx(2.0, rel=1e-9)
    assert math.isnan(Quadratic(problem, 10, 20, -8.0)(torch.ones(4, dtype=torch.float64))), "the loss is −3.75"


def test_a_sample_in_chunks_gives_what_it_gives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = task(training={"sharpness": {"samples": 100}})
    problem = load_problem(spec, CPU, torch.float64)
    weights = train(spec, torch.float64)[0].checkpoints[-1].weights
    whole = LargestEigenvalue.of(problem, spec.training)
    monkeypatch.setattr(module, "_MOST_NUMBERS", 64 * 30)  # 30 of the 64 pixels' numbers at once: four chunks
    parts = LargestEigenvalue.of(problem, spec.training)
    assert whole is not None
    assert parts is not None
    assert parts._parts() == [(0, 30), (30, 60), (60, 90), (90, 100)]
    assert parts(weights) == pytest.approx(whole(weights), rel=1e-9)


def test_a_network_that_is_dead_has_none_but_zeros() -> None:
    problem = load_problem(task(), CPU, torch.float32)
    assert LargestEigenvalue(problem, 50, 10, 1e6)(torch.zeros(problem.model.size)) == 0.0


def test_weights_that_are_not_finite_have_no_eigenvalue() -> None:
    problem = load_problem(task(), CPU, torch.float32)
    found = LargestEigenvalue(problem, 50, 10, math.inf)
    assert math.isnan(found(torch.full((problem.model.size,), math.nan)))


def test_where_the_loss_is_finite_and_its_hessian_is_not_there_is_none() -> None:
    problem = load_problem(task(), CPU, torch.float32)

    class Root(LargestEigenvalue):
        def _part(self, flat: torch.Tensor, start: int, stop: int) -> torch.Tensor:
            return flat.square().sum().sqrt()

    assert math.isnan(Root(problem, 10, 20, 1e6)(torch.zeros(4)))
    assert Root(problem, 10, 20, 1e6)(torch.tensor([0.5, 0.0, 0.0, 0.0])) == pytest.approx(2.0)


def test_the_sample_is_the_same_for_all_and_all_where_there_are_fewer() -> None:
    assert torch.equal(sample(100, 10), sample(100, 10))
    assert len(sample(100, 10).unique()) == 10
    assert torch.equal(sample(100, 10), sample(100, 20)[:10])
    assert torch.equal(sample(100, 100), torch.arange(100))
    assert torch.equal(sample(100, 1024), torch.arange(100))


OPTIMIZERS = [
    {"kind": "sgd", "learning_rate": 0.1},
    {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
    {"kind": "adamw", "learning_rate": 0.003},
]


def equal_runs(one: RunRecord, other: RunRecord) -> bool:
    """Bit for bit, but for the largest eigenvalues."""
    pairs = zip(one.checkpoints, other.checkpoints, strict=True)
    same = all(a.step == b.step and torch.equal(a.weights, b.weights) and a.test_loss == b.test_loss for a, b in pairs)
    return same and one.status == other.status and torch.equal(one.curve, other.curve)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "heavy-ball", "adamw"])
@pytest.mark.parametrize("model", [MLP, {"kind": "mlp", "widths": [12, 12], "bias": False}], ids=["gelu", "relu"])
def test_training_is_the_same_with_and_without(optimizer: dict[str, object], model: dict[str, object]) -> None:
    """With cells that diverge on the way and cells that stop."""
    training = {"optimizer": optimizer, "steps": 350, "stop": {"train_accuracy": 0.97}}
    training["checkpoints"] = {"kind": "even", "count": 7}
    rates = {"training.optimizer.learning_rate": [0.003, 0.2, 1e5], "seed": [0, 1]}
    without = train(task(training=training, model=model, grid=rates))
    looked_at = train(task(training={**training, "sharpness": {"count": 9}}, model=model, grid=rates))
    assert all(equal_runs(a, b) for a, b in zip(without, looked_at, strict=True))
    assert all(record.sharpness == () for record in without)
    assert all(len(record.sharpness) > 1 for record in looked_at)


def test_the_same_training_gives_the_same_bits_and_a_cell_alone_the_same_values() -> None:
    spec = task(training={"sharpness": {"count": 3}})
    (stack,) = stacks(spec)
    first, second = train(spec, torch.float64), train(spec, torch.float64)
    assert [record.sharpness for record in first] == [record.sharpness for record in second]
    (alone,) = train(spec, torch.float64, Stack(stack.cells[3:4]))
    assert dict(alone.sharpness) == pytest.approx(dict(first[3].sharpness), rel=1e-9)


def test_no_test_data_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = task(training={"sharpness": {"count": 2}})
    (stack,) = stacks(spec)
    problem, test = load_problem(spec, CPU, torch.float32), load_test_split(spec, CPU, torch.float32)
    first = train_stack(stack, problem, test)
    test.inputs.zero_()
    test.targets.zero_()
    assert [r.sharpness for r in first] == [r.sharpness for r in train_stack(stack, problem, test)]


@pytest.mark.parametrize("steps", [1, 3, 300])
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_a_diverged_run_has_none_after_its_last_weights(loss: str, steps: int) -> None:
    rates = {"training.optimizer.learning_rate": [0.05, 1000.0]}
    training = {"steps": steps, "loss": loss, "sharpness": {"count": 30}, "stop": {"diverged_above": 50.0}}
    calm, wild = train(task(training=training, grid=rates))
    assert (calm.status, wild.status) == ("finished", "diverged")
    steps_of = [step for step, _ in calm.sharpness]
    assert steps_of == sorted({0, *(round(steps * i / 30) for i in range(31))})
    assert [step for step, _ in wild.sharpness] == steps_of
    assert all(math.isfinite(value) for _, value in calm.sharpness)
    end = wild.checkpoints[-1].step
    assert [math.isnan(value) for _, value in wild.sharpness] == [step > end for step in steps_of]


def test_a_run_that_stops_ends_with_its_last_weights() -> None:
    spec = task(
        training={
            "steps": 4400, "stop": {"train_accuracy": 0.95}, "sharpness": {"count": 11},
            "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        },
        grid={"training.optimizer.learning_rate": [0.001, 0.1]},
    )  # fmt: skip
    slow, fast = train(spec)
    assert (slow.status, fast.status) == ("finished", "stopped")
    assert [step for step, _ in slow.sharpness] == list(range(0, 4401, 400))
    end = fast.checkpoints[-1]
    assert end.step % 400
    assert [step for step, _ in fast.sharpness] == [*range(0, end.step, 400), end.step]
    problem = load_problem(spec, CPU, torch.float32)
    assert fast.sharpness[-1][1] == pytest.approx(dense_top(problem, end.weights, 1024), rel=0.01)


def test_a_run_that_stops_where_it_is_looked_at_has_that_step_once() -> None:
    steps = {"steps": 4400, "stop": {"train_accuracy": 0.95}, "sharpness": {"count": 100}}  # every epoch of 44 steps
    (fast,) = train(task(training=steps, grid={"training.optimizer.learning_rate": [0.1]}))
    end = fast.checkpoints[-1].step
    assert fast.status == "stopped"
    assert [step for step, _ in fast.sharpness] == list(range(0, end + 1, 44))


def test_a_job_stores_them_with_the_run(tmp_path: Path) -> None:
    training = {"steps": 60, "loss": "mse", "sharpness": {"count": 3, "samples": 50}}
    spec = task(training=training, grid={"training.optimizer.learning_rate": [0.05, 1000.0]})
    (stack,) = stacks(spec)
    place = Place.of("cpu", "float32")
    runs, seconds, provenance = train_job(stack, place, lambda done, total: None)
    with Store(tmp_path, writing=True) as store:
        store.record_stack(stack.key(place.environment), runs, seconds, provenance)
        kept = [store.run(run_id) for run_id in stack.run_ids(place.environment)]
    calm, wild = (run.sharpness for run in kept if run is not None)
    assert calm == train(spec)[0].sharpness
    assert [step for step, _ in wild] == [0, 20, 40, 60]
    assert math.isnan(wild[-1][1])


def rates_of(cell: Cell, steps: tuple[int, ...]) -> list[float]:
    return [cell.task.training.rate_behind(step, 1437) for step in steps]


def test_the_rate_behind_a_step_is_the_schedules() -> None:
    schedule = {"kind": "warmup_cosine", "warmup_steps": 10}
    (cell,) = cells(task(training={"schedule": schedule, "steps": 50}, grid={}))
    assert rates_of(cell, (0, 1, 5, 10, 11)) == pytest.approx([0.01, 0.01, 0.05, 0.1, 0.1])
    assert rates_of(cell, (31,)) == pytest.approx([0.05])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "heavy-ball", "adamw"])
@pytest.mark.parametrize("step", [0, 1, 25, 50])
def test_the_ratio_is_the_metrics(optimizer: dict[str, object], step: int) -> None:
    schedule = {"kind": "warmup_cosine", "warmup_steps": 5}
    spec = task(training={"optimizer": optimizer, "schedule": schedule, "steps": 50}, grid={})
    run = replace(with_spectrum(dense([3.0], size=1)), task=spec, step=step)
    mine = edge_ratio(3.0, spec.training.optimizer, spec.training.rate_behind(step, len(run.inputs)))
    metric = find_metrics()["edge_ratio"]
    if optimizer["kind"] not in metric.optimizers:
        assert mine is None
    else:
        assert mine == pytest.approx(value_of("edge_ratio", run), rel=1e-12)
