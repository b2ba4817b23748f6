"""Results with known truth, and claims about them, without files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from suite.ranking.claims import Judgement, judge
from suite.ranking.correlation import Vector
from suite.ranking.findings import Finding
from suite.ranking.tables import TaskResults
from suite.spec.claims import Claim

STEPS = np.arange(100.0, 2100.0, 100.0)
TRIVIAL = ("rate",)


def grid(
    metrics: Mapping[str, Vector],
    gap: Vector,
    shape: tuple[int, int, int] = (5, 5, 2),
    name: str = "a/grid",
    *,
    errors: Mapping[str, Vector] | None = None,
    learned: Vector | None = None,
    other_gap: Vector | None = None,
) -> TaskResults:
    """Learning rates × batch sizes × seeds in this order; NaN: a value that failed. `rate` is trivial.

    Metrics of which the name begins with `down` have the sign −1; those that begin with `top` are of family `top`.
    """
    points = pd.DataFrame(list(product(*map(range, shape))), columns=["eta", "b", "seed"])
    runs = points.assign(run_id=[f"r{i}" for i in range(len(points))], step=10, status="finished", loss_gap=gap)
    runs["train_accuracy"] = 1.0 if learned is None else np.where(learned, 1.0, 0.2)
    targets = ["loss_gap"]
    if other_gap is not None:
        runs["accuracy_gap"], targets = other_gap, ["accuracy_gap", "loss_gap"]
    return _results(name, "grid", runs, metrics, errors or {}, targets, ["eta", "b", "seed"])


def trajectory(
    metrics: Mapping[str, Vector], gap: Vector, accuracy: Vector | None = None, name: str = "b/trajectory"
) -> TaskResults:
    """Runs × checkpoints (`STEPS`), two seeds a setting; without `accuracy` nothing jumps."""
    count = len(gap)
    names = np.repeat([f"t{i}" for i in range(count)], len(STEPS))
    runs = pd.DataFrame({"run_id": names, "step": np.tile(STEPS, count)})
    number = np.repeat(np.arange(count), len(STEPS))
    runs["eta"], runs["seed"], runs["status"], runs["train_accuracy"] = number // 2, number % 2, "finished", 1.0
    runs["loss_gap"] = np.ravel(gap)
    runs["test_accuracy"] = 0.5 if accuracy is None else np.ravel(accuracy)
    flat = {name: np.ravel(values) for name, values in metrics.items()}
    return _results(name, "trajectory", runs, flat, {}, ["loss_gap"], ["eta", "seed"])


def _results(
    name: str,
    kind: str,
    runs: pd.DataFrame,
    metrics: Mapping[str, Vector],
    errors: Mapping[str, Vector],
    targets: list[str],
    factors: list[str],
) -> TaskResults:
    parts = []
    for metric, values in metrics.items():
        part = runs[["run_id", "step"]].assign(metric=metric, value=values, standard_error=errors.get(metric, np.nan))
        parts.append(part.assign(status=np.where(np.isfinite(part["value"]), "ok", "failed"), reason=""))
    described = pd.DataFrame({"name": list(metrics)}).set_index("name")
    described["sign"] = [-1 if metric.startswith("down") else 1 for metric in metrics]
    described["trivial"] = [metric in TRIVIAL for metric in metrics]
    described["family"] = ["top" if metric.startswith("top") else "made up" for metric in metrics]
    provenance = {"task": name, "targets": targets, "factors": factors, "include": {"train_accuracy": 0.9}}
    return TaskResults(name, name, kind, provenance, described.sort_index(), runs, pd.concat(parts, ignore_index=True))


def untried(results: TaskResults) -> TaskResults:
    """The same where the values that failed were never asked for."""
    values = results.values[results.values["status"] == "ok"].reset_index(drop=True)
    return replace(results, values=values)


def claim(*tests: Mapping[str, Any], tasks: tuple[str, ...] = ("a/grid",), **more: Any) -> Claim:
    """A claim of these tests."""
    words = {"id": "made-up", "statement": "It holds.", "source": "Nobody 2020", "reading": "As it says."}
    return Claim.model_validate(words | {"tasks": list(tasks), "tests": list(tests)} | more)


def judged(results: TaskResults | list[TaskResults], *tests: Mapping[str, Any], **more: Any) -> Judgement:
    """What results say of a claim of these tests."""
    every = results if isinstance(results, list) else [results]
    more.setdefault("tasks", tuple(result.name for result in every))
    return judge([claim(*tests, **more)], every, resamples=300)[0].of


def found(results: TaskResults | list[TaskResults], **test: Any) -> Finding:
    """The one finding of one test."""
    (finding,) = judged(results, test).ruled.findings
    return finding
