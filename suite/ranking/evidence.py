"""What one task says of its metrics: the statistics that claims are made of, with the draws of its ranking."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import factorial

import numpy as np
import pandas as pd

from suite.ranking import bootstrap
from suite.ranking.bootstrap import Spread, mean_spread, spread
from suite.ranking.correlation import Draws, Pairs, Vector, count_pairs, defined_mean, draw_kendall
from suite.ranking.granulated import draw_granulated, other_settings
from suite.ranking.partial import draw_partial, same_level
from suite.ranking.tables import TaskResults
from suite.ranking.trajectory import JUMP, Change, change_point
from suite.ranking.within import Run, mean_over_runs, run_taus, runs_of


@dataclass(frozen=True)
class Sampled:
    """A statistic, its bootstrap replicates from k clusters, and of how many networks it is; NaN where undefined.

    `least`: the least p-value that so few clusters can have (`least_chance`).
    """

    value: float
    replicates: Vector
    k: int
    n: int
    least: float

    @property
    def spread(self) -> Spread:
        """How far it is from what it estimates."""
        return spread(self.replicates, self.k)

    def minus(self, other: Sampled, paired: bool) -> tuple[float, Spread]:
        """The difference; `paired`: replicate by replicate, of the same resamples; else the two are independent."""
        difference = self.value - other.value
        if paired:
            return difference, spread(self.replicates - other.replicates, self.k)
        both = mean_spread([self.spread, other.spread])
        return difference, Spread(4 * both.variance, both.freedom)


def least_chance(k: int, within: bool) -> float:
    """The least p-value from k clusters: 2^−k within runs, 1 / k! across networks.

    That of the sign flips and of the permutations by which scores are ranked (`significance`). Of four settings all
    agree by chance one time in sixteen, and Student's t, which sees no scatter then, would call that certain.
    """
    return 0.5**k if within else 1 / factorial(min(k, 100))


class Evidence:
    """One task's results under its inclusion rule, or of all usable networks.

    Draws are those of `suite.ranking.task.rank_task`: scores here and there are the same numbers.

    Args:
        results: the task.
        ruled: whether the inclusion rule holds.
        resamples: R.
    """

    def __init__(self, results: TaskResults, ruled: bool, resamples: int = bootstrap.RESAMPLES) -> None:
        self.results = results
        kept = results.included if ruled else results.usable
        self.frame = results.wide()[kept]
        self.metrics = [str(name) for name in results.metrics.index]
        self.within = results.kind == "trajectory"
        self._tried = results.tried()[:, kept.to_numpy()]
        points = self.frame.drop_duplicates("run_id") if self.within else self.frame
        self._points = points
        self._numbers, self.drawn = bootstrap.clusters(points, results.hyperparameters)
        self.k = int(self._numbers.max(initial=-1)) + 1
        counts = bootstrap.cluster_counts(np.arange(self.k), resamples, bootstrap.generator(results.name))
        self._counts = np.vstack([np.ones((1, self.k)), counts]) if self.k else np.zeros((1 + resamples, 0))

    @property
    def least(self) -> float:
        """The least p-value that its settings (runs) can have."""
        return least_chance(self.k, self.within)

    def has(self, metric: str) -> bool:
        """Whether the metric has a value among the networks."""
        return metric in self.metrics and bool(np.isfinite(self.frame[metric].to_numpy(float)).any())

    def chosen(self, names: str | list[str]) -> list[str]:
        """The metrics of a set that have a value here.

        Args:
            names: `all` (that are not trivial), `trivial`, `family:NAME`, or a list.
        """
        if isinstance(names, list):
            return [name for name in names if self.has(name)]
        family = self.results.metrics["family"]
        if names.startswith("family:"):
            found = [name for name in self.metrics if f"family:{family[name]}" == names]
        else:
            found = [name for name in self.metrics if self.results.trivial(name) == (names == "trivial")]
        return [name for name in found if self.has(name)]

    def score(self, metric: str, target: str) -> Sampled:
        """Sign × τ with missing values ordered wrongly, as ranked (`correlation.worst_tau`)."""
        m, t = self.metrics.index(metric), self.results.targets.index(target)
        draws = self._draws.scores[:, m]
        if self.results.trivial(metric):  # the better sign over all targets, in each resample anew, as when ranked
            read = defined_mean(np.moveaxis(draws, 1, 0))
            values = np.where(read[1] > read[0], draws[1, t], draws[0, t])
        else:
            values = draws[0 if self.results.sign(metric) > 0 else 1, t]
        return self._sampled(values, metric)

    def tau(self, metric: str, target: str) -> Sampled:
        """Kendall's τ-b; on trajectory tasks within runs, the mean over them."""
        return self._sampled(self._draws.tau[self.metrics.index(metric), self.results.targets.index(target)], metric)

    def psi(self, metric: str, target: str, hyperparameter: str) -> Sampled:
        """Granulated τ: only this hyperparameter varies."""
        x, y = self._column(metric), self._column(target)
        groups = other_settings(self.frame, list(self.results.provenance["factors"]), self.factor(hyperparameter))
        draws, _ = draw_granulated(x, y, groups, self._counts[:, self._numbers])
        return self._sampled(draws[0, 0], metric)

    def mean_psi(self, metric: str, target: str) -> Sampled:
        """Ψ: the mean of ψ over the hyperparameters that have one."""
        parts = [self.psi(metric, target, name) for name in self.results.hyperparameters]
        known = [part for part in parts if np.isfinite(part.value)]
        if not known:
            return parts[0]
        mean = np.mean([part.replicates for part in known], axis=0)
        return replace(known[0], value=float(np.mean([part.value for part in known])), replicates=mean)

    def partial(self, metric: str, target: str, hyperparameter: str) -> Sampled:
        """τ-b over pairs of networks that share the hyperparameter's value."""
        pairs = count_pairs(self._column(metric), self._column(target), self._numbers)
        shared = same_level(pairs, self._numbers, self.frame[self.factor(hyperparameter)])
        return self._sampled(draw_partial(pairs, self._counts, shared)[0, 0], metric)

    def agreement(self, metric: str, other: str) -> Sampled:
        """τ-b of a metric with another metric in place of the gap, where both have values."""
        both = np.isfinite(self.frame[[metric, other]].to_numpy(float)).all(1)
        if self.within:
            runs = runs_of(self.frame[both], [metric], [other], np.ones((1, int(both.sum())), dtype=bool))
            return self._of_runs(self.frame[both], run_taus(runs).tau[:, 0, 0], metric) if runs else self._none
        numbers = self._numbers[both]
        x, y = self._column(metric)[:, both], self._column(other)[:, both]
        kept, renumbered = np.unique(numbers, return_inverse=True)
        if not len(kept):
            return self._none
        draws = draw_kendall(count_pairs(x, y, renumbered), self._counts[:, kept])
        k = len(kept)
        return Sampled(float(draws.tau[0, 0, 0]), draws.tau[0, 0, 1:], k, int(both.sum()), least_chance(k, False))

    def factor(self, hyperparameter: str) -> str:
        """The whole name of a hyperparameter that is named by its last words; KeyError where there is none."""
        found = [name for name in self.results.hyperparameters if f".{name}".endswith(f".{hyperparameter}")]
        if not found:
            raise KeyError(f"{self.results.name} does not vary {hyperparameter}")
        return found[0]

    def setting_taus(self, metric: str, target: str) -> Vector:
        """τ within runs of a trajectory task, the mean over the runs of each setting: one number a setting, `k`."""
        m, t = self.metrics.index(metric), self.results.targets.index(target)
        taus: Vector = self._each_run.tau[:, m, t]
        means = [float(defined_mean(taus[self._numbers == number])) for number in range(self.k)]
        return np.array(means)

    def jumps(self) -> list[tuple[pd.DataFrame, Change]]:
        """The runs that grok (`trajectory.JUMP`), each with the change of its test accuracy."""
        parts = [part.sort_values("step") for _, part in self.frame.groupby("run_id", sort=False)]
        found = [(part, change_of(part, "test_accuracy")) for part in parts]
        return [(part, jump) for part, jump in found if jump is not None and jump.rise >= JUMP]

    def errors(self, metric: str) -> Vector:
        """The standard error of each network's value; 0 where it has none."""
        own = self.results.values[self.results.values["metric"] == metric].set_index(["run_id", "step"])
        points = pd.MultiIndex.from_frame(self.frame[["run_id", "step"]])
        found: Vector = own["standard_error"].reindex(points).to_numpy(float)
        return np.nan_to_num(found)

    @cached_property
    def _draws(self) -> Draws:
        if not self.k:
            nothing = np.full((len(self.metrics), len(self.results.targets), len(self._counts)), np.nan)
            return Draws(nothing, np.array([nothing, nothing]))
        if self.within:
            drawn = self._counts[:, self._numbers]
            return Draws(mean_over_runs(self._each_run.tau, drawn), mean_over_runs(self._each_run.scores, drawn))
        return draw_kendall(self._pairs, self._counts)

    @cached_property
    def _pairs(self) -> Pairs:
        x, y = self._columns(self.metrics), self._columns(self.results.targets)
        return count_pairs(x, y, self._numbers, self._tried)

    @cached_property
    def _each_run(self) -> Draws:
        runs: list[Run] = runs_of(self.frame, self.metrics, self.results.targets, self._tried)
        return run_taus(runs)

    @property
    def _none(self) -> Sampled:
        return Sampled(float("nan"), np.full(len(self._counts) - 1, np.nan), self.k, 0, self.least)

    def _of_runs(self, frame: pd.DataFrame, taus: Vector, metric: str) -> Sampled:
        kept = self._points["run_id"].isin(frame["run_id"]).to_numpy()
        draws = mean_over_runs(taus, self._counts[:, self._numbers[kept]])
        return self._sampled(draws, metric)

    def _columns(self, names: list[str]) -> Vector:
        return self.frame[names].to_numpy(float).T

    def _column(self, name: str) -> Vector:
        return self._columns([name])

    def _sampled(self, draws: Vector, metric: str) -> Sampled:
        n = int(np.isfinite(self.frame[metric].to_numpy(float)).sum())
        return Sampled(float(draws[0]), draws[1:], self.k, n, self.least)


def change_of(part: pd.DataFrame, name: str) -> Change | None:
    """The change point of a column of one run."""
    return change_point(part["step"].to_numpy(float), part[name].to_numpy(float))
