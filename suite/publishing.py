"""The results of a task as plain files: `runs.csv`, `values/<metric>.csv`, `metrics.json`, `provenance.json`.

Where networks could not be trained, `untrained.csv` says which and why. Where the task asks for a spectral probe,
`spectra.csv` has its spectra in few numbers; where it asks for the largest eigenvalue along training, `edge.csv` has
that and the edge ratio.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from inspect import getdoc
from pathlib import Path
from typing import Any

from safetensors.torch import load

from suite.errors import BadInput
from suite.measuring.costs import metric_costs
from suite.measuring.jobs import Point
from suite.measuring.measure import Plan, applies, probes_read, value_key
from suite.measuring.probes import BACKWARD, find_probes, probe_key
from suite.measuring.profiles import spectral_profile
from suite.metrics import Metric
from suite.ranking.tables import EDGE, GAPS, MEASURES, SPECTRA, UNTRAINED
from suite.spec.cells import Cell, spec_hash
from suite.store import Store, StoredCheckpoint, StoredProbe, StoredRun, StoredValue, explained, read_checked
from suite.training.sharpness import edge_ratio

VALUE_COLUMNS = ("run_id", "step", "component", "value", "standard_error", "status", "reason")
"""The header of `values/<metric>.csv`."""
UNWRITABLE = "results cannot be written there"
"""What is said where a folder of results refuses a file."""
_UNFINISHED = ".results-"
_SPECTRAL = ("spectrum", "whole", "common")


def check_names(plans: Iterable[Plan], root: Path) -> None:
    """No task's results folder may lie inside another's: writing the outer one would remove the inner one.

    Raises:
        BadInput: two names, of these tasks or of results under `root`, of which one is a folder of the other.
    """
    names = {p.task.name for p in plans}
    for name in sorted(names):
        for other in sorted(names | {path.parent.relative_to(root).as_posix() for path in root.rglob("runs.csv")}):
            if other.startswith(f"{name}/") or name.startswith(f"{other}/"):
                raise BadInput(
                    f"the results of tasks {name} and {other} would lie one inside the other under {root}: "
                    "give one of them another name, or delete the results that are no longer wanted"
                )


def make_ready(root: Path) -> None:
    """Make `root`, and remove what a killed `write_results` left beside it; for the only process that writes there.

    Raises:
        StoreError: the folder cannot be written.
    """
    with explained(root, UNWRITABLE):
        root.mkdir(parents=True, exist_ok=True)
        for left in root.parent.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)


def write_results(plan: Plan, store: Store, metrics: dict[str, Metric], root: Path) -> Path:
    """Write the results folder of a task under `root`, replacing what was there; returns the folder.

    Raises:
        BadInput: something is not measured yet, there is no network, or another task's results are in the way.
        StoreError: the folder cannot be written.
    """
    folder = root / plan.task.name
    if not plan.stacks:
        raise BadInput("\n".join(untrained(plan)))
    with explained(folder, UNWRITABLE):
        check_names([plan], root)
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=root.parent))
        try:
            _fill(made / "new", plan, store, metrics)
            if folder.exists():
                folder.rename(made / "old")
            (made / "new").rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    return folder


def _fill(folder: Path, plan: Plan, store: Store, metrics: dict[str, Metric]) -> None:
    rows_of = {name: list(value_rows(plan, store, metric)) for name, metric in metrics.items()}
    values = {name: rows for name, rows in rows_of.items() if rows}  # none: the task asks for no such probe
    (folder / "values").mkdir(parents=True)
    write_csv(folder / "runs.csv", [*_run_header(plan)], _run_rows(plan, store))
    if plan.untrained:
        left = [[one.run_id, *_settings(one.cell), one.status, one.reason] for one in plan.untrained]
        write_csv(folder / UNTRAINED, ["run_id", *plan.task.grid, "status", "reason"], left)
    for name, rows in values.items():
        write_csv(folder / "values" / f"{name}.csv", VALUE_COLUMNS, rows)
    if spectra := list(_spectra(plan, store)):
        write_csv(folder / "spectra.csv", SPECTRA, spectra)
    if plan.task.training.sharpness is not None:
        write_csv(folder / "edge.csv", EDGE, _edge(plan, store))
    write_json(folder / "metrics.json", [described(metrics[name]) for name in values])
    write_json(folder / "provenance.json", _provenance(plan, store, metrics))


def failures(plan: Plan, store: Store, metrics: dict[str, Metric]) -> list[str]:
    """What could not be measured, one line each: metric or probe, how often, and a reason.

    A metric that says that it is undefined somewhere is no failure, unless it comes from outside and has no value at
    all: its author should hear of it.
    """
    seen: dict[tuple[str, str], int] = {}
    for name, metric in metrics.items():
        rows = list(value_rows(plan, store, metric))
        fine = {"ok"} if metric.origin and not any(row[5] == "ok" for row in rows) else {"ok", "undefined"}
        for row in rows:
            if row[5] not in fine:
                key = (f"{plan.task.name}: {name}", f"{row[5]}: {row[6]}")
                seen[key] = seen.get(key, 0) + 1
    return [f"{what}: {count} × {reason}" for (what, reason), count in seen.items()]


def untrained(plan: Plan) -> list[str]:
    """Which networks of a plan of what there is could not be trained, a line for each reason."""
    networks = sum(len(stack.cells) for stack in plan.stacks) + len(plan.untrained)
    return [
        f"{plan.task.name}: {count} of {networks} networks {what}: {status}: {reason}; `suite run` tries them again"
        for runs, what in (
            (plan.untrained, "could not be trained"),
            (plan.unmended, "lack files, and could not be trained again"),
        )
        for (status, reason), count in Counter((lost.status, lost.reason) for lost in runs).items()
    ]


def check_none_is_lost(plan: Plan, published: Iterable[str], folder: Path) -> None:
    """No published run may be one that could not be trained here.

    Raises:
        BadInput: some are; to publish the others would take them away.
    """
    if lost := {lost.run_id for lost in plan.untrained} & set(published):
        raise BadInput(
            f"{folder}: {len(lost)} published networks could not be trained here: `suite run` tries them again"
        )


def _run_header(plan: Plan) -> Iterator[str]:
    yield from ("run_id", "step", "epoch", "status")
    yield from plan.task.grid
    yield from (*MEASURES, *GAPS)


def _run_rows(plan: Plan, store: Store) -> Iterator[list[Any]]:
    size = plan.task.data.train_size()
    for cell, run_id in plan.runs():
        run = recorded(store, run_id, plan)
        per_epoch = size // cell.task.training.batch(size)
        factors = _settings(cell)
        for point in run.checkpoints:
            measures = [getattr(point, name) for name in MEASURES]
            yield [run_id, point.step, point.step / per_epoch, run.status, *factors, *measures, *_gaps(point)]


def _settings(cell: Cell) -> list[Any]:
    return [value for _, value in cell.factors]


def _gaps(point: StoredCheckpoint) -> list[float]:
    """Test against train; positive signed gaps mean that the test side is worse."""
    accuracy, loss = point.train_accuracy - point.test_accuracy, point.test_loss - point.train_loss
    return [abs(accuracy), abs(loss), accuracy, loss]


def value_rows(plan: Plan, store: Store, metric: Metric) -> Iterator[list[Any]]:
    """The rows of a metric's file of values, or why a checkpoint has none; no row where the task asks for no probe.

    Raises:
        BadInput: a run is not trained, or a checkpoint not measured yet.
    """
    for point in _points(plan, store):
        if not applies(metric, point.task, point.last):
            continue
        found = store.values(value_key(point, metric))
        yield from (_value_row(v) for v in found) if found else [_no_value(point, store, metric)]


def _points(plan: Plan, store: Store) -> Iterator[Point]:
    """Every checkpoint of a task, without its files."""
    for cell, run_id in plan.runs():
        checkpoints = recorded(store, run_id, plan).checkpoints
        for one in checkpoints:
            yield Point(cell.task, run_id, one.step, one is checkpoints[-1], Path(), Path(), Path())


def _probes(plan: Plan, store: Store, names: Iterable[str]) -> Iterator[StoredProbe]:
    """The probes of a task that are there, each once: several names may come to the same measurement."""
    for point in _points(plan, store):
        asked = (name for name in names if getattr(point.task.probes, name) is not None)
        for key in dict.fromkeys(probe_key(point.run_id, point.step, point.task, name) for name in asked):
            probe = store.probe(key)
            if probe is not None:
                yield probe


def _spectra(plan: Plan, store: Store) -> Iterator[list[Any]]:
    """Profiles of the first of the spectral probes that the task asks for, at each run's first and last checkpoint."""
    name = next((name for name in _SPECTRAL if getattr(plan.task.probes, name) is not None), None)
    points = list(_points(plan, store))
    for before, point in zip([None, *points], points, strict=False):
        if name is None or not (point.last or before is None or before.last):
            continue
        probe = store.probe(probe_key(point.run_id, point.step, point.task, name))
        if probe is None or probe.status != "ok":
            continue
        tensors = load(read_checked(store.path(str(probe.tensors))))
        spectrum = find_probes()[name].load(getattr(point.task.probes, name), tensors)
        for row in spectral_profile(spectrum, point.task.training.optimizer.learning_rate):
            yield [point.run_id, point.step, *(f"{number:.6g}" for number in row)]


