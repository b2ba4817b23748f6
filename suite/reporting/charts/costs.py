"""What metrics cost, for the chart of cost against skill."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from suite.ranking.tables import TaskResults
from suite.reporting.board import Board
from suite.reporting.charts.sheet import kind

CHOICES = {"whole": "seconds a value, with the probes it reads", "own": "seconds a value, beyond its probes"}
LEAST = 0.001
"""Seconds: what took less is drawn here."""
_COLUMNS = ["title", "group", "kind", "class", "probes", "score", "low", "high", "own", "whole"]


def cost_table(board: Board) -> pd.DataFrame:
    """One row a metric that has a score and known costs, best first.

    Title, group, kind, class, probes, score, low, high, and seconds a value, on the mean over tasks: `own`, and `whole`
    with those of the probes it reads.

    A probe is made once and read by many metrics: who measures one of them alone pays for all of it.
    """
    rows = []
    for name, row in board.overall[board.overall["score"].notna()].iterrows():
        found = [cost for task in board.tasks if (cost := _cost(task.results, str(name))) is not None]
        if not found:
            continue
        own, whole = np.mean(found, axis=0).clip(LEAST)
        described = next(t.results.metrics.loc[str(name)] for t in board.tasks if name in t.results.metrics.index)
        rows.append(
            {"title": row["title"], "group": row["family"], "kind": kind(bool(row["trivial"]))}
            | {"class": described.get("cost"), "probes": ", ".join(_probes(described)) or "none"}
            | {"score": row["score"], "low": row["low"], "high": row["high"], "own": own, "whole": whole}
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def _cost(results: TaskResults, name: str) -> tuple[float, float] | None:
    """Seconds a value of a metric, without and with its probes; None where they are not known."""
    known = (results.provenance.get("metric_costs") or {}).get(name.partition(".")[0])
    if known is None or name not in results.metrics.index:
        return None
    spent = results.provenance.get("seconds") or {}
    probes = sum((float(spent.get(f"probe {probe}", 0)) for probe in _probes(results.metrics.loc[name])), 0.0)
    own = float(known["seconds"])
    return own, own + probes / max(1, len(results.runs))


def _probes(described: Any) -> list[str]:
    probes = described.get("probes")
    return [str(probe) for probe in probes] if isinstance(probes, (list, tuple)) else []
