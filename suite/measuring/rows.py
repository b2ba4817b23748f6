"""The rows that a process sends in which strangers' metrics ran: read as data, and held against what was asked for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from suite.measuring.jobs import Wanted, failed_value
from suite.metrics import Metric
from suite.store import StoredValue

_LONGEST = 10_000
"""Characters of a word."""


def rows_of(wanted: Sequence[Wanted], metrics: Mapping[str, Metric], sent: Any) -> list[StoredValue]:
    """The rows that a process sent, if they are what `metric_job` makes of these.

    Raises:
        ValueError: they are not: it is not the suite that made them.
    """
    known, found = {want.key: want for want in wanted}, []
    for fields in sent if isinstance(sent, list) else [None]:
        if not (isinstance(fields, list | tuple) and len(fields) == len(StoredValue.__dataclass_fields__)):
            raise ValueError("a row is no row")
        row = StoredValue(*fields)
        want = known.get(row.key) if isinstance(row.key, str) else None
        if want is None or not _sound(row):
            raise ValueError("a row is of another value")
        own = failed_value(want, metrics[want.metric], row.status, row.reason, row.seconds, row.component)
        own = replace(own, value=row.value, standard_error=row.standard_error, memory=row.memory)
        if replace(own, versions=row.versions, device=row.device) != row:
            raise ValueError("a row is of another metric")
        found.append(row)
    if {row.key for row in found} != set(known) or len({(row.key, row.component) for row in found}) != len(found):
        raise ValueError("rows are missing, or there twice")
    return found


def _sound(row: StoredValue) -> bool:
    """Whether the parts of a row that are not the driver's own are of the kind that they are meant to be."""
    device = "not noted" if row.device is None else row.device
    words = (row.component, row.status, row.reason, row.versions, device)
    if not all(type(word) is str and len(word) < _LONGEST and word.isprintable() for word in words):
        return False  # no orders to a terminal, no halves of characters, which no file takes
    if not device.strip():
        return False  # a device has a name: results with one that has none could not be read
    good = row.status == "ok" and _finite(row.value) and (row.standard_error is None or _finite(row.standard_error))
    lost = row.status in ("undefined", "failed") and row.value is None and row.standard_error is None
    counted = row.memory is None or (type(row.memory) is int and 0 <= row.memory < 2**63)
    return (good or lost) and counted and _finite(row.seconds) and row.seconds >= 0


def _finite(number: object) -> bool:
    return type(number) is float and math.isfinite(number)
