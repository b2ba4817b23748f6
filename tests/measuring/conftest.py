"""One trained and probed run of a tiny task, as files, the way a worker meets it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from suite.measuring.jobs import Point, probe_job
from suite.measuring.place import Place
from suite.measuring.train import train_job
from suite.spec.cells import stacks
from suite.spec.task import TaskSpec
from suite.store import Store
from tests.command import TINY


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Made:
    """A checkpoint, its spectral probe's file and its recorded training loss."""

    point: Point
    probe: tuple[tuple[str, Path], ...]
    train_loss: float
    place: Place


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    place = Place.of("cpu", "float32")
    stack = stacks(TaskSpec.model_validate(yaml.safe_load(TINY)))[0]
    with Store(tmp_path_factory.mktemp("store"), writing=True) as store:
        runs, seconds, provenance = train_job(stack, place, silent)
        store.record_stack("stack", runs, seconds, provenance)
        run = store.run(runs[0].run_id)
        assert run is not None
        (end,) = run.checkpoints
        weights, initial, curve = (store.path(str(kept)) for kept in (end.weights, run.initial, run.curve))
        point = Point(stack.cells[0].task, run.run_id, end.step, True, weights, initial, curve)
        probe = probe_job("probe", "spectrum", point, place, silent)
        assert probe.tensors is not None
        return Made(point, (("spectrum", store.path(store.keep(probe.tensors))),), end.train_loss, place)
