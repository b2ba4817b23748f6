"""What a worker on another machine is to be given for some tasks: memory and time, by the same model as a dry run."""

from __future__ import annotations

from collections.abc import Sequence

from suite.estimating.devices import Device, device_named
from suite.estimating.estimate import Measure, estimate, stack_memory
from suite.estimating.work import trained
from suite.spec.task import TaskSpec

_PROCESS = 2 * 2**30
"""Bytes of a process with torch in it and its libraries on a device."""
_MARGIN = 2.0
"""What estimates of memory are multiplied by: it was not measured by part, and an allocator does not fit exactly."""
_SLOWER = 3.0
"""What estimates of time are multiplied by: they were within 1.7 of recorded ones, on another machine."""
_LEAST = 1800.0


def slowest(cpu: bool) -> Device:
    """The slowest device of a kind that is known: what a worker is asked for leaves time to spare."""
    return device_named("cpu" if cpu else "a100")


def needed_memory(tasks: Sequence[TaskSpec], dtype: str) -> int:
    """Bytes of a worker that trains any stack of these tasks; probes and metrics take one network of it at a time."""
    most = max(sum(stack_memory(one, dtype).values()) for task in tasks for one in trained(task))
    return int(_MARGIN * most) + _PROCESS


def needed_seconds(
    tasks: Sequence[TaskSpec], metrics: Sequence[Measure], device: Device, workers: int, dtype: str, training: bool
) -> float:
    """Seconds of the longest job of a batch system: of a stack, or of a worker's share of all that is measured."""
    if training:
        longest = max(device.seconds(one.work, "training") for task in tasks for one in trained(task))
    else:
        found = [estimate(task, metrics, device, workers, dtype) for task in tasks]
        longest = sum(one.seconds["probes"] + one.seconds["metrics"] for one in found) / workers
    return max(_LEAST, _SLOWER * longest)