def _edge(plan: Plan, store: Store) -> Iterator[list[Any]]:
    """The largest eigenvalue along each run, and the edge ratio where the optimizer has one."""
    size = plan.task.data.train_size()
    for cell, run_id in plan.runs():
        training = cell.task.training
        for step, top in recorded(store, run_id, plan).sharpness:
            ratio = edge_ratio(top, training.optimizer, training.rate_behind(step, size))
            yield [run_id, step, _six_digits(top), _six_digits(ratio)]


def _six_digits(number: float | None) -> str:
    """As many as were measured; nothing where there is no number."""
    return "" if number is None or math.isnan(number) else f"{number:.6g}"


def _value_row(v: StoredValue) -> list[Any]:
    return [v.run_id, v.step, v.component, v.value, v.standard_error, v.status, v.reason]


def _no_value(point: Point, store: Store, metric: Metric) -> list[Any]:
    for name in metric.probes:
        probe = None if name == BACKWARD else store.probe(probe_key(point.run_id, point.step, point.task, name))
        if probe is not None and probe.status != "ok":
            return [point.run_id, point.step, "", None, None, probe.status, f"probe {name}: {probe.reason}"]
    raise BadInput(
        f"run {point.run_id} at step {point.step} is not measured yet: `suite measure` with the same task file first"
    )


