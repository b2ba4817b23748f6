"""Stacked training against the plain loop, and its own guarantees."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load

import suite.training.problem as problem_module
from suite.measuring.place import WORKER_VARIABLES, Place
from suite.measuring.train import train_job
from suite.spec.cells import Cell, Stack, stacks
from suite.spec.task import TaskSpec
from suite.training.optimizers import hyperparameters, stacked_optimizer
from suite.training.order import epoch_order
from suite.training.problem import load_problem, load_test_split
from suite.training.record import RunRecord
from suite.training.reference import train_cell
from suite.training.stacked import train_stack

CPU = torch.device("cpu")


def task(**changes: object) -> TaskSpec:
    training = {
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        "batch_size": 32,
        "steps": 50,
        **changes.pop("training", {}),  # type: ignore[dict-item]
    }
    spec = {
        "name": "test",
        "title": "test",
        "kind": "grid",
        "data": {"kind": "digits"},
        "model": {"kind": "mlp", "widths": [12, 12], "bias": False},
        "training": training,
        "grid": {"training.optimizer.learning_rate": [0.02, 0.1, 0.3], "seed": [0, 1]},
    }
    return TaskSpec.model_validate(spec | changes)


def train(spec: TaskSpec, dtype: torch.dtype = torch.float32, stack: Stack | None = None) -> tuple[RunRecord, ...]:
    (only,) = stacks(spec) if stack is None else (stack,)
    return train_stack(only, load_problem(spec, CPU, dtype), load_test_split(spec, CPU, dtype))


def reference(cell: Cell, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return train_cell(cell, load_problem(cell.task, CPU, dtype))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


OPTIMIZERS = [
    {"kind": "sgd", "learning_rate": 0.05},
    {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-3},
    {"kind": "adamw", "learning_rate": 0.003, "weight_decay": 0.1},
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "heavy-ball", "adamw"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
def test_first_fifty_steps_agree_with_the_plain_loop(optimizer: dict[str, object], loss: str) -> None:
    spec = task(
        training={"optimizer": optimizer, "loss": loss},
        grid={"training.optimizer.learning_rate": [0.002, 0.02], "seed": [0, 1]},
    )
    (stack,) = stacks(spec)
    # Adam divides a gradient by its own size: where that is rounding noise, float32 differs from itself
    dtype = torch.float64 if optimizer["kind"] == "adamw" else torch.float32
    for cell, record in zip(stack.cells, train(spec, dtype), strict=True):
        assert relative(record.checkpoints[-1].weights, reference(cell, dtype)) < 1e-5


def test_schedule_agrees_with_the_plain_loop() -> None:
    spec = task(training={"schedule": {"kind": "warmup_cosine", "warmup_steps": 5, "final_fraction": 0.1}})
    (stack,) = stacks(spec)
    record = train(spec)[1]
    assert relative(record.checkpoints[-1].weights, reference(stack.cells[1])) < 1e-5


def test_contracting_runs_agree_to_the_end_in_float64() -> None:
    spec = task(
        training={"epochs": 20, "steps": None, "batch_size": "full", "optimizer": OPTIMIZERS[1]},
        grid={"training.optimizer.learning_rate": [0.001, 0.01], "seed": [0]},
    )
    (stack,) = stacks(spec)
    for cell, record in zip(stack.cells, train(spec, torch.float64), strict=True):
        assert relative(record.checkpoints[-1].weights, reference(cell, torch.float64)) < 1e-12


@settings(max_examples=8, deadline=None)
@given(
    rates=st.lists(st.sampled_from([0.003, 0.01, 0.03, 0.1]), min_size=1, max_size=3, unique=True),
    decays=st.lists(st.sampled_from([0.0, 1e-4, 1e-2]), min_size=1, max_size=2, unique=True),
    seeds=st.lists(st.integers(0, 9), min_size=1, max_size=2, unique=True),
    batch=st.sampled_from([7, 64, "full"]),
    activation=st.sampled_from(["relu", "gelu", "tanh"]),
    momentum=st.sampled_from([0.0, 0.9]),
)
def test_any_stack_agrees_with_its_cells_alone(
    rates: list[float], decays: list[float], seeds: list[int], batch: object, activation: str, momentum: float
) -> None:
    spec = task(
        training={"batch_size": batch, "optimizer": {"kind": "sgd", "learning_rate": 1.0, "momentum": momentum}},
        model={"kind": "mlp", "widths": [6], "activation": activation},
        grid={
            "training.optimizer.learning_rate": rates,
            "training.optimizer.weight_decay": decays,
            "seed": seeds,
        },
    )
    (stack,) = stacks(spec)
    records = train(spec, torch.float64)
    for cell, record in zip(stack.cells, records, strict=True):
        assert relative(record.checkpoints[-1].weights, reference(cell, torch.float64)) < 1e-9


def test_same_stack_same_bits() -> None:
    spec = task(training={"steps": 300}, grid={"training.optimizer.learning_rate": [0.1, 0.9], "seed": [0, 1]})
    first, second = train(spec), train(spec)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.checkpoints[-1].weights, b.checkpoints[-1].weights)


def test_cell_alone_sees_the_same_data_in_the_same_order() -> None:
    spec = task()
    (stack,) = stacks(spec)
    alone = train(spec, torch.float64, Stack(stack.cells[3:4]))[0]
    together = train(spec, torch.float64)[3]
    assert relative(alone.checkpoints[-1].weights, together.checkpoints[-1].weights) < 1e-10


def test_diverged_cell_is_frozen_marked_and_leaves_the_others_alone() -> None:
    rates = {"training.optimizer.learning_rate": [0.05, 1000.0]}
    training = {"steps": 300, "loss": "mse"}
    calm, wild = train(task(training=training, grid=rates), torch.float64)
    alone = train(task(training=training, grid={"training.optimizer.learning_rate": [0.05]}), torch.float64)[0]
    assert (calm.status, wild.status) == ("finished", "diverged")
    assert wild.checkpoints[-1].weights.isfinite().all()
    assert wild.checkpoints[-1].step < 20
    assert relative(calm.checkpoints[-1].weights, alone.checkpoints[-1].weights) < 1e-9


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("steps", [1, 2, 3, 50, 300])
def test_a_diverged_cell_ends_at_weights_of_bounded_loss(loss: str, steps: int) -> None:
    rates: dict[str, list[float]] = {"training.optimizer.learning_rate": [0.05, 30.0, 1000.0, 1e12, 1e25]}
    spec = task(training={"steps": steps, "loss": loss}, grid=rates)
    problem = load_problem(spec, CPU, torch.float32)
    records = train(spec)
    for record in records:
        (end,) = record.checkpoints
        assert end.train_loss < 1e6
        assert float(problem.loss(end.weights, problem.train.inputs, problem.train.targets)) < 1.1e6
        assert end.step == steps if record.status == "finished" else end.step < steps
    # the last step's blow-up is seen, too, although no further step looks at its loss
    assert [record.status for record in records][-2:] == ["diverged", "diverged"]


def test_a_diverged_cell_keeps_the_weights_right_before_it_diverged() -> None:
    """Its end is an iterate of the plain loop, and one step further the loss is beyond the limit."""
    spec = task(training={"steps": 300, "loss": "mse"}, grid={"training.optimizer.learning_rate": [30.0]})
    (stack,), problem = stacks(spec), load_problem(spec, CPU, torch.float64)
    (record,) = train(spec, torch.float64)
    end = record.checkpoints[-1]
    assert record.status == "diverged"
    assert end.step > 0
    assert relative(end.weights, train_cell(stack.cells[0], problem, end.step)) < 1e-9
    beyond = train_cell(stack.cells[0], problem, end.step + 1)
    assert not float(problem.loss(beyond, problem.train.inputs, problem.train.targets)) < 1e6


def test_no_step_twice_and_no_unbounded_weights_in_a_diverged_trajectory() -> None:
    spec = task(
        kind="trajectory",
        training={
            "steps": 250,
            "loss": "mse",
            "trajectory": {"points": 120},
            "checkpoints": {"kind": "even", "count": 250, "initial": True},
        },
        grid={"training.optimizer.learning_rate": [0.05, 30.0, 1000.0, 1e12]},
    )
    records = train(spec)
    assert [record.status for record in records] == ["finished", "diverged", "diverged", "diverged"]
    for record in records:
        steps = [c.step for c in record.checkpoints]
        assert steps == sorted(set(steps))
        assert all(c.train_loss < 1e6 for c in record.checkpoints)
        assert record.trajectory is not None
        assert record.trajectory.isfinite().all()
        if record.status == "finished":
            assert len(record.trajectory) == 120
        for number, iterate in enumerate(reversed(record.trajectory)):
            assert torch.equal(iterate, record.checkpoints[-1 - number].weights)
        assert len(record.curve) == steps[-1] // (1437 // 32)


def test_a_stop_at_a_checkpoint_is_one_checkpoint() -> None:
    spec = task(
        kind="trajectory",
        training={
            "steps": 44 * 3 * 10,  # three epochs are the first look at the stack
            "stop": {"train_accuracy": 0.5},
            "checkpoints": {"kind": "even", "count": 10},
        },
    )
    for record in train(spec):
        assert record.status == "stopped"
        steps = [c.step for c in record.checkpoints]
        assert steps == list(range(132, steps[-1] + 1, 132))


def test_a_problem_is_no_view_of_what_is_kept_and_has_no_test_data() -> None:
    spec = task()
    first = load_problem(spec, CPU, torch.float32)
    expected = first.train.inputs.clone()
    first.train.inputs.zero_()
    first.train.targets.zero_()
    second = load_problem(spec, CPU, torch.float32)
    assert torch.equal(second.train.inputs, expected)
    assert second.train.targets.any()
    problem_module._kept.clear()
    load_problem(spec, CPU, torch.float32)
    (kept,) = problem_module._kept.values()
    assert kept.test is None
    assert all(part is None or part.base is None for part in kept.train)


def test_stop_rule_ends_the_run_and_the_step_is_recorded() -> None:
    spec = task(training={"steps": 2000, "stop": {"train_accuracy": 0.9}})
    for record in train(spec):
        end = record.checkpoints[-1]
        assert record.status == "stopped"
        assert end.train_accuracy >= 0.9
        assert end.step < 2000
        assert end.step % (1437 // 32) == 0


def test_checkpoints_trajectory_and_initial_weights_hang_together() -> None:
    spec = task(
        kind="trajectory",
        training={
            "steps": 40,
            "trajectory": {"points": 10, "every": 2},
            "checkpoints": {"kind": "even", "count": 4, "initial": True},
        },
    )
    for record in train(spec):
        assert [c.step for c in record.checkpoints] == [0, 10, 20, 30, 40]
        assert torch.equal(record.checkpoints[0].weights, record.initial)
        assert record.trajectory is not None
        assert record.trajectory.shape == (10, record.initial.numel())
        assert torch.equal(record.trajectory[-1], record.checkpoints[-1].weights)
    whole = train(task(training={"steps": 38}))[0].checkpoints[-1].weights
    assert relative(train(spec)[0].trajectory[-2], whole) < 1e-6  # type: ignore[index]


def test_recorded_losses_and_accuracies_are_those_of_the_weights() -> None:
    spec = task()
    problem, test = load_problem(spec, CPU, torch.float32), load_test_split(spec, CPU, torch.float32)
    point = train(spec)[0].checkpoints[-1]
    logits = problem.model(point.weights, test.inputs)
    assert point.test_loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, test.targets)), rel=1e-6)
    assert point.test_accuracy == pytest.approx(float((logits.argmax(1) == test.targets).float().mean()), abs=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "heavy-ball", "adamw"])
@pytest.mark.parametrize("kind", ["mlp", "transformer"])
def test_cuda_agrees_with_cpu_and_with_itself(
    optimizer: dict[str, object], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in WORKER_VARIABLES.items():
        monkeypatch.setenv(variable, value)
    changes: dict[str, object] = {"training": {"optimizer": optimizer}}
    changes["grid"] = {"training.optimizer.learning_rate": [0.003, 0.01], "seed": [0, 1]}
    if kind == "transformer":
        changes["data"] = {"kind": "modular", "modulus": 11, "operation": "add", "encoding": "tokens"} | {
            "train_fraction": 0.6
        }
        changes["model"] = {"kind": "transformer", "layers": 1, "width": 16, "heads": 2}
    spec = task(**changes)
    place = Place.of("cuda:0", "float64")
    try:
        place.prepare()
        first, second = (train_job(stacks(spec)[0], place, lambda done, total: None)[0] for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert first == second
    for mine, run in zip(train(spec, torch.float64), first, strict=True):
        found = load(bytes(run.checkpoints[-1].weights))["tensor"]  # type: ignore[arg-type]
        assert relative(found, mine.checkpoints[-1].weights) < 1e-9


def test_the_curve_is_the_mean_loss_of_each_epochs_minibatches() -> None:
    spec = task(training={"steps": 10, "batch_size": 256})
    for cell, record in zip(stacks(spec)[0].cells, train(spec), strict=True):
        problem = load_problem(spec, CPU, torch.float64)
        size, means = len(problem.train), []
        for epoch in range(2):
            losses = []
            for place in range(size // 256):
                at = epoch_order(cell.task.seed, epoch, size)[place * 256 : (place + 1) * 256]
                weights = train_cell(cell, problem, epoch * (size // 256) + place)
                losses.append(float(problem.loss(weights, problem.train.inputs[at], problem.train.targets[at])))
            means.append(sum(losses) / len(losses))
        assert record.curve.tolist() == pytest.approx(means, rel=1e-5)


def test_the_optimizers_state_is_kept_with_the_weights() -> None:
    """From weights and state alone the next step of training is the one that training took."""
    for optimizer in ({"kind": "sgd", "momentum": 0.9}, {"kind": "adamw"}, {"kind": "sgd"}):
        spec = task(
            kind="trajectory",
            training={
                "steps": 6,
                "batch_size": "full",
                "optimizer": {"learning_rate": 0.05, "weight_decay": 0.01} | optimizer,
                "checkpoints": {"kind": "even", "count": 6},
            },
        )
        cell, record = stacks(spec)[0].cells[0], train(spec)[0]
        problem = load_problem(spec, CPU, torch.float32)
        at, following = record.checkpoints[-2:]
        rule, _ = stacked_optimizer([cell.task.training.optimizer], at.weights[None])
        gradient = torch.func.grad(problem.loss)(at.weights, problem.train.inputs, problem.train.targets)
        hyper, state = hyperparameters([cell.task.training.optimizer], at.weights), tuple(s[None] for s in at.state)
        moved, after = rule(at.weights[None], gradient[None], state, hyper, torch.ones(()))
        assert relative(moved[0], following.weights) < 1e-6
        assert all(relative(a[0], b) < 1e-4 for a, b in zip(after, following.state, strict=True))
