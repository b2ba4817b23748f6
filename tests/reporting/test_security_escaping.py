"""Words from outside stay words: pages, tables and figures of hostile results have the structure of harmless ones.

Every text of a folder of results is given twice, once harmless and once with all that HTML, Markdown, SVG and charts
could take for their own, in the same order of the alphabet. What is made of both must differ in these words alone.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from suite.ranking.claims import Verdict, judge
from suite.ranking.tables import TaskResults
from suite.reporting.board import PUBLISHED, read_board
from suite.reporting.build import Place, build
from tests.ranking.claimed import claim
from tests.ranking.made_up import made_up
from tests.reporting.made_site import _enrich as enrich
from tests.reporting.test_browser import Open, browser, opened  # noqa: F401 - fixtures

HOSTILE = (
    "| a ` **b** __c__ ~~d~~ [e](javascript:alert(1)) ![f](http://nowhere.invalid/x.png) <script>alert(1)</script>"
    ' <img src=x onerror=alert(1)> </td></tr></table></details></svg> " onmouseover="alert(1) \' & &lt;b&gt;'
    ' {{ 7 * 7 }} ${alert(1)} $x$ \\": alert(1), \\ --> <!-- ]]> @metric title \u2028 '
    "\n\n# g\n\n| h | i |\n| - | - |\n\n```\n* j"
)
HARMLESS = "word"


class Words:
    """Gives every text another one, which begins with a number: sorted alike whichever kind it is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._made: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        return self._made.setdefault(text, f"w{len(self._made):03} {self.kind}")


KEPT = {"task", "kind", "targets", "name", "fingerprint"}
"""What results are read by: names of tasks, of gaps and of metrics, kinds."""


def replaced(part: Any, words: Words, key: str = "") -> Any:
    """JSON with every text replaced but those that it is read by."""
    if isinstance(part, dict):
        return {name: replaced(value, words, name) for name, value in part.items()}
    if isinstance(part, list):
        return [replaced(value, words, key) for value in part]
    if not isinstance(part, str) or key in KEPT:
        return part
    # of a definition the empty lines are kept: they part its paragraphs
    return " ".join(words(part).split("\n\n")) if key == "definition" else words(part)


