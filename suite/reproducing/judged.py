"""Published and here, side by side, and the verdict.

A cell is chaotic where the published edge ratio η λ_max / 2 (with momentum and decay: see the metric; for AdamW the
preconditioned one) is above 1 at any published checkpoint of its run: beyond the edge rounding errors grow
exponentially. The RDS sharpness λ₁ cannot tell: it is E ln max |1 − ηα| and positive wherever a minibatch Hessian has a
negative eigenvalue, that is for every published run so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from suite.ranking.changes import Setting, differing, relative
from suite.ranking.tables import GAPS, MEASURES, TaskResults

LOSSES = ("train_loss", "test_loss")
CODIMENSION = "codimension"
TOLERANCES = {"train_loss": 1e-4, "test_loss": 1e-4, CODIMENSION: 0.01}
"""Relative, for contracting cells: issue 6, acceptance 3."""
EDGES = ("edge_ratio", "preconditioned_edge_ratio")
_POINT = ["run_id", "step"]


@dataclass(frozen=True)
class Row:
    """One number of a cell, published and here (NaN: none), and their relative difference (NaN: a side has none)."""

    quantity: str
    published: float
    here: float
    difference: float


@dataclass(frozen=True)
class CellVerdict:
    """A cell made again.

    Attributes:
        run_id: as published.
        factors: its cell.
        step: of the checkpoint that `rows` are of, the last published one.
        chaotic: see this module; None where no edge ratio is published: then it is held to be contracting.
        rows: every number at that checkpoint.
        differences: the largest over all published checkpoints, by quantity that is judged.
        tolerances: what those may be.
        identical: whether every number at every checkpoint is the published one.
        status: how the run ended, published and here; another end is never within tolerance.
        missing: numbers that are published and are not there here, or the reverse, over all checkpoints.
    """

    run_id: str
    factors: dict[str, object]
    step: int
    chaotic: bool | None
    rows: list[Row]
    differences: dict[str, float]
    tolerances: dict[str, float]
    identical: bool
    status: tuple[str, str]
    missing: int

    @property
    def within(self) -> bool:
        """Whether it is what was published, within the tolerances. What has no tolerance may differ."""
        near = all(self.differences[word] <= self.tolerances[word] for word in self.differences)
        return near and self.status[0] == self.status[1]


@dataclass(frozen=True)
class Judgement:
    """The verdict on all cells, and what differs of device, versions, data and spec."""

    task: str
    cells: list[CellVerdict]
    settings: list[Setting]

    @property
    def within(self) -> bool:
        """Whether every cell is."""
        return all(cell.within for cell in self.cells)

    @property
    def identical(self) -> bool:
        """Whether every number of every cell is the published one."""
        return all(cell.identical for cell in self.cells)

    def line(self) -> str:
        """The verdict in one line."""
        if self.identical:
            return f"{self.task}: identical"
        parts = [self._largest(chaotic) for chaotic in (False, True)]
        ends = {c.status for c in self.cells if c.status[0] != c.status[1]}
        parts += [f"status {before} is {after} here" for before, after in sorted(ends)]
        said = "within tolerance" if self.within else "NOT within tolerance"
        return f"{self.task}: {said}: " + "; ".join(part for part in parts if part)

    def _largest(self, chaotic: bool) -> str:
        """The largest differences among contracting or chaotic cells, and what they may be."""
        cells = [cell for cell in self.cells if bool(cell.chaotic) == chaotic]
        said = []
        for title, words in (("losses", LOSSES), (CODIMENSION, (CODIMENSION,))):
            pairs = [(c.differences[w], c.tolerances[w]) for c in cells for w in words if w in c.differences]
            if pairs:
                # the one that is furthest out: tolerances of train and test losses may differ
                worst = max(pairs, key=lambda pair: math.inf if pair[1] == 0 else pair[0] / pair[1])
                said.append(f"{title} differ by {worst[0]:.2g} (at most {worst[1]:.2g})")
        if not said:
            return ""
        kind = "chaotic" if chaotic else "contracting"
        return f"{len(cells)} {kind} cell{'s' if len(cells) > 1 else ''}: " + ", ".join(said)


def judge(published: TaskResults, here: TaskResults) -> Judgement:
    """Hold what was made here, its runs named as published, against what is published."""
    before, after = published.wide(), here.wide()
    metrics = [str(name) for name in here.metrics.index if name in published.metrics.index]
    chaotic = _chaotic(before)
    spreads = seed_spread(published, chaotic)
    runs = list(dict.fromkeys(here.runs["run_id"]))
    cells = [_cell(published, before, after, run_id, metrics, chaotic, spreads) for run_id in runs]
    return Judgement(published.name, cells, list(_settings(published, here)))


def _cell(
    published: TaskResults,
    before: pd.DataFrame,
    after: pd.DataFrame,
    run_id: str,
    metrics: list[str],
    chaotic: dict[str, bool],
    spreads: dict[str, float],
) -> CellVerdict:
    own = [side[side["run_id"] == run_id].set_index("step").sort_index() for side in (before, after)]
    words = [*MEASURES, *GAPS, *metrics]
    steps = own[0].index.union(own[1].index)
    sides = [side.reindex(index=steps, columns=words).to_numpy(float) for side in own]
    sizes = relative(*sides)
    absent = [np.isnan(side) for side in sides]
    apart = absent[0] != absent[1]
    same = (sides[0] == sides[1]) | (absent[0] & absent[1])
    status = (str(own[0]["status"].iloc[-1]), str(own[1]["status"].iloc[-1]))
    last, size = steps.get_loc(own[0].index[-1]), dict(zip(words, sizes.T, strict=True))
    rows = [Row(word, *(float(side[last, at]) for side in (*sides, sizes))) for at, word in enumerate(words)]
    judged = [word for word in (*LOSSES, CODIMENSION) if word in words and not absent[0][:, words.index(word)].all()]
    differences = {
        # a number that only one side has is infinitely far away
        word: float("inf") if apart[:, words.index(word)].any() else float(np.nanmax(size[word], initial=0.0))
        for word in judged
    }
    kind = chaotic.get(run_id)
    tolerances = spreads if kind and spreads else TOLERANCES
    factors = {name: own[0].iloc[0][name] for name in published.provenance["factors"]}
    identical = bool(same.all()) and status[0] == status[1]
    return CellVerdict(
        run_id,
        factors,
        int(own[0].index[-1]),
        kind,
        rows,
        differences,
        {word: tolerances[word] for word in judged},
        identical,
        status,
        int(apart.sum()),
    )


def _chaotic(table: pd.DataFrame) -> dict[str, bool]:
    """By run whether its edge ratio is above 1 at a published checkpoint; runs without any are not in it."""
    columns = [name for name in EDGES if name in table]
    if not columns:
        return {}
    # the preconditioned one is AdamW's edge and stands for it where both are published
    edge = table[columns[-1]]
    for other in columns[:-1]:
        edge = edge.fillna(table[other])
    largest = edge.groupby(table["run_id"]).max().dropna()
    return {str(run_id): bool(value > 1) for run_id, value in largest.items()}


def seed_spread(published: TaskResults, chaotic: dict[str, bool]) -> dict[str, float]:
    """How far apart two seeds of a setting may lie, as a relative difference, by quantity.

    That is 1 − exp(−2r) with r the root mean square of |ln a − ln b| over all pairs of seeds of settings with a chaotic
    run, at the last checkpoints of published runs that count: were the logarithms normal, 95 % of the pairs would lie
    closer. Empty where no such setting has two seeds.
    """
    table = published.wide()[published.included.to_numpy()].sort_values("step").groupby("run_id").tail(1)
    words = [word for word in (*LOSSES, CODIMENSION) if word in table]
    pairs: list[list[float]] = []
    for _, runs in table.groupby(published.hyperparameters) if published.hyperparameters else [("", table)]:
        if any(chaotic.get(str(run_id), False) for run_id in runs["run_id"]):
            values = runs[words].to_numpy(float)
            pairs += [list(relative(values[i], values[j])) for i, j in combinations(range(len(values)), 2)]
    if not pairs:
        return {}
    with np.errstate(divide="ignore"):  # 1 where signs differ: then anything goes
        logarithms = -np.log1p(-np.minimum(np.array(pairs), 1.0))
    spreads = -np.expm1(-2 * np.sqrt(np.nanmean(np.square(logarithms), axis=0)))
    return {word: float(spread) for word, spread in zip(words, spreads, strict=True)}


def _settings(published: TaskResults, here: TaskResults) -> Iterator[Setting]:
    """What differs of device, dtype, versions, commit, data, probes and the code of metrics."""
    shared = [name for name in here.metrics.index if name in published.metrics.index]
    sides = []
    for results in (published, here):
        noted = results.provenance
        flat = {word: noted.get(word) for word in ("device", "device_name", "dtype", "commit")}
        flat |= {f"versions.{name}": version for name, version in noted["versions"].items()}
        flat |= {f"data.{name}": value for name, value in (noted.get("data") or {}).items()}
        flat |= {f"probes.{name}": value for name, value in noted["spec"]["probes"].items() if value is not None}
        if "fingerprint" in results.metrics:
            flat |= {f"metrics.{name}.fingerprint": results.metrics.at[name, "fingerprint"] for name in shared}
        sides.append(flat)
    return differing(*sides)
