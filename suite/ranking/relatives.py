"""How alike metrics order networks: Kendall's τ-b of every metric with every other."""

from __future__ import annotations

import numpy as np
import pandas as pd

from suite.ranking.correlation import LEAST, Vector, defined_mean
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
    x, has = np.where(known, x, np.nan), known.astype(float)
    agree, mine = np.zeros((len(x), len(x))), np.zeros((len(x), len(x)))
    for one in range(x.shape[1] - 1):  # a network with all later ones: all pairs at once would take M n² numbers
        signs = np.nan_to_num(np.sign(x[:, one + 1 :] - x[:, one, None]))
        agree += signs @ signs.T
        # of the pairs that both have values for: those that the one orders, and those that the other does
        mine += np.abs(signs) @ (has[:, one + 1 :] * has[:, one, None]).T
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: Vector = agree / np.sqrt(mine * mine.T)
    few = has @ has.T < LEAST
    tau[few | (mine * mine.T == 0)] = np.nan
    return tau
