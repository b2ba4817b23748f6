"""Sites to test: of a small made-up board, and of one as large as issue 5 asks for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from suite.ranking.leaderboard import rank_overall
from suite.ranking.tables import TaskResults
from suite.ranking.task import rank_task
from suite.reporting.board import PUBLISHED, Board, read_board
from suite.reporting.build import Place, build
from suite.reporting.site import site
from tests.bench.test_bench_ranking import METRICS, TASKS, synthetic
from tests.ranking.made_up import made_up

_SHARES = np.geomspace(1e-4, 1, 40).round(6)


def with_spectra(results: TaskResults) -> TaskResults:
    """The same with a spectrum of 40 positions for every row of `runs`: each run's eigenvalues are its number's."""
    runs = results.runs[["run_id", "step"]]
    table = runs.merge(pd.DataFrame({"share": _SHARES}), how="cross")
    numbers = table["run_id"].str.extract(r"(\d+)$")[0].astype(float)
    table["eigenvalue"] = (1 + numbers / 7) * (1 - np.log10(table["share"])) ** 2
    table["exponent"] = np.log(np.abs(1 - 0.137 * table["eigenvalue"]))
    return dataclasses.replace(results, spectra=table)


def small_site(folder: Path) -> Path:
    """Written from files, as the command does, with an edge ratio, costs, a definition, spectra and odd names."""
    results = folder / "results"
    made_up(results)
    for task in ("a/grid", "b/trajectory"):
        _enrich(results / task)
    build(read_board(results), PUBLISHED, Place.within(folder), folder / "site")
    return folder / "site"


def _enrich(task: Path) -> None:
    import json

    described = json.loads((task / "metrics.json").read_text())
    for metric in described:
        metric |= {"definition": "x < y & z\n\nMore.\n\nRaises:\n    ValueError: it is <i>odd</i>.", "probes": ["p"]}
    ratio = described[0] | {"name": "edge_ratio", "title": "Edge ratio", "sign": 1, "trivial": False}
    (task / "metrics.json").write_text(json.dumps([*described, ratio]))
    runs = pd.read_csv(task / "runs.csv")
    table = pd.read_csv(task / "values/noise.csv").assign(value=runs["eta"] * 5)  # 0.5, 1 and 1.5 over the grid
    table.to_csv(task / "values/edge_ratio.csv", index=False)
    parts = pd.read_csv(task / "values/parts.csv").replace({"component": {"b": "../<b>/x"}})
    parts.to_csv(task / "values/parts.csv", index=False)
    provenance = json.loads((task / "provenance.json").read_text())
    provenance |= {"seconds": {"training": 3.0, "probes": 2.0, "probe p": 1.8, "metrics": 1.0}}
    provenance |= {"metric_costs": {m["name"]: {"seconds": 0.02, "memory_mib": 1.0} for m in described}}
    (task / "provenance.json").write_text(json.dumps(provenance))
    if task.name == "trajectory":  # two of the six runs grok
        late = runs["run_id"].isin(["t0", "t1"]) & (runs["step"] >= 4)
        runs.assign(test_accuracy=np.where(late, 0.9, 0.1)).to_csv(task / "runs.csv", index=False)
    spectra = runs[["run_id", "step"]].merge(pd.DataFrame({"share": _SHARES}), how="cross")
    spectra["eigenvalue"], spectra["exponent"] = 2 - 2 * spectra["share"], np.log(1 - 0.1 * (2 - 2 * spectra["share"]))
    spectra.to_csv(task / "spectra.csv", index=False)
    edge_of(runs).to_csv(task / "edge.csv", index=False)


def edge_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Ratios of 5 η at the start that double until step 4 and are half of that at step 10, where r6 has diverged."""
    eta = runs.drop_duplicates("run_id").set_index("run_id")["eta"]
    rows = [(run, step, 10 * f, 5 * rate * f) for run, rate in eta.items() for step, f in ((0, 1), (4, 2), (10, 0.5))]
    table = pd.DataFrame(rows, columns=["run_id", "step", "sharpness", "edge_ratio"])
    gone = (table["run_id"] == "r6") & (table["step"] > 4)
    table.loc[gone, ["sharpness", "edge_ratio"]] = np.nan
    return table


def large_board() -> Board:
    """20 tasks × 60 metrics × 200 runs; few resamples, for what is looked at is the report."""
    rankings = [rank_task(_whole(number), resamples=20, permutations=19) for number in range(TASKS)]
    return Board(rankings, rank_overall(rankings), {"score": 0.5, "low": 0.4, "high": 0.6})


def _whole(number: int) -> TaskResults:
    results = with_spectra(synthetic(number))
    described = {"spec_hash": "0" * 16, "description": "", "device": "cpu", "dtype": "float32", "versions": {}}
    costs = {f"m{i:02d}": {"seconds": 0.01 * (i + 1)} for i in range(METRICS)}
    provenance = results.provenance | described | {"metric_costs": costs}
    return dataclasses.replace(
        results, provenance=provenance, metrics=results.metrics.assign(definition="A word. " * 30)
    )


def large_site() -> dict[str, bytes]:
    """Its files."""
    return site(large_board(), PUBLISHED)
