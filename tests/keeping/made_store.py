"""A store as a run would leave it, without training: what is in the files is of no account to whoever keeps them."""

from __future__ import annotations

from pathlib import Path

from suite.measuring.probes import asked, probe_key
from suite.spec.cells import Environment, cells, stacks
from suite.spec.loading import load_task
from suite.spec.task import TaskSpec
from suite.store import Store, StoredCheckpoint, StoredProbe, StoredRun, StoredValue

HERE = Environment("cpu", "float32")
DATA = {"data": {"checksum": "a" * 64}}
STEPS = (20, 40, 60)
PROBES = ("spectrum", "gradients")

TASK = """\
name: NAME
title: Made up
kind: trajectory
data: {kind: modular, modulus: 11, operation: add, encoding: one_hot, train_fraction: 0.7}
model: {kind: mlp, widths: [8]}
training:
  optimizer: {kind: sgd, learning_rate: 0.5, momentum: 0.9}
  batch_size: full
  steps: 60
  checkpoints: {kind: even, count: 3}
  trajectory: {points: 10}
grid:
  training.optimizer.learning_rate: [0.3, 1.0]
  seed: [0, 1]
probes:
  spectrum: {kind: lanczos, runs: 2, steps: 10}
"""


def task_file(folder: Path, name: str = "made", keep: str = "{}", text: str = TASK) -> Path:
    """A task file in `folder/tasks`, with that policy."""
    (folder / "tasks").mkdir(exist_ok=True)
    file = folder / "tasks" / f"{name}.yaml"
    file.write_text(text.replace("NAME", name) + f"keep: {keep}\n")
    return file


def make_store(home: Path, file: Path, metrics: tuple[str, ...] = ("weight_norm",)) -> TaskSpec:
    """Everything of a task, recorded: a file of its own for each tensor, whose content says what it is."""
    task = load_task(file)
    with Store(home, writing=True) as store:
        for stack in stacks(task):
            ids = stack.run_ids(HERE)
            store.record_stack(stack.key(HERE), [_run(run_id) for run_id in ids], 1.0, DATA)
            for cell, run_id in zip(stack.cells, ids, strict=True):
                for step in STEPS:
                    store.record_probes(_probes(cell.task, run_id, step))
                    store.record_values(_value(run_id, step, metric) for metric in metrics)
    return task


def run_ids(task: TaskSpec) -> list[str]:
    """Of all cells, in their order."""
    found = {id(c): i for stack in stacks(task) for c, i in zip(stack.cells, stack.run_ids(HERE), strict=True)}
    assert len(found) == len(cells(task))
    return list(found.values())


def _run(run_id: str) -> StoredRun:
    points = tuple(
        StoredCheckpoint(s, _bytes(run_id, "weights", s), 0.1, 1.0, 0.2, 0.9, _bytes(run_id, "states", s))
        for s in STEPS
    )
    own = (_bytes(run_id, kind, 0) for kind in ("initial", "curve"))
    return StoredRun(run_id, "finished", 3, *own, points, _bytes(run_id, "distances", 0))


def _probes(task: TaskSpec, run_id: str, step: int) -> list[StoredProbe]:
    names = [name for name in PROBES if asked(task, name, step == STEPS[-1]) is not None]
    return [
        StoredProbe(probe_key(run_id, step, task, n), n, run_id, step, _bytes(run_id, f"probes {n}", step), "ok", "", 1)
        for n in names
    ]


def _value(run_id: str, step: int, metric: str) -> StoredValue:
    key = f"{metric} {run_id} {step}"
    return StoredValue(key, "", run_id, step, metric, 1, "f", 0.5, None, "ok", "", 1.0, None, "{}")


def _bytes(run_id: str, kind: str, step: int) -> bytes:
    return f"{kind} {step} {run_id}".encode()


def there(home: Path) -> dict[tuple[str, int], int]:
    """How many files there are of each kind and step."""
    found: dict[tuple[str, int], int] = {}
    for file in (home / "tensors").glob("*/*.safetensors"):
        *kind, step, _ = file.read_text().split()
        found[" ".join(kind), int(step)] = found.get((" ".join(kind), int(step)), 0) + 1
    return found
