"""Distances between iterates, against direct float64 computations; the forward probe, against training itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from torch.utils._python_dispatch import TorchDispatchMode

from suite.measuring.distances import trajectory_distances
from suite.measuring.place import Place
from suite.measuring.probes import Subject, find_probes
from suite.measuring.train import train_job
from suite.metrics.probed.distances import Distances
from suite.models.flat import initial_weights
from suite.spec.cells import stacks
from suite.spec.probes import Forward
from suite.spec.task import TaskSpec
from suite.spec.training import Trajectory
from suite.training.problem import Problem, load_problem, load_test_split
from suite.training.record import RunRecord
from suite.training.stacked import train_stack
from tests.metrics.made import CPU, made_run, small_task

Matrix = NDArray[np.float64]


def problem_of(task: TaskSpec, dtype: torch.dtype = torch.float32) -> Problem:
    return load_problem(task, CPU, dtype)


def distances_of(problem: Problem, iterates: torch.Tensor, samples: int) -> Distances:
    """By way of what is stored."""
    return Distances.from_arrays(load(save(trajectory_distances(problem, iterates, samples, 3))))


def direct(iterates: torch.Tensor) -> Matrix:
    rows = iterates.double().numpy()
    return np.linalg.norm(rows[:, None] - rows[None], axis=-1)


def direct_losses(problem: Problem, iterates: torch.Tensor) -> Matrix:
    """Cross-entropies of the 64-4-10 network without biases on all training inputs, by matrix products, `[k, n]`."""
    rows = []
    for w in iterates.double():
        hidden = F.relu(problem.train.inputs.double() @ w[:256].reshape(4, 64).T)
        rows.append(F.cross_entropy(hidden @ w[256:].reshape(10, 4).T, problem.train.targets, reduction="none"))
    return torch.stack(rows).numpy()


def mean_differences(losses: Matrix) -> Matrix:
    return np.abs(losses[:, None] - losses[None]).mean(-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_iterates_that_are_near_one_another_and_far_from_the_origin(dtype: torch.dtype) -> None:
    """Inner products of such iterates agree to all digits of float32, and their squares to 13 of the 16 of float64."""
    generator = torch.Generator().manual_seed(0)
    steps = 1e-4 * torch.randn(30, 296, generator=generator, dtype=torch.float64)
    iterates = (300 * torch.randn(296, generator=generator, dtype=torch.float64) + steps.cumsum(0)).to(dtype)
    iterates[7] = iterates[22]
    found = distances_of(problem_of(small_task()), iterates, 8)
    np.testing.assert_allclose(found.euclidean, direct(iterates), rtol=1e-12)
    assert found.euclidean[7, 22] == 0
    assert found.every == 3


def test_distances_of_losses_are_means_over_the_inputs() -> None:
    problem = problem_of(small_task())
    iterates = 0.3 * torch.randn(12, 296, generator=torch.Generator().manual_seed(1))
    meant = mean_differences(direct_losses(problem, iterates))
    found = distances_of(problem, iterates, len(problem.train) + 100)
    np.testing.assert_allclose(found.losses, meant, rtol=1e-10)
    some = distances_of(problem, iterates, len(problem.train) // 2)  # half the inputs: nearly the same, not half of it
    np.testing.assert_allclose(some.losses, meant, rtol=0.15)


def test_small_losses_keep_their_digits() -> None:
    """A float32 softmax of an interpolating network knows its losses to 1e-7 each, which is all that these change."""
    problem = problem_of(small_task())
    stack = stacks(small_task(training={"steps": 600, "optimizer": {"kind": "sgd", "learning_rate": 0.3}}))[0]
    weights = train_stack(stack, problem, load_test_split(small_task(), CPU, torch.float32))[0].checkpoints[-1].weights
    iterates = 4 * weights + 1e-5 * torch.randn(6, 296, generator=torch.Generator().manual_seed(2))
    meant = mean_differences(direct_losses(problem, iterates))
    np.testing.assert_allclose(distances_of(problem, iterates, 5000).losses, meant, rtol=1e-9)


def test_sequences_with_a_target_a_position_count_once() -> None:
    task = small_task(
        data={"kind": "markov", "vocabulary": 3, "order": 1, "length": 5, "sequences": 20, "concentration": 1.0},
        model={"kind": "transformer", "layers": 1, "width": 8, "heads": 2},
        training={"batch_size": 10},
    )
    problem = problem_of(task)
    start = initial_weights(task.model, task.data.shape(), 0)
    iterates = start + 0.05 * torch.randn(5, len(start), generator=torch.Generator().manual_seed(3))
    rows = []
    for w in iterates.double():
        logs = F.log_softmax(problem.model(w, problem.train.inputs), -1)
        targets = problem.train.targets
        wanted = targets.double() if targets.is_floating_point() else F.one_hot(targets, logs.shape[-1])
        rows.append(-(wanted * logs).sum(-1).mean(-1))
    meant = mean_differences(torch.stack(rows).detach().numpy())
    assert problem.train.targets.shape[1] > 1
    np.testing.assert_allclose(distances_of(problem, iterates, 5000).losses, meant, rtol=1e-10)


class Largest(TorchDispatchMode):
    """The most float64 entries of one tensor made while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.float64:
            self.entries = max(self.entries, out.numel())
        return out


