"""The constants of the cost model's CPU, found anew: `python -m tests.bench.calibrate`, on a quiet machine.

Least squares on the logarithms of seconds: of training, each probe and each class of metrics in the recorded runs
(`reports/results`), and of a few stacks trained here, which the recorded tasks have nothing like. What it prints goes
into `suite/estimating/devices.py`; `docs/cost.md` says more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
    "flops": (5e-12, 5e-10), "double": (1e-11, 1e-9), "eigen": (2e-11, 5e-10), "numbers": (1e-10, 5e-9),
    "launches": (1e-7, 3e-5), "eager": (1e-6, 1e-4), "training": (1e-2, 1.0), "probe": (1e-4, 0.3),
    "metric": (1e-4, 0.02),
}  # fmt: skip
"""Seconds of one of each that a core could take: outside, two constants have stood in for one another."""


def timed() -> Iterator[tuple[str, str, Work, float]]:
    """Two stacks trained here, tracing included: kind, name, work, seconds."""
    torch.set_num_threads(1)
    for name, parts in TIMED.items():
        plain = {"name": "timed", "title": name, "kind": "grid", "grid": {"seed": [0, 1]}, **parts}
        (found,) = trained(task := TaskSpec.model_validate(plain))
        cpu = torch.device("cpu")
        problem, test = load_problem(task, cpu, torch.float32), load_test_split(task, cpu, torch.float32)
        start = time.perf_counter()
        train_stack(found.stack, problem, test)
        yield "training", name, found.work, time.perf_counter() - start


def recorded() -> Iterator[tuple[str, str, Work, float]]:
    """The same of the recorded runs, and each probe and class of metrics."""
    for file in sorted((ROOT / "reports/results").rglob("provenance.json")):
        provenance = json.loads(file.read_text())
        if provenance["device"] == "cpu":
            yield from recorded_parts(provenance)


def main() -> None:
    """Fit, and print the constants, then each part: estimated, recorded, ratio."""
    parts = [*recorded(), *timed()]
    columns = [*TERMS, *KINDS]
    matrix = np.array([[*(getattr(w, t) for t in TERMS), *(w.jobs * (kind == k) for k in KINDS)]
                       for kind, _, w, _ in parts])  # fmt: skip
    seconds = np.array([part[3] for part in parts])
    low, high = np.log(np.array([_RANGES[column] for column in columns])).T
    start = np.log(np.array([getattr(CPU, column) for column in columns]))
    found = least_squares(
        lambda logs: np.log(matrix @ np.exp(logs)) - np.log(seconds),
        np.clip(start, low + 1e-6, high - 1e-6),
        bounds=(low, high),
        loss="soft_l1",
        f_scale=0.3,
    )
    for column, value in zip(columns, np.exp(found.x), strict=True):
        print(f"    {column}={value:.2g},")
    for (_, name, _, _), estimate, second in zip(parts, matrix @ np.exp(found.x), seconds, strict=True):
        print(f"{name:45} estimated {estimate:7.1f} s, recorded {second:7.1f} s: × {estimate / second:.2f}")


if __name__ == "__main__":
    main()
