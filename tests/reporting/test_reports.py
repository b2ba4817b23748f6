"""Reports: the same bytes for the same results, drift found, words from outside escaped."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from rich.console import Console

from suite.errors import BadInput
from suite.reporting.build import build, check
from suite.reporting.local import report, show_run
from tests.ranking.made_up import made_up


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    made_up(folder / "results")
    build(folder / "results", folder / "leaderboard.md", folder / "figures", folder / "site")
    return folder


def test_same_results_same_bytes(place: Path, tmp_path: Path) -> None:
    again = build(place / "results", tmp_path / "leaderboard.md", tmp_path / "figures", tmp_path / "site")
    assert len(again) == 1 + 3 + 3
    for path in again:
        first = place / path.relative_to(tmp_path)
        if path.suffix == ".html" and path.name == "index.html":
            continue  # it names the folder it was made from
        assert path.read_bytes() == first.read_bytes(), path.name


def test_check_finds_drift_and_stale_figures(place: Path) -> None:
    arguments = (place / "results", place / "leaderboard.md", place / "figures")
    assert check(*arguments) == []
    extra = place / "figures" / "old.svg"
    extra.write_text("<svg/>")
    assert check(*arguments) == [str(extra)]
    extra.unlink()
    figure = place / "figures" / "overall.svg"
    content = figure.read_bytes()
    figure.write_bytes(content + b"\n")
    assert check(*arguments) == [str(figure)]
    figure.write_bytes(content)


def test_the_page_says_what_a_reader_needs(place: Path) -> None:
    text = (place / "leaderboard.md").read_text()
    first = next(line for line in text.splitlines() if line.startswith("| 1 |"))
    assert "Oracle" in first
    assert "yes" in first
    assert "3 left out" in text
    assert "figures/overall.svg" in text
    assert "| 4 (11 failed) |" in text
    assert "intervals from 2 settings: few" in text


def test_words_from_outside_are_escaped(place: Path) -> None:
    assert "<b>" not in (place / "leaderboard.md").read_text().replace("\\<b\\>", "")
    for page in (place / "site").glob("*.html"):
        assert "<b>" not in page.read_text()


def test_figures_are_xml_and_links_lead_somewhere(place: Path) -> None:
    for figure in (place / "figures").glob("*.svg"):
        assert ET.parse(figure).getroot().tag.endswith("svg")
    index = (place / "site" / "index.html").read_text()
    assert 'href="a--grid.html"' in index
    assert (place / "site" / "a--grid.html").exists()


def test_terminal_report_and_one_run(place: Path) -> None:
    console = Console(record=True, width=160)
    report(place, console)
    show_run(place / "results", "r17", console)
    text = console.export_text()
    assert "Oracle" in text
    assert "a/grid r17" in text
    with pytest.raises(BadInput, match="runs begin so"):
        show_run(place / "results", "r", console)


def test_a_narrow_terminal_gets_whole_words_and_a_wide_one_the_tasks(place: Path) -> None:
    seen = {}
    for width in (70, 160):
        console = Console(record=True, width=width)
        report(place, console)
        seen[width] = console.export_text()
        assert "…" not in seen[width]
    assert "grid" in seen[160].split("Oracle")[0]
    assert "grid" not in seen[70].split("Oracle")[0]


def test_unwritable_place_is_bad_input(place: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="cannot be written"):
        build(place / "results", tmp_path / "file" / "leaderboard.md", tmp_path / "figures")
