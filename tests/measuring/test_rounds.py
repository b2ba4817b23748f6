"""Whoever breaks a job is found by its progress, and the others are measured all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.executors import Job, Outcome
from suite.measuring.jobs import Point, Wanted
from suite.measuring.rounds import Rounds
from suite.metrics import find_metrics
from suite.spec.task import MOST_TIMEOUTS
from suite.store import StoredValue

METRICS = find_metrics()
NAMES = ("batch_size", "learning_rate", "steps", "weight_norm")


def a_job(step: int, names: tuple[str, ...] = NAMES) -> Job:
    point = Point(None, "run", step, True, Path(), Path(), Path())  # type: ignore[arg-type] - nobody reads the task here
    wanted = tuple(Wanted(f"{name} {step}", point, name, ()) for name in names)
    return Job("task", len, (wanted, (), "place"), 1.0)


def names(job: Job) -> list[str]:
    return [want.metric for want in job.arguments[0]]


@pytest.fixture
def rows() -> list[StoredValue]:
    return []


@pytest.fixture
def rounds(rows: list[StoredValue]) -> Rounds:
    return Rounds(METRICS, rows.extend)


def test_the_value_in_progress_is_to_blame_and_the_rest_goes_again(rounds: Rounds, rows: list[StoredValue]) -> None:
    (left,) = rounds.settle(Outcome(a_job(1), "died", None, "why", 1.0, fraction=0.25))
    assert [(row.metric, row.status, row.reason) for row in rows] == [("learning_rate", "died", "why")]
    assert names(left) == ["batch_size", "steps", "weight_norm"]
    again = rounds.settle(Outcome(a_job(2), "died", None, "why", 1.0, fraction=0.5))
    assert [names(job) for job in again] == [["batch_size", "weight_norm"], ["learning_rate"]]


def test_a_death_after_the_last_value_blames_the_last(rounds: Rounds, rows: list[StoredValue]) -> None:
    rounds.settle(Outcome(a_job(1), "died", None, "why", 1.0, fraction=1.0))
    assert [row.metric for row in rows] == ["weight_norm"]


def test_a_metric_that_ran_out_of_time_often_is_given_up_on_its_task(rounds: Rounds, rows: list[StoredValue]) -> None:
    for step in range(MOST_TIMEOUTS):
        assert names(rounds.revise(a_job(step))) == list(NAMES)
        rounds.settle(Outcome(a_job(step), "timeout", None, "took longer than 1 s", 1.0, fraction=0.5))
    revised = rounds.revise(a_job(9))
    assert names(revised) == ["batch_size", "learning_rate", "weight_norm"]
    assert rows[-1].key == "steps 9"
    assert (rows[-1].status, rows[-1].reason) == ("timeout", "not tried: it took too long on 3 values of this task")
    other = Job("another task", *[getattr(a_job(9), f) for f in ("function", "arguments", "limit")])
    assert rounds.revise(other) == other


def test_deaths_are_never_given_up(rounds: Rounds) -> None:
    for step in range(2 * MOST_TIMEOUTS):
        rounds.settle(Outcome(a_job(step), "died", None, "why", 1.0, fraction=0.5))
    assert names(rounds.revise(a_job(9))) == list(NAMES)


def test_a_failure_outside_any_metric_is_everyones(rounds: Rounds, rows: list[StoredValue]) -> None:
    assert rounds.settle(Outcome(a_job(1), "failed", None, "BadInput: no data", 1.0, fraction=0.0)) == []
    assert [(row.metric, row.status, row.reason) for row in rows] == [(n, "failed", "BadInput: no data") for n in NAMES]
