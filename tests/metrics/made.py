"""A small trained network as a metric meets it, with the probes that are asked for: `suite.submission.trial`'s."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from suite.metrics import Estimate, Run, find_metrics
from suite.spec.task import TaskSpec
from suite.submission.trial import CPU, trial_run, trial_task

__all__ = ["CPU", "dense_hessian_of", "made_run", "small_task", "value_of"]


def small_task(**changes: Any) -> TaskSpec:
    """Digits, 64-4-10 without biases (296 parameters), 60 steps of SGD; `changes` replace whole top-level fields.

    `training` is merged into the default one, field by field.
    """
    return trial_task(**changes)


def made_run(*probes: str, dtype: torch.dtype = torch.float64, **changes: Any) -> Run:
    """The last checkpoint of a small task's first cell, trained in `dtype`, with these probes.

    At the budgets that `changes` give, or at small ones.
    """
    return replace(trial_run(*probes, dtype=dtype, **changes), key="made")


def value_of(name: str, run: Run) -> float:
    """A metric's value on a run, without its error."""
    value = find_metrics()[name].measure(run)
    assert not isinstance(value, dict)
    return value.value if isinstance(value, Estimate) else value


def dense_hessian_of(run: Run, inputs: Tensor, targets: Tensor) -> Tensor:
    """The Hessian `[d, d]` of a batch's mean loss by torch alone, for small networks."""
    hessian: Tensor = torch.func.hessian(lambda w: run.batch_loss(w, inputs, targets))(run.weights)
    return hessian
