"""What a task cost, on its page of tables, on the site and in the leaderboard: the numbers of its provenance."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from suite.errors import BadInput
from suite.metrics.registry import COSTS
from suite.reporting.board import PUBLISHED, read_board
from suite.reporting.build import Place, build
from suite.reporting.cost import CLASSES, Cost, costs_table, duration
from suite.reporting.markdown import markdown
from suite.reporting.site import site
from suite.reporting.task_tables import task_page
from tests.ranking.made_up import made_up

SECONDS = {
    "training": 66.4, "probes": 5400.0, "probe p": 3600.0, "probe q": 600.0, "probe r": 1190.0, "probe s": 10.0,
    "metrics": 1800.0,
}  # fmt: skip
COSTS_EACH = {"oracle": 40.0, "noise": 0.2, "parts": 2.0, "lucky": 30.0}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOTED = {
    "seconds": SECONDS,
    "metric_costs": {name: {"seconds": seconds, "memory_mib": 1.0} for name, seconds in COSTS_EACH.items()},
    "device_name": "Xeon <b>",
    "commit": COMMIT,
}


def _noted(root: Path, task: str, more: dict[str, Any]) -> None:
    path = root / task / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two tasks: `a/grid` with costs, `b/trajectory` from before they were noted."""
    root = tmp_path_factory.mktemp("costs") / "results"
    made_up(root)
    _noted(root, "a/grid", NOTED)
    return root


def _cells(text: str, first: str) -> list[str]:
    (row,) = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in row.split("|")[2:-1]]


def _page(results: Path, task: str) -> str:
    (found,) = read_board(results, [task]).tasks
    return task_page(found, "../leaderboard.md").split("## What it cost")[1]


def test_the_page_of_tables_has_the_figures_of_the_provenance(results: Path) -> None:
    page = _page(results, "a/grid")
    assert "18 networks trained, 18 checkpoints measured." in page
    assert "| time of one core |" in page
    assert _cells(page, "training") == ["66 s", ""]
    assert _cells(page, "probes") == ["90 min", "`p` 60 min, `r` 20 min, `q` 10 min"]
    # 18 values of 40 s; of `lucky` four came; `parts` has two components, but one value a network
    assert _cells(page, "metrics") == ["30 min", "`oracle` about 12 min, `lucky` about 2.0 min, `parts` about 36 s"]
    assert _cells(page, "**in all**") == ["**2.0 h**", ""]
    assert "Made on cpu, Xeon \\<b\\>, float32, torch 2, commit `0123456789ab`." in page
    assert "To make it again: `suite run a/grid --device cpu --cost free`." in page  # its metrics are all free


def test_results_from_before_costs_were_noted_have_dashes(results: Path) -> None:
    page = _page(results, "b/trajectory")
    assert "6 networks trained, 48 checkpoints measured." in page
    for part in ("training", "probes", "metrics"):
        assert _cells(page, part) == ["–", ""]
    assert _cells(page, "**in all**") == ["**–**", ""]
    assert "Made on cpu, float32, torch 2. To make" in page


def test_a_page_has_a_line_a_task_and_their_sum(results: Path, tmp_path: Path) -> None:
    build(read_board(results), PUBLISHED, Place.within(tmp_path))
    leaderboard = (tmp_path / "leaderboard.md").read_text()
    assert "[What it took, task by task](tables/costs.md)." in leaderboard
    assert "2.0 h" not in leaderboard  # seconds differ from run to run; the leaderboard is byte-identical
    part = (tmp_path / "tables/costs.md").read_text()
    assert part.startswith("# What these results cost\n\nOf [the leaderboard](../leaderboard.md).")
    assert _cells(part, "`a/grid`") == ["18", "18", "66 s", "90 min", "30 min", "2.0 h"]
    assert _cells(part, "`b/trajectory`") == ["6", "48", "–", "–", "–", "–"]
    assert _cells(part, "**all**") == ["24", "66", "66 s", "90 min", "30 min", "**2.0 h**"]
    assert "–: not noted when it was published, and not in the sum." in part


def test_sums_are_over_tasks(tmp_path: Path) -> None:
    made_up(tmp_path)
    _noted(tmp_path, "a/grid", NOTED)
    _noted(tmp_path, "b/trajectory", {"seconds": {"training": 30.0, "probes": 3600.0, "metrics": 0.0}})
    text = costs_table([task.results for task in read_board(tmp_path).tasks])
    assert _cells(text, "`b/trajectory`")[2:] == ["30 s", "60 min", "0 s", "60 min"]
    assert _cells(text, "**all**")[2:] == ["96 s", "2.5 h", "30 min", "**3.0 h**"]
    assert "not noted" not in text


