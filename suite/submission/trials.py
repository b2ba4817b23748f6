"""A metric tried in worker processes of its own: twice, without the real test data, on other devices, watched."""

from __future__ import annotations

import dataclasses
import pickle
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from suite.errors import BadInput, first_line
from suite.executors import Job, LocalExecutor, Progress
from suite.measuring.confinement import confine
from suite.measuring.isolation import isolated
from suite.measuring.limits import memory_share
from suite.measuring.place import WORKER_MODULES, WORKER_VARIABLES, Place
from suite.metrics import Estimate, Metric, Run, find_metrics
from suite.spec.base import DataSpec
from suite.spec.task import TaskSpec
from suite.submission.trial import CPU, run_of, trained, trial_task
from suite.training.problem import load_problem
from suite.training.record import RunRecord

_LEAST_LIMIT = 20.0
"""Seconds within which a process has started and read the data, however short a call is to be."""

Values = tuple[tuple[str, float, float | None], ...]
"""Component, value, standard error."""


@dataclass(frozen=True)
class Network:
    """Which trial network a metric is tried on: with what it reads, trained by an optimizer that it is defined for."""

    probes: tuple[str, ...]
    optimizer: str

    @classmethod
    def of(cls, metric: Metric) -> Network:
        """SGD's where the metric is defined for it."""
        sgd = "sgd" in metric.optimizers and "optimizer" not in metric.probes
        return cls(tuple(metric.probes), "sgd" if sgd else "adamw")

    def task(self) -> TaskSpec:
        """Its task."""
        rate = 0.1 if self.optimizer == "sgd" else 0.01
        return trial_task(*self.probes, training={"optimizer": {"kind": self.optimizer, "learning_rate": rate}})


@dataclass(frozen=True)
class Case:
    """How a metric is tried: where, in which dtype, and whether the data source gives out other test data.

    Other test data are what `DataSpec.load` gives in the worker. The files that it reads stay as they are: a metric
    that reads them itself, or in a process of its own, is not found out by that.
    """

    device: str
    dtype: str
    other_test_data: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Attributes:
        values: empty where there are none.
        reason: why there are none.
        undefined: whether that was said by ValueError, as a metric may.
        changed: what was another after the call than before.
        read: how often the data source was read during the call.
        seconds: what the call took.
    """

    values: Values = ()
    reason: str = ""
    undefined: bool = False
    changed: tuple[str, ...] = ()
    read: int = 0
    seconds: float = 0.0


_OUTCOMES = TypeAdapter(list[Outcome])

PLAIN = Case("cpu", "float64")
SINGLE = Case("cpu", "float32")
OTHER = Case("cpu", "float64", other_test_data=True)
CUDA = Case("cuda:0", "float64")


@dataclass(frozen=True)
class Tried:
    """A metric's outcomes; `again` is `PLAIN` in another process, with other states of all global generators."""

    plain: Outcome
    again: Outcome
    other: Outcome
    single: Outcome
    cuda: Outcome | None
    same_training: bool


def try_metrics(metrics: Mapping[str, Metric], files: tuple[Path, ...], limit: float) -> dict[str, Tried]:
    """Try each metric; processes that measure never were those that trained. `limit`: seconds a call may take."""
    networks = {name: Network.of(metric) for name, metric in metrics.items()}
    jobs = [
        Job("trial", train_job, (one, other)) for one in dict.fromkeys(networks.values()) for other in (False, True)
    ]
    with LocalExecutor(1, WORKER_VARIABLES, preload=WORKER_MODULES) as trainer:
        outcomes = list(trainer.map(jobs))
    if failed := [o.reason for o in outcomes if o.status != "ok"]:
        lost = Outcome(reason=f"the trial network could not be trained: {failed[0]}")
        return {name: Tried(lost, lost, lost, lost, None, True) for name in metrics}
    records: _Records = {o.job.arguments: o.result for o in outcomes}
    cuda = (CUDA,) if torch.cuda.is_available() else ()
    first = _outcomes(networks, files, records, (PLAIN, SINGLE, *cuda), 1, limit)
    alive = {name: n for name, n in networks.items() if first[name, PLAIN].values or first[name, PLAIN].undefined}
    # the other way round: what is left of an earlier call, or of the order, would show too
    second = _outcomes(dict(reversed(alive.items())), files, records, (OTHER, PLAIN), 2, limit)
    return {
        name: Tried(
            first[name, PLAIN],
            second.get((name, PLAIN), first[name, PLAIN]),
            second.get((name, OTHER), first[name, PLAIN]),
            first[name, SINGLE],
            first.get((name, CUDA)),
            _same_weights(records[network, False], records[network, True]),
        )
        for name, network in networks.items()
    }


