"""Published values against those of networks trained again, maybe on another machine: a rule that can be kept.

Where training contracts, rounding errors die out, and another machine trains the same network: it is known by its
losses, and the values must be the same within `TOLERANCE`. Beyond the edge of stability rounding errors grow, and
another machine's network is another one of the same setting, as with another seed: its values may differ as far as
those of different seeds do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from suite.metrics import Metric
from suite.ranking.correlation import Vector
from suite.ranking.tables import TaskResults, read_results
from suite.submission.findings import Finding
from suite.submission.neighbours import names_of

SAME_LOSS = 1e-3
"""Relative difference of training and test loss up to which two networks are taken for the same one."""
TOLERANCE = 0.01
"""Relative difference of two values of the same network."""
SPREAD_TOLERANCE = 1e-3
"""The same in standard deviations over the task's networks, for values near 0."""
EXCEPTIONS = 0.05
"""Part of the same networks whose values may differ more (counts jump): these are judged as other networks are."""
MOST_SPREADS = 3.0
"""Root mean square difference of other networks' values, in that of two seeds of one setting."""
_TINY = 1e-9


def against_published(metric: Metric, recomputed: list[TaskResults], published: Path) -> list[Finding]:
    """One finding for each task that was recomputed."""
    folders = {path.parent.relative_to(published).as_posix() for path in published.rglob("provenance.json")}
    findings = []
    for mine in recomputed:
        what = f"published values of {mine.name}"
        if mine.name not in folders:
            findings.append(Finding(what, "told", f"the task is not in {published}"))
            continue
        (theirs,) = read_results(published, [mine.name])
        findings.append(_on_task(what, metric, mine, theirs))
    return findings


def same_networks(mine: TaskResults, theirs: TaskResults) -> pd.DataFrame:
    """Both tables of runs side by side, with a column `same`: whether the losses say that it is the same network."""
    columns = ["train_loss", "test_loss"]
    both = theirs.runs.merge(mine.runs[["run_id", "step", *columns]], on=["run_id", "step"], suffixes=("", ":mine"))
    close = [
        np.isclose(both[c], both[f"{c}:mine"], rtol=SAME_LOSS, atol=_TINY, equal_nan=True) for c in columns
    ]  # fmt: skip
    return both.assign(same=np.logical_and.reduce(close))


def _on_task(what: str, metric: Metric, mine: TaskResults, theirs: TaskResults) -> Finding:
    here, there = names_of(metric.name, mine), names_of(metric.name, theirs)
    if not here and not there:
        return Finding(what, "told", "none, and the task asks for no such probe")
    if sorted(here) != sorted(there):
        said = f"{', '.join(there) or 'none'}; recomputed: {', '.join(here) or 'none'}"
        return Finding(what, "wrong", f"{said}; `suite publish --metric {metric.name}` writes them")
    noted = theirs.metrics.at[there[0], "fingerprint"] if "fingerprint" in theirs.metrics else metric.fingerprint
    if noted != metric.fingerprint:
        said = f"they are of other code than this; `suite publish --metric {metric.name}` writes new ones"
        return Finding(what, "wrong", said)
    pairs = same_networks(mine, theirs)
    if len(pairs) != len(theirs.runs) or len(pairs) != len(mine.runs):
        said = f"{len(pairs)} of {len(theirs.runs)} published networks are of this task, device and dtype"
        return Finding(what, "wrong", said)
    compared = [_compare(name, mine, theirs, pairs) for name in there]
    said = "; ".join(c.said(name if len(there) > 1 else "") for name, c in zip(there, compared, strict=True))
    return Finding(what, "good" if all(c.good for c in compared) else "wrong", said)


@dataclass(frozen=True)
class Comparison:
    """Of one name's values.

    Attributes:
        same, off: networks that are the same, and those of them whose values are not.
        other: networks that are others; with `off` they are judged by the spread.
        ratio: their root mean square difference in that of two seeds; NaN where there is nothing to compare.
    """

    same: int
    off: int
    other: int
    ratio: float

    @property
    def good(self) -> bool:
        """Whether the published values are what comes out here too, as far as can be told."""
        few = self.off <= EXCEPTIONS * self.same
        return few and not self.ratio > MOST_SPREADS and (self.same > self.off or not np.isnan(self.ratio))

    def said(self, name: str) -> str:
        """In words."""
        lead = f"{name}: " if name else ""
        first = f"{lead}{self.same - self.off} of {self.same} same networks within {TOLERANCE:.0%}"
        if not self.other and not self.off:
            return first
        which = f"{self.other} other networks" + (f" and {self.off} values beyond that" if self.off else "")
        if np.isnan(self.ratio):
            return f"{first}; {which} cannot be compared: no setting has several seeds with values"
        return f"{first}; {which} differ by {self.ratio:.2g} times what seeds do, at most {MOST_SPREADS:g} is meant"


def _compare(name: str, mine: TaskResults, theirs: TaskResults, pairs: pd.DataFrame) -> Comparison:
    keys = ["run_id", "step"]
    ours = mine.wide()[[*keys, name]].rename(columns={name: "ours"})
    table = theirs.wide()[[*keys, name]].rename(columns={name: "value"}).merge(ours, on=keys).merge(pairs, on=keys)
    x, y, same = table["value"].to_numpy(float), table["ours"].to_numpy(float), table["same"].to_numpy(bool)
    near = np.isclose(x, y, rtol=TOLERANCE, atol=SPREAD_TOLERANCE * _deviation(x), equal_nan=True)
    judged = ~same | ~near
    return Comparison(int(same.sum()), int((same & ~near).sum()), int((~same).sum()), _ratio(table, judged, theirs))


def _ratio(table: pd.DataFrame, judged: Vector, theirs: TaskResults) -> float:
    """Root mean square difference of judged values, in that of seeds here (own settings, or all if larger)."""
    differences = (table["value"] - table["ours"]).to_numpy(float)[judged]
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return float("nan")
    settings = [*theirs.hyperparameters, "step"]
    spreads, own = _seed_variances(table, settings), table[judged][settings].drop_duplicates()
    near = spreads.merge(own, on=settings)
    variance = np.nanmax([spreads["variance"].mean(), near["variance"].mean() if len(near) else np.nan, -1.0])
    if variance < 0:
        return float("nan")
    squares = float((differences**2).mean())
    return 0.0 if not squares else float(np.sqrt(squares / (2 * variance))) if variance else float("inf")


def _seed_variances(table: pd.DataFrame, settings: list[str]) -> pd.DataFrame:
    """The variance over seeds of each setting that has several recomputed values: nobody else has a hand in those."""
    grouped = table.groupby(settings, dropna=False)["ours"].var(ddof=1)
    return grouped.dropna().rename("variance").reset_index()


def _deviation(values: Vector) -> float:
    known = values[np.isfinite(values)]
    return float(known.std()) if len(known) else 0.0