def recorded(store: Store, run_id: str, plan: Plan) -> StoredRun:
    """A run of the store.

    Raises:
        BadInput: it is not trained yet.
    """
    run = store.run(run_id)
    if run is None:
        raise BadInput(
            f"{plan.task.name}: run {run_id} is not trained yet: `suite train` with the same task file first"
        )
    return run


def described(metric: Metric) -> dict[str, Any]:
    """The entry of `metrics.json`."""
    words = ("name", "title", "family", "source", "sign", "version", "probes", "cost", "invariances", "trivial")
    entry = {word: getattr(metric, word) for word in (*words, "fingerprint")}
    return entry | {"outside": metric.origin is not None, "definition": definition(metric)}


def definition(metric: Metric) -> str:
    """What a metric's docstring says."""
    return getdoc(metric.measure) or ""


def _provenance(plan: Plan, store: Store, metrics: dict[str, Metric]) -> dict[str, Any]:
    task, measured = plan.task, measured_values(plan, store, metrics)
    probes = list(_probes(plan, store, probes_read(metrics.values())))
    stacks = [store.provenance(stack.key(plan.environment)) for stack in plan.stacks]
    _check_data(plan, [noted for _, noted in stacks])
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
        "parameters": max(recorded(store, run_id, plan).parameters for _, run_id in plan.runs()),
        "data": stacks[0][1]["data"],
        "versions": _versions([noted for _, noted in stacks]),
        "device": plan.environment.device,
        "device_name": ", ".join(sorted({noted["device_name"] for _, noted in stacks})),
        **({"measured_on": measured_on} if (measured_on := _measured_on(probes, measured)) else {}),
        "dtype": plan.environment.dtype,
        "commit": _agreed(noted.get("commit") for _, noted in stacks),
        "dirty": any(noted.get("dirty") for _, noted in stacks),
        # where a stack did not fit and was trained in so many parts: their cells' sums may be rounded otherwise
        **({"parts": parts} if (parts := max(noted.get("parts", 1) for _, noted in stacks)) > 1 else {}),
        "seconds": {"training": round(sum(s for s, _ in stacks), 1), **_seconds(probes, measured)},
        "metric_costs": metric_costs(measured),
        "probe_notes": _probe_notes(probes),
    }


