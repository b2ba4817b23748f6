"""Verdicts as Markdown, rows and records: complete, the same every time, and harmless whatever words they hold."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from markdown_it import MarkdownIt

from suite.ranking.claims import Verdict, judge
from suite.reporting.claims import claims_page, claims_section, coded, finding_rows, records, rows
from suite.reporting.markup import table
from suite.reporting.site import claims_table
from tests.ranking.claimed import claim, grid, trajectory

HOSTILE = "A | b `c` <script>alert(1)</script> <img src=x onerror=alert(1)> </details> **d** [e](javascript:f)\n\n# g"
ODD = "odd|`<b>_name"


@pytest.fixture(scope="module")
def verdicts() -> list[Verdict]:
    """Supported, refuted, undecided for every reason there is, with and without analogues; hostile words."""
    random = np.random.default_rng(0)
    gap, noise = random.normal(size=(2, 50))
    learned = np.arange(50) < 25
    results = [
        grid({"x": gap, ODD: gap, "noise": noise, "rate": noise, "one": np.where(learned, gap, -9 - gap),
              "empty": np.full(50, np.nan)}, gap, learned=learned),
        trajectory({"x": random.normal(size=(4, 20))}, random.random((4, 20))),
    ]  # fmt: skip
    words: dict[str, Any] = {"statement": HOSTILE, "source": HOSTILE, "reading": HOSTILE}
    tau: dict[str, Any] = {"statistic": "tau", "above": 0}
    within = {"statistic": "transition", "change": "drop", "near": 0.1, "above": 0.5}
    beats = {"metric": "x", "statistic": "score", "beats": [ODD, "noise"]}
    claims = [
        claim(tau | {"metric": ODD}, beats, id="hostile", **words),
        claim(tau | {"metric": "x"}, id="supported", analogues=["b/trajectory"]),
        claim({"metric": "x", "statistic": "tau", "below": 0}, id="refuted"),
        claim(tau | {"metric": "noise"}, id="noise"),
        claim(tau | {"metric": "one"}, id="rule"),
        claim(tau | {"metric": "empty"}, id="empty"),
        claim(tau | {"metric": "x"}, id="absent", tasks=("c/coming",), analogues=["a/grid"]),
        claim(within | {"metric": "x"}, id="quiet", tasks=("b/trajectory",)),
        claim({"metric": "x", "statistic": "cells", "where": {"metric": "x", "above": 99}, "above": 0}, id="cells"),
    ]  # fmt: skip
    return judge(claims, results, resamples=200)


class Elements(HTMLParser):
    """The elements of a page, and how many cells each row of its tables has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.cells: list[int] = []
        self.open = 0
        self.attributes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.open += tag == "details"
        if tag == "tr":
            self.cells.append(0)
        if tag in ("td", "th"):
            self.cells[-1] += 1

    def handle_endtag(self, tag: str) -> None:
        self.open -= tag == "details"
        assert self.open >= 0, "a part ends that did not begin"


