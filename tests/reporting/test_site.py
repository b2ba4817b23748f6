"""The site: every link leads somewhere, every number is the ranking's, nothing from outside gets out of its place."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pandas as pd
import pytest

from suite.errors import BadInput
from suite.ranking.relatives import relatives
from suite.reporting.board import PUBLISHED, read_board
from suite.reporting.build import Place, build
from suite.reporting.charts import specs
from suite.reporting.charts.costs import cost_table
from suite.reporting.charts.sheet import Sheet, by_likeness, columns, plain, script, triangle
from suite.reporting.markdown import markdown
from suite.reporting.metric_pages import metric_file
from suite.reporting.plots import draw
from suite.reporting.site import _task_data, claims_table, site
from tests.ranking.made_up import made_up
from tests.reporting.made_site import large_site, small_site


class Page(HTMLParser):
    """The elements of a page, in their order, as (tag, attributes), and the words in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_site(tmp_path_factory.mktemp("site"))


def _pages(place: Path) -> dict[str, Page]:
    paths = sorted(place.rglob("*.html"))
    return {path.relative_to(place).as_posix(): Page(path.read_text()) for path in paths}


def _data(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def _column(table: dict[str, Any], name: str) -> list[Any]:
    column = table[name]
    if isinstance(column, list):
        return column
    if "places" in column:
        return [column["values"][place] for place in column["places"]]
    return [value for value, count in zip(column["values"], column["counts"], strict=True) for _ in range(count)]


def test_every_link_leads_to_a_file_that_is_there_and_nothing_is_fetched(place: Path) -> None:
    for name, page in _pages(place).items():
        ids = {attributes.get("id") for _, attributes in page.elements}
        for tag, key in (("a", "href"), ("link", "href"), ("script", "src")):
            for link in (attributes[key] for attributes in page.of(tag) if attributes.get(key)):
                parts = urlsplit(str(link))
                assert parts.scheme in ("", "data"), (name, link)
                target = (place / name).parent / unquote(parts.path)
                assert parts.scheme or not parts.path or target.is_file(), (name, link)
                assert parts.path or parts.scheme or parts.fragment in ids, (name, link)


def test_every_page_has_one_heading_a_language_and_labels_for_its_choices(place: Path) -> None:
    pages = _pages(place)
    assert len(pages) == 1 + 2 + 8  # index, tasks, metrics (of which one is two parts)
    for name, page in pages.items():
        assert len(page.of("h1")) == 1, name
        assert page.of("html") == [{"lang": "en"}], name
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids)), name
        inside = 0
        for tag, _ in page.elements:
            inside += tag == "label"
        assert inside == len(page.of("select")) + len(page.of("input")), name


def test_the_tables_are_there_without_javascript(place: Path) -> None:
    index = (place / "index.html").read_text()
    assert "<noscript>" in index
    assert index.count('<tr data-text="') == 8
    assert "+1.00" in index
    grid = (place / "a--grid.html").read_text()
    assert grid.count('<tr data-text="') == 2 * 8
    assert "[" in grid


def test_words_from_outside_stay_words(place: Path) -> None:
    for name, page in _pages(place).items():
        assert not page.of("b"), name
        assert not page.of("i"), name
    # one end a script: those that are loaded, and the data
    task = (place / "a--grid.html").read_text()
    assert task.count("</script>") == 4
    page = Page((place / "metrics/noise.html").read_text())
    assert "x < y & z" in page.words
    assert "No value where: it is <i>odd</i>." in page.words


def test_names_from_outside_make_no_paths(place: Path) -> None:
    assert metric_file("sharpness_dimension") == "sharpness_dimension.html"
    odd = metric_file("parts.../<b>/x")
    assert re.fullmatch(r"parts\.\.\.__b__x-[0-9a-f]{8}\.html", odd)
    assert (place / "metrics" / odd).is_file()
    assert metric_file("a/b") != metric_file("a_b") != metric_file("a?b") != metric_file("a/b")
    assert len(metric_file("x" * 500)) < 100
    hostile = script({"</script><!--": ["<script>", float("1")]})
    assert "<" not in hostile
    assert json.loads(hostile) == {"</script><!--": ["<script>", 1.0]}


