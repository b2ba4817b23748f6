"""Pages of prose with computed figures: numbers are those of the results, and words that they belie are told."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from suite.errors import BadInput
from suite.ranking import figured
from suite.ranking.leaderboard import rank_overall
from suite.ranking.tables import TaskResults
from suite.ranking.task import rank_task
from suite.ranking.trajectory import transitions
from suite.reporting.board import Board, number, read_board, span
from suite.reporting.findings import refreshed
from suite.spec import figure as spec
from suite.spec.figure import read_page
from tests.ranking.claimed import STEPS, grid, trajectory

ROOT = Path(__file__).parents[2]
FIGURE = "<!-- figure {{task: {task}, metric: {metric}, statistic: {statistic}, {more}}} -->?<!-- /figure -->"


@pytest.fixture(scope="module")
def board() -> Board:
    random = np.random.default_rng(0)
    gap = np.repeat(np.arange(25.0), 2) + random.normal(size=50)
    first = grid({"oracle": gap + random.normal(size=50), "noise": random.normal(size=50)}, gap)
    jump = np.array([1000.0, 1200, 1400, 1000, 1200, 1400, 1100, 1300, 1500, 1100, 1300, 1500])
    accuracy = np.where(jump[:, None] < STEPS, 0.95, 0.1)
    early = np.where(jump[:, None] - 300 < STEPS, 3.0, 9.0) + 0.01 * random.normal(size=accuracy.shape)
    second = trajectory({"early": early, "oracle": 1 - accuracy}, 1 - accuracy, accuracy)
    rankings = [rank_task(titled(one), resamples=200, permutations=199) for one in (first, second)]
    return Board(rankings, rank_overall(rankings), {"score": 0.5, "low": 0.4, "high": 0.6})


def titled(results: TaskResults) -> TaskResults:
    return replace(results, metrics=results.metrics.assign(title=results.metrics.index, source="made up"))


def page(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "findings.md"
    path.write_text(text)
    return path


def figure(task: str, metric: str, statistic: str, more: str) -> str:
    return FIGURE.format(task=task, metric=metric, statistic=statistic, more=more)


def test_figures_are_those_of_the_results(board: Board, tmp_path: Path) -> None:
    texts = [
        figure("a/grid", "oracle", "tau", "target: loss_gap, above: 0"),
        figure("a/grid", "oracle", "tau", "target: loss_gap, beats: [noise]"),
        figure("b/trajectory", "early", "lead", "above: 0"),
        figure("all", "oracle", "score", "above: 0"),
        figure("b/trajectory", "early", "transition", "change: drop, near: 0.3, above: 0.5"),
    ]
    text, untrue = refreshed(read_page(page(tmp_path, "Words, ".join(texts))), board, resamples=200)
    assert untrue == []
    tau, difference, lead, overall, share = re.findall(r"-->([^<]*)<!-- /figure", text)
    assert re.fullmatch(r"\+0\.\d\d \[\+0\.\d\d, \+[01]\.\d\d\]", tau)
    assert re.fullmatch(r"\+\d\.\d\d \[\+0\.\d\d, \+\d\.\d\d\]", difference)
    row = transitions(board.tasks[1].results).set_index("metric").loc["early"]
    assert lead == f"{number(row['lead'], 0)} {span(row['low'], row['high'], 0)} (12 of 12 runs)"
    assert row["lead"] == pytest.approx(300)
    whole = board.overall.loc["oracle"]
    assert overall == f"{number(whole['score'])} {span(whole['low'], whole['high'])}"
    assert share.startswith("1.00 [0.")
    again, _ = refreshed(read_page(page(tmp_path, text)), board, resamples=200)
    assert again == text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (figure("a/grid", "noise", "tau", "target: loss_gap, above: 0"), "that it holds; it cannot be told: "),
        (figure("a/grid", "oracle", "tau", "target: loss_gap, below: 0"), "that it holds; it certainly fails: +"),
        (
            figure("a/grid", "oracle", "tau", "target: loss_gap, above: 0, says: open"),
            "it cannot be told; it hold",
        ),
        (figure("a/none", "oracle", "tau", "target: loss_gap, above: 0"), "(a/none is not published)"),
        (figure("a/grid", "oracle", "tau", "target: accuracy_gap, above: 0"), "a/grid has no target accuracy_gap"),
        (figure("a/grid", "nobody", "tau", "target: loss_gap, above: 0"), "nobody without a value"),
        (figure("all", "nobody", "score", "above: 0"), "nobody has no score over all tasks"),
        (figure("a/grid", "oracle", "lead", "above: 0, says: open"), "a/grid has no trajectories"),
        (figure("a/grid", "edge_ratio", "edge", "above: 0, says: open"), "no edge ratio was recorded"),
        (figure("b/trajectory", "early", "lead", "below: 0"), "it certainly fails: +300 [+"),
        ("It is +0.43, they say.", "+0.43 is a number that nothing checks: make it a figure"),
        ("A share of 0.50.", "0.50 is a number that nothing checks"),
        ("It scores 0.43, they say.", "0.43 is a number that nothing checks"),
        ("Of 50 networks 44 of 50 count.", "44 of 50 is a number that nothing checks"),
        ("It is so in 1,147 of 4,653 cases; `6 of 50` is code.", "1,147 of 4,653 is a number"),
        ("Certainly (p < 0.01).", "p < 0.01 is a number that nothing checks"),
        ("Of these 90 % are.", "90 % is a number that nothing checks"),
        (figure("all", "noise", "score", "beats: [oracle]"), "that it holds; it certainly fails: −"),
        (figure("all", "oracle", "rank", "above: 1.5"), "it certainly fails: 1 [1, 1]"),
        (figure("all", "oracle", "score", "beats: [nobody]"), "nobody has no score over all tasks"),
        ("It leads by 244 [839, 1880] steps.", "244 [8"),
        ("It leads by +2,244 steps, at b = 4-8 and 2026-11-26.", "+2,244 is a number that nothing checks"),
    ],
)
def test_words_that_the_results_belie_are_told(board: Board, tmp_path: Path, text: str, told: str) -> None:
    path = page(tmp_path, f"# Title\n\n{text}\n")
    _, untrue = refreshed(read_page(path), board, resamples=200)
    assert len(untrue) == 1, untrue
    assert untrue[0].startswith(f"{path}:3: ")
    assert told in untrue[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- figure {task: a/grid} -->", "a part of it is missing"),
        ("0.3<!-- /figure -->", "a part of it is missing"),
        (
            "<!-- figure {task: a/grid} -->0.3 and words "
            + figure("a/grid", "oracle", "tau", "target: loss_gap, above: 0"),
            "a part of it is missing",
        ),
        (figure("all", "oracle", "score", "between: [0, 1]"), "of all tasks there are the score"),
        (figure("all", "oracle", "score", "beats: all"), "of all tasks there are the score"),
        (figure("all", "oracle", "rank", "beats: [noise]"), "rank is of task: all"),
        (figure("a/grid", "oracle", "rank", "target: loss_gap, above: 0"), "rank is of task: all"),
        ("<!-- figure {task: all, statistic: networks} -->?<!-- /figure -->", "networks is of one task"),
        (figure("a/grid", "oracle", "networks", "above: 0"), "networks is of one task"),
        (figure("a/grid", "oracle", "tau", "above: 0"), "tau of a/grid needs a target"),
        (figure("a/grid", "oracle", "lead", "target: loss_gap, above: 0"), "lead of a/grid has no target"),
        (figure("all", "oracle", "tau", "above: 0"), "of all tasks there are the score"),
        (figure("a/grid", "oracle", "edge", "above: 0"), "edge is of the metric edge_ratio"),
        (figure("a/grid", "oracle", "score", "target: loss_gap, beats: [x], over: minimum"), "a figure is of one task"),
        (figure("a/grid", "oracle", "tau", "target: loss_gap"), "one comparison is meant"),
        (figure("a/grid", "oracle", "tau", "targt: loss_gap, above: 0"), "did you mean target?"),
        (figure("a/grid", "oracle", "tau", "target: [, above: 0"), ":3: "),
    ],
)
def test_what_is_no_figure_is_one_clear_error(tmp_path: Path, text: str, told: str) -> None:
    path = page(tmp_path, f"# Title\n\n{text}\n")
    with pytest.raises(BadInput) as raised:
        read_page(path)
    assert str(raised.value).startswith(f"{path}:3: ")
    assert told in str(raised.value)


def test_share_of_networks_beyond_the_edge(tmp_path: Path) -> None:
    results = grid({"oracle": np.arange(50.0)}, np.arange(50.0))
    ratios = pd.DataFrame({"run_id": results.runs["run_id"], "step": 0, "sharpness": 1.0, "edge_ratio": 0.5})
    ratios.loc[:4, "edge_ratio"] = 1.5
    later = ratios.assign(step=1).assign(edge_ratio=np.where(ratios.index < 3, 1.2, 0.9))
    ratios = pd.concat([ratios, later], ignore_index=True)
    ranking = rank_task(replace(titled(results), edge=ratios), resamples=20, permutations=19)
    made = Board([ranking], rank_overall([ranking]), {})
    texts = [figure("a/grid", "edge_ratio", statistic, "above: 0.01") for statistic in ("edge", "edge_end")]
    text, untrue = refreshed(read_page(page(tmp_path, " and ".join(texts))), made)
    assert re.findall(r">([\d.]+) \[", text) == ["0.10", "0.06"]
    assert ">0.10 [0.03, 0.22]<" in text
    assert untrue == []


def test_networks_that_count_and_differences_over_all_tasks(board: Board, tmp_path: Path) -> None:
    counted = [
        f"<!-- figure {{task: {name}, statistic: networks}} -->?<!-- /figure -->" for name in ("a/grid", "b/trajectory")
    ]
    texts = [
        *counted,
        figure("all", "oracle", "score", "beats: [noise]"),
        figure("all", "oracle", "rank", "below: 1.5"),
    ]
    text, untrue = refreshed(read_page(page(tmp_path, "; ".join(texts))), board, resamples=200)
    assert untrue == []
    networks, runs, difference, rank = re.findall(r"-->([^<]*)<!-- /figure", text)
    assert (networks, runs, rank) == ("50 of 50", "12 of 12", "1 [1, 1]")
    scores = board.overall["score"]
    assert difference.startswith(f"{number(scores['oracle'] - scores['noise'])} [+")


def test_words_that_two_rooms_share_are_the_same() -> None:
    assert (figured.ALL, figured.OF_RUNS) == (spec.ALL, spec._OF_RUNS)


@pytest.mark.slow  # `suite leaderboard --check` says the same, in `.ci/run`
def test_our_own_page_says_what_the_published_results_say() -> None:
    path = ROOT / "reports/findings.md"
    page = read_page(path)
    assert len(page.figures) > 20
    text, untrue = refreshed(page, read_board(ROOT / "reports/results"))
    assert untrue == []
    assert text == page.text, "run `suite leaderboard`"
