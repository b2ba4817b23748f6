"""Standard errors and intervals by resampling a measure's runs, and as many runs as an error asked for needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

from suite.curvature.estimate import Estimate
from suite.curvature.estimators import Estimator, Reweightable
from suite.curvature.measure import SpectralMeasure

Level = Literal["draws", "runs", "two-level"]
Method = Literal["percentile", "bca", "studentised", "normal"]
_NORMAL = NormalDist()


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """A value, its resampled values, and those with one unit left out.

    Attributes:
        value: on all runs.
        replicates: float64 `[B]`.
        left_out: float64 `[U]`, delete-one jackknife values over units: draws, or the runs of a single draw.
        error: standard error of the value by influence, None where the estimator gives none.
        errors: the same of each replicate, float64 `[B]`.
    """

    value: float
    replicates: Tensor
    left_out: Tensor
    error: float | None = None
    errors: Tensor | None = None

    @property
    def estimate(self) -> Estimate:
        """The value and the bootstrap's standard error."""
        return Estimate(self.value, float(self.replicates.std()))

    @property
    def jackknife_error(self) -> float:
        """Standard error by the delete-one jackknife."""
        return _jackknife(self.left_out)

    def interval(self, confidence: float = 0.95, method: Method = "percentile") -> tuple[float, float]:
        """An interval for what the value estimates; ask for 1,000 or more repetitions.

        Coverage of nominal 95 % intervals for `Quadrature` (a matrix shaped like a Hessian, one Rademacher probe a run,
        with and without momentum, 200 samples, 300 repetitions): with 60 runs studentised 0.96, normal 0.94, percentile
        0.93, BCa 0.93; with 15 runs studentised 0.94, the others 0.86 to 0.92. Below 60 runs prefer "studentised".

        Args:
            confidence: in (0, 1).
            method: quantiles of the replicates ("percentile"); the same at levels corrected for bias and skewness
                ("bca", Efron 1987); by quantiles of (replicate − value) / its own error ("studentised"); value ± z
                bootstrap errors ("normal").

        Raises:
            ValueError: a confidence outside (0, 1); an unknown method; "studentised" without errors, or with replicates
                whose error is zero (SD = d in them); "bca" where its correction has no meaning.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"a confidence is between 0 and 1; got {confidence}")
        tail = (1 - confidence) / 2
        if method == "percentile":
            return self._between(tail, 1 - tail)
        if method == "bca":
            return self._between(self._bca_level(tail), self._bca_level(1 - tail))
        if method == "studentised":
            return self._studentised(tail)
        if method == "normal":
            reach = _NORMAL.inv_cdf(1 - tail) * float(self.replicates.std())
            return self.value - reach, self.value + reach
        raise ValueError(f"no method {method!r}: percentile, bca, studentised, normal")

    def _between(self, low: float, high: float) -> tuple[float, float]:
        ends = torch.quantile(self.replicates, torch.tensor([low, high], dtype=torch.float64))
        return float(ends[0]), float(ends[1])

    def _bca_level(self, level: float) -> float:
        count = len(self.replicates)
        below = float((self.replicates < self.value).sum()) + 0.5 * float((self.replicates == self.value).sum())
        bias = _NORMAL.inv_cdf(min(max(below / count, 0.5 / count), 1 - 0.5 / count))
        influence = self.left_out.mean() - self.left_out
        cubes, squares = float((influence**3).sum()), float(influence.square().sum())
        acceleration = cubes / (6 * squares**1.5) if squares > 0 else 0.0
        shifted = bias + _NORMAL.inv_cdf(level)
        if acceleration * shifted >= 1:
            raise ValueError(f"too skewed for BCa (acceleration {acceleration:.3g}): use another interval")
        return _NORMAL.cdf(bias + shifted / (1 - acceleration * shifted))

    def _studentised(self, tail: float) -> tuple[float, float]:
        if self.error is None or self.errors is None:
            raise ValueError("this estimator or level gives no standard error by influence: use another interval")
        if not (self.error > 0 and bool((self.errors > 0).all())):
            raise ValueError("a replicate's standard error is zero (is SD = d?): use another interval")
        pivots = (self.replicates - self.value) / self.errors
        ends = torch.quantile(pivots, torch.tensor([tail, 1 - tail], dtype=torch.float64))
        return self.value - float(ends[1]) * self.error, self.value - float(ends[0]) * self.error


def bootstrap(
    measure: SpectralMeasure,
    estimator: Estimator,
    repetitions: int = 200,
    seed: int = 0,
    level: Level = "draws",
) -> Bootstrap:
    """Resamples a measure and evaluates an estimator on each resample.

    What is drawn with replacement:

    * "draws": whole draws, with all their runs. This is the error of the estimate: a draw's own noise of probes comes
      with it. With a single draw its runs are resampled, and the error is that of the probes only.
    * "runs": runs within every draw, draws fixed: the part of the error that more probes per draw would reduce (too
      small by (n − 1) / n for n runs a draw; zero for one).
    * "two-level": draws, then runs within each. It counts the noise of probes (almost) twice (Davison & Hinkley 1997,
      section 3.8), so it is conservative: for few draws of many runs.

    Args:
        measure: R runs.
        estimator: one of `suite.curvature.estimators`, or any function of a measure; `Reweightable` ones are fast.
        repetitions: B. 200 are enough for a standard error, not for an interval.
        seed: of the resampling, which depends on nothing else.
        level: see above.

    Raises:
        ValueError: a single run; fewer than 2 repetitions; an unknown level.
    """
    if measure.runs < 2:
        raise ValueError("a single run says nothing about its error")
    if repetitions < 2:
        raise ValueError(f"at least 2 repetitions; got {repetitions}")
    if level not in ("draws", "runs", "two-level"):
        raise ValueError(f"no level {level!r}: draws, runs, two-level")
    # whole draws of one draw are always the same
    effective: Level = "runs" if len(measure.runs_per_draw) == 1 else level
    plan = list(_resamples(measure, effective, repetitions, seed))
    value = estimator(measure)
    replicates, errors = _evaluate(measure, estimator, plan, effective == "draws")
    jackknife = _left_out(measure, estimator)
    # errors by influence are over draws: they are not those of runs within several draws
    if errors is None or effective != ("runs" if len(measure.runs_per_draw) == 1 else "draws"):
        return Bootstrap(value, replicates, jackknife)
    everything = (torch.arange(measure.runs), measure.draw_index)
    _, error = _evaluate(measure, estimator, [everything], True)
    return Bootstrap(value, replicates, jackknife, None if error is None else float(error), errors)


def jackknife_error(measure: SpectralMeasure, estimator: Estimator) -> float:
    """Standard error by the delete-one jackknife over units (draws, or the runs of a single draw), nothing resampled.

    Raises:
        ValueError: a single run.
    """
    if measure.runs < 2:
        raise ValueError("a single run says nothing about its error")
    return _jackknife(_left_out(measure, estimator))


def _jackknife(left_out: Tensor) -> float:
    count = len(left_out)
    return math.sqrt((count - 1) / count * float((left_out - left_out.mean()).square().sum()))


def _left_out(measure: SpectralMeasure, estimator: Estimator) -> Tensor:
    plan = [_without(measure, unit) for unit in range(int(measure.unit_index.max()) + 1)]
    return _evaluate(measure, estimator, plan, True)[0]


_Resample = tuple[Tensor, Tensor]
"""Indices of runs, and the label of the draw that each stands in: int64 `[n]` both."""


def _resamples(measure: SpectralMeasure, level: Level, count: int, seed: int) -> Iterator[_Resample]:
    generator = torch.Generator().manual_seed(seed)
    by_draw = measure.draw_index.argsort(stable=True)
    sizes = measure.runs_per_draw
    starts, draws = sizes.cumsum(0) - sizes, len(sizes)
    for _ in range(count):
        chosen = torch.arange(draws) if level == "runs" else torch.randint(draws, (draws,), generator=generator)
        label = torch.arange(draws).repeat_interleave(sizes[chosen])
        within = torch.arange(len(label)) - (sizes[chosen].cumsum(0) - sizes[chosen])[label]
        if level != "draws":
            uniform = torch.rand(len(label), generator=generator, dtype=torch.float64)
            within = (uniform * sizes[chosen][label]).long()
        yield by_draw[starts[chosen][label] + within], label


def _without(measure: SpectralMeasure, unit: int) -> _Resample:
    rows = torch.nonzero(measure.unit_index != unit)[:, 0]
    return rows, measure.draw_index[rows]


def _evaluate(
    measure: SpectralMeasure, estimator: Estimator, plan: list[_Resample], whole_draws: bool
) -> tuple[Tensor, Tensor | None]:
    """The estimator on every resample, all at once if it can: `[B]`, and standard errors where it gives them."""
    whole_draws = whole_draws and len(measure.runs_per_draw) > 1
    if isinstance(estimator, Reweightable) and (estimator.pooled or whole_draws):
        return estimator.replicates(measure, torch.stack([_weights(each, measure.runs) for each in plan]))
    values = []
    for rows, label in plan:
        values.append(estimator(SpectralMeasure(measure.nodes[rows], measure.masses[rows], label)))
    return torch.tensor(values, dtype=torch.float64), None


def _weights(resample: _Resample, runs: int) -> Tensor:
    """The part of each run in the pooled measure of a resample: `[R]`."""
    rows, label = resample
    sizes = torch.bincount(label)
    part = 1 / ((sizes > 0).sum() * sizes[label].double())
    return torch.zeros(runs, dtype=torch.float64).index_add(0, rows, part)


@dataclass(frozen=True, eq=False)
class Adaptive:
    """What `adaptive` ended with.

    Attributes:
        measure: all runs.
        estimate: SD and its standard error, which is that of the codimension d − SD too.
        reached: whether the error is within the tolerance; False: the most runs allowed did not suffice.
    """

    measure: SpectralMeasure
    estimate: Estimate
    reached: bool


def adaptive(
    draw_runs: Callable[[int, int], SpectralMeasure],
    estimator: Estimator,
    tolerance: float,
    most: int,
    first: int = 16,
    seed: int = 0,
) -> Adaptive:
    """Runs until the standard error of an estimate of SD, and so of d − SD, is at most a tolerance.

    The next number of runs is what the present error predicts, at most four times as many as there are. An error
    estimated from few runs may be too small by chance, hence `first`; it is zero where no resample has SD < d.

    Args:
        draw_runs: `draw_runs(first, count)`: the runs first, …, first + count − 1.
        estimator: of SD at some step, for instance `Quadrature(step)`.
        tolerance: of the standard error, in dimensions.
        most: runs in all.
        first: runs to begin with, at least 2.
        seed: of the bootstrap.

    Raises:
        ValueError: a tolerance that is not positive; first < 2 or most < first; `draw_runs` gives another number.
    """
    if not tolerance > 0 or not 2 <= first <= most:
        raise ValueError(f"tolerance > 0 and 2 ≤ first ≤ most; got {tolerance}, {first}, {most}")
    measure = _checked(draw_runs(0, first), first)
    while True:
        estimate = bootstrap(measure, estimator, seed=seed).estimate
        error = estimate.standard_error
        assert error is not None
        if error <= tolerance or measure.runs == most:
            return Adaptive(measure, estimate, error <= tolerance)
        wanted = math.ceil(measure.runs * min(4.0, 1.05 * (error / tolerance) ** 2))
        more = min(max(wanted, measure.runs + 1), most) - measure.runs
        further = _checked(draw_runs(measure.runs, more), more)
        measure = SpectralMeasure.concatenate([measure, further])


def _checked(measure: SpectralMeasure, count: int) -> SpectralMeasure:
    if measure.runs != count:
        raise ValueError(f"{count} runs were asked for, {measure.runs} given")
    return measure