def test_embedded_numbers_are_those_of_the_results(place: Path) -> None:
    data = _data(place / "a--grid.html")
    names = {name: key for key, name in data["names"].items()}
    points = data["tables"]["points"]
    runs = pd.read_csv(place.parent / "results/a/grid/runs.csv")
    assert _column(points, "run") == list(runs["run_id"])
    np.testing.assert_allclose(_column(points, names["loss_gap"]), runs["loss_gap"], rtol=1e-5)
    values = pd.read_csv(place.parent / "results/a/grid/values/lucky.csv")["value"]
    read = pd.Series(_column(points, names["lucky"]), dtype=float)
    np.testing.assert_allclose(read, values, rtol=1e-5, equal_nan=True)
    left_out = [
        run for run, kept in zip(_column(points, "run"), _column(points, "kept"), strict=True) if kept != "ranked"
    ]
    assert left_out == ["r4", "r5", "r6"]
    assert _column(points, names["eta"])[0] == "0.1"
    assert data["said"][names["oracle"]][names["loss_gap"]].startswith("τ = +1.00 [+1.00, +1.00], p ")


def test_correlations_of_metrics_are_embedded_whole(place: Path) -> None:
    board = read_board(place.parent / "results", ["a/grid"])
    tau = relatives(board.tasks[0].results)
    data = _data(place / "a--grid.html")
    keys = [data["names"][key] for key in data["matrix"]["keys"]]
    assert sorted(keys) == sorted(tau.index)
    for i, row in enumerate(data["matrix"]["rows"]):
        assert len(row) == i
        for j, thousandths in enumerate(row):
            expected = tau.at[keys[i], keys[j]]
            assert (thousandths is None) == np.isnan(expected)
            assert thousandths is None or thousandths / 1000 == pytest.approx(expected, abs=5e-4)
    assert keys.index("oracle") in (keys.index("parts.a") - 1, keys.index("parts.a") + 1, keys.index("parts.a") + 2,
                                    keys.index("parts.a") - 2, keys.index("wrong_way") + 1)  # fmt: skip


def test_likeness_puts_neighbours_together() -> None:
    tau = np.array([[1, 0.1, -0.9, 0.2], [0.1, 1, 0.1, 0.8], [-0.9, 0.1, 1, np.nan], [0.2, 0.8, np.nan, 1]])
    order = by_likeness(tau)
    assert sorted(order) == [0, 1, 2, 3]
    assert abs(order.index(0) - order.index(2)) == 1  # |τ| = 0.9, though of other sign
    assert abs(order.index(1) - order.index(3)) == 1
    assert by_likeness(np.ones((2, 2))) == [0, 1]


def test_what_changes_when_is_marked_of_runs_that_do(tmp_path: Path) -> None:
    made_up(tmp_path)
    path = tmp_path / "b/trajectory/runs.csv"
    runs = pd.read_csv(path)
    runs["test_accuracy"] = np.where((runs["run_id"] == "t0") & (runs["step"] >= 3), 0.9, 0.1)
    runs.to_csv(path, index=False)
    board = read_board(tmp_path, ["b/trajectory"])
    changes = Sheet(board, board.tasks[0]).changes
    jumps = changes[changes["key"] == "test"]
    assert list(jumps["run"]) == ["t0"]
    assert list(jumps["step"]) == [2.5]  # between the checkpoints at 2 and 3


def test_tables_for_json() -> None:
    table = pd.DataFrame({"x": [1 / 3, np.inf, np.nan, 2e-20], "n": [1, 2, 3, 4], "w": ["a", "b", "c", "d"]})
    assert columns(table) == {"x": [0.333333, None, None, 2e-20], "n": [1, 2, 3, 4], "w": ["a", "b", "c", "d"]}
    assert columns(pd.DataFrame({"w": ["b", "b", "a", "b"] * 3}))["w"] == {
        "values": ["b", "a"],
        "places": [0, 0, 1, 0] * 3,
    }
    assert columns(pd.DataFrame({"w": [1, 1, 1, 1, 1, 2, 2, 2]}))["w"] == {"values": [1, 2], "counts": [5, 3]}
    assert columns(pd.DataFrame({"x": [1 / 3]}), 2) == {"x": [0.33]}
    assert columns(pd.DataFrame({"w": [1.0, np.nan] * 8}))["w"] == [1, None] * 8  # kinds mixed: as it is
    assert [plain(123456789.0), plain(-0.0), plain(5.0)] == [123457000, 0, 5]
    matrix = pd.DataFrame([[1, 0.12345], [0.12345, 1]], ["p", "q"], ["p", "q"])
    assert triangle(matrix) == {"keys": ["p", "q"], "rows": [[], [123]]}


def test_a_chart_takes_what_was_chosen() -> None:
    spec = {"a": ["@metric", {"b": "@metric title"}], "@metric": 1, "c": "x @metric"}
    assert specs.fill(spec, {"@metric": "m0", "@metric title": "T"}) == {
        "a": ["m0", {"b": "T"}],
        "@metric": 1,
        "c": "x @metric",
    }


