"""A small trained network as a metric meets it, with the probes that are asked for: real ones, made as workers do."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from suite.measuring.distances import trajectory_distances
from suite.measuring.probes import BACKWARD, Subject, find_probes
from suite.metrics import Estimate, Run, find_metrics
from suite.metrics.probed.distances import Distances
from suite.spec.cells import stacks
from suite.spec.task import TaskSpec
from suite.training.evaluate import evaluate
from suite.training.objective import sample_losses
from suite.training.problem import load_problem, load_test_split
from suite.training.stacked import train_stack

CPU = torch.device("cpu")


def small_task(**changes: Any) -> TaskSpec:
    """Digits, 64-4-10 without biases (296 parameters), 60 steps of SGD; `changes` replace whole top-level fields.

    `training` is merged into the default one, field by field.
    """
    training = {
        "optimizer": {"kind": "sgd", "learning_rate": 0.1},
        "batch_size": 32,
        "steps": 60,
        **changes.pop("training", {}),
    }
    spec = {
        "name": "made",
        "title": "made",
        "kind": "grid",
        "data": {"kind": "digits"},
        "model": {"kind": "mlp", "widths": [4], "bias": False},
        "training": training,
        "grid": {"training.optimizer.learning_rate": [training["optimizer"]["learning_rate"]]},
    }
    return TaskSpec.model_validate(spec | changes)


def made_run(*probes: str, dtype: torch.dtype = torch.float64, **changes: Any) -> Run:
    """The last checkpoint of a small task's first cell, trained in `dtype`, with these probes as the task asks them."""
    task = small_task(**changes)
    stack = stacks(task)[0]
    cell = stack.cells[0].task
    problem = load_problem(cell, CPU, dtype)
    record = train_stack(stack, problem, load_test_split(cell, CPU, dtype))[0]
    end = record.checkpoints[-1]
    subject = Subject(problem, cell, end.step, end.weights, record.initial, end.state)
    found: dict[str, object] = {}
    for name in probes:
        if name == BACKWARD:
            assert record.trajectory is not None
            assert cell.training.trajectory is not None
            kept = cell.training.trajectory
            tensors = trajectory_distances(problem, record.trajectory, kept.samples, kept.every)
            found[name] = Distances.from_arrays(tensors)
        else:
            spec = getattr(cell.probes, name)
            assert spec is not None, f"the task asks for no probe {name}"
            one = find_probes()[name]
            found[name] = one.load(spec, {key: t.contiguous() for key, t in one.measure(subject, spec).items()})
    return Run(
        key="made",
        task=cell,
        step=end.step,
        weights=end.weights,
        initial=record.initial,
        network=problem.model,
        sample_loss=partial(sample_losses, problem.objective),
        whole=partial(evaluate, problem, split=problem.train),
        inputs=problem.train.inputs,
        targets=problem.train.targets,
        state=end.state,
        curve=record.curve,
        probes=found,
    )


def value_of(name: str, run: Run) -> float:
    """A metric's value on a run, without its error."""
    value = find_metrics()[name].measure(run)
    assert not isinstance(value, dict)
    return value.value if isinstance(value, Estimate) else value


def dense_hessian_of(run: Run, inputs: Tensor, targets: Tensor) -> Tensor:
    """The Hessian `[d, d]` of a batch's mean loss by torch alone, for small networks."""
    hessian: Tensor = torch.func.hessian(lambda w: run.batch_loss(w, inputs, targets))(run.weights)
    return hessian
