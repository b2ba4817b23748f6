"""The values of single metrics, added to results that are published already."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from suite.errors import BadInput
from suite.measuring.costs import Costs, metric_costs
from suite.measuring.measure import Part, Plan
from suite.metrics import Metric
from suite.publishing import (
    UNWRITABLE,
    VALUE_COLUMNS,
    check_none_is_lost,
    described,
    measured_values,
    recorded,
    value_rows,
    write_csv,
    write_json,
)
from suite.ranking.tables import TaskResults, read_results
from suite.spec.cells import spec_hash
from suite.store import Store, explained
from suite.submission.agreement import SAME_LOSS, same_networks

_Rows = list[list[Any]]


def publish_metrics(plans: Sequence[Plan], store: Store, metrics: Mapping[str, Metric], root: Path) -> list[Path]:
    """Write `values/<metric>.csv`, an entry of `metrics.json` and its cost in `provenance.json`, nothing else.

    Everything is looked at before anything is written. A task that asks for no probe of a metric's is passed over.

    Returns:
        The files of values.

    Raises:
        BadInput: a task is not published, its published networks are not the store's, a value is not measured yet, or
            a metric has a value on none of the tasks. Networks are known by their losses; those that do not count
            (diverged, or trained too little) may be others.
        StoreError: a file cannot be written.
    """
    published = [_published(p, root) for p in plans]
    plans = [_of_published(p, results) for p, results in zip(plans, published, strict=True)]
    for p, results in zip(plans, published, strict=True):
        _check_same_runs(p, store, results, root)
    found = {(p.task.name, n): list(value_rows(p, store, m)) for p in plans for n, m in metrics.items()}
    for name, one in metrics.items():
        if not any(found[p.task.name, name] for p in plans):
            read = ", ".join(one.probes)
            raise BadInput(f"{name}: no value on {', '.join(p.task.name for p in plans)}: none asks for {read}")
    written = []
    for p, results in zip(plans, published, strict=True):
        rows = {name: found[p.task.name, name] for name in metrics if found[p.task.name, name]}
        with explained(root / p.task.name, UNWRITABLE):
            usual = results.provenance.get("measured_on") or results.provenance.get("device_name")
            costs = metric_costs(measured_values(p, store, metrics), usual)
            written += _write(root / p.task.name, rows, metrics, costs)
    return written


def _published(p: Plan, root: Path) -> TaskResults:
    if not (root / p.task.name / "provenance.json").is_file():
        raise BadInput(f"{p.task.name}: not published in {root} yet; `suite publish` without --metric publishes a task")
    (results,) = read_results(root, [p.task.name])
    return results


def _of_published(p: Plan, results: TaskResults) -> Plan:
    """Without the networks that are published as untrained: whoever published the others could not train them."""
    runs = frozenset(run_id for _, run_id in p.runs())
    if runs.isdisjoint(results.untrained["run_id"]):
        return p
    return Part(p.task, p.stacks, p.place, p.untrained, p.unmended, runs - set(results.untrained["run_id"]))


def _check_same_runs(p: Plan, store: Store, results: TaskResults, root: Path) -> None:
    """The store's networks are the published ones, measured by the same task."""
    rows = [
        (run_id, c.step, c.train_loss, c.test_loss)
        for _, run_id in p.runs()
        for c in recorded(store, run_id, p).checkpoints
    ]
    mine = {row[:2] for row in rows}
    theirs = set(zip(results.runs["run_id"], (int(step) for step in results.runs["step"]), strict=True))
    folder = root / p.task.name
    check_none_is_lost(p, results.runs["run_id"], folder)
    if mine != theirs:
        raise BadInput(
            f"{folder}: {len(theirs - mine)} of {len(theirs)} published checkpoints are not those of this task file on "
            f"this device and in this dtype ({p.environment.device}, {p.environment.dtype}; published: "
            f"{results.provenance['device']}, {results.provenance['dtype']}): publish the whole task, or use its file"
        )
    if results.provenance["spec_hash"] != spec_hash(p.task):
        raise BadInput(f"{folder}: published from another task file (its probes differ): publish the whole task again")
    table = pd.DataFrame(rows, columns=["run_id", "step", "train_loss", "test_loss"])
    both = same_networks(table, results.runs.assign(included=results.included))
    if (both["included"] & ~both["same"]).any():
        raise BadInput(
            f"{folder}: {int((~both['same']).sum())} of {len(both)} published networks are others than those trained "
            f"here (their losses differ by more than {SAME_LOSS:.1%}): another machine trains other networks where "
            "training does not contract, and a metric's values must be those of the published ones; ask whoever "
            "published the task to add the metric"
        )


def _write(folder: Path, rows: dict[str, _Rows], metrics: Mapping[str, Metric], costs: Costs) -> list[Path]:
    """Each file whole or not at all; values first: a file of values that nothing names does no harm."""
    entries = {entry["name"]: entry for entry in _json(folder / "metrics.json")}
    entries |= {name: described(metrics[name]) for name in rows}
    provenance = _json(folder / "provenance.json")
    others = {name: cost for name, cost in provenance.get("metric_costs", {}).items() if name not in rows}
    provenance["metric_costs"] = dict(sorted((others | costs).items()))
    with tempfile.TemporaryDirectory(prefix=".metric-", dir=folder) as made:
        part, written = Path(made) / "part", []
        for name, table in rows.items():
            write_csv(part, VALUE_COLUMNS, table)
            written.append(part.replace(folder / "values" / f"{name}.csv"))
        if rows:
            for file, content in (
                ("metrics.json", [entries[n] for n in sorted(entries)]),
                ("provenance.json", provenance),
            ):
                write_json(part, content)
                part.replace(folder / file)
    return written


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