_Records = dict[tuple[Network, bool], bytes]
"""Pickled: as arguments of jobs tensors would share their memory with the worker, where a metric may change it."""


def _outcomes(
    networks: dict[str, Network],
    files: tuple[Path, ...],
    records: _Records,
    cases: tuple[Case, ...],
    seed: int,
    limit: float,
) -> dict[tuple[str, Case], Outcome]:
    """Every metric in every case, one after the other in one fresh process (in a new one after one that died)."""
    allowed = max(limit, _LEAST_LIMIT)
    jobs = [
        Job(
            "trial",
            trial_job,
            (name, files, network, _with_records(cases, network, records), seed),
            allowed,
            plain=True,
            reports=len(cases),
        )
        for name, network in networks.items()
    ]
    found = {}
    with LocalExecutor(1, WORKER_VARIABLES, preload=WORKER_MODULES) as executor:
        for o in executor.map(jobs):
            came = read_outcomes(o.result, len(cases)) if o.status == "ok" else f"{o.status}: {o.reason}"
            for case, outcome in zip(cases, _lost(came, cases) if isinstance(came, str) else came, strict=True):
                found[o.job.arguments[0], case] = outcome
    return found


def _lost(reason: str, cases: tuple[Case, ...]) -> list[Outcome]:
    return [Outcome(reason=reason)] * len(cases)


def read_outcomes(sent: object, count: int) -> list[Outcome] | str:
    """The outcomes that a process sent in which a stranger's code ran, or what is wrong with them."""
    try:
        outcomes = _OUTCOMES.validate_json(sent, strict=True) if isinstance(sent, str) else []
    except ValidationError as error:
        return f"failed: its process sent what is no outcome of a trial: {error.errors()[0]['msg']}"
    return outcomes if len(outcomes) == count else "failed: its process sent what are no outcomes of its trials"


def _with_records(cases: tuple[Case, ...], network: Network, records: _Records) -> tuple[tuple[Case, bytes], ...]:
    return tuple((case, records[network, case.other_test_data]) for case in cases)


def train_job(network: Network, other_test_data: bool, progress: Progress) -> bytes:
    """Train a trial network; its record, pickled."""
    Place.of("cpu", "float64").prepare()
    task = network.task()
    _forget_data()
    with watched(type(task.data), other_test_data):
        record = trained(task, torch.float64)
    return pickle.dumps(record)


def trial_job(
    name: str,
    files: tuple[Path, ...],
    network: Network,
    cases: tuple[tuple[Case, bytes], ...],
    seed: int,
    progress: Progress,
) -> str:
    """Measure one metric once in each case, on a pickled record of its own; the outcomes as JSON."""
    for case, _ in cases:
        Place.of(case.device, case.dtype).prepare()  # a device is begun to be used before the process is confined
    device = torch.device(next((case.device for case, _ in cases if case.device != "cpu"), "cpu"))
    confine(device, _memory(device))
    metric, outcomes = find_metrics(files)[name], []
    for number, (case, record) in enumerate(cases):
        progress(number + 1, len(cases) + 1)  # each has its own time
        outcomes.append(_tried(metric, network, case, pickle.loads(record), seed))  # noqa: S301 - from our own worker
    return _OUTCOMES.dump_json(outcomes).decode()


def _tried(metric: Metric, network: Network, case: Case, record: RunRecord, seed: int) -> Outcome:
    """What came of one call, watching what it reads and changes."""
    place, task = Place.of(case.device, case.dtype), network.task()
    place.prepare()
    _forget_data()
    with watched(type(task.data), case.other_test_data) as reads:
        try:
            run = run_of(task, record, network.probes, place.device, place.dtype)
        except (BadInput, ValueError, RuntimeError) as error:
            place.leave_if_unusable()
            return Outcome(reason=f"a probe that it reads could not be made: {first_line(error)}")
        before, already = state_of(run), len(reads)
        outcome = _called(metric, run, place, seed)
        read, after = len(reads) - already, state_of(run)
    changed = tuple(sorted(part for part in before | after if before.get(part) != after.get(part)))
    return dataclasses.replace(outcome, changed=changed, read=read)


