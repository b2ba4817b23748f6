"""What is said of a metric on a grid of hyperparameters besides its τ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from suite.ranking.bootstrap import generator, intervals, setting_numbers
from suite.ranking.correlation import Numbers, Pairs, Vector
from suite.ranking.granulated import draw_granulated, other_settings
from suite.ranking.information import NULLS, cells, conditional_information, null_information
from suite.ranking.partial import draw_partial, same_level
from suite.ranking.prediction import folds, r2_over_trivial
from suite.ranking.seeds import seed_noise
from suite.ranking.sign_error import couple, sign_errors
from suite.ranking.significance import cluster_permutations
from suite.ranking.tables import TaskResults


def grid_columns(
    results: TaskResults,
    frame: pd.DataFrame,
    x: Vector,
    y: Vector,
    numbers: Numbers,
    pairs: Pairs,
    counts: Vector,
    signs: dict[str, int],
) -> dict[str, Any]:
    """The columns of grid tasks, each `M × T`.

    - `psi:<factor>` with `psi_low:…`, `psi_high:…`, and `settings:…` (of how many settings it is the mean): granulated
      Kendall, everything but this hyperparameter held fixed; `Psi`, `Psi_low`, `Psi_high`: its mean.
    - `partial:<factor>`, `partial_low:…`, `partial_high:…`: Kendall with this hyperparameter held fixed.
    - `cmi`, `cmi_null`: conditional mutual information, and what chance alone scores.
    - `sign_error`, `sign_error_p90`, `sign_error_max`, `environments`, and `sign_error:<factor>`.
    - `r2_over_trivial`: prediction beyond the trivial predictors.
    - `seed_noise`, `gap_seed_noise`: share of the variance of the metric's and the gap's ranks between seeds.

    Args:
        results: the task.
        frame: the rows that are ranked.
        x: metrics, `M × n`.
        y: targets, `T × n`.
        numbers: cluster of each row.
        pairs: of x and y.
        counts: `R × k`, how often each cluster occurs in each resample, the first row all ones.
        signs: what each metric is read with.
    """
    made = _granulated(results, frame, x, y, counts[:, numbers], len(counts[0]))
    made |= _partial(results, frame, numbers, pairs, counts)
    made |= _information(results, frame, x, y, numbers)
    made |= _sign_errors(results, frame, x * np.array([*signs.values()])[:, None], y)
    made |= _prediction(results, frame, x, y)
    return made | _seed_noise(results, frame, x, y)


def _granulated(
    results: TaskResults, frame: pd.DataFrame, x: Vector, y: Vector, counts: Vector, k: int
) -> dict[str, Any]:
    factors = list(results.provenance["factors"])
    made: dict[str, Any] = {}
    total, parts = np.zeros((len(x), len(y), len(counts))), np.zeros((len(x), len(y)))
    for name in results.hyperparameters:
        psi, settings = draw_granulated(x, y, other_settings(frame, factors, name), counts)
        low, high = intervals(psi, k)
        used = settings[..., 0]
        made |= {f"psi:{name}": psi[..., 0], f"psi_low:{name}": low, f"psi_high:{name}": high}
        made |= {f"settings:{name}": used.astype(int)}
        # a resample in which one of them is undefined has no Ψ: a mean of fewer hyperparameters is another quantity
        total += np.where(used[..., None] > 0, psi, 0.0)
        parts += used > 0
    with np.errstate(invalid="ignore"):
        mean = total / parts[..., None]
    low, high = intervals(mean, k)
    return made | {"Psi": mean[..., 0], "Psi_low": low, "Psi_high": high}


def _partial(
    results: TaskResults, frame: pd.DataFrame, numbers: Numbers, pairs: Pairs, counts: Vector
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name in results.hyperparameters:
        draws = draw_partial(pairs, counts, same_level(pairs, numbers, frame[name]))
        low, high = intervals(draws, len(counts[0]))
        made |= {f"partial:{name}": draws[..., 0], f"partial_low:{name}": low, f"partial_high:{name}": high}
    return made


def _information(results: TaskResults, frame: pd.DataFrame, x: Vector, y: Vector, numbers: Numbers) -> dict[str, Any]:
    sets = cells(frame, results.hyperparameters)
    orders = cluster_permutations(numbers, NULLS, generator(results.name, "information"))
    found = [conditional_information(x, gap, sets) for gap in y]
    null = [null_information(x, gap, sets, orders) for gap in y]
    return {"cmi": np.array(found).T, "cmi_null": np.array(null).T}


def _sign_errors(results: TaskResults, frame: pd.DataFrame, x: Vector, y: Vector) -> dict[str, Any]:
    coupled = couple(frame, results.hyperparameters)
    size = (results.provenance.get("data") or {}).get("n_test")
    found = [
        sign_errors(x, gap, coupled, size if target.endswith("accuracy_gap") else None)
        for target, gap in zip(results.targets, y, strict=True)
    ]
    made: dict[str, Any] = {
        "sign_error": np.array([f.mean for f in found]).T,
        "sign_error_p90": np.array([f.p90 for f in found]).T,
        "sign_error_max": np.array([f.largest for f in found]).T,
        "environments": np.array([[f.environments for f in found]] * len(x)),
    }
    for i, name in enumerate(results.hyperparameters):
        made[f"sign_error:{name}"] = np.array([f.pooled[:, i] for f in found]).T
    return made


def _prediction(results: TaskResults, frame: pd.DataFrame, x: Vector, y: Vector) -> dict[str, Any]:
    trivial = np.array([results.trivial(str(metric)) for metric in results.metrics.index])
    left_out = folds(frame, results.hyperparameters)
    return {"r2_over_trivial": np.array([r2_over_trivial(x, gap, trivial, left_out) for gap in y]).T}


def _seed_noise(results: TaskResults, frame: pd.DataFrame, x: Vector, y: Vector) -> dict[str, Any]:
    numbers = setting_numbers(frame, results.hyperparameters)
    metrics = np.array([seed_noise(values, numbers) for values in x])
    gaps = np.array([seed_noise(gap, numbers) for gap in y])
    return {
        "seed_noise": np.repeat(metrics[:, None], len(y), axis=1),
        "gap_seed_noise": np.repeat(gaps[None], len(x), axis=0),
    }
