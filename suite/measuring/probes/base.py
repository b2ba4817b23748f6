"""What a probe is: a dear measurement of a checkpoint, made once, stored as tensors, read by many metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from suite.spec.seeds import seed_of
from suite.spec.task import TaskSpec
from suite.training.problem import Problem


@dataclass(frozen=True)
class Subject:
    """A checkpoint of a run, ready to be measured. No test data are among it.

    Attributes:
        problem: network, loss and training set, on the device.
        task: the resolved spec of the cell.
        step: optimizer steps behind the weights.
        weights: flat parameters `[d]` on the problem's device, in the dtype of training.
        initial: flat parameters before training `[d]`.
        state: the optimizer's state (`suite.training.record.Checkpoint`); empty where there is none.
    """

    problem: Problem
    task: TaskSpec
    step: int
    weights: Tensor
    initial: Tensor
    state: tuple[Tensor, ...]

    @property
    def batch(self) -> int:
        """The batch size of training."""
        return self.task.training.batch(len(self.problem.train))

    def seed(self, purpose: str) -> int:
        """A seed that all runs of all tasks share: runs are not told apart by the luck of the draw."""
        return seed_of("probe", purpose)


@dataclass(frozen=True)
class Probe:
    """One kind of probe.

    Attributes:
        name: the field of a task's `probes` that gives its budget, and the property of `Run` that metrics read.
        version: part of every key; raised when its numbers change.
        measure: a subject and its budget (the field's spec) → named tensors to store. Raises ValueError where there is
            nothing to measure, saying why.
        load: the budget and the stored tensors → what metrics read.
        note: what stored tensors have to say of themselves, or nothing.
        kind: what it measures; probes of one kind whose budgets come to the same are made once. Empty: its name.
    """

    name: str
    version: int
    measure: Callable[[Subject, Any], dict[str, Tensor]]
    load: Callable[[Any, dict[str, Tensor]], Any]
    note: Callable[[dict[str, Tensor]], str] = lambda tensors: ""
    kind: str = ""
