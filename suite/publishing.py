"""The results of a task as plain files: `runs.csv`, `values/<metric>.csv`, `metrics.json`, `provenance.json`."""

from __future__ import annotations

import csv
import io
import json
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from suite import __version__
from suite.errors import BadInput
from suite.measuring.jobs import Point
from suite.measuring.measure import Plan, probe_key, value_key
from suite.metrics import Metric
from suite.spec.cells import spec_hash
from suite.store import Store, StoredCheckpoint, StoredProbe, StoredRun, StoredValue

_MEASURES = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
_GAPS = ("accuracy_gap", "loss_gap", "signed_accuracy_gap", "signed_loss_gap")
_VALUE = ("run_id", "step", "component", "value", "standard_error", "status", "reason")
_PACKAGES = ("torch", "numpy", "pandas", "scipy", "scikit-learn", "pydantic", "safetensors")


def write_results(plan: Plan, store: Store, metrics: dict[str, Metric], root: Path) -> Path:
    """Write the results folder of a task under `root`, replacing what was there; returns the folder."""
    root.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".results-", dir=root.parent))
    try:
        values = {name: list(_value_rows(plan, store, metric)) for name, metric in metrics.items()}
        _write_csv(made / "runs.csv", [*_run_header(plan)], _run_rows(plan, store))
        (made / "values").mkdir()
        for name, rows in values.items():
            _write_csv(made / "values" / f"{name}.csv", _VALUE, rows)
        _write_json(made / "metrics.json", [_described(m) for m in metrics.values()])
        _write_json(made / "provenance.json", _provenance(plan, store, metrics))
        folder = root / plan.task.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        made.chmod(0o755)
        made.rename(folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return folder


def failures(plan: Plan, store: Store, metrics: dict[str, Metric]) -> list[str]:
    """What could not be measured, one line each: metric or probe, how often, and a reason."""
    seen: dict[tuple[str, str], int] = {}
    for name, metric in metrics.items():
        for row in _value_rows(plan, store, metric):
            if row[5] != "ok":
                key = (f"{plan.task.name}: {name}", f"{row[5]}: {row[6]}")
                seen[key] = seen.get(key, 0) + 1
    return [f"{what}: {count} × {reason}" for (what, reason), count in seen.items()]


def _run_header(plan: Plan) -> Iterator[str]:
    yield from ("run_id", "step", "epoch", "status")
    yield from plan.task.grid
    yield from (*_MEASURES, *_GAPS)


def _run_rows(plan: Plan, store: Store) -> Iterator[list[Any]]:
    size = plan.task.data.train_size()
    for cell, run_id in plan.runs():
        run = _recorded(store, run_id, plan)
        per_epoch = size // cell.task.training.batch(size)
        factors = [value for _, value in cell.factors]
        for point in run.checkpoints:
            measures = [getattr(point, name) for name in _MEASURES]
            yield [run_id, point.step, point.step / per_epoch, run.status, *factors, *measures, *_gaps(point)]


def _gaps(point: StoredCheckpoint) -> list[float]:
    """Test against train; positive signed gaps mean that the test side is worse."""
    accuracy, loss = point.train_accuracy - point.test_accuracy, point.test_loss - point.train_loss
    return [abs(accuracy), abs(loss), accuracy, loss]


def _value_rows(plan: Plan, store: Store, metric: Metric) -> Iterator[list[Any]]:
    for cell, run_id in plan.runs():
        run = _recorded(store, run_id, plan)
        for point in run.checkpoints:
            key = probe_key(run_id, point.step, cell.task)
            probe = store.probe(key)
            where = Point(cell.task, run_id, point.step, Path(), Path())
            found = store.values(value_key(where, metric, key))
            yield from (_value_row(v) for v in found) if found else [_no_value(run_id, point.step, probe)]


def _value_row(v: StoredValue) -> list[Any]:
    return [v.run_id, v.step, v.component, v.value, v.standard_error, v.status, v.reason]


def _no_value(run_id: str, step: int, probe: StoredProbe | None) -> list[Any]:
    if probe is None or probe.status == "ok":
        raise BadInput(f"run {run_id} at step {step} is not measured yet: `suite measure` first")
    return [run_id, step, "", None, None, probe.status, f"spectral probe: {probe.reason}"]


def _recorded(store: Store, run_id: str, plan: Plan) -> StoredRun:
    run = store.run(run_id)
    if run is None:
        raise BadInput(f"{plan.task.name}: run {run_id} is not trained yet: `suite train {plan.task.name}` first")
    return run


def _described(metric: Metric) -> dict[str, Any]:
    words = ("name", "title", "family", "source", "sign", "version", "cost", "trivial")
    return {word: getattr(metric, word) for word in words}


def _provenance(plan: Plan, store: Store, metrics: dict[str, Metric]) -> dict[str, Any]:
    task = plan.task
    stacks = [store.provenance(stack.key(plan.environment)) for stack in plan.stacks]
    return {
        "task": task.name,
        "title": task.title,
        "description": task.description,
        "kind": task.kind,
        "spec_hash": spec_hash(task),
        "spec": task.model_dump(mode="json"),
        "targets": list(task.targets),
        "include": task.include.model_dump(mode="json"),
        "factors": list(task.grid),
        "parameters": max(_recorded(store, run_id, plan).parameters for _, run_id in plan.runs()),
        "data": stacks[0][1]["data"],
        "versions": {"suite": __version__, "python": platform.python_version(), **{p: version(p) for p in _PACKAGES}},
        "device": plan.environment.device,
        "device_name": ", ".join(sorted({noted["device_name"] for _, noted in stacks})),
        "dtype": plan.environment.dtype,
        **_commit(),
        "seconds": {"training": round(sum(s for s, _ in stacks), 1), **_seconds(plan, store, metrics)},
    }


def _seconds(plan: Plan, store: Store, metrics: dict[str, Metric]) -> dict[str, float]:
    probes = values = 0.0
    for cell, run_id in plan.runs():
        for point in _recorded(store, run_id, plan).checkpoints:
            key = probe_key(run_id, point.step, cell.task)
            probe = store.probe(key)
            probes += probe.seconds if probe else 0.0
            where = Point(cell.task, run_id, point.step, Path(), Path())
            for metric in metrics.values():
                values += sum(v.seconds for v in store.values(value_key(where, metric, key))[:1])
    return {"probes": round(probes, 1), "metrics": round(values, 1)}


def _commit() -> dict[str, Any]:
    """The commit of the code that runs, where it lies in a git checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True)  # noqa: S603, S607
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--", str(here)) if commit else None
    return {"commit": commit, "dirty": bool(changes)}


def _write_csv(path: Path, header: Iterable[str], rows: Iterable[list[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(header))
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
