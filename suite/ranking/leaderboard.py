"""The ranking over all tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from suite.ranking.bootstrap import interval, mean_spread, spread
from suite.ranking.groups import Scored, group, rank_intervals
from suite.ranking.significance import holm, p_value
from suite.ranking.task import Score, TaskRanking


def rank_overall(rankings: list[TaskRanking]) -> pd.DataFrame:
    """One row per metric, best first: what it scores over all tasks.

    The score of a metric on a task is the mean over the task's targets of sign · τ, where the sign is the one its
    authors expect (a metric that correlates the wrong way round loses) and, for trivial predictors, the better one.
    Tasks weigh equally. A target, or a task, that cannot be scored (constant gap) is left out for all metrics alike.
    Pairs of networks that lack a value that was tried count as ordered wrongly (`suite.ranking.correlation.worst_tau`):
    a task on which every value failed counts −1, so that failing never raises a score. Where nothing was tried, because
    the task asks for no probe of the metric's, it counts 0 in the mean, and shows none (NaN) in the task's column.
    `lacking` says whether a value is missing anywhere. A metric without any value has no score and no rank.

    The interval is of the same mean over bootstrap replicates, drawn independently for each task. `beats_trivial`
    compares with the trivial predictor of the best score, replicate by replicate; it is empty for the trivial ones.
    `beats:<name>` compares with each of them by itself. `score_all` and `rank_all` are score and rank with all networks
    in, whatever the tasks' inclusion rules leave out.

    `p` is the permutation p-value of the score (each task permuted by itself), `p_holm` Holm's correction over all
    metrics; `group` and the rank's 95 % interval `rank_low`, `rank_high` are of `suite.ranking.groups`;
    `without:<task>` is the score with that task left out, NaN where no other is scored; `outside` says that a metric is
    not this package's own.
    """
    described = pd.concat([r.results.metrics for r in rankings])
    described = described[~described.index.duplicated()].sort_index()
    overall = described[["title", "family", "source", "sign", "trivial"]].copy()
    overall["outside"] = [bool(value is True) for value in described.get("outside", pd.Series(False, described.index))]
    scored = [r for r in rankings if r.scored]
    names = [str(name) for name in overall.index if any(r.has_values(str(name)) for r in scored)]
    scores = {name: [score_on(r, name) for r in scored] for name in names}
    clusters = [r.clusters for r in scored]
    trivial = [name for name in names if overall.at[name, "trivial"]]
    best = max(trivial, key=lambda name: _mean(scores[name]), default=None)
    rows = {
        name: averaged(own, clusters, (0.0 if name in trivial and not _lacks(scored, name) else -1.0, 1.0))
        | {"beats_trivial": "" if best is None or name in trivial else _beats(own, scores[best], clusters)}
        | {f"beats:{other}": "" if name in trivial else _beats(own, scores[other], clusters) for other in trivial}
        | {r.results.name: s.value for r, s in zip(scored, own, strict=True) if r.tried(name)}
        | {"score_all": float(np.mean([_on_all(r, name) for r in scored]))}
        for name, own in scores.items()
    }
    tasks = [r.results.name for r in rankings]
    tests = ["p", "p_holm", "group", "rank_low", "rank_high", *(f"without:{task}" for task in tasks)]
    beats = ["beats_trivial", *(f"beats:{other}" for other in trivial)]
    columns = ["score", "low", "high", *beats, *tasks, *tests, "score_all"]
    _compared(rows, scores, clusters)
    _sensitivity(rows, scores, [r.results.name for r in scored])
    overall = overall.join(pd.DataFrame.from_dict(rows, orient="index").reindex(columns=columns))
    overall = overall.astype(dict.fromkeys(("group", "rank_low", "rank_high"), "Int64"))
    overall[beats] = overall[beats].astype(object).fillna("")
    overall["lacking"] = [_lacks(scored, str(name)) for name in overall.index]
    overall = overall.sort_values("score", ascending=False, kind="stable", na_position="last")
    ranks = pd.Series(np.arange(1, len(overall) + 1), overall.index, dtype="Int64")
    overall.insert(0, "rank", ranks.where(overall["score"].notna()))
    overall["rank_all"] = overall["score_all"].rank(method="first", ascending=False).astype("Int64")
    return overall


def score_on(ranking: TaskRanking, metric: str) -> Score:
    """A metric's score on a task; 0 where it was not tried, −1 where its metric was and this component never came."""
    some = next(iter(ranking.scores.values()))
    value = -1.0 if ranking.tried(metric) else 0.0
    nothing = Score(value, np.full(len(some.replicates), value), np.full(len(some.permuted), value))
    return ranking.scores.get(metric, nothing)


