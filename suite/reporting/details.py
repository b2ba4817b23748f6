"""Tables for those who look twice: what a metric knows beyond the hyperparameters, and how much data a claim needs."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from suite.ranking.power import power_table
from suite.ranking.tables import short
from suite.ranking.task import TaskRanking
from suite.reporting.board import Board, number, ordered
from suite.reporting.markup import escaped, folded, table

_MOST_NOISE = 0.9
"""Where seeds make all of the gap there is nothing to predict."""
_READING = """\
*τ, … fixed*: over pairs of networks that share that hyperparameter. *CMI*: what a metric's order tells about the
gap's order beyond two hyperparameters at most (Jiang et al. 2019; in parentheses by chance). *Sign error*: pairs of
settings that differ in one hyperparameter alone, weighted by how surely their gaps differ, that are ordered wrongly,
for the worst hyperparameter (Dziugaite et al. 2020). *R² over trivial*: of the gap's variance that the trivial
predictors leave unexplained, the share that the metric predicts where one value of a hyperparameter was never seen
(below 0: worse than without it). *Seed noise*: the share of the metric's own variance that is between seeds.
"""


def further(task: TaskRanking, target: str) -> str:
    """Of a grid task: Kendall with a hyperparameter held fixed, information, sign errors, prediction, seed noise."""
    factors = task.results.hyperparameters
    header = ["metric", *(f"τ, {escaped(short(f))} fixed" for f in factors), "CMI (chance)", "sign error, worst"]
    header += ["R² over trivial", "seed noise"]
    rows = [
        [escaped(task.results.metrics.at[row["metric"], "title"])]
        + [number(row[f"partial:{factor}"]) for factor in factors]
        + [f"{_plain(row['cmi'])} ({_plain(row['cmi_null'])})", _worst_sign_error(row, factors)]
        + [number(row["r2_over_trivial"]), _plain(row["seed_noise"])]
        for row in ordered(task, target)
    ]
    noise = _plain(task.rows.loc[task.rows["target"] == target, "gap_seed_noise"].iloc[0])
    gap = escape(target.replace("_", " "))
    summary = (
        f"Beyond the hyperparameters: the {gap} (of its own variance seeds make {noise}) and what "
        "metrics know of it that learning rates and the like do not"
    )
    return folded(summary, f"{_READING}\n{table(header, rows)}")


def power(board: Board) -> str:
    """How many settings and seeds it takes to tell two metrics apart, at the seed noise of the board's grid tasks."""
    noises = [t.rows["gap_seed_noise"].mean() for t in board.tasks if t.results.kind == "grid" and t.scored]
    known = [float(noise) for noise in noises if not pd.isna(noise)]
    if not known:
        return ""
    noise = min(round(sum(known) / len(known), 1), _MOST_NOISE)
    found = power_table(noise)
    wide = found.pivot_table(index=["settings", "seeds"], columns="difference", values="power")
    header = ["settings", "seeds", *(f"Δτ = {difference:g}" for difference in wide.columns)]
    rows = [[str(settings), str(seeds), *(f"{p:.0%}" for p in row)] for (settings, seeds), row in _pairs(wide)]
    summary = (
        f"How often a grid of so many settings and seeds tells two metrics apart (seeds make {noise:.0%} of the gap)"
    )
    return folded(summary, table(header, rows))


def _pairs(wide: pd.DataFrame) -> list[tuple[tuple[int, int], list[float]]]:
    return [
        ((int(key[0]), int(key[1])), [*map(float, row)]) for key, row in zip(wide.index, wide.to_numpy(), strict=True)
    ]


def _worst_sign_error(row: dict[str, Any], factors: list[str]) -> str:
    """The largest over hyperparameters of the share of pairs, differing in it alone, that are ordered wrongly."""
    errors = {factor: row[f"sign_error:{factor}"] for factor in factors if not pd.isna(row[f"sign_error:{factor}"])}
    if not errors:
        return "–"
    worst = max(errors, key=lambda factor: float(errors[factor]))
    return f"{_plain(errors[worst])} ({escaped(short(worst))})"


def _plain(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2f}"
