"""The constants of the cost model's CPU, found anew from recorded runs: `python -m tests.bench.calibrate`.

Robust least squares on the logarithms of seconds, of training, each probe and each class of metrics in the recorded
runs (`reports/results`). Each recording has a pace of its own besides, since some were made beside other work; the
constants are then moved all together until the largest error of a task's stage is as large upwards as downwards. With
`--timed` two stacks are trained here too, which the recorded tasks have nothing like: on a quiet machine only.

What it prints first goes into `suite/estimating/devices.py`. What follows is by the constants that are there already:
the table of `docs/cost.md`, and each part. `docs/cost.md` says more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from suite.estimating.devices import CPU, KINDS, TERMS
from suite.estimating.estimate import recorded_parts
from suite.estimating.work import Work, trained
from suite.spec.task import TaskSpec
from suite.training.problem import load_problem, load_test_split
from suite.training.stacked import train_stack

ROOT = Path(__file__).parents[2]
TIMED: dict[str, dict[str, Any]] = {
    "a wide MLP on digits": {
        "data": {"kind": "digits"},
        "model": {"kind": "mlp", "widths": [512, 512]},
        "training": {"optimizer": {"kind": "sgd", "learning_rate": 0.01}, "batch_size": 128, "steps": 100},
    },
    "a wider transformer on addition": {
        "data": {"kind": "modular", "modulus": 47, "operation": "add", "encoding": "tokens", "train_fraction": 0.5},
        "model": {"kind": "transformer", "layers": 2, "width": 192, "heads": 4},
        "training": {"optimizer": {"kind": "adamw", "learning_rate": 0.001}, "batch_size": 128, "steps": 20},
    },
}  # fmt: skip
_RANGES = {
    "flops": (1e-11, 5e-10), "double": (2e-11, 1e-9), "eigen": (1e-11, 5e-10), "numbers": (1e-10, 5e-9),
    "launches": (1e-7, 3e-5), "eager": (1e-6, 1e-4), "training": (1e-2, 1.0), "probe": (1e-4, 0.3),
    "metric": (1e-4, 0.02),
}  # fmt: skip
"""Seconds of one of each that a core could take: outside, two constants have stood in for one another."""
_STAGES = {"training": "training", "probe": "probes", "metric": "metrics"}
_SCALE, _PACE = 0.3, 1.0
"""Logarithms: beyond the first an error counts less than by its square; the second is a pace's standard deviation."""

Array = NDArray[np.float64]


class Part(NamedTuple):
    """What was recorded: of which task, kind of job, name, the work as counted, the seconds it took."""

    task: str
    kind: str
    name: str
    work: Work
    seconds: float


def timed() -> Iterator[Part]:
    """Two stacks trained here, tracing included."""
    torch.set_num_threads(1)
    for name, parts in TIMED.items():
        plain = {"name": "timed", "title": name, "kind": "grid", "grid": {"seed": [0, 1]}, **parts}
        (found,) = trained(task := TaskSpec.model_validate(plain))
        cpu = torch.device("cpu")
        problem, test = load_problem(task, cpu, torch.float32), load_test_split(task, cpu, torch.float32)
        start = time.perf_counter()
        train_stack(found.stack, problem, test)
        yield Part("trained here", "training", name, found.work, time.perf_counter() - start)


def recorded(folder: str = "reports/results") -> Iterator[Part]:
    """Training, each probe and each class of metrics of the recorded runs."""
    for file in sorted((ROOT / folder).rglob("provenance.json")):
        provenance = json.loads(file.read_text())
        if provenance["device"] == "cpu":
            for part in recorded_parts(provenance):
                yield Part(provenance["task"], *part)


def matrix_of(parts: list[Part]) -> Array:
    """What there is of each constant's term in each part, `[parts, constants]`."""
    return np.array([[*(getattr(p.work, t) for t in TERMS), *(p.work.jobs * (p.kind == k) for k in KINDS)]
                     for p in parts])  # fmt: skip


def fitted(parts: list[Part]) -> tuple[dict[str, float], dict[str, float]]:
    """The constants, and each recording's pace: above 1 it took longer than they say."""
    columns, tasks = [*TERMS, *KINDS], list(dict.fromkeys(part.task for part in parts))
    matrix, logs = matrix_of(parts), np.log([part.seconds for part in parts])
    which = np.array([tasks.index(part.task) for part in parts])
    low, high = np.log(np.array([_RANGES[column] for column in columns])).T
    start = np.clip(np.log([getattr(CPU, column) for column in columns]), low + 1e-6, high - 1e-6)
    none = np.zeros(len(tasks))

    def off(found: Array) -> Array:
        prices, paces = np.exp(found[: len(columns)]), found[len(columns) :]
        error = np.log(matrix @ prices) + paces[which] - logs
        soft = np.sign(error) * _SCALE * np.sqrt(2 * (np.sqrt(1 + (error / _SCALE) ** 2) - 1))
        return np.concatenate([soft, paces / _PACE, [100 * paces.mean()]])  # paces are about one on the whole

    bounds = (np.concatenate([low, none - 3]), np.concatenate([high, none + 3]))
    found = least_squares(off, np.concatenate([start, none]), bounds=bounds).x
    prices = np.exp(found[: len(columns)])
    ratios = [a / b for a, b in stages(parts, matrix @ prices).values()]
    prices /= np.sqrt(max(ratios) * min(ratios))
    return dict(zip(columns, prices, strict=True)), dict(zip(tasks, np.exp(found[len(columns) :]), strict=True))


def stages(parts: list[Part], estimated: Array) -> dict[tuple[str, str], tuple[float, float]]:
    """Seconds of each task's stages, estimated and recorded."""
    sums: dict[tuple[str, str], tuple[float, float]] = {}
    for part, seconds in zip(parts, estimated, strict=True):
        before = sums.get(key := (part.task, _STAGES[part.kind]), (0.0, 0.0))
        sums[key] = (before[0] + float(seconds), before[1] + part.seconds)
    return sums


def table(parts: list[Part]) -> Iterator[str]:
    """Lines of Markdown: by task, estimated over recorded."""
    sums = stages(parts, np.array([CPU.seconds(part.work, part.kind) for part in parts]))
    yield "| task | training | probes | metrics |"
    yield "| --- | --- | --- | --- |"
    for task in dict.fromkeys(part.task for part in parts):
        pairs = [sums.get((task, stage)) for stage in _STAGES.values()]
        cells = [f"{p[0]:,.0f} s / {p[1]:,.0f} s = {p[0] / p[1]:.2f}" if p else "" for p in pairs]
        yield f"| {task} | {' | '.join(cells)} |"


def main() -> None:
    """Fit, and print; then recorded tasks, and pilots that nothing is fitted to, by the constants that are there."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--timed", action="store_true", help="train two stacks here too, on a quiet machine")
    parts = [*recorded(), *(timed() if asked.parse_args().timed else ())]
    prices, paces = fitted(parts)
    for column, value in prices.items():
        low, high = _RANGES[column]
        print(f"    {column}={value:.2g}," + ("" if 1.2 * low < value < high / 1.2 else "  # at the end of its range"))
    print("paces:", ", ".join(f"{task} {pace:.2f}" for task, pace in paces.items()), end="\n\n")
    for found in (parts, list(recorded("reports/pilots"))):
        print(*table(found), sep="\n", end="\n\n")
        for part in found:
            estimate = CPU.seconds(part.work, part.kind)
            print(f"{part.name:45} {estimate:8.1f} s / {part.seconds:8.1f} s = {estimate / part.seconds:.2f}")


if __name__ == "__main__":
    main()
