"""What a metric cost and returned on the networks of the local store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from suite.measuring.measure import Plan
from suite.metrics import Metric
from suite.publishing import measured_values
from suite.ranking.tables import TaskResults
from suite.store import Store
from suite.submission.findings import Finding

_BROKEN = {"timeout", "died"}


def cost(metric: Metric, plans: Sequence[Plan], store: Store) -> Iterator[Finding]:
    """Seconds and memory of a checkpoint, and the seconds of all; the probes that it reads are not in them."""
    rows = [row for p in plans for row in measured_values(p, store, {metric.name: metric})[metric.name]]
    if not rows:
        return
    seconds = np.array([row.seconds for row in rows])
    memory = [row.memory for row in rows if row.memory is not None]
    peak = f", at most {max(memory) / 2**20:.1f} MiB" if memory else ", memory not known"
    said = f"{np.median(seconds):.3g} s a checkpoint (at most {seconds.max():.3g} s){peak}"
    yield Finding("cost", "told", f"{said}; {seconds.sum():.3g} s for all {len(rows)}")


def lost_values(metric: str, results: TaskResults) -> Finding:
    """How many values a task has and what stands in the others' way, the three most frequent reasons.

    Wrong if a worker died or took too long, or if there is no value although the metric does not call itself undefined.
    """
    table = results.values
    table = table[(table["metric"] == metric) | table["metric"].str.startswith(f"{metric}.")]
    ok = table[table["status"] == "ok"]
    lost = Counter(zip(*(table.loc[table["status"] != "ok", word] for word in ("status", "reason")), strict=True))
    reasons = "".join(f"; {count} × {status}: {reason}" for (status, reason), count in lost.most_common(3))
    statuses = {status for status, _ in lost}
    broken = bool(statuses & _BROKEN) or (not len(ok) and statuses != {"undefined"})
    span = f", {ok['value'].min():.5g} to {ok['value'].max():.5g}" if len(ok) else ""
    said = f"{len(ok)} of {len(table)}{span}{reasons}"
    return Finding(f"values of {results.name}", "wrong" if broken else "good" if len(ok) else "told", said)
