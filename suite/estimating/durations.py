"""How long single jobs take, by the model that a dry run prints: what takes longest is to begin first."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from suite.estimating.devices import Device
from suite.estimating.estimate import Measure, in_dtype, value_of
from suite.estimating.work import StackWork, Work, probe_of, stack_of
from suite.spec.base import Strict
from suite.spec.cells import Cell, Stack
from suite.spec.task import TaskSpec


class Durations:
    """Seconds of stacks, probes and values on a device, in a dtype of training.

    Cells of one shape take as long: that is worked out once for all of them, so that ten thousand cells are no matter.

    Args:
        device: where.
        metrics: those that are measured.
        dtype: of training.
    """

    def __init__(self, device: Device, metrics: Iterable[Measure], dtype: str) -> None:
        self._device, self._dtype = device, dtype
        self._metrics = {metric.name: metric for metric in metrics}
        self._known: dict[Hashable, float] = {}
        self._shaped: dict[int, StackWork] = {}
        self._shapes: dict[Hashable, int] = {}
        self._last: tuple[TaskSpec, int] | None = None

    def stack(self, stack: Stack) -> float:
        """To train a stack."""
        task = stack.cells[0].task
        plain = {_plain_key(cell.task.training.optimizer) for cell in stack.cells}
        key = ("stack", self._shape(task), len(stack.cells), frozenset(plain))
        return self._remembered(key, "training", lambda: stack_of(stack).work)

    def probe(self, task: TaskSpec, name: str) -> float:
        """A probe of one checkpoint of a run; `task` has the run's own values."""
        key = ("probe", self._shape(task), name)
        return self._remembered(key, "probe", lambda: probe_of(task, self._of(task), name))

    def value(self, task: TaskSpec, metric: str) -> float:
        """A value of a metric at one checkpoint."""
        key = ("value", self._shape(task), metric)
        return self._remembered(key, "metric", lambda: value_of(self._of(task), self._metrics[metric]))

    def _remembered(self, key: Hashable, kind: str, work: Callable[[], Work]) -> float:
        if key not in self._known:
            try:
                self._known[key] = self._device.seconds(in_dtype(work(), self._dtype), kind)
            except Exception:  # noqa: BLE001 - a stranger's network, which may not run on the meta device
                self._known[key] = math.inf  # who knows: it begins first
        return self._known[key]

    def _of(self, task: TaskSpec) -> StackWork:
        """A run as a stack of its own."""
        shape = self._shape(task)
        if shape not in self._shaped:
            self._shaped[shape] = stack_of(Stack((Cell(task, ()),)))
        return self._shaped[shape]

    def _shape(self, task: TaskSpec) -> int:
        """A number for all that decides how long it takes. Jobs of one run come one after another: they ask for one."""
        if self._last is None or self._last[0] is not task:
            parts = (
                *(_frozen(part) for part in (task.data, task.model, task.probes)),
                _frozen(task.training, but="optimizer"),
                _plain_key(task.training.optimizer),
            )
            self._last = task, self._shapes.setdefault(parts, len(self._shapes))
        return self._last[1]


def _frozen(spec: Strict, but: str = "") -> Hashable:
    """A spec but for a field as a key: quickly where it has nothing but numbers, words and lists of them."""
    parts = (type(spec), *(tuple(v) if isinstance(v, list) else v for name, v in spec if name != but))
    try:
        hash(parts)
    except TypeError:
        return repr(parts)
    return parts


def _plain_key(optimizer: Any) -> tuple[str, bool, bool]:
    """What of an optimizer decides how long its steps take: numbers only by being 0 or not."""
    return optimizer.kind, getattr(optimizer, "momentum", 0) > 0, optimizer.weight_decay > 0
