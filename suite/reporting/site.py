"""The static site: an index, one page a task, one page a metric; works from a file system, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from suite.ranking.tables import short
from suite.ranking.task import TaskRanking
from suite.reporting.board import (
    Board,
    Origin,
    between,
    chance,
    constant_note,
    count,
    drawn_from,
    expected_sign,
    granulated,
    number,
    ordered,
    read_sign,
    size,
    slug,
    span,
    untrained,
)
from suite.reporting.charts import specs
from suite.reporting.charts.costs import CHOICES, cost_table
from suite.reporting.charts.sheet import LEADING, Quantity, Sheet, columns, of_kind, plain, script, triangle, wide
from suite.reporting.charts.theme import library, themes
from suite.reporting.cost import Cost, duration, elsewhere
from suite.reporting.edge import edge_sentence
from suite.reporting.metric_pages import Facts, all_facts, metric_file

PATTERNS = ("*.html", "metrics/*.html", "assets/*.css", "assets/*.js")
"""All files of a site are of these, and a file of these that a new site lacks is a stale one."""


def site(board: Board, origin: Origin, claims_html: Markup | None = None) -> dict[str, bytes]:
    """Paths in the site and contents of all its files. Everything from outside is escaped.

    Args:
        board: what to show.
        origin: what made them from what.
        claims_html: a table of verdicts on claims for the index, already escaped; None: the index has no such part.
    """
    environment = _environment(board, origin)
    texts = {"index.html": _index(environment, board, claims_html)}
    for task in board.tasks:
        texts[f"{slug(task.results.name)}.html"] = _task(environment, board, task)
    for metric in all_facts(board):
        texts[f"metrics/{metric.file}"] = _metric(environment, metric)
    static = files("suite.reporting") / "static"
    texts |= {f"assets/{name}": (static / name).read_text(encoding="utf-8") for name in ("site.css", "site.js")}
    texts |= {"assets/themes.js": themes(), "assets/vega.js": library()}
    return {path: text.encode() for path, text in texts.items()}


def claims_table(rows: Sequence[Mapping[str, str]]) -> Markup:
    """The table of claims for `site`, from the rows of `suite.reporting.claims.rows`; what they say is escaped."""
    return Markup(_templates().get_template("claims.html.j2").render(rows=rows))  # noqa: S704  # escaped there


def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("suite.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "slug": slug, "short": short, "expected_sign": expected_sign}
    environment.filters |= {"sortable": sortable, "share": share, "across": across}
    environment.filters |= {"metric_file": metric_file, "commands": commands}
    environment.globals |= {"span": span, "granulated": granulated, "ordered": ordered, "drawn_from": drawn_from}
    environment.globals |= {"between": between, "count": count, "chance": chance, "size": size, "of_kind": of_kind}
    environment.globals |= {"untrained": untrained, "elsewhere": elsewhere}
    environment.globals |= {"constant_note": constant_note, "read_sign": read_sign, "grouped": grouped}
    environment.globals |= {"duration": duration}
    environment.globals |= {"leading": LEADING, "edge_sentence": edge_sentence, "wide": wide}
    return environment


def _environment(board: Board, origin: Origin) -> Environment:
    environment = _templates()
    environment.globals |= {"board": board, "origin": origin}
    return environment


def _index(environment: Environment, board: Board, claims_html: Markup | None) -> str:
    costs = cost_table(board)
    data = {"tables": {"cost": columns(costs)}, "charts": {"cost": specs.cost()}} if len(costs) else None
    return environment.get_template("index.html.j2").render(
        up="", claims_html=claims_html, data=_embedded(data), families=_sorted(board.overall["family"]), costs=CHOICES
    )


def _task(environment: Environment, board: Board, task: TaskRanking) -> str:
    sheet = Sheet(board, task)
    data = _task_data(sheet)
    return environment.get_template("task.html.j2").render(
        up="", task=task, results=task.results, sheet=sheet, data=_embedded(data), charts=data["charts"],
        families=_sorted(metric.group for metric in sheet.metrics), changed=_change_rows(sheet),
        cost=Cost(task.results),
    )  # fmt: skip


def _metric(environment: Environment, metric: Facts) -> str:
    return environment.get_template("metric.html.j2").render(up="../", metric=metric, data=None)


def _task_data(sheet: Sheet) -> dict[str, Any]:
    """Tables and charts of a task's page; a chart that the task has no data for is not there."""
    tables = {"points": sheet.points}
    charts: dict[str, Any] = {}
    if sheet.metrics and sheet.results.kind == "trajectory":
        charts |= {what: specs.curves(sheet, what) for what in ("accuracy", "target", "metric")}
        tables["changes"] = sheet.changes
    elif sheet.metrics:
        charts["scatter"] = specs.scatter(sheet)
        if len(sheet.factors) > 1:
            charts["heat"] = specs.heat(sheet)
    if len(sheet.metrics) > 1:
        charts["matrix"] = specs.correlations()
    if len(sheet.noise):
        charts["noise"] = specs.noise()
        tables |= {"noise": sheet.noise, "gaps": sheet.gap_noise}
    if len(sheet.spectra):
        charts |= {column: specs.spectra(sheet, column) for column in ("eigenvalue", "exponent")}
        tables["spectra"] = sheet.spectra
    if len(sheet.edge):
        charts["edge"], tables["edge"] = specs.edge(sheet), sheet.edge
    coded = {name: columns(table, 4 if name == "spectra" else 6) for name, table in tables.items()}
    data: dict[str, Any] = {"tables": coded, "charts": charts}
    data["names"] = {q.key: q.name for q in [*sheet.targets, *sheet.metrics]}
    data["names"] |= {factor.key: factor.title for factor in [*sheet.factors, *sheet.seeds]}
    titles = sheet.distinct_titles()
    data["metrics"] = {m.key: {"title": titles[m.key], "group": m.group, "lead": m.lead} for m in sheet.metrics}
    if "matrix" in charts:
        data["matrix"] = triangle(sheet.matrix)
    return data | {"said": _said(sheet)}