def test_no_word_breaks_the_section_or_smuggles_anything_in(verdicts: list[Verdict]) -> None:
    text = claims_section(verdicts, "claims.md") + claims_page(verdicts, "leaderboard.md")
    page = Elements(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert {"script", "img", "b"}.isdisjoint(page.seen)
    assert {*page.attributes} <= {"style", "href"}
    assert (page.open, page.seen.count("details"), page.seen.count("h2")) == (0, len(verdicts), 1)
    assert page.seen.count("a") == 2, "the way to all findings, and back"
    assert page.cells[: len(verdicts) + 1] == [6] * (len(verdicts) + 1)
    assert {*page.cells[len(verdicts) + 1 :]} == {11}
    # words that are dangerous are still there, as words
    assert MarkdownIt("commonmark", {"html": True}).enable("table").render(text).count("&lt;script&gt;") >= 4


def test_a_row_has_everything(verdicts: list[Verdict]) -> None:
    made = {row["id"]: row for row in rows(verdicts)}
    assert list(made) == [verdict.claim.id for verdict in verdicts]
    columns = {"id", "claim", "source", "verdict", "in_small", "figure", "margin", "decide"}
    assert all({*row} == columns and all(row.values()) for row in made.values())
    assert (made["supported"]["verdict"], made["supported"]["decide"]) == ("supported", "–")
    assert made["supported"]["figure"] == (
        "τ of x above 0: x +1.00 [+1.00, +1.00] on a/grid, loss gap (n = 25, 13 settings)"
    )
    assert made["supported"]["in_small"] == (
        "undecided: b/trajectory 2 settings are too few, by chance alone they agree too often"
    )
    assert made["refuted"]["margin"] == "−1.00 [−1.00, −1.00]"
    assert made["noise"]["decide"].startswith("about ") or made["noise"]["decide"].startswith("more than ")
    assert made["rule"]["verdict"].startswith("undecided: turns on the inclusion rule: supported with it, ")
    assert made["empty"]["verdict"] == "undecided: a/grid empty without a value"
    assert made["absent"]["verdict"] == "undecided: c/coming not published"
    assert made["absent"]["in_small"] == "supported"
    assert " on a/grid, " in made["absent"]["figure"]  # of the analogue, where the claim's own tasks say nothing
    assert "`suite run tasks/c/coming.yaml`" in made["absent"]["decide"]
    assert made["quiet"]["verdict"] == "undecided: b/trajectory no run groks"
    assert made["cells"]["verdict"] == "undecided: a/grid no network meets the condition"
    assert "nan" not in str(made).replace("Nan", "")


def test_the_section_counts_verdicts_and_is_the_same_every_time(verdicts: list[Verdict]) -> None:
    text = claims_section(verdicts, "claims.md")
    assert (
        "Of 9 claims: 1 supported, 1 refuted, 7 undecided. In small, of 2: 1 supported, 0 refuted, 1 undecided." in text
    )
    assert text == claims_section(verdicts, "claims.md")
    assert "nan" not in text
    assert text.isprintable() or {*text} - {*"\n"} == {c for c in text if c.isprintable()}


def test_commands_are_code_and_nothing_from_outside_becomes_markup(verdicts: list[Verdict]) -> None:
    text = claims_section(verdicts, "claims.md")
    assert "| `suite run tasks/c/coming.yaml`, then `suite publish tasks/c/coming.yaml` |" in text
    render = MarkdownIt("commonmark", {"html": True}).enable("table").render
    assert "<code>suite publish tasks/c/coming.yaml</code>" in render(text)
    assert coded("run `suite run a_b.yaml` of *x*") == "run `suite run a_b.yaml` of \\*x\\*"
    for word in (
        "`rm -rf`",
        "`suite <b>`",
        "`suite a|b`",
        "`suite",
        "``suite x``",
        "\\`suite x`",
        "`suite x\\`",
        "`suite x`<b>",
    ):
        page = Elements(render(table(["a", "b"], [[coded(word), "c"]])))
        assert {*page.seen} <= {"table", "thead", "tbody", "tr", "th", "td", "code"}, word
        assert page.cells == [2, 2], word
    assert "<code>" not in render(coded("`rm -rf` `suite <b>` `suite a|b` `suite"))


def test_many_rivals_are_counted_in_the_summary_and_named_in_the_findings() -> None:
    gap = np.arange(50.0)
    names = [f"rival{i}" for i in range(4)]
    random = np.random.default_rng(0)
    results = grid({"x": gap} | {name: random.normal(size=50) for name in names}, gap)
    made = judge([claim({"metric": "x", "statistic": "score", "beats": names})], [results], resamples=50)
    assert rows(made)[0]["figure"].startswith("score of x beats its 4 rivals: x +1.00 ")
    assert "rival2" not in claims_section(made, "claims.md")
    assert "beats rival0, rival1, rival2, rival3" in claims_page(made, "leaderboard.md")
    few = judge([claim({"metric": "x", "statistic": "score", "beats": names[:3]})], [results], resamples=50)
    assert rows(few)[0]["figure"].startswith("score of x beats rival0, rival1, rival2: ")


def test_records_are_plain_json(verdicts: list[Verdict]) -> None:
    made = records(verdicts)
    text = json.dumps(made, allow_nan=False)
    assert json.loads(text) == made
    by_id = {record["id"]: record for record in made}
    assert by_id["supported"]["in_small"]["verdict"] == "undecided"
    assert by_id["refuted"]["in_small"] is None
    (finding,) = by_id["supported"]["with_rule"]["findings"]
    assert (finding["value"], finding["low"], finding["n"], finding["unit"]) == (1.0, 1.0, 25, "settings")
    assert 0 < finding["p_for"] < 0.025 < finding["p_against"]
    assert by_id["supported"]["with_rule"]["left_out"] == 25
    assert by_id["supported"]["without_rule"]["left_out"] == 0
    hostile = by_id["hostile"]["with_rule"]["findings"][1]
    assert (hostile["comparisons"], hostile["certainly_lost_to"], hostile["target"]) == (2, [], "loss_gap")
    (empty,) = by_id["empty"]["with_rule"]["findings"]
    assert (empty["problem"], "value" in empty) == ("empty without a value", False)
    (cells,) = by_id["cells"]["with_rule"]["findings"]
    assert (cells["value"], cells["n"], cells["target"]) == (None, 0, None)


def test_findings_are_those_of_the_answer(verdicts: list[Verdict]) -> None:
    for verdict in verdicts:
        made = finding_rows(verdict.of.ruled)
        assert [(row["test"], row["outcome"]) for row in made] == [
            (f.test, f.outcome) for f in verdict.of.ruled.findings
        ]


def test_the_site_takes_the_rows(verdicts: list[Verdict]) -> None:
    made = claims_table(rows(verdicts))
    page = Elements(str(made))
    assert {"script", "img", "b", "details", "a"}.isdisjoint(page.seen)
    assert page.cells == [6] * (len(verdicts) + 1)
    assert 'id="claim-supported"' in made
    assert str(made) == str(claims_table(rows(verdicts)))
