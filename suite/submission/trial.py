"""A small trained network to try a metric on, with the probes it reads: real ones, made as workers make them.

For tests of metrics, outside of this repository too; `suite check` tries every metric on it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from suite.errors import BadInput
from suite.measuring.distances import trajectory_distances
from suite.measuring.probes import BACKWARD, Subject, find_probes
from suite.metrics import Metric, Run, find_metrics
from suite.metrics.probed.distances import Distances
from suite.spec.cells import stacks
from suite.spec.task import TaskSpec
from suite.training.evaluate import evaluate
from suite.training.objective import sample_losses
from suite.training.problem import Problem, load_problem, load_test_split
from suite.training.record import RunRecord
from suite.training.stacked import train_stack

CPU = torch.device("cpu")

_BUDGETS: dict[str, dict[str, Any]] = {
    "common": {"kind": "dense", "minibatches": 2, "batch_size": 64},
    "whole": {"kind": "dense", "minibatches": 1, "batch_size": "full"},
    "optimizer": {"kind": "lanczos", "runs": 2, "steps": 20},
    "exponents": {"steps": 20, "leading": 4},
    "attractor": {"snapshots": 2, "every": 20, "spectrum": {"kind": "lanczos", "runs": 2, "steps": 20}},
    "forward": {"steps": 200, "points": 50, "samples": 64},
}
"""Of the probes that a task does not ask for by itself: as small as lets a metric be tried."""
_TRAJECTORY = {"points": 40, "samples": 64}


def trial_task(*probes: str, **changes: Any) -> TaskSpec:
    """Digits, 64-4-10 without biases (296 parameters), 60 steps of SGD with η = 0.1 and b = 32.

    Args:
        probes: those to ask for, at a small budget where `changes` give none; `optimizer` makes it AdamW, η = 0.01.
        changes: replace whole top-level fields; `training` and `probes` are merged into the default ones by field.
    """
    preconditioned = {"kind": "adamw", "learning_rate": 0.01}
    plain = {"kind": "sgd", "learning_rate": 0.1}
    training: dict[str, Any] = {
        "optimizer": preconditioned if "optimizer" in probes else plain,
        "batch_size": 32,
        "steps": 60,
        **({"trajectory": _TRAJECTORY} if BACKWARD in probes else {}),
        **changes.pop("training", {}),
    }
    budgets = {name: _BUDGETS[name] for name in probes if name in _BUDGETS}
    spec = {
        "name": "trial",
        "title": "trial",
        "kind": "grid",
        "data": {"kind": "digits"},
        "model": {"kind": "mlp", "widths": [4], "bias": False},
        "training": training,
        "grid": {"training.optimizer.learning_rate": [training["optimizer"]["learning_rate"]]},
        "probes": {**budgets, **changes.pop("probes", {})},
    }
    return TaskSpec.model_validate(spec | changes)


def trial_run(*probes: str, dtype: torch.dtype = torch.float64, **changes: Any) -> Run:
    """The last checkpoint of a trial task's first cell, trained in `dtype` on the CPU, with these probes.

    Args:
        probes: names, as `@metric(…, probes=…)` gives them.
        dtype: of training, weights and inputs.
        changes: to the task, see `trial_task`.

    Raises:
        BadInput: a probe is not known, or the task asks for none of that name.
    """
    task = trial_task(*probes, **changes)
    return run_of(task, trained(task, dtype), probes, CPU, dtype)


def trained(task: TaskSpec, dtype: torch.dtype) -> RunRecord:
    """The first cell of a task, trained on the CPU."""
    stack = stacks(task)[0]
    cell = stack.cells[0].task
    test = load_test_split(cell, CPU, dtype)
    return train_stack(stack, load_problem(cell, CPU, dtype), test)[0]


def run_of(task: TaskSpec, record: RunRecord, probes: tuple[str, ...], device: torch.device, dtype: torch.dtype) -> Run:
    """The last checkpoint of a trained first cell as a metric meets it, on a device and in a dtype; no test data."""
    cell = stacks(task)[0].cells[0].task
    problem, end = load_problem(cell, device, dtype), record.checkpoints[-1]
    weights, initial = end.weights.to(device, dtype), record.initial.to(device, dtype)
    own = end.weights.dtype  # of the moments; powers of β may be of another
    kept = () if getattr(cell.training.optimizer, "momentum", None) == 0 else end.state  # idle beside heavy balls
    state = tuple(part.to(device, dtype if part.dtype == own else part.dtype) for part in kept)
    subject = Subject(problem, cell, end.step, weights, initial, state)
    return Run(
        key="trial",
        task=cell,
        step=end.step,
        weights=weights,
        initial=initial,
        network=problem.model,
        sample_loss=partial(sample_losses, problem.objective),
        whole=partial(evaluate, problem, split=problem.train),
        inputs=problem.train.inputs,
        targets=problem.train.targets,
        state=state,
        curve=record.curve,
        probes={name: _probed(name, subject, record, problem) for name in probes},
    )


def trial_metric(name: str, test: str) -> Metric:
    """The metric of that name: of the file `<name>.py` beside a test file, else of this installation.

    Args:
        name: the metric's.
        test: the test's `__file__`. So a test stays as it is when both files move into the repository.

    Raises:
        BadInput: there is no such metric in either place.
    """
    file = Path(test).resolve().parent / f"{name}.py"
    found = find_metrics((file,) if file.is_file() else ())
    if name not in found:
        raise BadInput(f"no metric {name}, neither in {file} nor in this installation of the suite")
    return found[name]


def _probed(name: str, subject: Subject, record: RunRecord, problem: Problem) -> object:
    """A probe as metrics read it, by way of what would be stored."""
    training = subject.task.training
    if name == BACKWARD and training.trajectory is not None and record.trajectory is not None:
        kept = training.trajectory
        iterates = record.trajectory.to(subject.weights.dtype)
        return Distances.from_arrays(trajectory_distances(problem, iterates, kept.samples, kept.every))
    spec, known = getattr(subject.task.probes, name, None), find_probes()
    if name not in known or spec is None:
        raise BadInput(f"the task asks for no probe {name}; probes are {', '.join((*sorted(known), BACKWARD))}")
    tensors = known[name].measure(subject, spec)
    return known[name].load(spec, {key: tensor.cpu().contiguous() for key, tensor in tensors.items()})