def test_marks_beyond_the_edge_and_means_have_columns_of_their_own(place: Path) -> None:
    """Vega-Lite merges aggregates of the same groups; two of one name would be one."""
    layers = _data(place / "a--grid.html")["charts"]["heat"]["layer"]
    made = [{each["as"] for part in layer["transform"] for each in part.get("aggregate", [])} for layer in layers]
    assert len(made) == 2
    assert not made[0] & made[1]


def test_the_edge_along_training_is_drawn_a_line_a_run_with_a_rule_at_one(place: Path) -> None:
    data = _data(place / "a--grid.html")
    table = {name: _column(data["tables"]["edge"], name) for name in data["tables"]["edge"]}
    made = pd.read_csv(place.parent / "results/a/grid/edge.csv").dropna()
    assert table["run"] == made["run_id"].tolist()
    assert len(table["run"]) == 18 * 3 - 1  # r6 has diverged before the last step
    assert table["step"] == made["step"].tolist()
    np.testing.assert_allclose(table["edge_ratio"], made["edge_ratio"], rtol=1e-5)
    lines, rule = data["charts"]["edge"]["layer"]
    assert lines["encoding"]["detail"]["field"] == "run"
    colour = lines["encoding"]["color"]["field"]
    assert data["names"][colour] == "eta"
    assert table[colour] == [f"{0.1 * (1 + int(run[1:]) // 6):g}" for run in table["run"]]
    assert lines["encoding"]["y"]["scale"]["type"] == "linear"  # from 0.25 to 3
    assert lines["encoding"]["x"]["scale"]["type"] == "linear"
    assert data["charts"]["edge"]["datasets"][rule["data"]["name"]] == [{"one": 1}]
    page = (place / "a--grid.html").read_text()
    assert "Edge of stability along training" in page
    assert (
        "in 12 of 18 networks, and at the last one (of a network that diverged: at the last before that) in 1." in page
    )
    assert "in 3 of 6 networks, and at the last one in 0." in (place / "b--trajectory.html").read_text()


def test_edge_ratios_over_decades_are_on_a_logarithmic_axis_and_uneven_runs_on_one_of_roots(tmp_path: Path) -> None:
    made_up(tmp_path)
    rows = [("r0", 0, 1.0, 0.001), ("r0", 40, 1.0, 2.0), ("r0", 80, 0.0, 0.0), ("r1", 0, 1.0, 0.5), ("r1", 5, 1.0, 0.5)]
    table = pd.DataFrame(rows, columns=["run_id", "step", "sharpness", "edge_ratio"])
    table.to_csv(tmp_path / "a/grid/edge.csv", index=False)
    board = read_board(tmp_path, ["a/grid"])
    lines = specs.edge(Sheet(board, board.tasks[0]))["layer"][0]
    assert lines["encoding"]["y"]["scale"]["type"] == "log"
    assert lines["encoding"]["x"]["scale"]["type"] == "sqrt"
    assert "square roots" in lines["encoding"]["x"]["title"]
    assert lines["transform"] == [{"filter": {"field": "edge_ratio", "gt": 0}}]
    assert "not above 0 are left out" in site(board, PUBLISHED)["a--grid.html"].decode()


def test_an_optimizer_without_an_edge_has_no_chart_of_it(tmp_path: Path) -> None:
    made_up(tmp_path)
    (tmp_path / "a/grid/edge.csv").write_text("run_id,step,sharpness,edge_ratio\nr0,0,1.5,\n")
    board = read_board(tmp_path, ["a/grid"])
    assert "edge" not in _task_data(Sheet(board, board.tasks[0]))["charts"]
    assert "there is no edge ratio: the optimizer has none." in markdown(board)


def test_costs_are_with_and_without_probes(place: Path) -> None:
    board = read_board(place.parent / "results", ["a/grid"])
    table = cost_table(board).set_index("title")
    assert table.at["Noise", "own"] == pytest.approx(0.02)
    assert table.at["Noise", "whole"] == pytest.approx(0.02 + 1.8 / 18)  # the probe's seconds over 18 networks
    assert "Edge ratio" not in table.index  # of unknown cost: not drawn, not guessed


def test_a_metrics_page_tells_what_failed_and_where_its_values_are(place: Path) -> None:
    page = (place / "metrics/lucky.html").read_text()
    assert "took longer than 1 s" in page
    assert "timeout" in page
    assert '<td>14</td><td class="left">timeout</td>' in page.replace("\n", "")
    assert 'href="../a--grid.html#metric=lucky&amp;target=loss_gap"' in page
    assert "None." in (place / "metrics/oracle.html").read_text()


def test_results_from_before_definitions_and_spectra_make_a_site_too(tmp_path: Path) -> None:
    made_up(tmp_path)
    files = site(read_board(tmp_path), PUBLISHED)
    assert "<p>–</p>" in files["metrics/noise.html"].decode()
    assert "Spectra" not in files["a--grid.html"].decode()
    assert "Cost against skill" not in files["index.html"].decode()