def test_iterates_are_never_held_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("suite.measuring.distances._BLOCK_NUMBERS", 400)
    problem, iterates = problem_of(small_task()), torch.randn(40, 296)
    with Largest() as seen:
        found = trajectory_distances(problem, iterates, 4, 1)
    assert seen.entries <= 40 * 39 // 2 < iterates.numel() / 10
    np.testing.assert_allclose(Distances.from_arrays(found).euclidean, direct(iterates), rtol=1e-12)


@pytest.mark.parametrize("count", [0, 1])
def test_runs_too_short_for_a_distance(count: int) -> None:
    """A run that diverged at once keeps no iterate: that ends nothing, and a metric says that there are too few."""
    found = distances_of(problem_of(small_task()), torch.zeros(count, 296), 4)
    assert found.euclidean.shape == found.losses.shape == (1, 1)


TRAJECTORY = {"points": 10, "every": 10, "samples": 5000}


def checkpointed() -> tuple[TaskSpec, Problem, RunRecord]:
    """120 steps of heavy-ball SGD with a checkpoint every tenth; its trajectory keeps the last ten of the twelve."""
    task = small_task(
        training={
            "optimizer": {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9},
            "steps": 120,
            "checkpoints": {"kind": "even", "count": 12},
            "trajectory": TRAJECTORY,
        }
    )
    stack = stacks(task)[0]
    cell = stack.cells[0].task
    problem = load_problem(cell, CPU, torch.float64)
    return cell, problem, train_stack(stack, problem, load_test_split(cell, CPU, torch.float64))[0]


def test_backward_and_forward_distances_are_those_of_the_checkpoints_between() -> None:
    task, problem, record = checkpointed()
    iterates = torch.stack([point.weights for point in record.checkpoints[2:]])
    euclidean, losses = direct(iterates), mean_differences(direct_losses(problem, iterates))

    assert record.trajectory is not None
    backward = distances_of(problem, record.trajectory, 5000)
    np.testing.assert_allclose(backward.euclidean, euclidean, rtol=1e-9)
    np.testing.assert_allclose(backward.losses, losses, rtol=1e-9)

    at = record.checkpoints[1]
    subject = Subject(problem, task, at.step, at.weights, record.initial, at.state)
    probe, spec = (
        find_probes()["forward"],
        Forward(steps=109, points=10, samples=5000),
    )  # 109: every tenth, nine are left
    forward = probe.load(spec, load(save(probe.measure(subject, spec))))
    np.testing.assert_allclose(forward.euclidean, euclidean, rtol=1e-9)
    np.testing.assert_allclose(forward.losses, losses, rtol=1e-9)
    assert forward.every == 10


def test_training_stores_the_distances_of_its_last_iterates() -> None:
    task, _, record = checkpointed()
    runs, _, _ = train_job(stacks(task)[0], Place.of("cpu", "float64"), lambda done, total: None)
    assert runs[0].distances is not None
    found = Distances.from_arrays(load(runs[0].distances))
    iterates = torch.stack([point.weights for point in record.checkpoints[2:]])
    np.testing.assert_allclose(found.euclidean, direct(iterates), rtol=1e-9)
    assert task.training.trajectory == Trajectory.model_validate(TRAJECTORY)
    assert found.every == 10


def subject_of(**training: Any) -> Subject:
    run = made_run(training={"steps": 20})
    task = small_task(training=training) if training else run.task
    return Subject(problem_of(task, torch.float64), task, 20, run.weights, run.initial, ())


def test_a_forward_trajectory_that_leaves_to_infinity_has_no_distances() -> None:
    probe = find_probes()["forward"]
    wild = subject_of(steps=20, optimizer={"kind": "sgd", "learning_rate": 1e100})
    with pytest.raises(ValueError, match="infinity"):
        probe.measure(wild, Forward(steps=100, points=10))
    start = subject_of()
    # weights that are finite and losses that are not
    huge = replace(
        start,
        weights=1e200 * start.weights,
        task=small_task(training={"steps": 20, "optimizer": {"kind": "sgd", "learning_rate": 1e-300}}),
    )
    with pytest.raises(ValueError, match="infinity"):
        probe.measure(huge, Forward(steps=10, points=10))


def test_forward_budgets_that_cannot_be_met() -> None:
    probe, subject = find_probes()["forward"], subject_of()
    with pytest.raises(ValueError, match="no more iterates than steps"):
        probe.measure(subject, Forward(steps=20, points=30))
    with pytest.raises(ValueError, match=r"take 23,680,000,000 bytes"):
        probe.measure(subject, Forward(steps=10_000_000, points=10_000_000))
