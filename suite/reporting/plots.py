"""The site's charts as files for papers: SVG and PDF, and the data behind each as CSV."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from suite.errors import BadInput
from suite.ranking.task import TaskRanking
from suite.reporting.board import CLAIM, Board, read_board, slug
from suite.reporting.build import write_file
from suite.reporting.charts import specs
from suite.reporting.charts.costs import CHOICES, cost_table
from suite.reporting.charts.sheet import Quantity, Sheet, kind, plain
from suite.reporting.charts.theme import DIALECT, INK, theme
from suite.reporting.metric_pages import metric_file

FORMATS = {"svg": ("svg",), "pdf": ("pdf",), "both": ("svg", "pdf")}
WIDTH = 480
_LEADING = 4
_SETTINGS = 5
_FONT = "DejaVu Sans, Liberation Sans, sans-serif"
_NAMES = re.compile(rb"(?m)(?:^ +/[a-z]+\d+ \d+ 0 R\n){2,}")
"""Lines of a PDF that name what a page uses."""
_GRADIENT = re.compile(r"(?<=gradient_)\d+")


@dataclass(frozen=True)
class Plot:
    """A chart with its data: `table` is what its CSV holds, `further` are tables that it draws besides."""

    name: str
    spec: specs.Spec
    source: str
    table: pd.DataFrame
    further: dict[str, pd.DataFrame]
    titles: dict[str, str]


def draw(results: Path, folder: Path, tasks: Sequence[str] | None = None, form: str = "both") -> list[Path]:
    """`save_plots` of a folder of results: of the tasks of these names, or of all.

    Raises:
        BadInput: it has none, or not of a task named, or as of `save_plots`.
    """
    _check(form)
    return save_plots(read_board(results, tasks or None), folder, form)


def save_plots(board: Board, folder: Path, form: str = "both") -> list[Path]:
    """Draw all charts of a board into a folder; returns what was written.

    The same board gives the same bytes; but of a PDF with words that need a second font, the order of its fonts.

    Args:
        board: which tasks it has decides what is drawn.
        folder: is made if it is not there.
        form: `svg`, `pdf` or `both`.

    Raises:
        BadInput: another format, or a file cannot be written.
    """
    _check(form)
    written = []
    for plot in plots(board):
        contents = {suffix: _drawn(plot, suffix) for suffix in FORMATS[form]} | {"csv": _csv(plot)}
        for suffix, content in contents.items():
            written.append(folder / f"{plot.name}.{suffix}")
            write_file(written[-1], content)
    return written


def _check(form: str) -> None:
    if form not in FORMATS:
        raise BadInput(f"--format {form}: use {', '.join(FORMATS)}")


def plots(board: Board) -> Iterator[Plot]:
    """The charts: overall and cost, then task by task."""
    scored = board.leaders[board.leaders["score"].notna()]
    table = scored[["title", "score", "low", "high"]].assign(kind=[kind(bool(t)) for t in scored["trivial"]])
    yield Plot("overall", specs.overall(), "overall", table.reset_index(drop=True), {}, {})
    costs = cost_table(board)
    if len(costs):
        words = {"@seconds": "whole", "@seconds title": CHOICES["whole"], "@seconds scale": "log"}
        yield Plot("cost", specs.fill(specs.cost(), words), "cost", costs, {}, {})
    for task in board.tasks:
        sheet = Sheet(board, task)
        if sheet.metrics:
            yield from _of_task(board, task, sheet)


def _of_task(board: Board, task: TaskRanking, sheet: Sheet) -> Iterator[Plot]:
    name = slug(task.results.name)
    metrics = [metric for each in board.leading(task, _LEADING) if (metric := sheet.find(each)) is not None]
    if task.results.kind == "trajectory":
        yield from _over_steps(name, sheet, metrics)
    else:
        yield from _over_networks(name, sheet, metrics)
    leading = [metric for metric in sheet.metrics if metric.lead]
    if len(leading) > 1:
        yield Plot(f"{name}.matrix", specs.correlations(), "matrix", _pairs(sheet, leading), {}, {})
    noise = sheet.noise[sheet.noise["lead"].astype(bool)]
    if len(noise):
        yield Plot(f"{name}.noise", specs.noise(), "noise", noise, {"gaps": sheet.gap_noise}, {})
    yield from _spectra(name, sheet)
    if len(sheet.edge):
        yield Plot(f"{name}.edge", specs.edge(sheet), "edge", sheet.edge, {}, _titles(sheet))


def _over_networks(name: str, sheet: Sheet, metrics: list[Quantity]) -> Iterator[Plot]:
    for metric in metrics:
        for target in sheet.targets:
            words = specs.chosen("metric", metric) | specs.chosen("target", target)
            table = _points(sheet, [target, metric])
            spec = specs.fill(specs.scatter(sheet), words)
            yield Plot(f"{name}.scatter.{_stem(metric)}.{_stem(target)}", spec, "points", table, {}, _titles(sheet))
    if len(sheet.factors) > 1:
        edge = sheet.find("edge_ratio")
        asked = [*sheet.targets, sheet.find(CLAIM), edge]
        for quantity in [each for each in asked if each is not None]:
            spec = specs.fill(specs.heat(sheet), specs.chosen("quantity", quantity))
            table = _points(sheet, list(dict.fromkeys([quantity, *([edge] if edge else [])])))
            yield Plot(f"{name}.heat.{_stem(quantity)}", spec, "points", table, {}, _titles(sheet))


def _over_steps(name: str, sheet: Sheet, metrics: list[Quantity]) -> Iterator[Plot]:
    changes, titles = {"changes": sheet.changes}, _titles(sheet)
    yield Plot(f"{name}.accuracy", specs.curves(sheet, "accuracy"), "points", _points(sheet, []), changes, titles)
    for word, quantities in (("target", sheet.targets), ("metric", metrics)):
        for quantity in quantities:
            spec = specs.fill(specs.curves(sheet, word, legend=True), specs.chosen(word, quantity))
            table = _points(sheet, [quantity])
            yield Plot(f"{name}.curve.{_stem(quantity)}", spec, "points", table, changes, titles)


def _spectra(name: str, sheet: Sheet) -> Iterator[Plot]:
    """Spectra of the last step, of a few settings evenly spread."""
    table = sheet.spectra
    if table.empty:
        return
    here = set(table["setting"])
    settings = [setting for setting in sheet.setting_names if setting in here]
    shown = settings[:: max(1, -(-len(settings) // _SETTINGS))]
    table = table[table["setting"].isin(shown) & (table["step"] == table["step"].max())]
    for column in ("eigenvalue", "exponent"):
        yield Plot(f"{name}.{column}s", specs.spectra(sheet, column), "spectra", table, {}, {})


def _pairs(sheet: Sheet, metrics: list[Quantity]) -> pd.DataFrame:
    """The matrix as rows: a, b, tau."""
    titles = sheet.distinct_titles()
    shown = {metric.key for metric in metrics}
    keys = [key for key in sheet.matrix.index if key in shown]
    tau = sheet.matrix.loc[keys, keys].to_numpy(float)
    rows = [(titles[a], titles[b], tau[j, i]) for j, b in enumerate(keys) for i, a in enumerate(keys)]
    return pd.DataFrame(rows, columns=["a", "b", "tau"])


def _points(sheet: Sheet, quantities: list[Quantity]) -> pd.DataFrame:
    """The points with the columns that a chart reads: what is known of every network, and these quantities."""
    others = {quantity.key for quantity in [*sheet.targets, *sheet.metrics]} - {each.key for each in quantities}
    return sheet.points.drop(columns=[key for key in sheet.points if key in others])


def _titles(sheet: Sheet) -> dict[str, str]:
    """What the keyed columns are called in a CSV file."""
    titles = {quantity.key: quantity.name for quantity in [*sheet.targets, *sheet.metrics]}
    return titles | {factor.key: factor.title for factor in [*sheet.factors, *sheet.seeds]}


def _stem(quantity: Quantity) -> str:
    return metric_file(quantity.name).removesuffix(".html")


def _drawn(plot: Plot, form: str) -> bytes:
    import vl_convert

    tables = {plot.source: plot.table, **plot.further}
    spec = plot.spec | {"datasets": dict(plot.spec.get("datasets", {}))}
    for name, table in tables.items():
        spec["datasets"][name] = [
            {str(key): plain(value) for key, value in row.items()} for row in table.to_dict("records")
        ]
    if spec["width"] == "container":
        spec["width"] = WIDTH
    config = theme() | {"background": "white", "font": _FONT}
    spec, config = (_in_black(each) for each in (spec, config))
    if form == "pdf":
        return _in_order(vl_convert.vegalite_to_pdf(spec, vl_version=DIALECT, config=config))
    return _counted_anew(vl_convert.vegalite_to_svg(spec, vl_version=DIALECT, config=config)).encode()


def _in_order(pdf: bytes) -> bytes:
    """The converter names what a page uses in an order of chance; by name it is the same file each time.

    The lines keep their number and length, so that whatever the file says of its own bytes stays true.
    """
    return _NAMES.sub(lambda names: b"".join(sorted(names[0].splitlines(keepends=True))), pdf)


def _counted_anew(svg: str) -> str:
    """The converter counts gradients over all that it has drawn; here each file counts its own."""
    numbers = {name: str(place) for place, name in enumerate(dict.fromkeys(_GRADIENT.findall(svg)))}
    return _GRADIENT.sub(lambda found: numbers[found[0]], svg)


def _in_black(part: dict[str, Any]) -> dict[str, Any]:
    """A file has no page whose ink it could have."""
    made: dict[str, Any] = json.loads(json.dumps(part).replace(json.dumps(INK), '"black"'))
    return made


def _csv(plot: Plot) -> bytes:
    return plot.table.rename(columns=plot.titles).to_csv(index=False, lineterminator="\n").encode()
