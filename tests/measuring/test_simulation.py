"""Training that goes on from a checkpoint is the training that would have gone on: against one longer training."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from suite.measuring.probes import Subject
from suite.measuring.simulation import simulate
from suite.spec.cells import stacks
from suite.spec.task import TaskSpec
from suite.training.problem import load_problem, load_test_split
from suite.training.record import Checkpoint
from suite.training.reference import train_cell
from suite.training.stacked import train_stack
from tests.metrics.made import CPU, small_task

SGD = {"kind": "sgd", "learning_rate": 0.1}
MOMENTUM = {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9, "weight_decay": 1e-3}
ADAMW = {"kind": "adamw", "learning_rate": 0.003, "weight_decay": 0.01}
COSINE = {"kind": "warmup_cosine", "warmup_steps": 30, "final_fraction": 0.2}


def trained(**training: Any) -> tuple[TaskSpec, list[Checkpoint], Subject]:
    """A training of 120 steps with checkpoints every 20, and its second one: inside an epoch of 44 (b = 32)."""
    settings = {"steps": 120, "checkpoints": {"kind": "even", "count": 6, "initial": True}, **training}
    stack = stacks(small_task(training=settings))[0]
    task = stack.cells[0].task
    problem = load_problem(task, CPU, torch.float64)
    record = train_stack(stack, problem, load_test_split(task, CPU, torch.float64))[0]
    points = list(record.checkpoints)
    at = points[1]
    return task, points, Subject(problem, task, at.step, at.weights, record.initial, at.state)


def far(weights: torch.Tensor, meant: torch.Tensor) -> float:
    return float((weights - meant).norm() / meant.norm())


@pytest.mark.parametrize("batch", [32, "full"])
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": SGD},
        {"optimizer": MOMENTUM},
        {"optimizer": ADAMW},
        {"optimizer": SGD, "schedule": COSINE},
        {"optimizer": ADAMW, "schedule": COSINE},
    ],
)
def test_goes_on_as_training_did(settings: dict[str, Any], batch: int | str) -> None:
    _, points, subject = trained(batch_size=batch, **settings)
    found = list(simulate(subject, 100, 20))
    for weights, later in zip(found, points[2:], strict=True):
        assert far(weights, later.weights) < 1e-10
    assert far(found[0], subject.weights) > 1e-4


def test_from_the_first_weights_on() -> None:
    _, points, subject = trained(optimizer=ADAMW, schedule=COSINE)
    start = replace(subject, step=0, weights=points[0].weights, state=points[0].state)
    for weights, later in zip(simulate(start, 120, 20), points[1:], strict=True):
        assert far(weights, later.weights) < 1e-10


@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAMW])
def test_goes_on_beyond_the_end_as_torch_would(optimizer: dict[str, Any]) -> None:
    """Past its end a run of a constant learning rate is the start of a longer one."""
    task, points, subject = trained(optimizer=optimizer)
    end = replace(subject, step=120, weights=points[-1].weights, state=points[-1].state)
    (found,) = simulate(end, 37, 37)
    longer = train_cell(
        stacks(small_task(training={**task.training.model_dump(), "steps": 157}))[0].cells[0], subject.problem
    )
    assert far(found, longer) < 1e-10


def test_after_the_schedule_its_last_factor_goes_on() -> None:
    _, points, subject = trained(optimizer=SGD, schedule=COSINE)
    end = replace(subject, step=120, weights=points[-1].weights)
    first, second = simulate(end, 2, 1)
    last = 0.2 + 0.8 * 0.5 * (1 + torch.cos(torch.tensor(89 / 90 * torch.pi, dtype=torch.float64)))
    constant = small_task(training={"optimizer": {**SGD, "learning_rate": 0.1 * float(last)}, "steps": 120})
    again = list(simulate(replace(end, task=constant), 2, 1))
    assert far(first - end.weights, again[0] - end.weights) < 1e-10
    assert far(second - end.weights, again[1] - end.weights) < 1e-10


def test_each_yield_is_a_tensor_of_its_own() -> None:
    _, _, subject = trained(optimizer=SGD)
    before = subject.weights.clone()
    thinned, all_of_them = list(simulate(subject, 13, 4)), list(simulate(subject, 13, 1))
    assert len(thinned) == 3
    for weights, same in zip(thinned, all_of_them[3::4], strict=True):
        assert torch.equal(weights, same)
    assert torch.equal(subject.weights, before)


def test_gradients_stay_on_for_whoever_iterates() -> None:
    _, _, subject = trained(optimizer=SGD)
    for _ in simulate(subject, 2, 1):
        assert torch.is_grad_enabled()


def test_a_cell_without_momentum_among_cells_with_it() -> None:
    """Its stack keeps a velocity for it, which means nothing."""
    _, _, subject = trained(optimizer=SGD)
    idle = replace(subject, state=(torch.ones_like(subject.weights),))
    assert all(torch.equal(*pair) for pair in zip(simulate(idle, 5, 1), simulate(subject, 5, 1), strict=True))


def test_no_state_no_simulation() -> None:
    _, _, subject = trained(optimizer=ADAMW)
    with pytest.raises(ValueError, match="adamw has no state"):
        simulate(replace(subject, state=()), 5, 1)


def test_a_trajectory_that_leaves_to_infinity_says_when() -> None:
    _, _, subject = trained(optimizer=SGD)
    wild = small_task(training={"optimizer": {**SGD, "learning_rate": 1e200}, "steps": 120})
    with pytest.raises(ValueError, match=r"step 2[0-9] are not finite"):
        list(itertools.islice(simulate(replace(subject, task=wild), 100, 1), 100))