def _check_data(plan: Plan, noted: list[dict[str, Any]]) -> None:
    """What stacks of one source were trained on is the same: no table holds networks that learned different things.

    Raises:
        BadInput: a file was replaced while the task was trained.
    """
    sources: dict[str, set[str]] = {}
    for stack, one in zip(plan.stacks, noted, strict=True):
        if checksum := one.get("data", {}).get("checksum"):
            sources.setdefault(stack.cells[0].task.data.model_dump_json(), set()).add(checksum)
    for found in sources.values():
        if len(found) > 1:
            words = " and ".join(f"{checksum[:12]}…" for checksum in sorted(found))
            raise BadInput(
                f"{plan.task.name}: its networks were trained on different data, of checksums {words}: "
                "`suite verify` with the task file says which, and what to do"
            )


def _versions(noted: list[dict[str, Any]]) -> dict[str, str | None]:
    """The versions that trained the networks: as noted then, not those of whoever writes the results."""
    names = dict.fromkeys(name for one in noted for name in one.get("versions", {}))
    return {name: _agreed(one.get("versions", {}).get(name) for one in noted) for name in names}


def _agreed(noted: Iterable[str | None]) -> str | None:
    """What all stacks noted, or everything that any noted; None if none did."""
    return ", ".join(sorted({one for one in noted if one})) or None


def _probe_notes(probes: Iterable[StoredProbe]) -> dict[str, int]:
    """What the probes that succeeded say of themselves (such as a second attempt in float64), and how many do."""
    notes = Counter(probe.reason for probe in probes if probe.status == "ok" and probe.reason)
    return dict(sorted(notes.items()))


def measured_values(plan: Plan, store: Store, metrics: Mapping[str, Metric]) -> dict[str, list[StoredValue]]:
    """One row (a value's first component) of everything that was measured, by metric.

    Raises:
        BadInput: a run is not trained yet.
    """
    rows: dict[str, list[StoredValue]] = {name: [] for name in metrics}
    for point in _points(plan, store):
        for name, metric in metrics.items():
            if applies(metric, point.task, point.last):
                rows[name] += store.values(value_key(point, metric))[:1]
    return rows


def _measured_on(probes: Iterable[StoredProbe], measured: dict[str, list[StoredValue]]) -> str | None:
    """The devices that probes and metrics were taken on, as far as that was noted."""
    values = itertools.chain.from_iterable(measured.values())
    return _agreed([*(probe.device for probe in probes), *(value.device for value in values)])


def _seconds(probes: Iterable[StoredProbe], measured: dict[str, list[StoredValue]]) -> dict[str, float]:
    spent = Counter[str]()
    for probe in probes:
        spent[probe.name] += probe.seconds  # type: ignore[assignment]
    values = sum(row.seconds for rows in measured.values() for row in rows)
    each = {f"probe {name}": round(seconds, 1) for name, seconds in sorted(spent.items())}
    return {"probes": round(sum(spent.values()), 1), **each, "metrics": round(values, 1)}


def write_csv(path: Path, header: Iterable[str], rows: Iterable[list[Any]]) -> None:
    """A header and rows, with the same line ends on every system."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(list(header))
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Indented, with a line end at the end: the same content is the same bytes."""
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
