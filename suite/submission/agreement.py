"""Whether two tables of a metric's values are the same ones, as far as can be told: of one name, on one task.

Where training contracts, rounding errors die out, and another machine trains the same network: it is known by its
losses, and the values must be the same within `TOLERANCE`. Beyond the edge of stability rounding errors grow, and
another machine's network is another one of the same setting, as with another seed: its values may differ as far as
those of the setting's own seeds do, and may not predict the gap better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2, f, kendalltau

from suite.ranking.correlation import LEAST, Vector
from suite.ranking.tables import GAPS, MEASURES, TaskResults

SAME_LOSS = 1e-3
"""Relative difference of training and test loss up to which two networks are taken for the same one."""
TOLERANCE = 0.01
"""Relative difference of two values of the same network."""
SPREAD_TOLERANCE = 1e-3
"""The same for values near 0: in standard deviations over the recomputed values (as the quartiles tell them), or in
their median absolute value where that is less, as it is where they lie over decades."""
EXCEPTIONS = 0.05
"""Part of the same networks whose values may differ more (counts jump): these are judged as other networks are. Also
the part of all networks that may have a value in one table alone."""
MOST_SPREADS = 3.0
"""Root mean square difference of other networks' values, in that of two seeds, over all settings together."""
LEAST_P = 1e-3
"""Least probability, were other networks as other seeds of their settings, of values as far apart as these."""
MOST_TAU = 0.1
"""Difference of τ-b with a gap between published and recomputed values; more is wrong unless chance explains it."""
_SWAPS = 199
"""Random exchanges of other networks between the two tables: 0.01 is told from 0.005."""
_UNUSUAL = 0.01
_FAR = 1e-4
"""Least p of one setting: seeds that agree by chance (of counts, say) are not to decide alone."""
_ROUNDED = 1e-9
"""Difference of arsinh values that is none even where all of a setting's are 0."""
_TINY = 1e-9
_KEYS = ["run_id", "step"]
_LOSSES = ["train_loss", "test_loss"]