def test_the_site_says_the_same_and_escapes_it(results: Path, tmp_path: Path) -> None:
    made_up(tmp_path)
    odd = SECONDS | {"probe <i>p</i>": 4000.0}
    _noted(tmp_path, "a/grid", NOTED | {"seconds": odd, "commit": "<i>abc", "device": "<u>"})
    pages = site(read_board(tmp_path), PUBLISHED)
    page = pages["a--grid.html"].decode()
    assert not re.search("<[biu]>", page)
    part = page.split('<section id="cost"')[1].split("</section>")[0]
    assert "18 networks trained, 18 checkpoints measured." in part
    probes = "<code>&lt;i&gt;p&lt;/i&gt;</code> 67 min, <code>p</code> 60 min, <code>r</code> 20 min"
    assert f'probes</th><td>90 min</td><td class="left long">{probes}</td>' in part
    assert "<code>oracle</code> about 12 min, <code>lucky</code> about 2.0 min, <code>parts</code> about 36 s" in part
    assert "<strong>2.0 h</strong>" in part
    assert "Made on &lt;u&gt;, Xeon &lt;b&gt;, float32, torch 2, commit <code>&lt;i&gt;abc</code>." in part
    assert '<a href="#cost">2.0 h of one worker on &lt;u&gt;</a>' in page
    older = pages["b--trajectory.html"].decode()
    assert 'href="#cost"' not in older
    assert older.count("<td>–</td>") >= 3
    assert "<strong>–</strong>" in older


def _cost(results: Path, more: dict[str, Any], metrics: dict[str, str] | None = None) -> Cost:
    """Of `a/grid` with other words in its provenance, and other classes of cost of some metrics."""
    read = read_board(results, ["a/grid"]).tasks[0].results
    described = read.metrics.assign(cost=pd.Series(metrics or {}).reindex(read.metrics.index).fillna("free"))
    return Cost(replace(read, provenance=read.provenance | more, metrics=described))


def test_the_command_makes_the_same_results_again(results: Path) -> None:
    assert _cost(results, {}, {"oracle": "search"}).command == "suite run a/grid --device cpu"
    gpu = _cost(results, {"device": "cuda:3", "dtype": "float64"}, {"noise": "gradient"})
    assert gpu.command == "suite run a/grid --device cuda --dtype float64 --cost gradient"
    assert gpu.worker == "one worker on cuda:3"
    # trivial predictors are measured whatever they cost, and a class that nobody knows says nothing
    assert _cost(results, {}, {"rate": "search"}).command.endswith("--cost free")
    assert _cost(results, {}, {"noise": "dear"}).command.endswith("cpu")


def test_commits_are_short_and_what_was_not_committed_is_said(results: Path) -> None:
    assert _cost(results, {"commit": f"{COMMIT}, {COMMIT[::-1]}"}).commit == "0123456789ab, 76543210fedc"
    assert _cost(results, {"dirty": True}).commit == "0123456789ab and changes that were not committed"


def test_where_it_was_measured_is_said_if_that_is_elsewhere(results: Path) -> None:
    assert "measured" not in _cost(results, {"measured_on": "Xeon <b>"}).made_on
    assert "measured" not in _cost(results, {}).made_on
    assert _cost(results, {"measured_on": "GPU one, Xeon <b>"}).made_on.endswith(", measured on GPU one, Xeon <b>")


def test_the_leaderboard_and_the_site_say_it_too(tmp_path: Path) -> None:
    made_up(tmp_path / "results")
    _noted(tmp_path / "results", "a/grid", NOTED | {"measured_on": "GPU one"})
    board = read_board(tmp_path / "results")
    made = [row for row in markdown(board).splitlines() if row.endswith("| suite 0, torch 2, numpy 2 |")]
    lines = {row.split("`")[1]: row for row in made}
    assert "| cpu, float32, measured on GPU one |" in lines["a/grid"]
    assert "| cpu, float32 |" in lines["b/trajectory"]
    page = site(board, PUBLISHED)["index.html"].decode()
    assert '<td class="left">cpu, Xeon &lt;b&gt;, measured on GPU one</td>' in page


@pytest.mark.parametrize("seconds", ["3", None, -1.0, float("nan"), float("inf"), True])
def test_what_is_no_number_of_seconds_is_bad_input(results: Path, seconds: object) -> None:
    with pytest.raises(BadInput, match=r"a/grid: provenance.json: seconds: training: .* is no number of seconds"):
        _ = _cost(results, {"seconds": {"training": seconds}}).spent


def test_a_part_that_is_not_known_leaves_the_whole_unknown(results: Path) -> None:
    cost = _cost(results, {"seconds": {"training": 3}, "metric_costs": None})
    assert cost.spent == {"training": 3.0, "probes": None, "metrics": None}
    assert (cost.total, cost.probes, cost.metrics) == (None, [], [])


def test_classes_are_those_of_metrics() -> None:
    assert CLASSES == COSTS


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0.0, "0 s"), (0.04, "0.04 s"), (9.94, "9.9 s"), (9.96, "10 s"), (119.0, "119 s"), (120.0, "2.0 min"),
     (598.0, "10 min"), (7199.0, "120 min"), (7200.0, "2.0 h"), (3.6e6, "1,000.0 h")],
)  # fmt: skip
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words
