"""Estimates in the terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from suite.estimating.devices import COMPARED, LOADED, PILOTS, WORST
from suite.estimating.estimate import Estimate
from suite.estimating.work import Work
from suite.reporting.listing import print_rows

_COUNTS = ("Hessian products", "gradients", "forward passes")


def show(console: Console, estimates: Sequence[Estimate]) -> None:
    """A table for each task, the sum of hours, and what to think of them."""
    for one in estimates:
        print_rows(console, one.task, [{"what": what, "how much": much} for what, much in _rows(one)], ("how much",))
    if len(estimates) > 1:
        _say(console, f"{len(estimates)} tasks: {_duration(sum(one.hours for one in estimates) * 3600)}")
    for line in notes(estimates):
        _say(console, line)


def _rows(one: Estimate) -> Iterator[tuple[str, str]]:
    training = one.training
    yield "cells, in stacks", f"{one.cells:,}, in {one.stacks:,}"
    yield "checkpoints", f"{one.checkpoints:,}"
    yield "parameters", f"{one.parameters:,}"
    yield "training set", f"{one.train_size:,} inputs"
    yield "optimizer steps, all cells", f"{training.counts['steps']:,}"
    yield "samples seen", f"{training.counts['samples seen']:,}"
    yield "operations of training", f"{training.flops + training.double:.3g} FLOPs"
    if products := training.counts.get("Hessian products"):
        yield "Hessian products of training", f"{products:,}"
    for name, work in one.probes.items():
        yield f"probe {name}", _counts(work)
    for cost, work in one.metrics.items():
        yield f"{cost} metrics", f"{round(work.jobs):,} values{_of(work)}"
    yield "memory, largest stack", f"{_bytes(sum(one.stack_bytes.values()))} ({_parts(one.stack_bytes)})"
    yield "checkpoints on disk", _bytes(one.stored_bytes)
    for stage, seconds in one.seconds.items():
        yield f"{stage}, one worker", _duration(seconds)
    workers = f"{one.workers} worker{'s' if one.workers > 1 else ''}"
    yield f"in all, {workers} on {one.device.name}", _duration(one.hours * 3600)


def _counts(work: Work) -> str:
    said = [f"{work.counts[word]:,} {word}" for word in _COUNTS if work.counts.get(word)]
    return f"{round(work.jobs):,} times: " + ", ".join([*said, f"{work.operations:.2g} FLOPs"])


def _of(work: Work) -> str:
    said = [f"{work.counts[word]:,} {word}" for word in _COUNTS if work.counts.get(word)]
    return f": {', '.join(said)}" if said else ""


def _parts(parts: dict[str, int]) -> str:
    return ", ".join(f"{name} {_bytes(count)}" for name, count in parts.items() if count)


def notes(estimates: Sequence[Estimate]) -> list[str]:
    """What the numbers rest on, in plain words."""
    device = estimates[0].device
    lines = [f"{device.name}: {device.note}."]
    if device.measured:
        errors = ", ".join(f"× {factor:g} for {stage}" for stage, factor in WORST.items())
        lines.append(
            f"Estimates of {len(COMPARED)} recorded tasks were off by at most × {max(WORST.values()):g} ({errors}): "
            "networks of at most 15,000 parameters, at most 60,000 inputs. Pilots of GPT-2 nano (478,272 parameters) "
            f"took up to {PILOTS:g} times as long as estimated; larger networks were never compared. "
            f"Tasks recorded beside other work have taken up to {LOADED:g} times as long."
        )
    else:
        lines.append("These hours are ASSUMED, NOT MEASURED: no run on such a device was ever compared with them.")
    for one in estimates:
        if one.too_long:
            lines.append(
                f"{one.task}: these would take longer than {one.limit:g} s on a checkpoint and be given up: "
                f"{', '.join(one.too_long)}; raise limits.metric_seconds, or leave them out by --cost"
            )
        held = sum(one.stack_bytes.values())
        if device.memory is not None and held > device.memory:
            lines.append(
                f"{one.task}: the largest stack holds {_bytes(held)}, more than the {_bytes(device.memory)} of a "
                f"{device.name}: lower training.stack_size"
            )
        if one.counted != "formulas":
            lines.append(
                f"{one.task}: operations counted on torch's meta device, there are no formulas for the network."
            )
    return lines


def to_text(estimates: Sequence[Estimate], worker: Mapping[str, Any] | None = None) -> str:
    """Everything as JSON, with what a worker on another machine is asked for, if there is one."""
    asked = {} if worker is None else {"worker": worker}
    return json.dumps([_plain(one, notes([one])) | asked for one in estimates], indent=1, ensure_ascii=False)


def _plain(one: Estimate, said: list[str]) -> dict[str, Any]:
    plain = {
        w: getattr(one, w) for w in ("task", "cells", "stacks", "checkpoints", "parameters", "train_size", "counted")
    }
    plain |= {"training": _work(one.training)}
    plain |= {"probes": {name: _work(work) for name, work in one.probes.items()}}
    plain |= {"metrics": {cost: _work(work) for cost, work in one.metrics.items()}, "values": one.values}
    plain |= {"stack_bytes": one.stack_bytes, "stored_bytes": one.stored_bytes, "seconds": one.seconds}
    plain |= {"metric_limit": one.limit, "too_long": list(one.too_long)}
    device = {"name": one.device.name, "measured": one.device.measured, "note": one.device.note, "workers": one.workers}
    return plain | {"hours": one.hours, "device": device, "largest_error": WORST if one.device.measured else None,
                    "notes": said}  # fmt: skip


def _work(work: Work) -> dict[str, Any]:
    return {"flops": work.flops, "flops_float64": work.double, "flops_eigenvalues": work.eigen, "jobs": work.jobs,
            **work.counts}  # fmt: skip


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.4g} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _say(console: Console, text: str) -> None:
    console.print(Text(text), highlight=False, soft_wrap=True)
