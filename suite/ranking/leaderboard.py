"""The ranking over all tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from suite.ranking.bootstrap import interval, mean_spread, spread
from suite.ranking.task import Score, TaskRanking


def rank_overall(rankings: list[TaskRanking]) -> pd.DataFrame:
    """One row per metric, best first: what it scores over all tasks.

    The score of a metric on a task is the mean over the task's targets of sign · τ, where the sign is the one its
    authors expect (a metric that correlates the wrong way round loses) and, for trivial predictors, the better one.
    Tasks weigh equally. A target, or a task, that cannot be scored (constant gap) is left out for all metrics alike.
    Pairs of networks that a metric has no values for count as coin tosses (`coverage`): 0 on a task it is missing on.

    The interval is of the same mean over bootstrap replicates, drawn independently for each task. `beats_trivial`
    compares with the trivial predictor of the best score, replicate by replicate; it is empty for the trivial ones.
    """
    described = pd.concat([r.results.metrics for r in rankings])
    described = described[~described.index.duplicated()].sort_index()
    overall = described[["title", "family", "source", "sign", "trivial"]].copy()
    scored = [r for r in rankings if any(np.isfinite(s.value) for s in r.scores.values())]
    scores = {str(name): [_on(r, str(name)) for r in scored] for name in overall.index}
    clusters = [r.clusters for r in scored]
    trivial = [str(name) for name, flag in overall["trivial"].items() if flag]
    best = max(trivial, key=lambda name: _mean(scores[name]), default=None) if scored else None
    rows = {
        name: _row(own, clusters, (0.0 if name in trivial else -1.0, 1.0))
        | {"beats_trivial": "" if best is None or name in trivial else _beats(own, scores[best], clusters)}
        | dict(zip([r.results.name for r in scored], [s.value for s in own], strict=True))
        for name, own in scores.items()
    }
    columns = ["score", "low", "high", "beats_trivial", *(r.results.name for r in rankings)]
    overall = overall.join(pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns))
    overall = overall.sort_values("score", ascending=False, kind="stable", na_position="last")
    overall.insert(0, "rank", np.arange(1, len(overall) + 1))
    return overall


def _on(ranking: TaskRanking, metric: str) -> Score:
    """A metric's score on a task; 0 where it is missing."""
    resamples = len(next(iter(ranking.scores.values())).replicates)
    return ranking.scores.get(metric, Score(0.0, np.zeros(resamples)))


def _mean(scores: list[Score]) -> float:
    return float(np.mean([score.value for score in scores])) if scores else float("nan")


def _row(scores: list[Score], clusters: list[int], bounds: tuple[float, float]) -> dict[str, float | str]:
    spreads = [spread(score.replicates, k) for score, k in zip(scores, clusters, strict=True)]
    value = _mean(scores)
    low, high = interval(value, mean_spread(spreads), bounds) if scores else (value, value)
    return {"score": value, "low": low, "high": high}


def _beats(own: list[Score], best: list[Score], clusters: list[int]) -> str:
    differences = [Score(a.value - b.value, a.replicates - b.replicates) for a, b in zip(own, best, strict=True)]
    row = _row(differences, clusters, (-2.0, 2.0))
    return "yes" if float(row["low"]) > 0 else "no" if float(row["high"]) < 0 else "undecided"