def _on_all(ranking: TaskRanking, metric: str) -> float:
    return ranking.scores_all.get(metric, score_on(ranking, metric).value)


def _lacks(rankings: list[TaskRanking], metric: str) -> bool:
    return any(ranking.lacks_values(metric) for ranking in rankings)


def _mean(scores: list[Score]) -> float:
    return float(np.mean([score.value for score in scores]))


def averaged(scores: list[Score], clusters: list[int], bounds: tuple[float, float]) -> dict[str, Any]:
    """The mean of a score over tasks, and its interval: `score`, `low`, `high`; of one task, that task's."""
    spreads = [spread(score.replicates, k) for score, k in zip(scores, clusters, strict=True)]
    value = _mean(scores)
    low, high = interval(value, mean_spread(spreads), bounds)
    return {"score": value, "low": low, "high": high}


def difference(rankings: Sequence[TaskRanking], metric: str, other: str) -> dict[str, float]:
    """A metric's score over all tasks minus another's, on the same replicates: `score`, `low`, `high`."""
    scored = [ranking for ranking in rankings if ranking.scored]
    own, rival = ([score_on(ranking, name) for ranking in scored] for name in (metric, other))
    return _difference(own, rival, [ranking.clusters for ranking in scored])


def _difference(own: list[Score], best: list[Score], clusters: list[int]) -> dict[str, float]:
    differences = [Score(a.value - b.value, a.replicates - b.replicates) for a, b in zip(own, best, strict=True)]
    return averaged(differences, clusters, (-2.0, 2.0))


def _beats(own: list[Score], best: list[Score], clusters: list[int]) -> str:
    row = _difference(own, best, clusters)
    return "yes" if float(row["low"]) > 0 else "no" if float(row["high"]) < 0 else "undecided"


def _compared(rows: dict[str, dict[str, Any]], scores: dict[str, list[Score]], clusters: list[int]) -> None:
    """Adds p-values, groups and intervals of ranks to the rows."""
    if not scores:
        return
    tasks = list(zip(*scores.values(), strict=True))
    values = np.array([[score.value for score in task] for task in tasks])
    replicates = [np.array([score.replicates for score in task]) for task in tasks]
    scored = Scored(values, replicates, clusters)
    p = np.array([_chance(own) for own in scores.values()])
    made = {"p": p, "p_holm": holm(p), "group": group(scored)}
    made["rank_low"], made["rank_high"] = rank_intervals(scored)
    for i, row in enumerate(rows.values()):
        row |= {name: column[i] for name, column in made.items()}


def _chance(scores: list[Score]) -> float:
    """The p-value of the mean over tasks: permutation i of each task, made by itself, is one of the whole."""
    return p_value(_mean(scores), np.mean([score.permuted for score in scores], axis=0))


def _sensitivity(rows: dict[str, dict[str, Any]], scores: dict[str, list[Score]], tasks: list[str]) -> None:
    """Adds the score with each task left out to the rows."""
    for row, own in zip(rows.values(), scores.values(), strict=True):
        for i, task in enumerate(tasks):
            rest = own[:i] + own[i + 1 :]
            row[f"without:{task}"] = _mean(rest) if rest else float("nan")
