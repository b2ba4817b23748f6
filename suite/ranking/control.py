"""The harness's own positive control: a predictor that reads the gap through noise, ranked by the same code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from suite.ranking.bootstrap import generator
from suite.ranking.leaderboard import rank_overall
from suite.ranking.tables import TaskResults
from suite.ranking.task import rank_task

ORACLE = "noisy oracle"
NOISE = 0.5
"""Standard deviation of the noise, in standard deviations of what it is added to."""


def control(results: list[TaskResults]) -> dict[str, float]:
    """`score`, `low` and `high` of the noisy oracle over these tasks; NaN where no task can be scored.

    No metric can do this: none is given the gaps. It says what the ranking makes of a predictor that is known to be
    good. A score near 0 would mean that the tasks are too small or too noisy to tell a good metric from a bad one.
    """
    rankings = [rank_task(_with_oracle(result), permutations=0) for result in results]
    table = rank_overall(rankings)
    return {name: float(table[name].to_numpy(float)[0]) for name in ("score", "low", "high")}


def _with_oracle(results: TaskResults) -> TaskResults:
    """The same runs with the oracle as their only metric."""
    described = {"title": "Noisy oracle", "family": "control", "source": "control of this suite", "sign": 1}
    metrics = pd.DataFrame.from_dict({ORACLE: described | {"trivial": False}}, orient="index")
    values = results.runs[["run_id", "step"]].copy()
    values["metric"], values["value"] = ORACLE, _noisy_gap(results)
    values["status"] = np.where(values["value"].notna(), "ok", "failed")
    return replace(results, metrics=metrics, values=values)


def _noisy_gap(results: TaskResults) -> pd.Series[float]:
    """The mean of the standardised targets of the usable rows, and noise; NaN elsewhere.

    Along a trajectory it is standardised within each run, where it will be compared.
    """
    gaps = results.runs.loc[results.usable, results.targets]
    runs = results.runs.loc[results.usable, "run_id"]
    groups = runs if results.kind == "trajectory" else pd.Series("all", gaps.index)
    by_group = gaps.groupby(groups)
    spread = by_group.transform("std", ddof=0)
    signal = ((gaps - by_group.transform("mean")) / spread.where(spread > 0, 1.0)).mean(axis=1)
    noise = pd.Series(generator(results.name, ORACLE).standard_normal(len(signal)), signal.index)
    noisy: pd.Series[float] = signal + NOISE * noise
    return noisy.reindex(results.runs.index)
