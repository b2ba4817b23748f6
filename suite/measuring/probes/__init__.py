"""The probes of a checkpoint, a module each: found by walking this package, as metrics are in theirs.

A module of this package defines `PROBES`, a tuple of `Probe`.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

from suite.measuring.probes.base import Probe, Subject
from suite.spec.cells import digest
from suite.spec.task import TaskSpec

__all__ = ["Probe", "Subject", "asked", "find_probes", "probe_key"]

BACKWARD = "backward"
"""The distances between the last iterates are made by training itself; metrics name them like a probe."""


@cache
def find_probes() -> dict[str, Probe]:
    """All kinds of probes by name."""
    modules = [importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)]
    return {probe.name: probe for module in modules for probe in getattr(module, "PROBES", ())}


def asked(task: TaskSpec, name: str, last: bool) -> Any:
    """The budget that a task gives a probe at a checkpoint, or None if it asks for none there.

    Args:
        task: the task.
        name: a field of `probes`, or `backward`.
        last: whether the checkpoint is its run's last; some probes are made there only.
    """
    if name == BACKWARD:
        return task.training.trajectory if last else None
    spec = getattr(task.probes, name)
    return None if getattr(spec, "at", "all") == "last" and not last else spec


def probe_key(run_id: str, step: int, task: TaskSpec, name: str) -> str:
    """The name of a checkpoint's probe: what is measured at which budget, by which version.

    Batch sizes are in it as numbers: a spectrum `training` and one `full` are one where training is on all inputs.
    """
    probe, budget = find_probes()[name], getattr(task.probes, name).model_dump(mode="json")
    if "batch_size" in budget:
        size = task.data.train_size()
        named = {"training": task.training.batch(size), "full": size}
        budget["batch_size"] = named.get(budget["batch_size"], budget["batch_size"])
    return digest("probe", probe.kind or name, probe.version, run_id, step, budget)
