"""Transitions: when the test accuracy jumps, does a metric change before, with, or after it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from suite.ranking import bootstrap
from suite.ranking.bootstrap import cluster_counts, clusters, generator, intervals, setting_numbers
from suite.ranking.correlation import Vector
from suite.ranking.tables import TaskResults

JUMP = 0.3
"""Rise of the mean test accuracy from the first segment to the second that counts as a transition."""
EXPLAINED = 0.5
"""Share of a metric's variance over time that two levels have to explain for it to have changed."""
_FEWEST = 4
"""Checkpoints that a change can be seen in: two before it and two after."""


@dataclass(frozen=True)
class Change:
    """The best fit of two levels to a series.

    Attributes:
        step: of the change: halfway between the last checkpoint of the first level and the first of the second.
        rise: second level minus first.
        explained: share of the variance that the two levels explain, R².
        line: share that a straight line through the steps explains.
    """

    step: float
    rise: float
    explained: float
    line: float

    @property
    def happened(self) -> bool:
        """Whether it is a change of level: two levels say much, and more than a steady drift would."""
        return self.explained >= EXPLAINED and self.explained > self.line


def change_point(steps: Vector, values: Vector) -> Change | None:
    """The least-squares change point: two constant levels, each of at least two checkpoints, with the least error.

    Args:
        steps: increasing, `t`.
        values: `t`; those that are not finite are left out.

    Returns:
        None with fewer than four values. Of a constant series: a change of 0 that explains nothing.
    """
    kept = np.isfinite(values)
    steps, values = steps[kept], values[kept]
    n = len(values)
    if n < _FEWEST:
        return None
    centred = values - values.mean()
    total = float((centred**2).sum())
    sizes = np.arange(2, n - 1)
    before = np.cumsum(centred)[sizes - 1]
    gains = before**2 / sizes + before**2 / (n - sizes)
    best = int(np.argmax(gains))
    at = int(sizes[best])
    rise = float(values[at:].mean() - values[:at].mean())
    if total <= 1e-24 * max(1.0, float((values**2).sum())):
        return Change(float(steps[at - 1] + steps[at]) / 2, 0.0, 0.0, 0.0)
    time = steps - steps.mean()
    line = float((time @ centred) ** 2 / (time @ time) / total)
    return Change(float(steps[at - 1] + steps[at]) / 2, rise, float(gains[best]) / total, line)


def transitions(results: TaskResults, resamples: int = bootstrap.RESAMPLES) -> pd.DataFrame:
    """When metrics change, against when test accuracy does, over the usable runs of a trajectory task.

    A run has a transition (it groks) where `change_point` of its test accuracy rises by at least 0.3. A metric changes
    in a run where two levels explain at least half of its variance over time and more than a straight line does.

    Returns:
        One row per metric: `grokked` runs with a transition; `runs`, those in which the metric changes too; `lead`,
        how many steps before the accuracy it does, on the mean over these (below 0: after it), and its 95 % interval
        `low`, `high`, from settings drawn again (NaN from fewer than two: the seeds of one setting are one
        observation); `quiet` runs without a transition, and `false_alarms`, the share of them in which the metric
        changes all the same (NaN where there are none).

    Raises:
        ValueError: the task is not a trajectory task.
    """
    if results.kind != "trajectory":
        raise ValueError(f"{results.name} has no trajectories: transitions are within runs")
    frame = results.wide()[results.usable]
    parts = [part.sort_values("step") for _, part in frame.groupby("run_id", sort=False)]
    accuracy = [_change(part, "test_accuracy") for part in parts]
    followed = [(part, jump) for part, jump in zip(parts, accuracy, strict=True) if jump is not None]
    rows = []
    for metric in map(str, results.metrics.index):
        changes = [_change(part, metric) for part, _ in followed]
        rows.append({"metric": metric} | _lead(results, followed, changes, resamples))
    columns = ["metric", "grokked", "runs", "lead", "low", "high", "quiet", "false_alarms"]
    return pd.DataFrame(rows, columns=columns)


def _change(part: pd.DataFrame, name: str) -> Change | None:
    return change_point(part["step"].to_numpy(float), part[name].to_numpy(float))


def _lead(
    results: TaskResults, followed: list[tuple[pd.DataFrame, Change]], changes: list[Change | None], resamples: int
) -> dict[str, float]:
    grokked = [jump.rise >= JUMP for _, jump in followed]
    happened = [change is not None and change.happened for change in changes]
    leads = {
        run: jump.step - change.step
        for run, ((_, jump), change) in enumerate(zip(followed, changes, strict=True))
        if grokked[run] and happened[run] and change is not None
    }
    alarms = [seen for seen, grok in zip(happened, grokked, strict=True) if not grok]
    lead, low, high = _interval(results, [followed[run][0] for run in leads], np.array([*leads.values()]), resamples)
    return {
        "grokked": sum(grokked), "runs": len(leads), "lead": lead, "low": low, "high": high, "quiet": len(alarms),
        "false_alarms": float(np.mean(alarms)) if alarms else float("nan"),
    }  # fmt: skip


def _interval(
    results: TaskResults, runs: list[pd.DataFrame], leads: Vector, resamples: int
) -> tuple[float, float, float]:
    """The mean lead and its interval, which ends where the longest run does."""
    if not runs:
        return float("nan"), float("nan"), float("nan")
    points = pd.concat([run.head(1) for run in runs])
    # of the whole task, not of these runs: those of one setting of many are not independent
    _, drawn = clusters(results.runs.drop_duplicates("run_id"), results.hyperparameters)
    numbers = setting_numbers(points, results.hyperparameters) if drawn == "settings" else np.arange(len(points))
    counts = cluster_counts(numbers, resamples, generator(results.name, "transitions"))
    draws = np.concatenate([[leads.mean()], counts @ leads / counts.sum(1)])
    longest = max(float(np.ptp(run["step"])) for run in runs)
    low, high = intervals(draws, int(numbers.max()) + 1, (-longest, longest))
    return float(draws[0]), float(low), float(high)
