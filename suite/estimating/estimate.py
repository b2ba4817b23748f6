"""The estimate of a task: what there is to do, memory, hours; and the same of what was recorded, to compare with."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from suite.estimating import passes
from suite.estimating.devices import Device
from suite.estimating.work import StackWork, Work, decomposed, probed, trained
from suite.spec.cells import cells
from suite.spec.task import MOST_TIMEOUTS, TaskSpec
from suite.spec.training import AdamW

if TYPE_CHECKING:
    from suite.metrics import Metric

_BYTES = {"float32": 4, "float64": 8}

SUPERSEDED = {
    ("mnist/mlp3", "eb0474b45c65d1fee0284e75c83a196d335034c5", "whole"): 0.0,
    ("grokking/mlp2-gelu", "f6f388d0467179e213ef8eff03683d4f9839e855", "spectrum"): 0.5,
    ("quick/modular-grokking", "76d489a996403909689a4560c2fa796636e11598", "spectrum"): 0.5,
}
"""Task, commit and probe of recordings that are not what it takes today; the part of their seconds that stands.

The 60,000 × 784 inputs of MNIST were decomposed anew for each of 50 networks, which was most of the 3,160 s; since
f3a3cdc a worker does it once, and the recording is left out. The seconds of the two spectra of full batches, which two
probes come to, were counted twice until 31c036a."""


@dataclass(frozen=True)
class Measure:
    """What is asked of a metric here: its name, class of cost, and the probes that it reads."""

    name: str
    cost: str
    probes: tuple[str, ...]
    optimizers: tuple[str, ...] = ("sgd", "adamw")


@dataclass(frozen=True)
class Estimate:
    """What a task asks for, and how long it takes.

    Attributes:
        counted: how floating-point operations were counted: by formulas, or on the meta device.
        parameters: of the largest network.
        training, probes, metrics: the work; of probes by name, of metrics by class of cost.
        values: how many values of metrics.
        stack_bytes: what the largest stack holds while it trains, by part.
        stored_bytes: weights and optimizer states of all checkpoints, on disk.
        seconds: of one worker, by stage; `hours` with `workers` of them at once.
        too_long: metrics of which a value would take longer than the limit; they are given up after a few.
    """

    task: str
    cells: int
    stacks: int
    train_size: int
    checkpoints: int
    parameters: int
    counted: str
    training: Work
    probes: dict[str, Work]
    metrics: dict[str, Work]
    values: int
    stack_bytes: dict[str, int]
    stored_bytes: int
    seconds: dict[str, float]
    hours: float
    too_long: tuple[str, ...]
    limit: float
    workers: int
    device: Device


def estimate(
    task: TaskSpec,
    metrics: Sequence[Measure],
    device: Device,
    workers: int,
    dtype: str = "float32",
    metric_limit: float | None = None,
) -> Estimate:
    """Estimate a task: nothing is loaded, allocated or written."""
    found, size = trained(task), task.data.train_size()
    found = [replace(one, work=in_dtype(one.work, dtype)) for one in found]
    training = sum((one.work for one in found), Work())
    probes, by_class = _probes(found, metrics), _metrics(found, metrics)
    probes, by_class = ({n: in_dtype(w, dtype) for n, w in part.items()} for part in (probes, by_class))
    limit = metric_limit or task.limits.metric_seconds
    measuring, too_long = _measuring(found, metrics, device, dtype, limit)
    each, spans = [device.seconds(one.work, "training") for one in found], _spans(found, metrics)
    once = device.seconds(in_dtype(spans, dtype), "probe")
    probing = device.seconds(sum(probes.values(), Work()), "probe")
    seconds = {"training": sum(each), "probes": probing + once, "metrics": measuring}
    # stacks are trained side by side, each by one worker: no sooner than the longest; spans are found by every worker
    walls = [max(seconds["training"] / workers, *each), probing / workers + once, measuring / workers]
    points = sum(len(one.stack.cells) * _points(one) for one in found)
    kept = sum(len(s.stack.cells) * (_points(s) * (1 + _buffers(s)) + 1) * s.network.parameters for s in found)
    return Estimate(
        task=task.name,
        cells=len(cells(task)),
        stacks=len(found),
        train_size=size,
        checkpoints=points,
        parameters=max(one.network.parameters for one in found),
        counted=", ".join(sorted({one.network.counted for one in found})),
        training=training,
        probes=probes,
        metrics=by_class,
        values=round(sum(work.jobs for work in by_class.values())),
        stack_bytes=max((stack_memory(one, dtype) for one in found), key=lambda parts: sum(parts.values())),
        stored_bytes=kept * _BYTES[dtype],
        seconds=seconds,
        hours=sum(walls) / 3600,
        too_long=too_long,
        limit=limit,
        workers=workers,
        device=device,
    )


def in_dtype(work: Work, dtype: str) -> Work:
    """The same work in the dtype of training, which is that of all that is not in float64 anyway."""
    return work if dtype == "float32" else replace(work, flops=0.0, double=work.flops + work.double)


def _probes(found: Sequence[StackWork], metrics: Sequence[Measure]) -> dict[str, Work]:
    read = {name for metric in metrics for name in metric.probes}
    total: dict[str, Work] = {}
    for one in found:
        for name, work in probed(one.stack.cells[0].task, one, read).items():
            total[name] = total.get(name, Work()) + work
    return total


def _spans(found: Sequence[StackWork], metrics: Sequence[Measure]) -> Work:
    """What every worker does once for all probes: the spans of whole training sets, of which there may be several."""
    read = {name for metric in metrics for name in metric.probes}
    by_data = {repr(one.stack.cells[0].task.data): one for one in found}
    return sum((decomposed(one.stack.cells[0].task, one, read) for one in by_data.values()), Work())


def _metrics(found: Sequence[StackWork], metrics: Sequence[Measure]) -> dict[str, Work]:
    """The work of all values, by class of cost."""
    total: dict[str, Work] = {}
    for metric, work, times in _values(found, metrics):
        total[metric.cost] = total.get(metric.cost, Work()) + work * times
    return total


def _values(found: Sequence[StackWork], metrics: Sequence[Measure]) -> Iterator[tuple[Measure, Work, int]]:
    """Each metric on each stack: what one value takes, and how many there are."""
    for one, metric in itertools.product(found, metrics):
        times = len(one.stack.cells) * _measured(one.stack.cells[0].task, metric, _points(one))
        if times:
            yield metric, value_of(one, metric), times


def value_of(one: StackWork, metric: Measure) -> Work:
    """One value of a metric at a checkpoint of a stack."""
    own = metric.cost if metric.name in passes.known() or not metric.probes else "free"
    data, kept = one.stack.cells[0].task.data, _buffers(one)
    size, features = data.train_size(), data.shape().features
    update = size if not kept else 0  # plain SGD's last step is made again from the whole training set
    return passes.value(metric.name, own, one.network, size, features, update, kept)


def _measuring(
    found: Sequence[StackWork], metrics: Sequence[Measure], device: Device, dtype: str, limit: float
) -> tuple[float, tuple[str, ...]]:
    """Seconds of all values within the limit, and the metrics that exceed it: a few attempts of each are counted."""
    seconds, tried = 0.0, Counter[str]()
    for metric, work, times in _values(found, metrics):
        each = device.seconds(in_dtype(work, dtype), "metric")
        attempts = times if each <= limit else min(times, MOST_TIMEOUTS - tried[metric.name])
        if each > limit:
            tried[metric.name] += attempts
        seconds += min(each, limit) * attempts
    return seconds, tuple(sorted(tried))


def _measured(task: TaskSpec, metric: Measure, points: int) -> int:
    """At how many checkpoints of a run a metric is measured: where the task asks for all the probes that it reads."""
    if task.training.optimizer.kind not in metric.optimizers:
        return 0
    budgets = [task.training.trajectory if n == "backward" else getattr(task.probes, n) for n in metric.probes]
    if any(budget is None for budget in budgets):
        return 0
    last = "backward" in metric.probes or any(getattr(budget, "at", "all") == "last" for budget in budgets)
    return 1 if last else points


def _points(one: StackWork) -> int:
    task = one.stack.cells[0].task
    return len(task.training.checkpoint_steps(task.data.train_size()))


def _buffers(one: StackWork) -> int:
    """Tensors of d numbers that the optimizer keeps; momentum is one of the stack, zero in some cells or not."""
    optimizers = [cell.task.training.optimizer for cell in one.stack.cells]
    if isinstance(optimizers[0], AdamW):
        return 2
    return int(any(optimizer.momentum > 0 for optimizer in optimizers if not isinstance(optimizer, AdamW)))


def stack_memory(one: StackWork, dtype: str = "float32") -> dict[str, int]:
    """Bytes of a stack in training, by part: what it holds throughout, and what a step adds at most."""
    number, task = _BYTES[dtype], one.stack.cells[0].task
    cells, size = len(one.stack.cells), task.data.train_size()
    each, shape = cells * one.network.parameters * number, task.data.shape()
    kept = task.training.trajectory
    vectors = shape.encoding == "vectors"
    return {
        "weights": 2 * each,  # and those of one step before
        "optimizer": _buffers(one) * each,
        "gradient": each,
        "trajectory": kept.points * each if kept else 0,
        "activations": cells * one.batch * one.network.numbers * number,
        "training set": size * shape.features * (number if vectors else 8),
    }


def recorded_parts(provenance: Mapping[str, Any]) -> Iterator[tuple[str, str, Work, float]]:
    """What a published task took, by part: kind of job, name, the work as counted here, the seconds as recorded.

    Parts are training, each probe, and each class of metrics, whose seconds are `metric_costs` times how often each was
    measured. A probe that was recorded before what it does was mended is as `SUPERSEDED` says.
    """
    task, costs = TaskSpec.model_validate(provenance["spec"]), provenance["metric_costs"]
    found, name, seconds = trained(task), provenance["task"], provenance["seconds"]
    yield "training", f"{name}: training", sum((one.work for one in found), Work()), seconds["training"]
    measures = published_metrics(provenance)
    for probe, work in _probes(found, measures).items():
        stands = SUPERSEDED.get((name, provenance["commit"], probe), 1.0)
        if f"probe {probe}" in seconds and stands:
            yield "probe", f"{name}: probe {probe}", work, stands * seconds[f"probe {probe}"]
    taken: dict[str, float] = {}
    for metric in measures:
        for one in found:
            times = len(one.stack.cells) * _measured(one.stack.cells[0].task, metric, _points(one))
            taken[metric.cost] = taken.get(metric.cost, 0.0) + times * costs[metric.name]["seconds"]
    for cost, work in _metrics(found, measures).items():
        yield "metric", f"{name}: {cost} metrics", work, taken[cost]


def published_metrics(provenance: Mapping[str, Any]) -> list[Measure]:
    """The metrics of a published task that had a value, as this version knows them; those it does not are left out."""
    return [metric for metric in known_metrics() if metric.name in provenance["metric_costs"]]


def known_metrics(files: Sequence[Any] = (), cost: str = "search") -> list[Measure]:
    """The metrics that are measured here, up to a class of cost."""
    from suite.metrics import find_metrics

    return measures(affordable(find_metrics(files), cost))


def measures(metrics: Mapping[str, Metric]) -> list[Measure]:
    """What is asked of these metrics."""
    return [Measure(name, one.cost, tuple(one.probes), tuple(one.optimizers)) for name, one in metrics.items()]


def affordable(metrics: Mapping[str, Metric], cost: str) -> dict[str, Metric]:
    """The metrics that cost no more than that class, the trivial ones, and those from outside this package."""
    from suite.metrics.registry import COSTS

    allowed = COSTS[: COSTS.index(cost) + 1]
    return {n: m for n, m in metrics.items() if m.cost in allowed or m.trivial or m.origin is not None}
