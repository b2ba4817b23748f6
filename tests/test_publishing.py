"""What provenance says of seconds, from a store with known ones."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from suite.errors import BadInput
from suite.measuring.costs import metric_costs
from suite.measuring.jobs import Point, Wanted, failed_value
from suite.measuring.measure import Plan, plan, value_key
from suite.measuring.place import Place
from suite.measuring.probes import probe_key
from suite.metrics import find_metrics
from suite.publishing import write_results
from suite.ranking.tables import read_results
from suite.spec.task import TaskSpec
from suite.store import Store, StoredCheckpoint, StoredProbe, StoredRun, StoredValue
from tests.command import TINY

TRAINED, LONE, SHARED = 3.0, 0.5, 2.25
"""Seconds of a stack, of a probe with one name, of one with two: powers of two, whose sums are exact."""


def _plan(batch_size: int | str, grid: dict[str, Any] | None = None) -> Plan:
    dense = {"kind": "dense", "minibatches": 1}
    spec: dict[str, Any] = yaml.safe_load(TINY) | {"grid": {"seed": [0, 1], **(grid or {})}}
    spec["training"]["batch_size"] = batch_size
    spec["probes"] = {"spectrum": dense, "whole": dense | {"batch_size": "full"}, "gradients": None}
    return plan(TaskSpec.model_validate(spec), Place.of("cpu", "float32"))


def _published(
    home: Path, made: Plan, seconds: dict[str, float], checksums: Iterable[str] = itertools.repeat("aa")
) -> dict[str, float]:
    """What is written of the seconds where both probes of each run failed after so many.

    The stacks were trained on data of these checksums.
    """
    with Store(home, writing=True) as store:
        for stack, checksum in zip(made.stacks, checksums, strict=False):
            point = StoredCheckpoint(9, b"weights", 0.1, 1.0, 0.2, 0.9)
            ids = stack.run_ids(made.environment)
            runs = [StoredRun(run_id, "finished", 296, b"initial", b"curve", (point,)) for run_id in ids]
            noted = {"data": {"checksum": checksum}, "device_name": "x", "versions": {}}
            store.record_stack(stack.key(made.environment), runs, TRAINED, noted)
        for cell, run_id in made.runs():
            for name, took in seconds.items():
                key = probe_key(run_id, 9, cell.task, name)
                store.record_probes([StoredProbe(key, name, run_id, 9, None, "failed", "no luck", took)])
        metrics = {name: find_metrics()[name] for name in ("hessian_trace", "whole_trace")}
        folder = write_results(made, store, metrics, home / "results")
    return dict(json.loads((folder / "provenance.json").read_text())["seconds"])


def test_a_probe_that_two_names_come_to_is_counted_once(tmp_path: Path) -> None:
    made = _plan("full")
    (cell, run_id), *_ = made.runs()
    assert probe_key(run_id, 9, cell.task, "spectrum") == probe_key(run_id, 9, cell.task, "whole")
    found = _published(tmp_path, made, {"spectrum": SHARED})
    assert found == {"training": TRAINED, "probes": 2 * SHARED, "probe spectrum": 2 * SHARED, "metrics": 0}


def test_probes_that_differ_are_both_counted(tmp_path: Path) -> None:
    found = _published(tmp_path, _plan(32), {"spectrum": SHARED, "whole": LONE})
    assert found["probes"] == 2 * (SHARED + LONE)
    assert (found["probe spectrum"], found["probe whole"]) == (2 * SHARED, 2 * LONE)


def test_networks_that_were_trained_on_different_data_are_in_no_table(tmp_path: Path) -> None:
    """A file was replaced between two stacks, and back or not: each was measured on what it was trained on."""
    made, took = _plan("full", {"training.epochs": [1, 2]}), {"spectrum": LONE}
    with pytest.raises(BadInput, match=r"^tiny/digits: .* of checksums aa… and bb…: `suite verify` with the task file"):
        _published(tmp_path / "one", made, took, ["bb", "aa"])
    assert not (tmp_path / "one/results/tiny/digits").exists()
    assert _published(tmp_path / "two", made, took, ["bb", "bb"])
    sources = _plan("full", {"data.split_seed": [1, 2]})
    assert _published(tmp_path / "three", sources, took, ["bb", "aa"])


def _values(*measured: tuple[str | None, float, int | None]) -> list[StoredValue]:
    """A good value each: on which device, and what it took."""
    return [
        StoredValue(f"v{n}", "", "r", n, "m", 1, "f", 0.5, None, "ok", "", seconds, memory, "{}", device)
        for n, (device, seconds, memory) in enumerate(measured)
    ]


MIB = 2**20


@pytest.mark.parametrize(
    ("rows", "cost"),
    [
        (_values(("A", 1.0, MIB), ("A", 3.0, 2 * MIB)), {"seconds": 2.0, "memory_mib": 2.0}),
        (_values((None, 1.0, MIB), (None, 3.0, None)), {"seconds": 2.0, "memory_mib": 1.0}),
        (
            _values(("A", 1.0, None), ("B", 50.0, 9 * MIB), ("A", 3.0, MIB)),
            {"seconds": 2.0, "memory_mib": 1.0, "device": "A"},
        ),
        (_values(("B", 7.0, None), ("A", 2.0, None)), {"seconds": 2.0, "memory_mib": None, "device": "A"}),
        (
            _values((None, 7.0, None), ("A", 2.0, None), (None, 7.0, None)),
            {"seconds": 7.0, "memory_mib": None, "device": None},
        ),
    ],
)
def test_seconds_of_different_devices_are_never_averaged(rows: list[StoredValue], cost: dict[str, object]) -> None:
    assert metric_costs({"m": rows, "none": []}) == {"m": cost}


def test_a_device_that_the_task_was_not_measured_on_is_named() -> None:
    rows = {"m": _values(("A", 1.0, None))}
    assert "device" not in metric_costs(rows, "A")["m"]
    assert "device" not in metric_costs(rows, "A, B")["m"]
    assert metric_costs(rows, "B")["m"]["device"] == "A"
    assert "device" not in metric_costs({"m": _values((None, 1.0, None))}, "B")["m"]


def test_where_probes_and_metrics_were_taken_is_published_as_far_as_it_is_known(tmp_path: Path) -> None:
    made, metric = _plan(32), find_metrics()["weight_norm"]
    _published(tmp_path, made, {"spectrum": LONE, "whole": LONE})

    def said(on_probe: str | None, *on_values: str | None) -> dict[str, Any]:
        with Store(tmp_path, writing=True) as store:
            for (cell, run_id), device in zip(made.runs(), on_values, strict=True):
                key = probe_key(run_id, 9, cell.task, "spectrum")
                store.record_probes([StoredProbe(key, "spectrum", run_id, 9, None, "failed", "why", 1.0, on_probe)])
                point = Point(cell.task, run_id, 9, True, Path(), Path(), Path())
                want = Wanted(value_key(point, metric), point, metric.name, ())
                row = failed_value(want, metric, "ok", "", 1.0)
                store.record_values([replace(row, value=1.0, device=device)])
            metrics = {name: find_metrics()[name] for name in ("hessian_trace", "weight_norm")}
            write_results(made, store, metrics, tmp_path / "results")
        (results,) = read_results(tmp_path / "results")
        return results.provenance

    assert "measured_on" not in said(None, None, None)
    assert said("GPU two", None, "GPU one")["measured_on"] == "GPU one, GPU two"
    assert said("x", "x", "x")["measured_on"] == "x"
    found = said(None, "GPU one", "GPU two")
    assert found["measured_on"] == "GPU one, GPU two"
    assert found["metric_costs"] == {"weight_norm": {"seconds": 1.0, "memory_mib": None, "device": "GPU one"}}
