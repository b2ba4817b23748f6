"""From a task to its cells and stacks, and the names of the work: run ids that no path and no order can change."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass
from typing import Any

from suite.spec.base import Strict
from suite.spec.task import Scalar, TaskSpec

KEY_VERSION = 4
"""Part of every key. Raised when the meaning of a spec changes, never for a release."""

STACKABLE = ("learning_rate", "momentum", "weight_decay", "beta1", "beta2", "epsilon")
"""Optimizer fields that may differ between the cells of one stack (the seed may, too)."""


@dataclass(frozen=True)
class Environment:
    """Where numbers are made. Results of different environments have different keys and are never mixed."""

    device: str
    dtype: str


@dataclass(frozen=True)
class Cell:
    """One network to train: the task with its grid resolved, and the values the grid gave it (by dotted path)."""

    task: TaskSpec
    factors: tuple[tuple[str, Scalar], ...]

    def work(self) -> dict[str, Any]:
        """What determines the trained weights, as plain data: data, model, training, seed."""
        dumped = self.task.model_dump(mode="json", include={"data", "model", "training", "seed"})
        return dict(dumped)


@dataclass(frozen=True)
class Stack:
    """Cells trained as one step. Its composition is a function of the spec alone."""

    cells: tuple[Cell, ...]

    def key(self, environment: Environment) -> str:
        """The name of this unit of work."""
        return _stack_key(environment, [cell.work() for cell in self.cells])

    def run_ids(self, environment: Environment) -> tuple[str, ...]:
        """One run id per cell, in the order of `cells`."""
        works = [cell.work() for cell in self.cells]
        key = _stack_key(environment, works)
        return tuple(digest("run", key, work) for work in works)


def _stack_key(environment: Environment, works: list[dict[str, Any]]) -> str:
    return digest("stack", environment.device, environment.dtype, works)


def digest(*parts: Any) -> str:
    """A 16-digit name for plain data; the same for any order of keys.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    text = json.dumps([KEY_VERSION, *parts], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def canonical(spec: Strict) -> str:
    """The canonical form of a spec: JSON, sorted keys, defaults written out, without what changes no number."""
    return json.dumps(spec.model_dump(mode="json", exclude={"title", "description", "limits", "keep"}), sort_keys=True)


def spec_hash(task: TaskSpec) -> str:
    """The content hash of a task (of its canonical form)."""
    return digest("spec", json.loads(canonical(task)))


def cells(task: TaskSpec) -> tuple[Cell, ...]:
    """The product of the grid's values, in the order the file gives them; one cell if there is no grid.

    Raises:
        ValueError: a value does not fit its field (pydantic's ValidationError).
    """
    plain = task.model_dump(mode="json", exclude={"grid"})
    made = []
    for values in itertools.product(*task.grid.values()):
        factors = tuple(zip(task.grid, values, strict=True))
        resolved = json.loads(json.dumps(plain))
        for path, value in factors:
            put(resolved, path, value)
        made.append(Cell(TaskSpec.model_validate(resolved), factors))
    return tuple(made)


def put(mapping: dict[str, Any], path: str, value: Scalar) -> None:
    """Set the field at a dotted path of a nested mapping."""
    *parents, last = path.split(".")
    for parent in parents:
        mapping = mapping[parent]
    mapping[last] = value


def stacks(task: TaskSpec) -> tuple[Stack, ...]:
    """The cells grouped by everything that must be equal in a stack, at most `training.stack_size` in each."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells(task):
        groups.setdefault(_group(cell), []).append(cell)
    size = task.training.stack_size
    return tuple(
        Stack(tuple(group[start : start + size])) for group in groups.values() for start in range(0, len(group), size)
    )


def _group(cell: Cell) -> str:
    work = cell.work()
    del work["seed"]
    for name in STACKABLE:
        work["training"]["optimizer"].pop(name, None)
    return json.dumps(work, sort_keys=True)
