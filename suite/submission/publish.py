"""The values of single metrics, added to results that are published already."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.errors import BadInput
from suite.measuring.measure import Plan
from suite.metrics import Metric
from suite.publishing import _UNWRITABLE, _VALUE, _described, _recorded, _value_rows, _write_csv, _write_json
from suite.ranking.tables import TaskResults, read_results
from suite.spec.cells import spec_hash
from suite.store import Store, explained

_Rows = list[list[Any]]


def publish_metrics(plans: Sequence[Plan], store: Store, metrics: Mapping[str, Metric], root: Path) -> list[Path]:
    """Write `values/<metric>.csv` and the metric's entry of `metrics.json` into the tasks' folders, nothing else.

    Everything is looked at before anything is written. A task that asks for no probe of a metric's is passed over.

    Returns:
        The files of values.

    Raises:
        BadInput: a task is not published, its published networks are not the store's, a value is not measured yet, or
            a metric has a value on none of the tasks.
        StoreError: a file cannot be written.
    """
    published = [_published(p, root) for p in plans]
    for p, results in zip(plans, published, strict=True):
        _check_same_runs(p, store, results, root)
    found = {(p.task.name, n): list(_value_rows(p, store, m)) for p in plans for n, m in metrics.items()}
    for name, one in metrics.items():
        if not any(found[p.task.name, name] for p in plans):
            read = ", ".join(one.probes)
            raise BadInput(f"{name}: no value on {', '.join(p.task.name for p in plans)}: none asks for {read}")
    written = []
    for p in plans:
        rows = {name: found[p.task.name, name] for name in metrics if found[p.task.name, name]}
        with explained(root / p.task.name, _UNWRITABLE):
            written += _write(root / p.task.name, rows, metrics)
    return written


def _published(p: Plan, root: Path) -> TaskResults:
    if not (root / p.task.name / "provenance.json").is_file():
        raise BadInput(f"{p.task.name}: not published in {root} yet; `suite publish` without --metric publishes a task")
    (results,) = read_results(root, [p.task.name])
    return results


def _check_same_runs(p: Plan, store: Store, results: TaskResults, root: Path) -> None:
    """The store's networks are the published ones, measured by the same task."""
    mine = {(run_id, c.step) for _, run_id in p.runs() for c in _recorded(store, run_id, p).checkpoints}
    theirs = set(zip(results.runs["run_id"], (int(step) for step in results.runs["step"]), strict=True))
    folder = root / p.task.name
    if mine != theirs:
        raise BadInput(
            f"{folder}: {len(theirs - mine)} of {len(theirs)} published checkpoints are not those of this task file on "
            f"this device and in this dtype ({p.environment.device}, {p.environment.dtype}; published: "
            f"{results.provenance['device']}, {results.provenance['dtype']}): publish the whole task, or use its file"
        )
    if results.provenance["spec_hash"] != spec_hash(p.task):
        raise BadInput(f"{folder}: published from another task file (its probes differ): publish the whole task again")


def _write(folder: Path, rows: dict[str, _Rows], metrics: Mapping[str, Metric]) -> list[Path]:
    """Each file whole or not at all; values first: a file of values that nothing names does no harm."""
    described = {entry["name"]: entry for entry in json.loads((folder / "metrics.json").read_text(encoding="utf-8"))}
    described |= {name: _described(metrics[name]) for name in rows}
    with tempfile.TemporaryDirectory(prefix=".metric-", dir=folder) as made:
        part, written = Path(made) / "part", []
        for name, table in rows.items():
            _write_csv(part, _VALUE, table)
            written.append(part.replace(folder / "values" / f"{name}.csv"))
        if rows:
            _write_json(part, [described[name] for name in sorted(described)])
            part.replace(folder / "metrics.json")
    return written
