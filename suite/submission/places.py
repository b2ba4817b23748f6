"""A metric's place among all metrics and among the trivial predictors."""

from __future__ import annotations

from typing import Any

from suite.ranking.leaderboard import rank_overall
from suite.ranking.tables import TaskResults
from suite.ranking.task import rank_task
from suite.submission.findings import Finding
from suite.submission.neighbours import names_of


def place_of(metric: str, results: list[TaskResults]) -> Finding:
    """Its rank and score over these tasks by the leaderboard's code, and the trivial predictors it stands among."""
    overall = rank_overall([rank_task(result) for result in results])
    names = list(dict.fromkeys(name for r in results for name in names_of(metric, r)))
    scored = overall[overall["score"].notna()]
    trivial = scored[scored["trivial"].astype(bool)]
    said = []
    for name in names:
        row: dict[str, Any] = {str(column): value for column, value in overall.loc[name].items()}
        if name not in scored.index:
            said.append(f"{name} has no score")
            continue
        above = [str(other) for other in trivial.index if trivial.at[other, "rank"] < row["rank"]]
        best = (
            "" if trivial.empty else f"; beats the best trivial predictor, {trivial.index[0]}: {row['beats_trivial']}"
        )
        beaten = f"{len(above)} of {len(trivial)} trivial predictors stand above it"
        said.append(
            f"{name} is {int(row['rank'])} of {len(scored)} with a score of {row['score']:+.3f} "
            f"[{row['low']:+.2f}, {row['high']:+.2f}]; {beaten}{best if not row['trivial'] else ''}"
        )
    return Finding("place", "told", "; ".join(said))
