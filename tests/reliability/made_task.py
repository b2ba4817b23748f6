"""A task of any size that was never trained: made-up runs, probes and values with structure, as drivers record them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from suite.curvature.measure import SpectralMeasure
from suite.curvature.spectrum import QuadratureSpectrum
from suite.measuring.jobs import Point
from suite.measuring.measure import Plan, applies, plan, value_key
from suite.measuring.place import Place
from suite.measuring.probes import probe_key
from suite.metrics import Metric, find_metrics
from suite.spec.cells import Cell
from suite.spec.loading import load_task
from suite.store import StoredCheckpoint, StoredProbe, StoredRun, StoredValue

METRICS = 60
SEEDS = 5
GRIDS = {100: (5, 2, 2), 1000: (10, 5, 4), 10_000: (20, 10, 10)}
"""Learning rates, batch sizes and weight decays of so many cells; each setting has `SEEDS` seeds."""
_BUDGET = "{kind: lanczos, runs: 2, steps: 20}"
_PARAMETERS = 300
_DIVERGED, _LACKING, _FAILED = 0.01, 6, 0.01
"""Shares of runs that diverged, and of values that are not defined; so many metrics lack some."""

TASK = """\
name: made/up
title: Made up, {cells} cells
kind: grid
data: {{kind: digits}}
model: {{kind: mlp, widths: [4]}}
training:
  optimizer: {{kind: sgd, learning_rate: 0.1, momentum: 0.9}}
  batch_size: 32
  epochs: 3
grid:
  training.optimizer.learning_rate: {rates}
  training.batch_size: {batches}
  training.optimizer.weight_decay: {decays}
  seed: {seeds}
probes:
  spectrum: {budget}
  gradients: null
"""


def task_file(folder: Path, cells: int) -> Path:
    """The task, as a user writes it."""
    rates, batches, decays = GRIDS[cells]
    text = TASK.format(
        cells=cells,
        rates=[round(float(rate), 6) for rate in np.geomspace(0.001, 0.5, rates)],
        batches=[16 + 8 * number for number in range(batches)],
        decays=[round(float(decay), 8) for decay in np.geomspace(1e-6, 1e-3, decays)],
        seeds=[*range(SEEDS)],
        budget=_BUDGET,
    )
    path = folder / "made-up.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def made_plan(folder: Path, cells: int) -> Plan:
    """Its cells, stacks and keys."""
    return plan(load_task(task_file(folder, cells), max_cells=cells), Place.of("cpu", "float32"))


@cache
def _metrics() -> dict[str, Metric]:
    return {name: metric for name, metric in find_metrics().items() if metric.origin is None}


def metrics_for(made: Plan) -> dict[str, Metric]:
    """The suite's own metrics that are defined on the task: the trivial ones, and others up to `METRICS`."""
    task = made.task
    own = {name: one for name, one in sorted(_metrics().items()) if applies(one, task, True)}
    chosen = sorted(own, key=lambda name: not own[name].trivial)[:METRICS]
    if len(chosen) < METRICS:
        raise RuntimeError(f"{len(chosen)} metrics are defined on the task, {METRICS} are meant")
    return {name: own[name] for name in sorted(chosen)}


