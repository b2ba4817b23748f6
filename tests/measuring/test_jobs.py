"""What a metric may see, may change and may cost: nothing it does reaches another metric."""

from __future__ import annotations

import ctypes
import re
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock, patch

import numpy as np
import pytest
import torch

from suite.errors import BadInput, StoreError
from suite.measuring.jobs import Wanted, _measure, probe_job
from suite.measuring.limits import Memory, memory_limit, memory_share
from suite.measuring.measure import Laboratory, applies, plan, value_key
from suite.measuring.place import WORKER_VARIABLES, Place
from suite.metrics import Estimate, Metric, Run, find_metrics, metric
from suite.metrics.registry import ProbeName
from suite.reproducing.chosen import Part
from suite.spec.cells import spec_hash, stacks
from suite.spec.task import Limits, TaskSpec
from suite.store import Store, StoredCheckpoint, StoredRun, StoredValue
from tests.measuring.conftest import Made, silent

POINT = StoredCheckpoint(1, b"weights", 0.0, 0.0, 0.0, 0.0)


def as_metric(function: Callable[[Run], object], probes: tuple[ProbeName, ...] = ("spectrum",)) -> Metric:
    if function.__name__ == "<lambda>":
        function.__name__ = "one"  # a metric is called what its function is
    return metric(title="x", family="x", source="x", sign=1, probes=probes)(function)  # type: ignore[arg-type]


def measured(made: Made, one: Metric, memory: int | None = None) -> StoredValue:
    want = Wanted("key", made.point, one.name, made.probe if one.probes else ())
    (row,) = _measure(want, one, made.place, memory)
    return row


def zero_all(run: Run) -> float:
    problem = run.whole.args[0]  # type: ignore[attr-defined]
    for tensor in (run.weights, run.initial, run.inputs, run.targets, problem.train.inputs, problem.train.targets):
        tensor.zero_()
    run.spectrum.eigenvalues.zero_()  # type: ignore[attr-defined]
    run.task.grid["seed"] = []
    return 1.0


def test_what_a_metric_changes_is_its_own_copy(made: Made) -> None:
    names = ("training_loss", "hessian_trace", "weight_norm", "distance_from_initialisation", "random_number")
    before = [measured(made, find_metrics()[name]).value for name in names]
    assert measured(made, as_metric(zero_all)).status == "ok"
    assert [measured(made, find_metrics()[name]).value for name in names] == before
    grid = made.point.task.grid
    measured(made, as_metric(lambda run: float(run.task.grid.setdefault("seed", []).append(7) or 1)))
    assert made.point.task.grid == grid
    assert 7 not in grid.get("seed", [])


def test_training_loss_is_what_training_recorded(made: Made) -> None:
    assert measured(made, find_metrics()["training_loss"]).value == pytest.approx(made.train_loss, rel=1e-6)


def test_nothing_is_measured_on_data_that_were_not_trained_on(made: Made) -> None:
    now = made.point.task.data.load((), Path()).description.checksum
    here, other = replace(made.point, data=now), replace(made.point, data="f" * 64)
    said = rf"^run {here.run_id} was trained on data of checksum ffffffffffff…, its source now gives {now[:12]}…: put"
    assert probe_job("key", "spectrum", here, made.place, silent).status == "ok"
    with pytest.raises(BadInput, match=said):
        probe_job("key", "spectrum", other, made.place, silent)
    assert measured(replace(made, point=here), as_metric(trace)).status == "ok"
    row = measured(replace(made, point=other), as_metric(trace))
    assert (row.status, row.value) == ("failed", None)
    assert re.match(said, row.reason)


def test_a_checkpoint_knows_what_it_was_trained_on(made: Made, tmp_path: Path) -> None:
    """As training noted it; and only runs that are asked for are measured."""
    task, environment = made.point.task.model_copy(update={"grid": {"seed": [0, 1]}}), made.place.environment
    (stack,) = stacks(task)
    runs = [StoredRun(run_id, "finished", 1, b"", b"", (POINT,)) for run_id in stack.run_ids(environment)]
    with Store(tmp_path, writing=True) as store:
        laboratory = Laboratory(store, MagicMock())
        store.record_stack(stack.key(environment), runs, 1.0, {"data": {"checksum": "aa"}})
        ((point,), *_) = laboratory._points(plan(task, made.place))
        assert point.data == "aa"
        store.record_stack(stack.key(environment), runs, 1.0, {})
        ((point,), *_) = laboratory._points(plan(task, made.place))
        assert point.data is None
        part = Part(task, (stack,), made.place, chosen=frozenset({runs[1].run_id}))
        assert [point.run_id for points in laboratory._points(part) for point in points] == [runs[1].run_id]
        store._db.execute("DELETE FROM stacks")
        with pytest.raises(StoreError, match="says not when and on what it was trained: `suite verify --repair`"):
            list(laboratory._points(plan(task, made.place)))


