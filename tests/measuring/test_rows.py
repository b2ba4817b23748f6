"""Rows of a process in which strangers' metrics ran are those that were asked for, or none."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import pytest

from suite.measuring.jobs import Point, Wanted, failed_value
from suite.measuring.rows import rows_of
from suite.metrics import find_metrics
from suite.store import StoredValue
from suite.submission.trial import trial_task

METRICS = find_metrics()
POINT = Point(trial_task(), "run", 10, True, Path(), Path(), Path())
WANTED = [Wanted(f"key-{name}", POINT, name, ()) for name in ("training_loss", "weight_norm")]
LOST = [failed_value(want, METRICS[want.metric], "failed", "no luck", 0.5) for want in WANTED]
GOOD = [replace(row, status="ok", reason="", value=1.0, standard_error=0.1, memory=3) for row in LOST]


def sent(*rows: StoredValue) -> list[tuple[Any, ...]]:
    return [astuple(row) for row in rows]


def test_what_the_suite_makes_is_taken() -> None:
    for rows in (GOOD, LOST, [GOOD[0], LOST[1]], [replace(LOST[0], status="undefined"), GOOD[1]]):
        assert rows_of(WANTED, METRICS, sent(*rows)) == rows
    assert rows_of(WANTED, METRICS, json.loads(json.dumps(sent(*GOOD)))) == GOOD
    named = [replace(GOOD[0], device="GPU one"), GOOD[1]]
    assert rows_of(WANTED, METRICS, sent(*named)) == named
    parts = [replace(GOOD[0], component=c) for c in ("a", "b")]
    assert rows_of(WANTED, METRICS, sent(*parts, GOOD[1])) == [*parts, GOOD[1]]


@pytest.mark.parametrize(
    "change",
    [
        {"key": "key-of-another"}, {"key": 3}, {"run_id": "another"}, {"step": 11}, {"metric": "weight_norm"},
        {"version": 99}, {"source": "x"}, {"value": float("nan")}, {"value": float("inf")}, {"value": None},
        {"value": "1"},
        {"value": True}, {"value": 1}, {"standard_error": float("nan")}, {"status": "fine"}, {"status": "died"},
        {"status": None}, {"reason": None}, {"reason": "x" * 10**5}, {"seconds": -1.0}, {"seconds": None},
        {"seconds": float("inf")}, {"memory": -1}, {"memory": 2**70}, {"memory": 1.5}, {"versions": None},
        {"component": None}, {"component": 3}, {"status": "failed", "reason": "x"},
        {"device": ""}, {"device": "  "},
        {"device": 3}, {"device": 0}, {"device": "a\x1b]0;b"}, {"device": "x" * 10**5},
        {"component": "\udc80"}, {"component": "a\x1b]0;b\x07"}, {"component": "a\nb"},
    ],
    ids=str,
)  # fmt: skip
def test_anything_else_is_not(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a row is"):
        rows_of(WANTED, METRICS, sent(replace(GOOD[0], **change), GOOD[1]))


@pytest.mark.parametrize("rows", [[], GOOD[:1], [GOOD[0], GOOD[0], GOOD[1]], [*GOOD, LOST[0]]])
def test_all_values_come_and_each_once(rows: list[StoredValue]) -> None:
    with pytest.raises(ValueError, match="rows are missing"):
        rows_of(WANTED, METRICS, sent(*rows))


@pytest.mark.parametrize("other", [None, 3, "rows", {"a": 1}, [3], [()], [(1,) * 30]])
def test_what_are_no_rows_are_none(other: Any) -> None:
    with pytest.raises(ValueError, match="a row is no row"):
        rows_of(WANTED, METRICS, other)