def rewrite(task: Path, words: Words) -> None:
    """Replace the texts of a task's results."""
    provenance = json.loads((task / "provenance.json").read_text())
    provenance |= {
        "commit": "c", "device_name": "d", "description": "e", "spec": {"name": "f"}, "data": {"name": "g"},
        "seconds": {"training": 3.0, "probes": 2.0, f"probe {words('probe')}": 1.8, "metrics": 1.0},
    }  # fmt: skip
    # in one line: a name with characters that are none of a CSV file's is not found in it
    factors = {name: " ".join(words(name).split()) for name in provenance["factors"] if name != "seed"}
    made = replaced(provenance, words) | {"factors": [factors.get(name, name) for name in provenance["factors"]]}
    (task / "provenance.json").write_text(json.dumps(made))
    metrics = json.loads((task / "metrics.json").read_text())
    more = {"invariances": ["rescaling"], "fingerprint": "0" * 16}
    (task / "metrics.json").write_text(json.dumps([replaced(metric | more, words) for metric in metrics]))
    for path in task.rglob("*.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=factors)
        for column in table.columns.intersection(["run_id", "component", "reason", factors["eta"]]):
            table[column] = [words(text) if text else "" for text in table[column]]
        table.to_csv(path, index=False)


def verdicts(results: list[TaskResults], words: Words) -> list[Verdict]:
    """On one claim, of which the words are from outside."""
    said = {name: words(name) for name in ("statement", "source", "reading")}
    return judge([claim({"metric": "oracle", "statistic": "tau", "above": 0}, **said)], results, resamples=50)


def made(folder: Path, kind: str) -> Path:
    """Everything that is made of results: leaderboard, tables, figures, site."""
    words = Words(kind)
    made_up(folder / "results")
    for task in ("a/grid", "b/trajectory"):
        enrich(folder / "results" / task)
        rewrite(folder / "results" / task, words)
    board = read_board(folder / "results")
    found = verdicts([task.results for task in board.tasks], words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("suite.reporting.markdown.power", lambda board: "")  # a simulation that has no words from outside
        build(board, PUBLISHED, Place.within(folder / "made"), folder / "made" / "site", found)
    return folder / "made"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The harmless and the hostile."""
    harmless, hostile = (made(tmp_path_factory.mktemp("made"), kind) for kind in (HARMLESS, HOSTILE))
    return harmless, hostile


def pairs(both: tuple[Path, Path], pattern: str) -> Iterator[tuple[Path, Path]]:
    """The files of one kind in both; those that are named by words from outside come in the same order."""
    harmless, hostile = (sorted(place.rglob(pattern)) for place in both)
    assert len(harmless) == len(hostile) > 0
    return zip(harmless, hostile, strict=True)


class Shape(HTMLParser):
    """The elements of a page in their order, with the names of their attributes; the words are left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shape: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.shape.append(f"<{tag} {' '.join(name for name, _ in attrs)}>")
        self.addresses += [str(value) for name, value in attrs if name in ("href", "src", "action", "style")]

    def handle_endtag(self, tag: str) -> None:
        self.shape.append(f"</{tag}>")

    def handle_comment(self, data: str) -> None:
        self.shape.append("<!-- -->")

    def handle_decl(self, decl: str) -> None:
        self.shape.append("<!>")


def harmless_addresses(shape: Shape) -> bool:
    """Pages and pictures of the site itself; the empty icon."""
    return all(
        re.match(r"[\w./#-][\w./#%=&-]*$|data:,$", address) for address in shape.addresses if "--" not in address
    )


def test_pages_differ_in_their_words_alone(both: tuple[Path, Path]) -> None:
    for harmless, hostile in pairs(both, "*.html"):
        one, other = Shape(harmless.read_text()), Shape(hostile.read_text())
        assert other.shape == one.shape, hostile
        assert not [event for event in other.shape if " on" in event], "an event handler"
        assert harmless_addresses(other), other.addresses


def test_pages_of_markdown_differ_in_their_words_alone(both: tuple[Path, Path]) -> None:
    """As a code-hosting page renders them: with tables, struck words and what HTML it lets through."""
    render = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render
    for harmless, hostile in pairs(both, "*.md"):
        one, other = Shape(render(harmless.read_text())), Shape(render(hostile.read_text()))
        assert other.shape == one.shape, hostile
        assert other.addresses == one.addresses


def test_figures_hold_no_programs(both: tuple[Path, Path]) -> None:
    for harmless, hostile in pairs(both, "*.svg"):
        one, other = (ET.parse(path).getroot() for path in (harmless, hostile))
        tags = {element.tag for element in other.iter()}
        assert tags == {element.tag for element in one.iter()}
        names = {name for element in other.iter() for name in element.attrib}
        assert names == {name for element in one.iter() for name in element.attrib}
        assert not [name for name in names if name.rpartition("}")[2].startswith("on")]
        assert not tags & {"{http://www.w3.org/2000/svg}script", "{http://www.w3.org/2000/svg}a"}


def data_of(page: Path) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found[1]) if found else None


def words_in(part: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of JSON, with the nearest name above it."""
    if isinstance(part, dict):
        for name, value in part.items():
            yield from words_in(value, name)
    elif isinstance(part, list):
        for value in part:
            yield from words_in(value, key)
    elif isinstance(part, str):
        yield key, part


SAID = {"title", "description", "sort", "domain"}
"""Where a chart shows a text, or compares one with a column's; everywhere else it may be a program."""


def test_charts_say_words_from_outside_and_do_nothing_with_them(both: tuple[Path, Path]) -> None:
    charts = 0
    for _, hostile in pairs(both, "*.html"):
        for chart in ((data_of(hostile) or {}).get("charts") or {}).values():
            charts += 1
            assert {key for key, text in words_in(chart) if "alert" in text} <= SAID
    assert charts > 5


def test_words_from_outside_are_shown_as_they_are(both: tuple[Path, Path]) -> None:
    """Escaped, not left out: the test would else be of nothing."""
    _, hostile = both
    for name in ("leaderboard.md", "tables/a--grid.md", "tables/claims.md"):
        assert "alert" in (hostile / name).read_text(), name
    for page in (hostile / "site").rglob("*.html"):
        assert "&lt;script&gt;alert(1)" in page.read_text(), page
    assert any("alert" in text for _, text in words_in(data_of(hostile / "site" / "a--grid.html")))


@pytest.fixture(scope="module")
def place(both: tuple[Path, Path]) -> Path:
    """The hostile site, for `opened`."""
    return both[1] / "site"


INTRUDERS = (
    "script:not([src]):not([type='application/json']), img, [onerror], [onmouseover], td table, [href^='javascript:']"
)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["index.html", "a--grid.html", "b--trajectory.html"])
def test_a_browser_runs_none_of_it_and_draws_the_charts(opened: Open, path: str) -> None:  # noqa: F811
    """Tooltips too: they are HTML that a library makes of the charts' data."""
    page = opened(path)
    chart = page.locator(".drawing svg.marks").first
    chart.scroll_into_view_if_needed()
    chart.locator("path[aria-roledescription=point], path[aria-roledescription='line mark']").first.hover(force=True)
    page.locator("#vg-tooltip-element.visible").wait_for()
    assert "alert(1)" in page.locator("#vg-tooltip-element").inner_text()
    assert page.locator(INTRUDERS).evaluate_all("found => found.map((one) => one.outerHTML.slice(0, 200))") == []


def test_no_file_is_written_elsewhere(both: tuple[Path, Path]) -> None:
    _, hostile = both
    names = {path.relative_to(hostile).as_posix() for path in hostile.rglob("*") if path.is_file()}
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", name) for name in names)
    assert {path.name for path in hostile.parent.iterdir()} == {"results", "made"}