def _said(sheet: Sheet) -> dict[str, dict[str, str]]:
    """τ of every metric with every target in words, for the line below a chart."""
    keys = {q.name: q.key for q in [*sheet.targets, *sheet.metrics]}
    said: dict[str, dict[str, str]] = {}
    for row in sheet.task.rows.to_dict("records"):
        if row["metric"] in keys:
            words = f"τ = {number(row['tau'])} {span(row['low'], row['high'])}".strip()
            text = (
                f"{words}, p {'=' if row['p_holm'] >= 0.01 else ''} {chance(row['p_holm'])} (corrected), n = {row['n']}"
            )
            said.setdefault(keys[row["metric"]], {})[keys[row["target"]]] = text.replace("p  ", "p ")
    return said


def _change_rows(sheet: Sheet) -> list[dict[str, Any]]:
    """Of a trajectory task's metrics that change where the test accuracy jumps: lead in steps, with its interval."""
    if sheet.results.kind != "trajectory":
        return []
    table = sheet.task.changes.set_index("metric")
    return [{str(k): v for k, v in table.loc[m.name].items()} | {"title": m.title, "name": m.name}
            for m in sheet.metrics]  # fmt: skip


def commands(text: str) -> Markup:
    """Words in which what stands between backticks is code; all of them escaped."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped before


def _embedded(data: object) -> Markup | None:
    """JSON for a `<script>` element, which needs no further escaping; None where a page has no charts."""
    return None if data is None else Markup(script(data))  # noqa: S704  # `script` escapes


def _sorted(words: Iterable[Any]) -> list[str]:
    return sorted({str(word) for word in words})


def grouped(sheet: Sheet) -> list[tuple[str, list[Quantity]]]:
    """The metrics of a task by family, both by name, for a list to choose from."""
    families = _sorted(metric.group for metric in sheet.metrics)
    by_title = sorted(sheet.metrics, key=lambda metric: metric.title.lower())
    return [(family, [metric for metric in by_title if metric.group == family]) for family in families]


def sortable(value: Any) -> str:
    """What a table's cell is sorted by; nothing where there is no value."""
    return "" if pd.isna(value) else str(plain(float(value), 4))


def across(value: float) -> str:
    """Where on an axis from −1 to 1 a value is, in percent of its length."""
    return f"{50 + 50 * max(-1.0, min(1.0, float(value))):.1f}%"


def share(value: float) -> str:
    """A share with two digits; an en dash where there is none."""
    return "–" if pd.isna(value) else f"{value:.2f}"
