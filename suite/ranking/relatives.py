"""How alike metrics order networks: Kendall's τ-b of every metric with every other."""

from __future__ import annotations

import numpy as np
import pandas as pd

from suite.ranking.correlation import LEAST, Vector, defined_mean, pair_signs
from suite.ranking.tables import TaskResults


def relatives(results: TaskResults) -> pd.DataFrame:
    """τ-b between metrics, over the networks that are ranked and that both have values for.

    On trajectory tasks: over the checkpoints of each run, then the mean over the runs in which it is defined, as the
    ranking itself does.

    Returns:
        `M × M`, symmetric, metrics by name; NaN where fewer than three networks have both values or one is constant.
    """
    frame = results.wide()[results.included]
    names = [str(name) for name in results.metrics.index]
    runs = [part for _, part in frame.groupby("run_id", sort=False)] if results.kind == "trajectory" else [frame]
    each = [mutual_tau(part[names].to_numpy(float).T) for part in runs]
    mean = defined_mean(np.array(each)) if each else np.full((len(names), len(names)), np.nan)
    return pd.DataFrame(mean, names, names)


def mutual_tau(x: Vector) -> Vector:
    """τ-b of each of M metrics with each other over n networks, `M × n` to `M × M`; what is not finite is missing."""
    known = np.isfinite(x)
    first, second = np.triu_indices(x.shape[1], 1)
    signs = pair_signs(np.where(known, x, np.nan))[:, first, second]
    both = (known[:, first] & known[:, second]).astype(float)
    ordered = np.abs(signs)
    # of the pairs that both have values for: those that the one orders, and those that the other does
    mine = ordered @ both.T
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: Vector = signs @ signs.T / np.sqrt(mine * mine.T)
    few = known.astype(float) @ known.T.astype(float) < LEAST
    tau[few | (mine * mine.T == 0)] = np.nan
    return tau