@dataclass(frozen=True)
class MadeUp:
    """All numbers of a task, by cell in the order of `Plan.runs`.

    Attributes:
        loss, accuracy: of the test data; those of the training data are 0.01 and 1.
        diverged: which runs did.
        values: `METRICS × cells`; NaN where not defined.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    diverged: np.ndarray
    values: np.ndarray


def made_up(cells: list[Cell], names: list[str], seed: int) -> MadeUp:
    """Gaps that hyperparameters and luck make; metrics that see some of the gap, of the hyperparameters, and noise.

    Trivial predictors see what they are named for.
    """
    random = np.random.default_rng(seed)
    optimizers = [cell.task.training.optimizer for cell in cells]
    rate = _scaled(np.log([one.learning_rate for one in optimizers]))
    batch = _scaled(np.log([int(cell.task.training.batch_size) for cell in cells]))
    decay = _scaled(np.log([one.weight_decay for one in optimizers]))
    gap = 0.8 * batch - 0.6 * rate - 0.3 * decay + 0.3 * rate * batch + 0.6 * random.normal(size=len(cells))
    loss = 0.2 + 0.1 * np.exp(0.5 * gap)
    accuracy = 1 - np.round(np.clip(0.05 * np.exp(0.4 * gap), 0, 0.5) * 360) / 360  # of 360 test images: ties
    shares = random.uniform(-0.6, 0.9, size=(len(names), 1))
    echoes = random.normal(size=(len(names), 3)) @ np.stack([rate, batch, decay])
    values = shares * gap + 0.5 * echoes + random.normal(size=(len(names), len(cells)))
    for row, name in enumerate(names):
        if name in ("learning_rate", "batch_size", "weight_decay"):
            values[row] = {"learning_rate": rate, "batch_size": batch, "weight_decay": decay}[name]
    lacking = random.choice(len(names), _LACKING, replace=False)
    for row in lacking:
        values[row, random.random(len(cells)) < _FAILED] = math.nan
    return MadeUp(loss, accuracy, random.random(len(cells)) < _DIVERGED, values)


def _scaled(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    return (values - values.mean()) / values.std()


def stored_run(run_id: str, step: int, made: MadeUp, number: int) -> StoredRun:
    """A run as training leaves it: weights of a small network, and curves."""
    nan = float("nan")
    losses = (nan, nan) if made.diverged[number] else (0.01, float(made.loss[number]))
    accuracies = (0.1, 0.1) if made.diverged[number] else (1.0, float(made.accuracy[number]))
    weights = _noise(number, _PARAMETERS)
    point = StoredCheckpoint(step, _file(weights=weights), losses[0], accuracies[0], losses[1], accuracies[1])
    status = "diverged" if made.diverged[number] else "finished"
    initial, curve = _file(weights=_noise(-1 - number, _PARAMETERS)), _file(curve=weights[:3])
    return StoredRun(run_id, status, _PARAMETERS, initial, curve, (point,))


def stored_probe(point: Point, number: int) -> StoredProbe:
    """A spectrum as the probe leaves it."""
    nodes = _noise(number, 40).reshape(2, 20).double().sort(1).values
    masses = torch.full_like(nodes, 1 / 20)
    measure = SpectralMeasure.of_quadrature(nodes, masses, _PARAMETERS)
    tensors = {name: value.contiguous() for name, value in QuadratureSpectrum(measure).to_arrays().items()}
    key = probe_key(point.run_id, point.step, point.task, "spectrum")
    return StoredProbe(key, "spectrum", point.run_id, point.step, save(tensors), "ok", "", 0.1)


def stored_values(point: Point, metrics: dict[str, Metric], made: MadeUp, number: int) -> Iterator[StoredValue]:
    """The values of a run, as a worker sends them."""
    for row, metric in enumerate(metrics.values()):
        value = float(made.values[row, number])
        known = math.isfinite(value)
        status, reason = ("ok", "") if known else ("undefined", "ValueError: made up: not defined here")
        yield StoredValue(
            value_key(point, metric), "", point.run_id, point.step, metric.name, metric.version, metric.fingerprint,
            value if known else None, None, status, reason, 0.01, 2**20, '{"torch": "2.13.0", "numpy": "2.4.6"}',
        )  # fmt: skip


def _noise(number: int, size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(number % 2**32))


def _file(**tensors: torch.Tensor) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def last_step(cell: Cell) -> int:
    """Of its training."""
    return cell.task.training.total_steps(cell.task.data.train_size())


def point_of(cell: Cell, run_id: str) -> Point:
    """A run's last checkpoint, without its files."""
    return Point(cell.task, run_id, last_step(cell), True, Path(), Path(), Path())


PROVENANCE = {
    "data": {"n_test": 360}, "versions": {"torch": "2.13.0"}, "device_name": "none", "commit": None, "dirty": False,
}  # fmt: skip
"""What training notes of a stack."""
