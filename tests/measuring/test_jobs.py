"""What a metric may see, may change and may cost: nothing it does reaches another metric."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from suite.measuring.jobs import Wanted, _measure, probe_job
from suite.measuring.limits import memory_limit, memory_share
from suite.measuring.measure import value_key
from suite.measuring.place import WORKER_VARIABLES, Place
from suite.metrics import Estimate, Metric, Run, find_metrics, metric
from suite.metrics.registry import ProbeName
from suite.store import StoredValue
from tests.measuring.conftest import Made, silent


def as_metric(function: Callable[[Run], object], probes: tuple[ProbeName, ...] = ("spectrum",)) -> Metric:
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
