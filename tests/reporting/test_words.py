"""Reports of grids over words, of seeds alone, of many levels, and of words that mean something to matplotlib."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from suite.reporting.board import PUBLISHED, levels, read_board, setting, slug
from suite.reporting.build import Place, build
from suite.reporting.figures import _marker, figures
from suite.reporting.local import report, show_run
from tests.ranking.made_up import row, write_task


def _runs(steps: int, **factors: list[object]) -> pd.DataFrame:
    random = np.random.default_rng(0)
    rows = [
        row(f"w{number:02}", step, random) | dict(zip(factors, cell, strict=True))
        for number, cell in enumerate(itertools.product(*factors.values()))
        for step in range(steps)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("kind", "steps", "factors"),
    [
        ("grid", 1, {"model.activation": ["relu", "tanh"], "training.batch_size": [8, 32, "full"], "seed": [0, 1]}),
        ("grid", 1, {"training.batch_size": [128, 32, "full"]}),
        ("grid", 1, {"model.bias": [True, False], "training.clip": [0.5, None], "seed": [0, 1]}),
        ("trajectory", 6, {"model.activation": ["relu", "tanh"], "training.batch_size": [32, "full"], "seed": [0]}),
        ("trajectory", 6, {"seed": [0, 1, 2]}),
    ],
)
def test_from_results_to_every_report(tmp_path: Path, kind: str, steps: int, factors: dict[str, list[object]]) -> None:
    write_task(tmp_path / "results/a/words", kind, _runs(steps, **factors), list(factors))
    console = Console(record=True, width=200)
    report(tmp_path, console)
    show_run(tmp_path / "results", "w01", console)
    assert "Oracle" in (tmp_path / "leaderboard.md").read_text()
    drawn = (tmp_path / "figures/a--words.svg").read_text()
    for factor, values in factors.items():
        if factor != "seed":
            shown = ["none" if value is None else str(value) for value in values]
            assert all(f"{factor.rsplit('.')[-1].replace('_', ' ')} {word}" in drawn for word in shown), drawn.count(
                "<!--"
            )
    said = console.export_text()
    assert all(f"{factor} = " in said for factor in factors)


def test_settings_read_back_as_they_were_meant() -> None:
    assert [setting(v) for v in (32.0, 5e-05, 0.1234567891, "full", float("nan"), None)] == [
        "32", "5e-05", "0.1234567891", "full", "none", "none",
    ]  # fmt: skip
    assert levels(pd.Series(["full", "128", "32", None])) == ["32", "128", "full", "none"]
    assert levels(pd.Series([0.3, 0.1])) == ["0.1", "0.3"]


def test_levels_beyond_the_markers_share_one_and_the_legend_says_so(tmp_path: Path) -> None:
    factors: dict[str, list[object]] = {"eta": [0.1, 0.2], "size": list(range(15))}
    write_task(tmp_path / "a/many", "grid", _runs(1, **factors), list(factors))
    drawn = figures(read_board(tmp_path))["a--many.svg"].decode()
    assert "<!-- size 11 -->" in drawn
    assert "<!-- size 12 -->" not in drawn
    assert "<!-- size: 3 more -->" in drawn
    markers = [_marker(level) for level in range(15)]
    assert len(set(markers[:12])) == 12
    assert set(markers[12:]).isdisjoint(markers[:12])


def test_a_dollar_in_a_title_is_a_dollar(tmp_path: Path) -> None:
    write_task(tmp_path / "results/a/dollar", "grid", _runs(1, eta=[0.1, 0.2, 0.3], seed=[0, 1]), ["eta", "seed"])
    path = tmp_path / "results/a/dollar/metrics.json"
    described = json.loads(path.read_text())
    for metric in described:
        metric["title"] = r"$\foo$ " + metric["name"]
    path.write_text(json.dumps(described))
    build(read_board(tmp_path / "results"), PUBLISHED, Place.within(tmp_path), tmp_path / "site")
    assert r"$\foo$ oracle" in (tmp_path / "figures/overall.svg").read_text()


def test_log_axes_have_numbers_not_formulas(tmp_path: Path) -> None:
    runs = _runs(1, eta=[0.1, 0.2, 0.3], seed=[0, 1, 2])
    runs["loss_gap"] = 10.0 ** -np.arange(9)
    write_task(tmp_path / "a/wide", "grid", runs, ["eta", "seed"])
    drawn = figures(read_board(tmp_path))["a--wide.svg"].decode()
    assert "mathdefault" not in drawn
    assert "<!-- 0.0001 -->" in drawn


def test_no_two_tasks_share_a_file() -> None:
    names = ["a/b-c", "a-b/c", "a-b-c", "a/b/c", "overall", "index", "a/overall"]
    slugs = [slug(name) for name in names]
    assert len({*slugs, "overall", "index"}) == len(names) + 2
    assert all("/" not in name for name in slugs)
