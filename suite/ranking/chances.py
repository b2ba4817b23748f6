"""How surely a quantity lies on one side of a number: one-sided p-values and intervals that agree with one another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import stdtr
from scipy.stats import binom, binomtest, chi2, norm
from scipy.stats import t as student

from suite.ranking.bootstrap import LEVEL, Spread, interval
from suite.ranking.correlation import Vector
from suite.ranking.evidence import Evidence, Rows, change_of, least_chance
from suite.ranking.trajectory import Change

TAIL = (1 - LEVEL) / 2
"""One-sided p-values below it are certain: the 95 % interval lies wholly on one side."""
LEAST_NETWORKS = 20
"""Networks that a statement about all of them has to hold in before it counts as supported."""


@dataclass(frozen=True)
class Chances:
    """How compatible the data are with a quantity ≤ 0 (`above`) and ≥ 0 (`below`): one-sided p-values; 1: unknown.

    Attributes:
        low, high: the 95 % interval of the quantity, which leaves 0 out where one of them is below 0.025 (and else only
            where there are too few settings for any p-value to be, or values are missing).
        k: how many independent units (settings, runs) it is of.
        least: no p-value of so few can be less.
    """

    value: float
    low: float
    high: float
    above: float
    below: float
    k: int
    least: float = 0.0

    @property
    def unproven(self) -> Chances:
        """The same where it proves nothing in either direction."""
        return replace(self, above=1.0, below=1.0)


def undefined(k: int) -> Chances:
    """Of a quantity that there is none of."""
    return Chances(float("nan"), float("nan"), float("nan"), 1.0, 1.0, k)


def chances(value: float, known: Spread, k: int, least: float) -> Chances:
    """Of a quantity of which the spread is known, by Student's t; no p-value is below `least`."""
    low, high = interval(value, known, (-np.inf, np.inf))
    if np.isnan(low):
        return Chances(value, low, high, 1.0, 1.0, k)
    if known.variance < 1e-14:  # rounding
        return Chances(value, low, high, least if value > 1e-9 else 1.0, least if value < -1e-9 else 1.0, k, least)
    t = value / np.sqrt(known.variance)
    above, below = (max(least, float(stdtr(known.freedom, side * t))) for side in (-1, 1))
    return Chances(value, low, high, above, below, k, least)


def every(p: Vector) -> float:
    """The p-value of "all of them": that of the least certain (intersection–union test, Berger 1982)."""
    return float(np.max(p))


def some(p: Vector) -> float:
    """The p-value of "at least one of them": that of the most certain one times their number (Holm's first step)."""
    return float(min(1.0, len(p) * np.min(p)))


@dataclass(frozen=True)
class Share:
    """In what share of the settings with runs that grok a metric changes with the jump, minus a threshold.

    Attributes:
        effect: the share and how certain it is.
        runs: how many grok.
        missing, asked: at how many of their checkpoints the metric has no value, of those it was asked for one at.
    """

    effect: Chances
    runs: int
    missing: int
    asked: int


def transition_share(evidence: Evidence, metric: str, change: str, near: float, threshold: float) -> Share:
    """Of the settings with runs that grok, the share in which the metric changes with the jump of test accuracy.

    It does in a run where its own change of level (`trajectory.Change.happened`) goes the way that is said and lies
    within `near` times the run's length of the accuracy's. The seeds of a setting are not independent: a setting has
    one vote, that of most of its runs that grok. A tie counts half in the share, and, like a run in which values are
    missing, against whatever is to be shown: below the threshold for `above`, above it for `below`. The exact binomial
    test and the interval of Clopper and Pearson (1934), of the fewest and of the most votes.
    """
    found = evidence.jumps()
    asked, lacking = evidence.tried(metric), evidence.lacking(metric)
    rows = [evidence.frame.index.get_indexer(part.index) for _, part, _ in found]
    known = [not lacking[own].any() for own in rows]
    seen = [_with_jump(part, jump, change_of(part, metric), change, near) for _, part, jump in found]
    votes = pd.DataFrame({"setting": [number for number, _, _ in found], "seen": seen, "known": known})
    votes = votes.assign(least=votes["seen"] & votes["known"], most=votes["seen"] | ~votes["known"])
    means = votes.groupby("setting")[["seen", "least", "most"]].mean()
    missing, counted = (sum(int(what[own].sum()) for own in rows) for what in (lacking, asked))
    if means.empty:
        return Share(undefined(0), 0, missing, counted)
    effect = _votes(means["seen"], int((means["least"] > 0.5).sum()), int((means["most"] >= 0.5).sum()), threshold)
    return Share(effect, len(found), missing, counted)


def _votes(means: pd.Series[float], fewest: int, most: int, threshold: float) -> Chances:
    """Of settings' shares, and the fewest and the most of them that count as above one half."""
    k = len(means)
    value = float((np.sign(means - 0.5) + 1).mean() / 2)
    low = float(binomtest(fewest, k).proportion_ci(LEVEL, method="exact").low)
    high = float(binomtest(most, k).proportion_ci(LEVEL, method="exact").high)
    above, below = float(binom.sf(fewest - 1, k, threshold)), float(binom.cdf(most, k, threshold))
    return _floored(Chances(value - threshold, low - threshold, high - threshold, above, below, k))