def test_a_task_without_any_value_has_a_page(tmp_path: Path) -> None:
    made_up(tmp_path)
    for path in (tmp_path / "a/grid/values").glob("*.csv"):
        pd.read_csv(path).assign(value=np.nan, status="failed", reason="no").to_csv(path, index=False)
    files = site(read_board(tmp_path), PUBLISHED)
    page = Page(files["a--grid.html"].decode())
    assert len(page.of("h1")) == 1
    assert not page.of("figure")


def test_claims_have_a_place_and_are_escaped(place: Path) -> None:
    words = ("id", "claim", "source", "verdict", "in_small", "figure", "margin", "decide")
    table = claims_table([{word: f"<i>{word}</i> `<b>`" for word in words}])
    assert "&lt;i&gt;decide&lt;/i&gt; <code>&lt;b&gt;</code>" in table
    assert "<i>" not in table
    board = read_board(place.parent / "results", ["a/grid"])
    index = site(board, PUBLISHED, table)["index.html"].decode()
    assert str(table) in index
    assert 'href="#claims"' in index
    assert 'id="claims"' not in site(board, PUBLISHED)["index.html"].decode()


def test_stale_pages_go_and_other_files_stay(tmp_path: Path) -> None:
    made_up(tmp_path / "results")
    stale = [tmp_path / "site" / name for name in ("old.html", "metrics/old.html", "assets/old.js", "assets/old.css")]
    kept = tmp_path / "site/notes.txt"
    for path in (*stale, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    build(read_board(tmp_path / "results"), PUBLISHED, Place.within(tmp_path), tmp_path / "site")
    assert not any(path.exists() for path in stale)
    assert kept.exists()


@pytest.mark.slow
def test_twenty_tasks_of_sixty_metrics_and_two_hundred_runs_stay_under_ten_megabytes() -> None:
    files = large_site()
    assert len(files) == 1 + 20 + 60 + 4
    assert "Spectra" in files["made-up--0.html"].decode()
    assert sum(map(len, files.values())) < 10_000_000


def test_reports_never_import_torch() -> None:
    code = "import sys, suite.reporting.site, suite.reporting.plots, altair, vl_convert; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert "suite.reporting.charts.specs" in done.stdout.split()
    assert "torch" not in done.stdout.split()


def test_figures_for_papers_are_the_same_bytes_with_their_data_beside(place: Path, tmp_path: Path) -> None:
    first = draw(place.parent / "results", tmp_path / "one", ["a/grid"])
    again = draw(place.parent / "results", tmp_path / "two", ["a/grid"])
    assert [path.name for path in first] == [path.name for path in again]
    for one, two in zip(first, again, strict=True):
        assert one.read_bytes() == two.read_bytes(), one.name
    names = {path.name.split(".")[1] for path in first if path.name.startswith("a--grid.")}
    assert names == {"scatter", "heat", "matrix", "noise", "eigenvalues", "exponents", "edge"}
    assert {path.suffix for path in first} == {".svg", ".pdf", ".csv"}
    svg = (tmp_path / "one/a--grid.scatter.oracle.loss_gap.svg").read_text()
    assert "loss gap (nats)" in svg
    assert "currentColor" not in svg
    assert "@" not in svg
    table = pd.read_csv(tmp_path / "one/a--grid.scatter.oracle.loss_gap.csv")
    runs = pd.read_csv(place.parent / "results/a/grid/runs.csv")
    np.testing.assert_array_equal(table["loss_gap"], runs["loss_gap"])
    assert {"run", "oracle", "eta", "b", "seed"} <= set(table.columns)
    assert "accuracy_gap" not in table.columns
    ratios = pd.read_csv(tmp_path / "one/a--grid.edge.csv")
    assert ratios["edge_ratio"].max() == pytest.approx(3.0)
    assert {"run", "step", "sharpness", "status", "eta"} <= set(ratios.columns)


def test_figures_of_a_trajectory_mark_the_transition(place: Path, tmp_path: Path) -> None:
    names = {path.name for path in draw(place.parent / "results", tmp_path, ["b/trajectory"], "svg")}
    assert {"b--trajectory.accuracy.svg", "b--trajectory.curve.loss_gap.svg", "b--trajectory.curve.oracle.csv"} <= names
    assert not any(name.endswith(".pdf") for name in names)


def test_figures_that_cannot_be_are_bad_input(place: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="--format png: use svg, pdf, both"):
        draw(place.parent / "results", tmp_path / "x", None, "png")
    with pytest.raises(BadInput, match="no results of c/none"):
        draw(place.parent / "results", tmp_path / "x", ["c/none"])
    assert not (tmp_path / "x").exists()
