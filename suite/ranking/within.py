"""Correlations within the runs of a trajectory task: over the checkpoints of each, then the mean over runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.ranking.correlation import Draws, Vector, count_pairs, draw_kendall


@dataclass(frozen=True)
class Run:
    """One run's checkpoints: metrics `M × t`, gaps `T × t`; where metrics were tried, `M × t` (None: everywhere)."""

    x: Vector
    y: Vector
    tried: NDArray[np.bool_] | None = None


def runs_of(frame: pd.DataFrame, metrics: list[str], targets: list[str], tried: NDArray[np.bool_]) -> list[Run]:
    """The runs, in the order of their first rows; `tried` is `M × n`, of the frame's rows."""
    parts = frame.groupby("run_id", sort=False).indices
    x, y = frame[metrics].to_numpy(float).T, frame[targets].to_numpy(float).T
    rows = [parts[run] for run in frame["run_id"].unique()]
    return [Run(x[:, own], y[:, own], tried[:, own]) for own in rows]


def run_taus(runs: list[Run]) -> Draws:
    """τ, `runs × M × T`, and scores read with either sign, `runs × 2 × M × T`, of each run."""
    draws = []
    for run in runs:
        numbers = np.arange(run.x.shape[1])
        draws.append(draw_kendall(count_pairs(run.x, run.y, numbers, run.tried), np.ones((1, len(numbers)))))
    return Draws(np.array([d.tau[..., 0] for d in draws]), np.array([d.scores[..., 0] for d in draws]))


def mean_over_runs(taus: Vector, counts: Vector) -> Vector:
    """Mean of what is defined in each resample of runs: `runs × …` to `… × R`.

    Args:
        taus: one per run and whatever else.
        counts: `R × runs`.
    """
    defined = np.isfinite(taus)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = np.tensordot(np.where(defined, taus, 0.0), counts, (0, 1))
        mean: Vector = sums / np.tensordot(defined.astype(float), counts, (0, 1))
    return mean
