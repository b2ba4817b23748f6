"""The site in a real headless Chromium, from the file system: what a reader sees, clicks, types and hears of."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from tests.reporting.made_site import small_site

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REQUIRED = os.environ.get("SUITE_BROWSER") == "required"
"""CI says so: there a browser that is missing is a failure."""
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = ["index.html", "a--grid.html", "b--trajectory.html", "metrics/oracle.html", "metrics/lucky.html"]
DRAWN = "[...document.querySelectorAll('figure.chart')].every((figure) => figure.dataset.drawn)"
Open = Callable[..., "Page"]


def _missing(what: str) -> None:
    if REQUIRED:
        pytest.fail(f"{what}, and SUITE_BROWSER=required")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright is not installed")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        _missing("there is no Chromium on this machine")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def opened(browser: Browser, place: Path) -> Iterator[Open]:
    """Opens a page of the site; whatever a page complains of, or asks of a network, fails the test."""
    complaints: list[str] = []
    contexts = []

    def watched(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            complaints.append(f"asked for {request.url}")

    def go(path: str, width: int = 1280, scheme: str = "light", **options: Any) -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", watched)
        page.goto(f"file://{place}/{path}")
        if options.get("java_script_enabled", True):
            page.wait_for_function(DRAWN)
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


def _names(page: Page, table: str = "#scores") -> list[str]:
    """The metrics of a table that are shown, from the top."""
    rows = page.locator(f"{table} tbody tr:not([hidden])")
    return [text.strip() for text in rows.locator("th a").all_inner_texts()]


def _header(page: Page, title: str, table: str = "#scores") -> Any:
    return page.locator(f"{table} thead th", has=page.get_by_role("button", name=title, exact=True))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_nothing_sticks_out_or_is_cut_off(opened: Open, path: str, width: int, scheme: str) -> None:
    page = opened(path, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # outside of the boxes that scroll, no words reach beyond the page or the box that would cut them off
    cut = page.evaluate(
        """[...document.querySelectorAll('h1, h2, h3, p, li, dt, dd, label, legend, figcaption, output, nav, footer')]
        .filter((e) => !e.closest('.wide, fieldset') && !e.classList.contains('skip'))
        .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline'
                || e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML)"""
    )
    assert cut == []
    # words in a chart lie inside it
    outside = page.evaluate(
        """[...document.querySelectorAll('.drawing svg.marks')].flatMap((svg) => {
          const box = svg.getBoundingClientRect();
          return [...svg.querySelectorAll('text')].filter((t) => t.textContent && t.getAttribute('opacity') !== '0')
            .filter((t) => { const b = t.getBoundingClientRect();
              return b.left < box.left - 2 || b.right > box.right + 2
                || b.top < box.top - 2 || b.bottom > box.bottom + 2;
            }).map((t) => t.textContent); })"""
    )
    assert outside == []


def test_a_dark_page_is_dark_with_light_words_and_the_charts_follow(opened: Open) -> None:
    def look(scheme: str) -> tuple[str, str, str]:
        page = opened("a--grid.html", scheme=scheme)
        ink = "getComputedStyle(document.querySelector('.drawing svg text')).fill"
        both = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color, %s]"
        return tuple(page.evaluate(both % ink))

    assert look("light") == ("rgb(255, 255, 255)", "rgb(27, 31, 36)", "rgb(27, 31, 36)")
    assert look("dark") == ("rgb(13, 17, 23)", "rgb(230, 237, 243)", "rgb(230, 237, 243)")


def test_charts_are_drawn_anew_when_the_page_turns_dark(opened: Open) -> None:
    page = opened("index.html")
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.querySelector('figure.chart').dataset.drawn === '2'")
    assert page.locator("figure.chart svg.marks").count() == 1


def test_sorting_by_a_click_and_back(opened: Open) -> None:
    page = opened("index.html")
    first = _names(page)
    assert first[0] == "Oracle"
    score = _header(page, "score")
    score.get_by_role("button").click()
    assert score.get_attribute("aria-sort") == "descending"
    assert _names(page)[0] == "Oracle"
    score.get_by_role("button").click()
    assert score.get_attribute("aria-sort") == "ascending"
    assert _names(page)[0] == "Wrong way"
    _header(page, "metric").get_by_role("button").click()
    assert score.get_attribute("aria-sort") is None
    assert _names(page) == sorted(first, key=str.lower)


def test_what_has_no_value_is_last_either_way(opened: Open, place: Path) -> None:
    page = opened("index.html")
    texts = (
        "[...document.querySelectorAll('#scores tbody tr')].map((row) => row.cells[row.cells.length - 1].dataset.value)"
    )
    page.evaluate("document.querySelector('#scores tbody tr').cells[11].dataset.value = ''")
    header = _header(page, "b/trajectory")
    for _ in range(2):
        header.get_by_role("button").click()
        assert page.evaluate(texts)[-1] == ""


def test_sorting_by_keyboard(opened: Open) -> None:
    page = opened("index.html")
    page.locator("form.filter select[name=kind]").focus()
    page.keyboard.press("Tab")  # the box that scrolls
    assert page.evaluate("document.activeElement.className") == "wide"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "#"
    for _ in range(2):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "score"
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert _header(page, "score").get_attribute("aria-sort") == "ascending"
    assert _names(page)[0] == "Wrong way"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_filtering_by_words_kind_and_family(opened: Open) -> None:
    page = opened("index.html")
    form = page.locator("form.filter")
    assert form.locator("output").inner_text() == "8 of 8 shown"
    form.get_by_label("Search").fill("ORAC")
    assert _names(page) == ["Oracle"]
    assert form.locator("output").inner_text() == "1 of 8 shown"
    form.get_by_label("Search").fill("")
    form.get_by_label("Kind").select_option("trivial")
    assert _names(page) == ["Rate"]
    form.get_by_label("Kind").select_option("")
    form.get_by_label("Family").select_option("made up")
    assert len(_names(page)) == 8
    form.get_by_label("Search").fill("edge_ratio")  # its name, which only its title is shown of
    assert _names(page) == ["Edge ratio"]
    page.keyboard.press("Enter")  # sends nothing anywhere
    assert page.url.endswith("index.html")


def test_the_first_thing_the_keyboard_meets_leads_to_the_content(opened: Open) -> None:
    page = opened("a--grid.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.locator(".skip").bounding_box()["width"] > 50
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")


def test_an_explorer_redraws_what_is_chosen(opened: Open) -> None:
    page = opened("a--grid.html")
    section = page.locator("#explorer")
    figure = section.locator("figure.chart")
    before = figure.locator("svg.marks").inner_html()
    assert "loss gap (nats)" in before
    assert section.locator("output").inner_text().startswith("τ = +1.00")
    section.get_by_label("Metric").select_option(label="Wrong way")
    page.wait_for_function("document.querySelector('#explorer figure').dataset.drawn === '2'")
    after = figure.locator("svg.marks").inner_html()
    assert "Wrong way" in after
    assert section.locator("output").inner_text().startswith("τ = −1.00")
    section.get_by_label("Target").select_option(label="accuracy gap (share of examples)")
    page.wait_for_function("document.querySelector('#explorer figure').dataset.drawn === '3'")
    assert "accuracy gap (share of examples)" in figure.locator("svg.marks").inner_html()


def test_what_the_rule_leaves_out_is_hollow_and_can_be_hidden(opened: Open) -> None:
    page = opened("a--grid.html")
    points = page.locator("#explorer svg.marks .mark-symbol.role-mark path")
    hollow = "(all) => all.filter((path) => ['transparent', 'none'].includes(path.getAttribute('fill'))).length"
    assert points.count() == 18
    assert points.evaluate_all(hollow) == 3
    page.locator("#explorer").get_by_role("checkbox", name="left out").uncheck()
    page.wait_for_function("document.querySelector('#explorer figure').dataset.drawn === '2'")
    assert points.count() == 15
    assert points.evaluate_all(hollow) == 0


def test_a_point_tells_its_run_when_hovered(opened: Open) -> None:
    page = opened("a--grid.html")
    page.locator("#explorer svg.marks .mark-symbol.role-mark path").first.hover()
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    for word in ("eta", "b", "seed", "run", "Oracle"):
        assert word in tooltip.inner_text()


def test_marks_beyond_the_edge_are_the_same_whatever_is_shown(opened: Open) -> None:
    """The made-up edge ratio is five times the learning rate: 0.5, 1 and 1.5, for each of three batch sizes."""
    page = opened("a--grid.html")
    maps = page.locator("figure[data-chart=heat]")
    assert maps.count() == 3
    for number in range(3):
        assert maps.nth(number).locator(".mark-rect.role-mark path").count() == 9
        assert maps.nth(number).locator(".mark-symbol.role-mark path").count() == 6


def test_the_transition_of_each_run_is_marked(opened: Open, place: Path) -> None:
    page = opened("b--trajectory.html")
    assert page.locator("#explorer figure.chart").count() == 3
    lines = page.locator("figure[data-chart=accuracy] .mark-line.role-mark path")
    assert lines.count() == 2 * pd.read_csv(place.parent / "results/b/trajectory/runs.csv")["run_id"].nunique()
    data = page.evaluate("JSON.parse(document.getElementById('data').textContent).tables.changes.key")
    keys = data if isinstance(data, list) else [data["values"][i] for i in data["places"]]
    rules = page.locator("figure[data-chart=accuracy] .mark-rule.role-mark line")
    assert rules.count() == keys.count("test") == 2


def test_an_address_chooses_the_metric_and_the_target(opened: Open) -> None:
    page = opened("a--grid.html#metric=wrong_way&target=accuracy_gap")
    assert page.locator("#explorer").get_by_label("Metric").locator("option:checked").inner_text() == "Wrong way"
    assert "Wrong way" in page.locator("#explorer svg.marks").inner_html()
    page.evaluate("location.hash = '#metric=noise'")
    page.wait_for_function("document.querySelector('#explorer figure').dataset.drawn === '2'")
    assert "Noise" in page.locator("#explorer svg.marks").inner_html()


def test_a_metrics_page_leads_to_its_values(opened: Open) -> None:
    page = opened("metrics/parts.a.html")
    page.get_by_role("link", name="values against the loss gap on a/grid").click()
    page.wait_for_function(DRAWN)
    assert page.locator("#explorer").get_by_label("Metric").locator("option:checked").inner_text() == "Parts: a"


def test_matrices_and_spectra_show_what_is_asked_for(opened: Open) -> None:
    page = opened("a--grid.html")
    cells = page.locator("figure[data-chart=matrix] .mark-rect.role-mark path")
    matrix = page.evaluate("JSON.parse(document.getElementById('data').textContent).matrix.rows.flat()")
    assert len(matrix) == 8 * 7 / 2
    assert cells.count() == 8 + 2 * sum(tau is not None for tau in matrix) > 50
    lines = page.locator("figure[data-chart=eigenvalue] .mark-line.role-mark path")
    before = lines.count()
    page.locator("#spectra fieldset input:checked").first.uncheck()
    page.wait_for_function("document.querySelector('figure[data-chart=eigenvalue]').dataset.drawn === '2'")
    assert lines.count() == before - 1 > 0


def test_the_data_of_a_chart_is_a_file(opened: Open, place: Path, tmp_path: Path) -> None:
    page = opened("a--grid.html")
    with page.expect_download() as download:
        page.locator("#explorer .download").click()
    download.value.save_as(tmp_path / "points.csv")
    table = pd.read_csv(tmp_path / "points.csv")
    runs = pd.read_csv(place.parent / "results/a/grid/runs.csv")
    assert list(table["run"]) == list(runs["run_id"])
    assert table["loss_gap"].to_numpy() == pytest.approx(runs["loss_gap"].to_numpy(), rel=1e-5)
    assert {"oracle", "parts.../<b>/x", "eta"} <= set(table.columns)


def test_controls_have_names_and_charts_have_words(opened: Open) -> None:
    for path in PAGES:
        page = opened(path)
        nameless = page.evaluate(
            """[...document.querySelectorAll('select, input, button')].filter((e) => e.offsetParent !== null)
            .filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map((e) => e.outerHTML)"""
        )
        assert nameless == [], path
        told = page.locator(".drawing [role=graphics-document]").evaluate_all(
            "(all) => all.map((chart) => chart.getAttribute('aria-label'))"
        )
        assert len(told) == page.locator("figure.chart").count()
        assert all(told), path
        assert not [words for words in told if "@" in words], path


def test_without_javascript_the_tables_are_all_there(opened: Open) -> None:
    page = opened("index.html", java_script_enabled=False)
    assert len(_names(page)) == 8
    assert page.locator("form.filter").is_hidden()
    assert page.locator("noscript p").is_visible()


def test_paper_gets_no_buttons_and_no_boxes_that_scroll(opened: Open) -> None:
    page = opened("a--grid.html")
    page.emulate_media(media="print")
    assert page.locator("form.choices").first.is_hidden()
    assert page.locator(".download").first.is_hidden()
    assert page.evaluate(
        "[...document.querySelectorAll('.wide')].every((e) => getComputedStyle(e).overflow === 'visible')"
    )
    assert page.evaluate("getComputedStyle(document.querySelector('.drawing svg text')).fill") == "rgb(0, 0, 0)"
