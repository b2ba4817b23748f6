"""What values of metrics took, in few digits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from suite.store import StoredValue

Costs = dict[str, dict[str, float | str | None]]
"""`metric_costs` of provenance."""


def metric_costs(measured: Mapping[str, list[StoredValue]], usual: str | None = None) -> Costs:
    """What a value of each metric took: mean seconds and peak memory, to one digit, that reruns differ little.

    Of the values that there are, without failures, of one device: that which most of a metric's were measured on. It is
    named, as `device`, where there were others (None: it was not noted), or where it is not among the `usual` ones.
    Memory is None where no machine told it.
    """
    costs: Costs = {}
    for name, rows in measured.items():
        good = [row for row in rows if row.status == "ok"]
        if not good:
            continue
        counts = Counter(map(_device, good))
        device = max(sorted(counts, key=str), key=counts.__getitem__)
        done = [row for row in good if _device(row) == device]
        told = [row.memory / 2**20 for row in done if row.memory is not None]
        seconds = sum(row.seconds for row in done) / len(done)
        costs[name] = {"seconds": _one_digit(seconds), "memory_mib": _one_digit(max(told)) if told else None}
        if len(counts) > 1 or (usual is not None and device is not None and device not in usual.split(", ")):
            costs[name]["device"] = device
    return costs


def _device(row: StoredValue) -> str | None:
    """The device's name; one that is blank, as older stores may have it, says no more than none."""
    return row.device if row.device and row.device.strip() else None


def _one_digit(number: float) -> float:
    return float(f"{number:.1g}")