def leaves(run: Run) -> float:
    sys.exit(0)


def interrupts(run: Run) -> float:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (leaves, "SystemExit: 0"),
        (interrupts, "KeyboardInterrupt: "),
        (lambda run: None, "returned NoneType, not a number"),
        (lambda run: True, "returned bool, not a number"),
        (lambda run: Estimate(1.0, torch.ones(())), "returned Tensor, not a number"),  # type: ignore[arg-type]
        (lambda run: Estimate(1.0, float("inf")), "returned 1.0 ± inf"),
        (lambda run: 10**400, "OverflowError: int too large to convert to float"),
        (lambda run: {"\udc80": 1.0}, "UnicodeEncodeError: 'utf-8' codec can't encode character"),
        (lambda run: {}, "ValueError: a dict of values needs at least one entry"),
    ],
)
def test_whatever_a_metric_does_or_returns_is_a_row(made: Made, function: Callable[[Run], object], reason: str) -> None:
    row = measured(made, as_metric(function))
    assert (row.status, row.value) == ("failed", None)
    assert row.reason.startswith(reason)


def undefined(run: Run) -> float:
    raise ValueError("undefined at zero")


def stumbles(run: Run) -> float:
    raise np.linalg.LinAlgError("no convergence")  # a kind of ValueError


def test_a_plain_value_error_says_that_a_metric_is_undefined(made: Made) -> None:
    row = measured(made, as_metric(undefined))
    assert (row.status, row.value, row.reason) == ("undefined", None, "ValueError: undefined at zero")
    assert measured(made, as_metric(stumbles)).status == "failed"


def test_a_metric_applies_where_its_optimizer_and_its_probes_are(made: Made) -> None:
    task = made.point.task
    for optimizers, there in [(("sgd",), True), (("adamw",), False), (("sgd", "adamw"), True)]:
        one = metric(title="x", family="x", source="x", sign=1, optimizers=optimizers)(trace)  # type: ignore[arg-type]
        assert applies(one, task, True) is there
    assert applies(as_metric(trace), task, True)
    assert not applies(as_metric(trace, ("exponents",)), task, True)


def test_limits_are_in_no_key(made: Made) -> None:
    task = made.point.task
    other = task.model_copy(update={"limits": Limits(metric_seconds=1.0, metric_memory_gib=0.5)})
    assert value_key(replace(made.point, task=other), as_metric(trace)) == value_key(made.point, as_metric(trace))
    assert [s.key(made.place.environment) for s in stacks(other)] == [
        s.key(made.place.environment) for s in stacks(task)
    ]
    assert spec_hash(other) == spec_hash(task)


def test_limits_are_the_tasks_unless_the_command_line_says_otherwise(made: Made, tmp_path: Path) -> None:
    limits = Limits(metric_seconds=7.0, metric_memory_gib=0.5)
    here = plan(made.point.task.model_copy(update={"limits": limits}), made.place)
    with Store(tmp_path) as store:
        for said, seconds in [(None, 7.0), (9.0, 9.0)]:
            laboratory = Laboratory(store, MagicMock(), said)
            with patch.object(laboratory, "_points", return_value=[[made.point]]):
                (job,) = laboratory._jobs([here], {"steps": find_metrics()["steps"]}, None, 2**40)
            assert (job.limit, job.arguments[3]) == (seconds, Memory(2**29, 2**40))


def takes_memory(run: Run) -> float:
    return float(torch.ones(2**24).sum())


def test_the_peak_of_a_metrics_memory_is_recorded(made: Made) -> None:
    if sys.platform == "linux":  # what earlier tests freed is used first, and is resident already
        ctypes.CDLL(None).malloc_trim(0)
    memory = measured(made, as_metric(takes_memory)).memory
    assert memory is not None
    assert 0.9 * 2**26 <= memory < 1.3 * 2**26  # what is resident already is used first
    memory = measured(made, as_metric(lambda run: 1.0)).memory
    assert memory is not None
    assert memory < 2**22


def trace(run: Run) -> Estimate:
    return run.spectrum.trace()


def test_a_metric_has_a_probe_only_if_it_says_so(made: Made) -> None:
    assert measured(made, as_metric(trace)).status == "ok"
    row = measured(made, as_metric(trace, ()))
    assert row.status == "failed"
    assert 'says so, @metric(…, probes=("spectrum",))' in row.reason
    other = made.point.task.probes.spectrum.model_copy(update={"dtype": "float32"})
    probes = made.point.task.probes.model_copy(update={"spectrum": other})
    point = replace(made.point, task=made.point.task.model_copy(update={"probes": probes}))
    assert value_key(made.point, as_metric(trace, ())) == value_key(point, as_metric(trace, ()))
    assert value_key(made.point, as_metric(trace)) != value_key(point, as_metric(trace))


