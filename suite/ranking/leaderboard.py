"""The ranking: per task and target, and over all tasks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.ranking.bootstrap import RESAMPLES, cluster_counts, generator, grid_replicates, interval, mean_replicates
from suite.ranking.correlation import granulated_kendall, kendall
from suite.ranking.tables import TaskResults, is_seed

Replicates = dict[tuple[str, str], NDArray[np.float64]]
"""Bootstrap replicates of τ by (metric, target)."""


@dataclass(frozen=True)
class TaskRanking:
    """One task's ranking.

    Attributes:
        results: what was ranked.
        rows: one per metric and target: tau, low, high, tau_all (no inclusion rule), n, failed, score (sign · τ), psi
            per hyperparameter (`psi:<factor>`) and their mean `Psi` (grid tasks).
        replicates: of τ.
        left_out: rows of `runs` that the inclusion rule or divergence left out.
    """

    results: TaskResults
    rows: pd.DataFrame
    replicates: Replicates
    left_out: int


def rank_task(results: TaskResults, resamples: int = RESAMPLES) -> TaskRanking:
    """Rank the metrics of a task.

    Grid tasks: τ-b over all included runs; intervals by drawing grid settings again. Trajectory tasks: τ-b over the
    checkpoints of each run, then the mean over runs, as Tuci et al. 2026 do; intervals by drawing runs again.
    """
    frame = results.wide()
    included = frame[results.included]
    everyone = frame[results.usable]
    rows, replicates = [], {}
    for target in results.targets:
        # one set of resamples a target: differences between metrics are then paired
        counts = _counts(results, included, target, resamples)
        for metric in results.metrics.index:
            taus, made = _tau(results, included, metric, target, counts)
            replicates[metric, target] = made
            low, high = interval(made)
            values = included[metric]
            row = {
                "metric": metric,
                "target": target,
                "n": int(np.isfinite(values).sum()),
                "failed": int((~np.isfinite(values)).sum()),
                "tau": taus,
                "low": low,
                "high": high,
                "tau_all": _tau(results, everyone, metric, target, None)[0],
                "score": results.sign(metric) * taus,
            }
            rows.append(row | _granulated(results, included, metric, target))
    left_out = len(frame) - len(included)
    return TaskRanking(results, pd.DataFrame(rows), replicates, left_out)


def rank_overall(rankings: list[TaskRanking]) -> pd.DataFrame:
    """One row per metric, best first: what it scores over all tasks.

    The score of a metric on a task is the mean over the task's targets of sign · τ, where the sign is the one its
    authors expect: a metric that correlates the wrong way round loses. Tasks weigh equally. A target that cannot be
    scored (constant gap) is left out for all metrics alike; a metric that is missing on a task, has values for fewer
    than half of its rows, or has no τ there, scores 0 on it: nobody gains by failing.

    The interval is the 95 % percentile interval of the same mean over bootstrap replicates, drawn independently for
    each task. `beats_trivial` compares with the best trivial predictor, replicate by replicate.
    """
    names = sorted({metric for r in rankings for metric in r.results.metrics.index})
    scores, replicates = {}, {}
    for metric in names:
        per_task = [_task_score(r, metric) for r in rankings]
        scores[metric] = [value for value, _ in per_task]
        replicates[metric] = np.mean([made for _, made in per_task], axis=0)
    table = pd.DataFrame.from_dict(scores, orient="index", columns=[r.results.name for r in rankings])
    described = pd.concat([r.results.metrics for r in rankings])
    described = described[~described.index.duplicated()]
    overall = described.loc[names, ["title", "family", "source", "sign", "trivial"]].copy()
    overall["score"] = table.mean(axis=1)
    bounds = {metric: interval(replicates[metric]) for metric in names}
    overall["low"] = [bounds[m][0] for m in names]
    overall["high"] = [bounds[m][1] for m in names]
    best = overall[overall["trivial"].astype(bool)]["score"].idxmax() if overall["trivial"].any() else None
    overall["beats_trivial"] = [_beats(replicates[m], replicates[best]) if best else "" for m in names]
    overall = overall.join(table)
    overall["metric"] = overall.index
    overall = overall.sort_values(["score", "metric"], ascending=[False, True])
    overall.insert(0, "rank", np.arange(1, len(overall) + 1))
    return overall.drop(columns="metric")


def _beats(own: NDArray[np.float64], best: NDArray[np.float64]) -> str:
    low, high = interval(own - best)
    return "yes" if low > 0 else "no" if high < 0 else "undecided"


def _task_score(ranking: TaskRanking, metric: str) -> tuple[float, NDArray[np.float64]]:
    """A metric's score on a task, and its bootstrap replicates."""
    rows = ranking.rows
    nothing = np.zeros(len(next(iter(ranking.replicates.values()))))
    scorable = [target for target in ranking.results.targets if rows[rows["target"] == target]["tau"].notna().any()]
    if metric not in ranking.results.metrics.index or not scorable:
        return 0.0, nothing
    sign, values, made = ranking.results.sign(metric), [], []
    for target in scorable:
        row = rows[(rows["metric"] == metric) & (rows["target"] == target)].iloc[0].to_dict()
        usable = row["n"] >= row["failed"] and not np.isnan(row["tau"])
        values.append(float(row["score"]) if usable else 0.0)
        made.append(sign * np.nan_to_num(ranking.replicates[metric, target]) if usable else nothing)
    return float(np.mean(values)), np.asarray(np.mean(made, axis=0))


def _counts(results: TaskResults, frame: pd.DataFrame, target: str, resamples: int) -> NDArray[np.float64]:
    """Bootstrap multiplicities: of the rows of a grid task, of the runs of a trajectory task."""
    random = generator(results.name, target)
    if frame.empty:
        return np.zeros((resamples, 0))
    if results.kind == "trajectory":
        return cluster_counts(np.arange(frame["run_id"].nunique()), resamples, random)
    settings = frame[results.hyperparameters].astype(str).agg("|".join, axis=1)
    return cluster_counts(pd.factorize(settings)[0].astype(np.int64), resamples, random)


def _tau(
    results: TaskResults, frame: pd.DataFrame, metric: str, target: str, counts: NDArray[np.float64] | None
) -> tuple[float, NDArray[np.float64]]:
    """τ of a metric, and its replicates if multiplicities are given."""
    none = np.zeros(0)
    if frame.empty:
        return float("nan"), none if counts is None else np.full(len(counts), np.nan)
    if results.kind == "trajectory":
        taus = np.array([_within(part, metric, target) for _, part in frame.groupby("run_id", sort=False)])
        value = float(np.nanmean(taus)) if np.isfinite(taus).any() else float("nan")
        return value, none if counts is None else mean_replicates(taus, counts)
    x, y = frame[metric].to_numpy(float), frame[target].to_numpy(float)
    return kendall(x, y), none if counts is None else grid_replicates(x, y, counts)


def _within(part: pd.DataFrame, metric: str, target: str) -> float:
    return kendall(part[metric].to_numpy(float), part[target].to_numpy(float))


def _granulated(results: TaskResults, frame: pd.DataFrame, metric: str, target: str) -> dict[str, float]:
    if results.kind == "trajectory" or frame.empty:
        return {}
    factors = list(results.provenance["factors"])
    psi = {
        f"psi:{name}": granulated_kendall(frame, factors, metric, target, name)[0]
        for name in factors
        if not is_seed(name)
    }
    defined = [value for value in psi.values() if not np.isnan(value)]
    return psi | {"Psi": float(np.mean(defined)) if defined else float("nan")}