def _floored(one: Chances) -> Chances:
    """The same with no p-value below that of so few settings of a trajectory task."""
    least = least_chance(one.k, within=True)
    return replace(one, above=max(least, one.above), below=max(least, one.below), least=least)


def _with_jump(part: pd.DataFrame, jump: Change, change: Change | None, way: str, near: float) -> bool:
    if change is None or not change.happened or (change.rise > 0) != (way == "rise"):
        return False
    return abs(change.step - jump.step) <= near * float(np.ptp(part["step"]))


def deviation(taus: Vector, threshold: float) -> Chances:
    """The standard deviation of settings' τ minus a threshold; interval and test by χ², for normal τ.

    Undefined where all are the same: χ² would take that for certainty, and τ is the same in all runs of a metric that
    is constant, or that is right everywhere.
    """
    taus = taus[np.isfinite(taus)]
    k = len(taus)
    if k < 2 or np.ptp(taus) < 1e-9:
        return undefined(k)
    value, freedom = float(taus.std(ddof=1)), k - 1
    low, high = (value * np.sqrt(freedom / chi2.ppf(side, freedom)) for side in (1 - TAIL, TAIL))
    ratio = freedom * value**2 / threshold**2 if threshold > 0 else np.inf
    above, below = float(chi2.sf(ratio, freedom)), float(chi2.cdf(ratio, freedom))
    return _floored(Chances(value - threshold, float(low) - threshold, float(high) - threshold, above, below, k))


def more_variable(one: Vector, other: Vector) -> Chances:
    """The logarithm of the ratio of two paired standard deviations, of settings' τ of two metrics.

    Pitman (1939) and Morgan (1939): of pairs, var a = var b if a + b and a − b are uncorrelated. The interval holds
    the ratios that this test does not reject: (s_a / s_b)² (K ± √(K² − 1)), K = 1 + 2 (1 − r²) t² / (k − 2).
    """
    both = np.isfinite(one) & np.isfinite(other)
    a, b = one[both], other[both]
    k = len(a)
    if k < 3 or min(np.ptp(a), np.ptp(b)) < 1e-9:
        return undefined(k)
    value = float(np.log(a.std(ddof=1) / b.std(ddof=1)))
    r = float(np.corrcoef(a, b)[0, 1])
    bound = 1 + 2 * (1 - r**2) * float(student.ppf(1 - TAIL, k - 2)) ** 2 / (k - 2)
    half = float(np.log(bound + np.sqrt(bound**2 - 1))) / 2
    joint = np.tanh(value) / np.sqrt(max(1 - (r / np.cosh(value)) ** 2, 1e-300))
    t = float(joint * np.sqrt((k - 2) / max(1 - joint**2, 1e-300)))
    above, below = float(student.sf(t, k - 2)), float(student.cdf(t, k - 2))
    return _floored(Chances(value, value - half, value + half, above, below, k))


@dataclass(frozen=True)
class Counted:
    """A statement about single networks.

    Attributes:
        n: how many networks it is about.
        holds, violated: in how many of them it certainly holds, and certainly does not.
        low, high: the 95 % interval of the share in which it holds (Clopper and Pearson 1934).
        supports, refutes: p-values of its being false somewhere, and of its being true everywhere.
    """

    n: int
    holds: int
    violated: int
    low: float
    high: float
    supports: float
    refutes: float


def margins(evidence: Evidence, metric: str, side: int, threshold: float) -> tuple[Vector, Vector]:
    """One-sided p-values, of each network, of its value not being (first) and being (second) beyond a number.

    Args:
        evidence: the task.
        metric: whose values are meant.
        side: +1: above, −1: below.
        threshold: the number. A value without standard error is exact: it is beyond it or is not.
    """
    values, errors = evidence.frame[metric].to_numpy(float), evidence.errors(metric)
    beyond = side * (values - threshold)
    with np.errstate(divide="ignore", invalid="ignore"):
        noisy = norm.sf(beyond / errors)
    supports = np.where(errors > 0, noisy, np.where(beyond > 0, 0.0, 1.0))
    return np.where(np.isnan(values), np.nan, supports), np.where(np.isnan(values), np.nan, 1 - supports)


def count_networks(evidence: Evidence, meant: Rows, supports: Vector, refutes: Vector) -> Counted:
    """In how many networks a statement holds; one certain counterexample (Bonferroni over networks) refutes it.

    A network is a run: of several of its checkpoints all have to hold.

    Args:
        evidence: the task.
        meant: which rows the statement is about.
        supports: of each row (`margins`); rows without a value say nothing.
        refutes: likewise.
    """
    rows = meant & np.isfinite(supports)
    frame = pd.DataFrame({"run": evidence.frame["run_id"], "supports": supports, "refutes": refutes})[rows]
    n = int(frame["run"].nunique())
    if not n:
        return Counted(0, 0, 0, float("nan"), float("nan"), 1.0, 1.0)
    runs = frame.groupby("run", sort=False).agg({"supports": "max", "refutes": "min"})
    holds, violated = int((runs["supports"] < TAIL).sum()), int((runs["refutes"] * len(frame) < TAIL).sum())
    ends = binomtest(holds, n).proportion_ci(LEVEL, method="exact")
    low, high = float(ends.low), float(ends.high)
    found = every(frame["supports"].to_numpy(float)), some(frame["refutes"].to_numpy(float))
    return Counted(n, holds, violated, low, high, *found)