def test_the_text_of_a_metric_file_is_in_the_name_of_its_values(made: Made, tmp_path: Path) -> None:
    text = (
        "from suite.metrics import metric\n@metric(title='x', family='x', source='x', sign=1)\n"
        "def mine(run): return {}\n"
    )
    keys = []
    for number, name in [(1, "mine.py"), (2, "mine.py"), (1, "elsewhere.py")]:
        (tmp_path / name).write_text(text.replace("{}", str(number)))
        keys.append(value_key(made.point, find_metrics([tmp_path / name])["mine"]))
    assert keys[0] != keys[1]
    assert keys[0] == keys[2]


def hoards(run: Run) -> float:
    return float(len(bytearray(2**28)))


def test_memory_beyond_the_limit_is_the_metrics_own_failure(made: Made) -> None:
    row = measured(made, as_metric(hoards), memory=2**27)
    assert (row.status, row.reason) == ("failed", "MemoryError: ")
    assert measured(made, as_metric(hoards), memory=2**29).status == "ok"
    assert measured(made, as_metric(hoards)).status == "ok"


def test_the_limit_ends_with_its_block() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(RuntimeError, match="can't allocate memory"), memory_limit(2**27):
        torch.zeros(2**27)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len(torch.zeros(2**26)) == 2**26
    assert memory_share(4) == memory_share(1) // 4 > 2**25


def test_a_second_attempt_in_float64_is_told(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    solve = torch.linalg.eigvalsh

    def fails_in_float32(matrix: torch.Tensor) -> torch.Tensor:
        if matrix.dtype == torch.float32:
            raise torch.linalg.LinAlgError("did not converge")
        return solve(matrix)

    task = made.point.task
    spectrum = task.probes.spectrum.model_copy(update={"dtype": "float32"})
    probes = task.probes.model_copy(update={"spectrum": spectrum})
    point = replace(made.point, task=task.model_copy(update={"probes": probes}))
    calm = probe_job("key", "spectrum", point, made.place, silent)
    monkeypatch.setattr(torch.linalg, "eigvalsh", fails_in_float32)
    retried = probe_job("key", "spectrum", point, made.place, silent)
    assert (calm.status, calm.reason) == ("ok", "")
    assert retried.status == "ok"
    assert retried.reason == "2 of 2 spectra computed again in float64: the solver did not converge"


def test_a_place_is_an_environment_and_a_device() -> None:
    first, second = Place.of("cuda:1", "float32"), Place.of("cuda:0", "float32")
    assert first.environment == second.environment
    assert (str(first.device), first.dtype) == ("cuda:1", torch.float32)
    assert str(Place.of("cpu", "float64").device) == "cpu"


def test_numbers_below_the_smallest_normal_one_count_as_zero_in_workers() -> None:
    tiny = torch.tensor([1e-39])
    try:
        Place.of("cpu", "float32").prepare()
        assert float((tiny * 0.5).abs().max()) == 0
        assert float((torch.tensor([1e-30]) * 0.5).abs().max()) > 0
    finally:
        torch.set_flush_denormal(False)
    assert float((tiny * 0.5).abs().max()) > 0


def test_preparing_for_cuda_chooses_the_device_and_a_fixed_order_of_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[object] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    try:
        Place.of("cuda:1", "float32").prepare()
        assert chosen == [torch.device("cuda:1")]
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert WORKER_VARIABLES["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")  # torch demands one of these


def test_a_metric_applies_where_it_says_so(made: Made) -> None:
    task, vectors = made.point.task, find_metrics()["path_norm"]
    assert applies(vectors, task, True)
    data = {"kind": "modular", "modulus": 5, "operation": "add", "encoding": "tokens", "train_fraction": 0.6}
    model = {"kind": "transformer", "layers": 1, "width": 8, "heads": 2}
    training = task.training.model_dump() | {"batch_size": 4}
    tokens = TaskSpec.model_validate(
        task.model_dump(exclude={"data", "model", "grid", "training"})
        | {"data": data, "model": model, "training": training}
    )
    assert not applies(vectors, tokens, True)
    assert not applies(find_metrics()["lyapunov_dimension"], task, True)

    def broken(spec: TaskSpec) -> bool:
        raise KeyError("no such field")

    with pytest.raises(BadInput, match="path_norm: applies: KeyError"):
        applies(replace(vectors, applies=broken), task, True)
