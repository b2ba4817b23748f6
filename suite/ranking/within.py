"""Correlations within the runs of a trajectory task: over the checkpoints of each, then the mean over runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from suite.ranking.correlation import Draws, Numbers, Vector, count_pairs, defined_mean, draw_kendall


@dataclass(frozen=True)
class Run:
    """One run's checkpoints: metrics `M × t`, gaps `T × t`."""

    x: Vector
    y: Vector


def runs_of(frame: pd.DataFrame, metrics: list[str], targets: list[str]) -> list[Run]:
    """The runs, in the order of their first rows."""
    parts = [part for _, part in frame.groupby("run_id", sort=False)]
    return [Run(part[metrics].to_numpy(float).T, part[targets].to_numpy(float).T) for part in parts]


def run_taus(runs: list[Run]) -> Draws:
    """τ, and τ times coverage, of each run: `runs × M × T`."""
    draws = []
    for run in runs:
        numbers = np.arange(run.x.shape[1])
        draws.append(draw_kendall(count_pairs(run.x, run.y, numbers), np.ones((1, len(numbers)))))
    return Draws(np.array([d.tau[..., 0] for d in draws]), np.array([d.covered[..., 0] for d in draws]))


def mean_over_runs(taus: Vector, counts: Vector) -> Vector:
    """Mean of what is defined in each resample of runs: `runs × M × T` to `M × T × R`.

    Args:
        taus: one per run, metric and gap.
        counts: `R × runs`.
    """
    defined = np.isfinite(taus)
    with np.errstate(invalid="ignore", divide="ignore"):
        sums = np.tensordot(np.where(defined, taus, 0.0), counts, (0, 1))
        mean: Vector = sums / np.tensordot(defined.astype(float), counts, (0, 1))
    return mean


def shifts(runs: list[Run], numbers: Numbers, uniform: Vector) -> list[Numbers]:
    """How far each run is turned round in each permutation: the runs of a setting by the same share of their length.

    Args:
        runs: the runs.
        numbers: cluster of each run.
        uniform: `P × k`, in [0, 1).
    """
    return [(uniform[:, number] * run.x.shape[1]).astype(int) for run, number in zip(runs, numbers, strict=True)]


def turned(run: Run) -> Numbers:
    """Every circular shift of a run's checkpoints, `t × t`: row s holds the positions turned by s."""
    t = run.x.shape[1]
    turns: Numbers = (np.arange(t) + np.arange(t)[:, None]) % max(t, 1)
    return turns


def turned_mean(tables: list[Vector], turns: list[Numbers]) -> Vector:
    """Mean over runs of each run's value at its shift: tables `M × T × t` and shifts `P` to `M × T × P`."""
    return defined_mean(np.array([table[..., turn] for table, turn in zip(tables, turns, strict=True)]))
