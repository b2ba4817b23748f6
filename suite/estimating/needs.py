"""What a worker on another machine is to be given for some tasks: memory and time, by the same model as a dry run."""

from __future__ import annotations

from collections.abc import Sequence

from suite.estimating.devices import Device, device_named
from suite.estimating.estimate import Estimate, Measure, estimate, stack_memory
from suite.estimating.work import trained
from suite.spec.task import TaskSpec

_PROCESS = 2 * 2**30
"""Bytes of a process with torch in it and its libraries on a device."""
_MARGIN = 2.0
"""What estimates of memory are multiplied by: it was not measured by part, and an allocator does not fit exactly."""
_SLOWER = 3.0
"""What estimates of time are multiplied by: they were within 1.7 of recorded ones, on another machine."""
_LEAST = 1800.0


def needed(
    tasks: Sequence[TaskSpec], metrics: Sequence[Measure], cpu: bool, bundles: int, dtype: str, training: bool
) -> tuple[int, float]:
    """Bytes and seconds, to train or to measure, on the slowest device of its kind that is known: time to spare."""
    return needed_memory(tasks, dtype), needed_seconds(tasks, metrics, slowest(cpu), bundles, dtype, training)


def slowest(cpu: bool) -> Device:
    """Of the devices of a kind that there are constants for."""
    return device_named("cpu" if cpu else "a100")


def needed_memory(tasks: Sequence[TaskSpec], dtype: str) -> int:
    """Bytes of a worker that trains any stack of these tasks; probes and metrics take one network of it at a time."""
    most = max(sum(stack_memory(one, dtype).values()) for task in tasks for one in trained(task))
    return int(_MARGIN * most) + _PROCESS


def needed_seconds(
    tasks: Sequence[TaskSpec], metrics: Sequence[Measure], device: Device, bundles: int, dtype: str, training: bool
) -> float:
    """Seconds of the longest of so many bundles that stacks, or probes, or values are dealt out to."""
    if training:
        each = sorted((device.seconds(one.work, "training") for task in tasks for one in trained(task)), reverse=True)
        longest = sum(each[::bundles])  # the longest first to each
    else:
        found = [estimate(task, metrics, device, 1, dtype) for task in tasks]
        longest = max(_probing(found, bundles), _measuring(found, bundles))
    return max(_LEAST, _SLOWER * longest)


def _probing(found: Sequence[Estimate], bundles: int) -> float:
    """A share, one probe more than that, and what every worker does once."""
    each = [(work, one.device.seconds(work, "probe")) for one in found for work in one.probes.values() if work.jobs]
    shared = sum(seconds for _, seconds in each)
    once = sum(one.seconds["probes"] for one in found) - shared
    return shared / bundles + max((seconds / work.jobs for work, seconds in each), default=0.0) + once


def _measuring(found: Sequence[Estimate], bundles: int) -> float:
    """A share, and one run more than that."""
    shared = sum(one.seconds["metrics"] for one in found)
    return shared / bundles + max(one.seconds["metrics"] / one.cells for one in found)