def _memory(device: torch.device) -> int | None:
    """As when tasks are measured: the share of the one worker there is; no limit on CUDA."""
    return memory_share(1) if device.type == "cpu" else None


def _called(metric: Metric, run: Run, place: Place, seed: int) -> Outcome:
    """What came of it, isolated as when tasks are measured; global generators begin elsewhere in every process."""
    start = time.perf_counter()
    try:
        with isolated(seed, place.device, _memory(place.device)):
            values = _values(metric.measure(run))
    except BaseException as error:  # noqa: BLE001 - whatever a metric raises is what came of it
        place.leave_if_unusable()
        seconds = time.perf_counter() - start
        return Outcome((), first_line(error), type(error) is ValueError, seconds=seconds)
    return Outcome(values, seconds=time.perf_counter() - start)


@contextmanager
def watched(kind: type[DataSpec], other_test_data: bool) -> Iterator[list[str]]:
    """Note every read of a kind of data source; where asked, with other test inputs and targets than it has."""
    original, reads = kind.load, []

    def load(self: DataSpec, folders: tuple[Path, ...], cache: Path) -> Any:
        reads.append("read")
        found: Any = original(self, folders, cache)
        if not other_test_data:
            return found
        inputs, targets = np.ascontiguousarray(found.test_inputs[::-1] * -3), np.roll(found.test_targets, 1, axis=0)
        return dataclasses.replace(found, test_inputs=inputs, test_targets=targets)

    setattr(kind, "load", load)  # noqa: B010 - of the class, for as long as the block lasts
    try:
        yield reads
    finally:
        setattr(kind, "load", original)  # noqa: B010


def state_of(run: Run) -> dict[str, Any]:
    """Everything of a run that a metric could change in place, by name, as bytes."""
    module = getattr(run.network, "module", None)
    parts: dict[str, Any] = {
        f.name: getattr(run, f.name)
        for f in dataclasses.fields(run)
        if f.name not in ("network", "sample_loss", "whole")
    }
    if isinstance(module, torch.nn.Module):
        parts["module"] = {**dict(module.state_dict(keep_vars=True)), "training": module.training}
    return dict(_leaves("", parts))


def _leaves(name: str, part: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(part, Tensor):
        flat = part.detach().contiguous().reshape(-1)
        held = b"" if part.is_meta else flat.cpu().view(torch.uint8).numpy().tobytes()
        yield name, (str(part.dtype), tuple(part.shape), part.requires_grad, held)
    elif isinstance(part, np.ndarray):
        yield name, (str(part.dtype), part.shape, part.tobytes())
    elif isinstance(part, Mapping):
        for key, value in part.items():
            yield from _leaves(f"{name}.{key}".lstrip("."), value)
    elif isinstance(part, tuple | list):
        yield from _leaves(name, dict(enumerate(part)))
    elif dataclasses.is_dataclass(part) and not isinstance(part, type):
        yield from _leaves(name, {f.name: getattr(part, f.name) for f in dataclasses.fields(part)})
    elif hasattr(part, "model_dump_json"):
        yield name, part.model_dump_json()
    elif part is None or isinstance(part, str | int | float | bool):
        yield name, repr(part)


def _values(value: Any) -> Values:
    parts = value if isinstance(value, dict) else {"": value}
    found = []
    for component, one in parts.items():
        number, error = (one.value, one.standard_error) if isinstance(one, Estimate) else (one, None)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"returned {type(number).__name__}, not a number")
        if not np.isfinite(number):
            raise TypeError(f"returned {number}")
        found.append((str(component), float(number), None if error is None else float(error)))
    return tuple(found)


def _forget_data() -> None:
    """The arrays of a source are kept until another source is asked for: whoever comes next is to read its own."""
    load_problem(trial_task(data={"kind": "digits", "split_seed": 1}), CPU, torch.float64)


def _same_weights(one: bytes, other: bytes) -> bool:
    ends = [pickle.loads(record).checkpoints[-1].weights for record in (one, other)]  # noqa: S301 - from our own worker
    return torch.equal(*ends)