def same_networks(mine: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """Both tables of runs side by side, with a column `same`: whether the losses say that it is the same network.

    Args:
        mine: run_id, step, train_loss, test_loss.
        theirs: the same and more; the rows are in its order, `mine`'s columns are called `train_loss:mine`.
    """
    others = [c for c in mine.columns if c not in _KEYS]
    both = theirs.merge(mine.rename(columns={c: f"{c}:mine" for c in others}), on=_KEYS)
    close = [np.isclose(both[c], both[f"{c}:mine"], rtol=SAME_LOSS, atol=_TINY, equal_nan=True) for c in _LOSSES]
    return both.assign(same=np.logical_and.reduce(close))


@dataclass(frozen=True)
class Comparison:
    """Of one name's values.

    Attributes:
        networks: how many there are.
        same, off: those that are the same, and those of them whose values are not.
        absolute: what values may differ by beside `TOLERANCE`.
        missing: how many networks have a value in one of the tables alone.
        settings: in how many settings other networks (and `off`) were held against the spread of seeds.
        p: the probability of differences as large as these there; NaN without any.
        ratio: the root mean square of these differences in that of two seeds, of all settings or of these.
        taus: every gap whose τ-b differs by more than chance explains, in words.
    """

    networks: int
    same: int
    off: int
    absolute: float
    missing: int
    settings: int
    p: float
    ratio: float
    taus: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether the published values are what comes out here too, as far as can be told."""
        few = self.off <= EXCEPTIONS * self.same and self.missing <= EXCEPTIONS * self.networks
        near = not self.p < LEAST_P and not self.ratio > MOST_SPREADS
        return few and near and not self.taus and (self.same > self.off or self.settings > 0)

    def said(self, name: str) -> str:
        """In words."""
        lead = f"{name}: " if name else ""
        beside = f" + {self.absolute:.1e}" if self.absolute else ""
        said = [f"{lead}{self.same - self.off} of {self.same} same networks within {TOLERANCE:.0%}{beside}"]
        if self.missing:
            said.append(f"{self.missing} of {self.networks} have a value in one of the two alone")
        other = self.networks - self.same
        if other or self.off:
            which = f"{other} other networks" + (f" and {self.off} values beyond that" if self.off else "")
            said.append(f"{which} {self._spread()}")
        return "; ".join([*said, *self.taus])

    def _spread(self) -> str:
        if not self.settings:
            return "cannot be compared: no setting of theirs has several seeds with values"
        return (
            f"differ by {self.ratio:.2g} times what seeds do, at most {MOST_SPREADS:g} is meant, and in "
            f"{self.settings} settings from its own seeds with p = {self.p:.2g}, at least {LEAST_P:g} is meant"
        )


def compare(name: str, mine: TaskResults, theirs: TaskResults) -> Comparison:
    """Published values of a metric or component against recomputed ones, of the same checkpoints."""
    table = _side_by_side(name, mine, theirs)
    x, y, same = table["theirs"].to_numpy(float), table["ours"].to_numpy(float), table["same"].to_numpy(bool)
    absolute = SPREAD_TOLERANCE * _deviation(y)
    near = np.isclose(x, y, rtol=TOLERANCE, atol=absolute, equal_nan=True)
    settings, p, ratio = _beside_seeds(table.assign(judged=~same | ~near), theirs.hyperparameters)
    missing = int((np.isfinite(x) != np.isfinite(y)).sum())
    taus = tuple(_other_taus(table, theirs.targets))
    off = int((same & ~near).sum())
    return Comparison(len(table), int(same.sum()), off, absolute, missing, settings, p, ratio, taus)


def wrong_gaps(results: TaskResults) -> list[str]:
    """The gaps that are not what their losses and accuracies make them, in words."""
    train_loss, train_accuracy, test_loss, test_accuracy = (results.runs[name].to_numpy(float) for name in MEASURES)
    accuracy, loss = train_accuracy - test_accuracy, test_loss - train_loss
    meant = dict(zip(GAPS, (np.abs(accuracy), np.abs(loss), accuracy, loss), strict=True))
    wrong = {
        name: int((~np.isclose(results.runs[name].to_numpy(float), gap, rtol=_TINY, atol=_TINY, equal_nan=True)).sum())
        for name, gap in meant.items()
    }
    return [f"{name} of {count} of {len(results.runs)}" for name, count in wrong.items() if count]


def _side_by_side(name: str, mine: TaskResults, theirs: TaskResults) -> pd.DataFrame:
    """Runs of both with the columns `theirs`, `ours` (values) and `same`, in the order of the published table."""
    ours = mine.wide()[[*_KEYS, name]].rename(columns={name: "ours"})
    values = theirs.wide()[[*_KEYS, name]].rename(columns={name: "theirs"})
    pairs = same_networks(mine.runs[[*_KEYS, *MEASURES, *GAPS]], theirs.runs)
    return pairs.merge(values, on=_KEYS).merge(ours, on=_KEYS)


def _beside_seeds(table: pd.DataFrame, factors: list[str]) -> tuple[int, float, float]:
    """How many settings could be judged, the probability that values of other seeds differ as much, and a ratio.

    In each setting, and at each step: the mean square difference of its judged networks over twice the variance of
    its own recomputed values, which is F-distributed for normal values of other seeds; a setting's p is the median
    over its steps, which hang together; Fisher's sum of −2 ln p over the settings is χ² with 2 degrees each. Values v
    are compared as arsinh(v / median |v|), which leaves small ones as they are and takes logarithms of large ones:
    seeds often differ by factors. A difference of `TOLERANCE` is none.
    """
    scale = float(table["ours"].abs().median()) or 1.0
    table = table.assign(**{name: np.arcsinh(table[name] / scale) for name in ("ours", "theirs")})
    parts: list[tuple[tuple[object, ...], Vector, float, float, int]] = []
    for key, rows in table.groupby([*factors, "step"], dropna=False):
        ours = rows["ours"].dropna().to_numpy(float)
        differences = (rows["theirs"] - rows["ours"])[rows["judged"]].dropna().to_numpy(float)
        if len(ours) > 1:
            floor = (_ROUNDED + TOLERANCE * float(np.abs(ours).mean())) ** 2 / 2
            parts.append((tuple(key[:-1]), differences, float(ours.var(ddof=1)), floor, len(ours) - 1))
    mean = float(np.mean([variance for _, _, variance, _, _ in parts])) if parts else 0.0
    found: dict[tuple[object, ...], list[float]] = {}
    squares: list[float] = []
    variances: list[tuple[float, bool]] = []
    for setting, differences, variance, floor, freedom in parts:
        variances.append((variance + floor, len(differences) > 0))
        if len(differences):
            squares += list(differences**2)
            # seeds that agree by chance, as counts do, are no measure: all settings together are
            ratio = float((differences**2).mean()) / (2 * ((variance or mean) + floor))
            found.setdefault(setting, []).append(float(f.sf(ratio, len(differences), freedom)))
    if not found:
        return 0, float("nan"), float("nan")
    total = sum(-2 * np.log(max(float(np.median(p)), _FAR)) for p in found.values())
    most = max(np.mean([v for v, _ in variances]), np.mean([v for v, own in variances if own]))
    return len(found), float(chi2.sf(total, 2 * len(found))), float(np.sqrt(np.mean(squares) / (2 * most)))


def _other_taus(table: pd.DataFrame, gaps: list[str]) -> list[str]:
    """Gaps that the published values predict otherwise than the recomputed ones, by more than chance explains.

    Were networks the same, or as other seeds, it would not matter which of the two tables each of them stands in: the
    difference of τ-b is held against those after random exchanges.
    """
    usable = table[["theirs", "ours", *gaps, *(f"{gap}:mine" for gap in gaps)]].to_numpy(float)
    kept = np.isfinite(usable).all(axis=1) & (table["status"] != "diverged").to_numpy()
    values, random, said = usable[kept][:, :2], np.random.default_rng(0), []
    for gap in gaps:
        both = table.loc[kept, [gap, f"{gap}:mine"]].to_numpy(float)
        theirs, ours = _tau(values[:, 0], both[:, 0]), _tau(values[:, 1], both[:, 1])
        if not abs(theirs - ours) > MOST_TAU:
            continue
        swaps = random.random((_SWAPS, len(values))) < 0.5
        apart = np.array([_apart(values, both, swap) for swap in swaps])
        if (1 + (apart >= abs(theirs - ours)).sum()) / (1 + _SWAPS) <= _UNUSUAL:
            said.append(f"τ with {gap} {theirs:+.2f}, recomputed {ours:+.2f}: more apart than {MOST_TAU:g} and chance")
    return said


def _apart(values: Vector, gaps: Vector, swap: NDArray[np.bool_]) -> float:
    """|difference of τ-b| of the two columns, with some rows exchanged between them."""
    mixed, gap = (np.where(swap[:, None], both[:, ::-1], both) for both in (values, gaps))
    return abs(_tau(mixed[:, 0], gap[:, 0]) - _tau(mixed[:, 1], gap[:, 1]))


def _tau(values: Vector, gap: Vector) -> float:
    """τ-b; 0 where either is constant or there are too few: nothing is predicted."""
    if len(values) < LEAST:
        return 0.0
    tau = float(kendalltau(values, gap).statistic)
    return 0.0 if np.isnan(tau) else tau


def _deviation(values: Vector) -> float:
    """The standard deviation of normal values with these quartiles, or the median absolute value if that is less.

    A few wild values widen neither.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0
    return float(min(np.subtract(*np.percentile(known, [75, 25])) / 1.349, np.median(np.abs(known))))
