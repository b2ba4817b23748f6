"""What one task says of its metrics: the statistics that claims are made of, with the draws of its ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import factorial, prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.ranking import bootstrap
from suite.ranking.bootstrap import Spread, mean_spread, setting_numbers, spread
from suite.ranking.correlation import Draws, Numbers, Pairs, Vector, count_pairs, defined_mean, draw_kendall
from suite.ranking.granulated import draw_granulated, other_settings
from suite.ranking.partial import draw_partial, same_level
from suite.ranking.tables import TaskResults
from suite.ranking.trajectory import JUMP, Change, change_point
from suite.ranking.within import Run, mean_over_runs, run_taus, runs_of

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Sampled:
    """A statistic with its bootstrap replicates; NaN where undefined.

    Attributes:
        value, replicates: over the networks that have a value.
        k: how many settings (runs) have one.
        n: how many networks (checkpoints) have one.
        least: the least p-value that so few can have (`least_chance`, `least_within`).
        missing: how many more were tried and have none.
        bounds: the same with every pair that lacks a value ordered against it, and for it; None: not known.
    """

    value: float
    replicates: Vector
    k: int
    n: int
    least: float
    missing: int = 0
    bounds: tuple[Sampled, Sampled] | None = None

    @property
    def spread(self) -> Spread:
        """How far it is from what it estimates."""
        return spread(self.replicates, self.k)

    def minus(self, other: Sampled, paired: bool) -> tuple[float, Spread]:
        """The difference; `paired`: replicate by replicate, of the same resamples; else the two are independent."""
        difference = self.value - other.value
        if paired:
            return difference, spread(self.replicates - other.replicates, min(self.k, other.k))
        both = mean_spread([self.spread, other.spread])
        return difference, Spread(4 * both.variance, both.freedom)


def least_chance(k: int, within: bool) -> float:
    """The least p-value from k clusters: 2^−k within runs, 1 / k! across networks.

    That of the sign flips and of the permutations by which scores are ranked (`significance`). Of four settings all
    agree by chance one time in sixteen, and Student's t, which sees no scatter then, would call that certain.
    """
    return 0.5**k if within else 1 / factorial(min(k, 100))


def least_within(sizes: Sequence[int]) -> float:
    """The least p-value where settings change places within groups alone: the product of 1 / m! over their sizes.

    Of pairs of settings that share all but one hyperparameter, four agree by chance one time in sixteen, though there
    are eight settings.
    """
    return prod(least_chance(size, within=False) for size in sizes)


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
        self._grouped: dict[str, tuple[list[Numbers], Numbers]] = {}
        self._psis: dict[tuple[str, str, str], Sampled] = {}
        self._values: dict[str, Vector] = {}
        own = pd.Series(self._numbers, points["run_id"].to_numpy())
        self.numbers: Numbers = own.reindex(self.frame["run_id"]).to_numpy() if self.within else self._numbers
        counts = bootstrap.cluster_counts(np.arange(self.k), resamples, bootstrap.generator(results.name))
        self._counts = np.vstack([np.ones((1, self.k)), counts]) if self.k else np.zeros((1 + resamples, 0))

    @property
    def least(self) -> float:
        """The least p-value that its settings (runs) can have."""
        return least_chance(self.k, self.within)

    def has(self, metric: str) -> bool:
        """Whether the metric has a value among the networks."""
        return metric in self.metrics and bool(self.known(metric).any())

    def tried(self, metric: str) -> Rows:
        """At which networks (checkpoints) the metric was asked for a value."""
        asked: Rows = self.known(metric) | self._tried[self.metrics.index(metric)]
        return asked

    def known(self, metric: str) -> Rows:
        """At which networks (checkpoints) it has one."""
        found: Rows = np.isfinite(self._column(metric)[0])
        return found

    def lacking(self, metric: str) -> Rows:
        """At which it was asked for one and has none."""
        return self.tried(metric) & ~self.known(metric)

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
        n, tried = int(self.known(metric).sum()), self.numbers[self.tried(metric)]
        return self._sampled(values, tried, n)

    def tau(self, metric: str, target: str) -> Sampled:
        """Kendall's τ-b; on trajectory tasks within runs, the mean over them."""
        m, t = self.metrics.index(metric), self.results.targets.index(target)
        known = self.known(metric)
        settings = self._numbers[np.isfinite(self._each_run.tau[:, m, t])] if self.within else self.numbers[known]
        made = self._sampled(self._draws.tau[m, t], settings, int(known.sum()))
        return self._bounded(made, metric, target)

    def psi(self, metric: str, target: str, hyperparameter: str) -> Sampled:
        """Granulated τ: only this hyperparameter varies."""
        named = metric, target, self.factor(hyperparameter)
        if named not in self._psis:  # Ψ, its worst part and each by itself are asked for again and again
            self._psis[named] = self._psi(*named)
        return self._psis[named]

    def _psi(self, metric: str, target: str, factor: str) -> Sampled:
        x, y = self._column(metric), self._column(target)
        groups, fixed = self._groups(factor)
        draws, _ = draw_granulated(x, y, groups, self._each_counts)
        known, counted = self.known(metric), np.zeros(len(self.frame), dtype=bool)
        for rows in groups:
            own = rows[known[rows]]
            counted[own] = len(own) > 1 and np.ptp(y[0, own]) > 0
        least = self._least_within(fixed[counted], self.numbers[counted])
        made = self._sampled(draws[0, 0], self.numbers[counted], int(known.sum()), least)
        return replace(made, missing=int(self.lacking(metric).sum()))

    def mean_psi(self, metric: str, target: str) -> Sampled:
        """Ψ: the mean of ψ over the hyperparameters that have one.

        Its least p-value is the greatest of theirs: it takes the chance of one ψ for that of all.
        """
        parts = [self.psi(metric, target, name) for name in self.results.hyperparameters]
        known = [part for part in parts if np.isfinite(part.value)]
        if not known:
            return parts[0] if parts else self._none
        mean = np.mean([part.replicates for part in known], axis=0)
        k, least = min(part.k for part in known), max(part.least for part in known)
        return replace(
            known[0], value=float(np.mean([part.value for part in known])), replicates=mean, k=k, least=least
        )

    def partial(self, metric: str, target: str, hyperparameter: str) -> Sampled:
        """τ-b over pairs of networks that share the hyperparameter's value."""
        level = self.frame[self.factor(hyperparameter)]
        pairs = count_pairs(self._column(metric), self._column(target), self._numbers)
        draws = draw_partial(pairs, self._counts, same_level(pairs, self._numbers, level))[0, 0]
        known = self.known(metric)
        codes = np.asarray(pd.factorize(level, use_na_sentinel=False)[0])
        least = self._least_within(codes[known], self.numbers[known])
        made = self._sampled(draws, self.numbers[known], int(known.sum()), least)
        return self._bounded(made, metric, target, level)

    def agreement(self, metric: str, other: str) -> Sampled:
        """τ-b of a metric with another metric in place of the gap, where both have values."""
        both = self.known(metric) & self.known(other)
        draws, settings = self._against(metric, other, both)
        if draws is None:
            return self._none
        made = self._sampled(draws.tau[0, 0], settings, int(both.sum()))
        if not (self.lacking(other) & self.tried(metric)).any():
            return self._bounded(made, metric, other, rows=self.tried(metric) & self.known(other))
        asked = self.tried(metric) & self.tried(other)
        return replace(made, missing=int((asked & ~both).sum()))

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

    def jumps(self) -> list[tuple[int, pd.DataFrame, Change]]:
        """The runs that grok (`trajectory.JUMP`): the setting, the rows, and the change of the test accuracy."""
        parts = [part.sort_values("step") for _, part in self.frame.groupby("run_id", sort=False)]
        found = [
            (int(number), part, change_of(part, "test_accuracy"))
            for number, part in zip(self._numbers, parts, strict=True)
        ]
        return [(number, part, jump) for number, part, jump in found if jump is not None and jump.rise >= JUMP]

    def errors(self, metric: str) -> Vector:
        """The standard error of each network's value; 0 where it has none."""
        own = self.results.values[self.results.values["metric"] == metric].set_index(["run_id", "step"])
        points = pd.MultiIndex.from_frame(self.frame[["run_id", "step"]])
        found: Vector = own["standard_error"].reindex(points).to_numpy(float)
        return np.nan_to_num(found)

    @cached_property
    def _each_counts(self) -> Vector:
        """How often each network (trajectories: run) is drawn, `(1 + R) × n`."""
        counts: Vector = self._counts[:, self._numbers]
        return counts

    @cached_property
    def _draws(self) -> Draws:
        if not self.k:
            nothing = np.full((len(self.metrics), len(self.results.targets), len(self._counts)), np.nan)
            return Draws(nothing, np.array([nothing, nothing]))
        if self.within:
            drawn = self._each_counts
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

    def _groups(self, vary: str) -> tuple[list[Numbers], Numbers]:
        """The groups in which a hyperparameter alone varies, and the setting of the others of each network."""
        if vary not in self._grouped:
            groups = other_settings(self.frame, list(self.results.provenance["factors"]), vary)
            others = [name for name in self.results.hyperparameters if name != vary]
            self._grouped[vary] = groups, setting_numbers(self.frame, others)
        return self._grouped[vary]

    @property
    def _none(self) -> Sampled:
        return Sampled(float("nan"), np.full(len(self._counts) - 1, np.nan), 0, 0, 1.0)

    def _against(
        self, metric: str, other: str, rows: Rows, level: pd.Series[Any] | None = None
    ) -> tuple[Draws | None, Numbers]:
        """τ of a metric with a column, and what it scores, over some rows; the settings (runs) that it has a τ of.

        Args:
            metric: its name; where it has no value it counts as tried.
            other: a gap or another metric, that has a value at all of these rows.
            rows: which.
            level: only pairs that share it; None: all.
        """
        frame, numbers = self.frame[rows], self.numbers[rows]
        if frame.empty:
            return None, numbers
        if self.within:
            each = run_taus(runs_of(frame, [metric], [other], np.ones((1, len(frame)), dtype=bool)))
            points = self._points["run_id"].isin(frame["run_id"]).to_numpy()
            counts, own = self._counts[:, self._numbers[points]], self._numbers[points]
            made = Draws(mean_over_runs(each.tau, counts), mean_over_runs(each.scores, counts))
            return made, own[np.isfinite(each.tau[:, 0, 0])]
        kept, renumbered = np.unique(numbers, return_inverse=True)
        x, y = (frame[[name]].to_numpy(float).T for name in (metric, other))
        pairs = count_pairs(x, y, renumbered)
        chosen = None if level is None else same_level(pairs, renumbered, level[rows])
        return draw_kendall(pairs, self._counts[:, kept], chosen), numbers

    def _bounded(
        self, made: Sampled, metric: str, other: str, level: pd.Series[Any] | None = None, rows: Rows | None = None
    ) -> Sampled:
        """The same with its bounds, where values are missing that were tried (`correlation.worst_tau`)."""
        rows = self.tried(metric) if rows is None else rows
        missing = int((rows & ~self.known(metric)).sum())
        if not missing:
            return made
        draws, _ = self._against(metric, other, rows, level)
        assert draws is not None  # some rows are
        ends = draws.scores[0, 0, 0], -draws.scores[1, 0, 0]
        low, high = (replace(made, value=float(end[0]), replicates=end[1:]) for end in ends)
        return replace(made, missing=missing, bounds=(low, high))

    def _columns(self, names: list[str]) -> Vector:
        return self.frame[names].to_numpy(float).T

    def _column(self, name: str) -> Vector:
        if name not in self._values:  # a table is slow to ask for a column, and claims ask a hundred thousand times
            self._values[name] = self._columns([name])
        return self._values[name]

    def _sampled(self, draws: Vector, settings: Numbers, n: int, least: float | None = None) -> Sampled:
        """A statistic of the settings (runs) with these numbers, which may repeat, and of n networks."""
        k = len(np.unique(settings))
        return Sampled(float(draws[0]), draws[1:], k, n, least_chance(k, self.within) if least is None else least)

    @staticmethod
    def _least_within(groups: Numbers, settings: Numbers) -> float:
        """`least_within` of rows that are of these groups and settings."""
        sizes = pd.DataFrame({"group": groups, "setting": settings}).groupby("group")["setting"].nunique()
        return least_within([int(size) for size in sizes])


def change_of(part: pd.DataFrame, name: str) -> Change | None:
    """The change point of a column of one run."""
    return change_point(part["step"].to_numpy(float), part[name].to_numpy(float))
