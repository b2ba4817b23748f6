"""Stacks that could not be trained: on record, out of the plan, in the results, and tried again."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from suite.errors import BadInput
from suite.executors import Job, Outcome
from suite.measuring.measure import Laboratory, Plan, as_trained, plan
from suite.measuring.place import Place
from suite.measuring.probes import probe_key
from suite.metrics import find_metrics
from suite.progress import Board
from suite.publishing import untrained, write_results
from suite.spec.task import TaskSpec
from suite.store import Store, StoredCheckpoint, StoredFailure, StoredProbe, StoredRun
from tests.command import TINY

REASON = "its process died (exit code -9)"


def _plan() -> Plan:
    """Three stacks of two cells, by batch size."""
    spec = yaml.safe_load(TINY) | {"grid": {"training.batch_size": [16, 32, 64], "seed": [0, 1]}}
    return plan(TaskSpec.model_validate(spec), Place.of("cpu", "float32"))


def _runs(made: Plan, number: int) -> list[StoredRun]:
    point = StoredCheckpoint(9, b"weights", 0.1, 1.0, 0.2, 0.9)
    ids = made.stacks[number].run_ids(made.environment)
    return [StoredRun(run_id, "finished", 296, b"initial", b"curve", (point,)) for run_id in ids]


def _record(store: Store, made: Plan, number: int) -> None:
    noted = {"data": {"checksum": "aa"}, "device_name": "x", "versions": {}}
    store.record_stack(made.stacks[number].key(made.environment), _runs(made, number), 1.0, noted)
    for run, cell in zip(_runs(made, number), made.stacks[number].cells, strict=True):
        key = probe_key(run.run_id, 9, cell.task, "spectrum")
        store.record_probes([StoredProbe(key, "spectrum", run.run_id, 9, None, "failed", "no luck", 0.5)])


class Scripted:
    """An executor whose jobs end as they are told to, by batch size."""

    def __init__(self, made: Plan, ends: dict[int, str]) -> None:
        self._made, self._ends = made, ends
        self.tried: list[int] = []

    def map(
        self, jobs: Sequence[Job], tick: Callable[[Sequence[float]], None], revise: Callable[[Job], Job]
    ) -> Iterator[Outcome]:
        for job in jobs:
            stack = job.arguments[0]
            number = self._made.stacks.index(stack)
            self.tried.append(number)
            if self._ends[number] == "ok":
                noted: dict[str, Any] = {"data": {"checksum": "aa"}, "device_name": "x", "versions": {}}
                yield Outcome(job, "ok", (_runs(self._made, number), 1.0, noted), "", 1.0)
            else:
                yield Outcome(job, self._ends[number], None, REASON, 2.5)


def _train(store: Store, made: Plan, ends: dict[int, str]) -> list[int]:
    executor = Scripted(made, ends)
    Laboratory(store, Board(Console(quiet=True), quiet=True)).train([made], executor)  # type: ignore[arg-type]
    return sorted(executor.tried)


def test_what_could_not_be_trained_is_recorded_and_tried_again(tmp_path: Path) -> None:
    made = _plan()
    keys = [stack.key(made.environment) for stack in made.stacks]
    with Store(tmp_path, writing=True) as store:
        assert _train(store, made, {0: "ok", 1: "died", 2: "failed"}) == [0, 1, 2]
        assert store.failures() == {
            keys[1]: StoredFailure(keys[1], "died", REASON, 2.5),
            keys[2]: StoredFailure(keys[2], "failed", REASON, 2.5),
        }
        assert _train(store, made, {1: "timeout", 2: "ok"}) == [1, 2]
        assert store.failures() == {keys[1]: StoredFailure(keys[1], "timeout", REASON, 2.5)}
        assert _train(store, made, {1: "ok"}) == [1]
        assert store.failures() == {}
        assert as_trained(made, store) is made


def test_a_plan_of_what_there_is(tmp_path: Path) -> None:
    made = _plan()
    keys = [stack.key(made.environment) for stack in made.stacks]
    with Store(tmp_path, writing=True) as store:
        _record(store, made, 0)
        store.record_failure(StoredFailure(keys[0], "failed", "an old one", 1.0))  # it is there: that is of the past
        store.record_failure(StoredFailure(keys[1], "died", REASON, 1.0))
        found = as_trained(made, store)
        assert found.stacks == (made.stacks[0], made.stacks[2]), "who was never tried is still to come"
        assert [(lost.run_id, lost.status, lost.reason) for lost in found.untrained] == [
            (run_id, "died", REASON) for run_id in made.stacks[1].run_ids(made.environment)
        ]
        assert [lost.cell for lost in found.untrained] == list(made.stacks[1].cells)
        assert untrained(found) == [
            f"tiny/digits: 2 of 6 networks could not be trained: died: {REASON}; `suite run` tries them again"
        ]
        with pytest.raises(BadInput, match="is not trained yet"):
            write_results(found, store, {}, tmp_path / "results")


def test_runs_on_record_that_lack_files_alone_stay_and_are_told_apart(tmp_path: Path) -> None:
    made = _plan()
    with Store(tmp_path, writing=True) as store:
        for number in range(3):
            _record(store, made, number)
        whole = write_results(made, store, {}, tmp_path / "results") / "runs.csv"
        before = whole.read_bytes()
        key, ids = made.stacks[1].key(made.environment), made.stacks[1].run_ids(made.environment)
        run = store.run(ids[0])
        assert run is not None
        store.path(str(run.checkpoints[0].weights)).unlink()
        store.record_failure(StoredFailure(key, "died", REASON, 1.0))
        found = as_trained(made, store)
        assert (found.stacks, found.untrained) == (made.stacks, ())
        (said,) = untrained(found)
        assert said == (
            f"tiny/digits: {len(found.unmended)} of 6 networks lack files, and could not be trained again: "
            f"died: {REASON}; `suite run` tries them again"
        )
        write_results(found, store, {}, tmp_path / "results")
        assert whole.read_bytes() == before
        assert not whole.with_name("untrained.csv").exists()


def test_results_say_who_is_missing_and_why_until_nobody_is(tmp_path: Path) -> None:
    made, metrics = _plan(), {"hessian_trace": find_metrics()["hessian_trace"]}
    file = tmp_path / "results/tiny/digits/untrained.csv"
    with Store(tmp_path, writing=True) as store:
        for stack in made.stacks:
            store.record_failure(StoredFailure(stack.key(made.environment), "died", REASON, 1.0))
        with pytest.raises(BadInput, match=r"^tiny/digits: 6 of 6 networks could not be trained: died: .*again$"):
            write_results(as_trained(made, store), store, metrics, tmp_path / "results")
        _record(store, made, 0)
        _record(store, made, 2)
        write_results(as_trained(made, store), store, metrics, tmp_path / "results")
        with file.open() as opened:
            rows = list(csv.DictReader(opened))
        ids = made.stacks[1].run_ids(made.environment)
        assert rows == [
            {"run_id": run, "training.batch_size": "32", "seed": seed, "status": "died", "reason": REASON}
            for run, seed in zip(ids, "01", strict=True)
        ]
        assert len((file.parent / "runs.csv").read_text().splitlines()) == 1 + 4
        _record(store, made, 1)
        write_results(as_trained(made, store), store, metrics, tmp_path / "results")
        assert not file.exists()
