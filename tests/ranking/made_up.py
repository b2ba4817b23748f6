"""A small results folder with known answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

_SIGNS = {"oracle": 1, "wrong_way": 1, "noise": 1, "rate": -1, "lucky": 1, "parts": 1}


def made_up(root: Path) -> None:
    """A 3 × 3 grid with two seeds (one run diverged, two did not learn), and six runs of eight checkpoints."""
    random = np.random.default_rng(0)
    rows = []
    for number, (eta, b, seed) in enumerate((e, b, s) for e in (0.1, 0.2, 0.3) for b in (8, 16, 32) for s in (0, 1)):
        rows.append(row(f"r{number}", 10, random) | {"eta": eta, "b": b, "seed": seed})
    rows[0] |= {"train_accuracy": 0.9875}
    rows[4] |= {"train_accuracy": 0.2}
    rows[5] |= {"train_accuracy": 0.3}
    rows[6] |= {"status": "diverged"}
    write_task(root / "a/grid", "grid", pd.DataFrame(rows), ["eta", "b", "seed"], broken=(4, 5))
    rows = []
    for number in range(6):
        for step in range(8):
            rows.append(row(f"t{number}", step, random) | {"eta": 0.1 * (1 + number % 2), "seed": number // 2})
    write_task(root / "b/trajectory", "trajectory", pd.DataFrame(rows), ["eta", "seed"])


def row(run: str, step: int, random: np.random.Generator) -> dict[str, object]:
    accuracy, loss = sorted(random.random(2))
    return {
        "run_id": run, "step": step, "epoch": step, "status": "finished", "train_loss": 0.1, "train_accuracy": 1.0,
        "test_loss": 0.1 + loss, "test_accuracy": 1 - accuracy, "accuracy_gap": loss / 2, "loss_gap": loss,
        "signed_accuracy_gap": loss / 2, "signed_loss_gap": loss,
    }  # fmt: skip


def write_task(folder: Path, kind: str, runs: pd.DataFrame, factors: list[str], broken: tuple[int, ...] = ()) -> None:
    (folder / "values").mkdir(parents=True)
    runs.to_csv(folder / "runs.csv", index=False)
    random = np.random.default_rng(1)
    gap = runs["loss_gap"].to_numpy(float)
    oracle = gap.copy()
    oracle[list(broken)] = -oracle[list(broken)]
    columns = {
        "oracle": oracle,
        "wrong_way": -gap,
        "noise": random.random(len(gap)),
        "rate": runs.get("eta", 1.0),
        "lucky": gap,
    }
    for name, values in columns.items():
        table = _values(runs, values)
        if name == "lucky" and kind == "grid":
            table.loc[4:, ["value", "status", "reason"]] = [np.nan, "timeout", "took longer than 1 s"]
            table.loc[list(broken), ["value", "status", "reason"]] = [np.nan, "timeout", "took longer than 1 s"]
        table.to_csv(folder / "values" / f"{name}.csv", index=False)
    parts = pd.concat([_values(runs, gap).assign(component=c) for c in ("a", "b")])
    parts.to_csv(folder / "values" / "parts.csv", index=False)
    words = {"family": "made up", "source": "here | <b>", "version": 1, "cost": "free"}
    metrics = [
        {"name": n, "title": n.replace("_", " ").capitalize(), "sign": s, "trivial": n == "rate"} | words
        for n, s in _SIGNS.items()
    ]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    provenance = {
        "task": str(folder.relative_to(folder.parents[1])), "title": "Made <b>up</b>", "description": "", "kind": kind,
        "spec_hash": "0" * 16, "spec": {}, "targets": ["accuracy_gap", "loss_gap"], "include": {"train_accuracy": 0.9},
        "factors": factors, "parameters": 1000, "versions": {"suite": "0", "torch": "2", "numpy": "2"},
        "device": "cpu", "dtype": "float32",
    }  # fmt: skip
    (folder / "provenance.json").write_text(json.dumps(provenance))


def _values(runs: pd.DataFrame, values: object) -> pd.DataFrame:
    made = runs[["run_id", "step"]].copy()
    made["component"] = ""
    made["value"] = values
    made["standard_error"] = np.nan
    made["status"], made["reason"] = "ok", ""
    return made
