"""How many networks were beyond the edge of stability along their training."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class EdgeCounts:
    """Of networks whose edge ratio was recorded along training.

    Attributes:
        networks: how many have a ratio at some step.
        ever: of these, whose ratio exceeded 1 at some recorded step.
        last: whose ratio exceeded 1 at the last step at which they have one: a diverged network's is before that.
    """

    networks: int
    ever: int
    last: int


def edge_counts(edge: pd.DataFrame) -> EdgeCounts | None:
    """Counts of the table `TaskResults.edge`; None where nothing was recorded.

    >>> edge_counts(pd.DataFrame({"run_id": ["a", "a"], "step": [0, 9], "edge_ratio": [1.5, 0.5]}))
    EdgeCounts(networks=1, ever=1, last=0)
    """
    if edge.empty:
        return None
    ratios = edge.dropna(subset=["edge_ratio"]).sort_values("step", kind="stable").groupby("run_id")["edge_ratio"]
    return EdgeCounts(ratios.ngroups, int((ratios.max() > 1).sum()), int((ratios.last() > 1).sum()))
