"""Deterministic SVG figures."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from suite.ranking.tables import short
from suite.ranking.task import TaskRanking
from suite.reporting.board import Board, levels, number, setting, slug

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_REAL, _TRIVIAL = "#0072B2", "#D55E00"  # Okabe & Ito's blue and vermilion: told apart by everyone
_MARKERS = "osD^vP*X<>ph"
_FURTHER = "."  # all levels that there is no marker for; the legend says so
_COLUMNS = 4
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "sharpness-suite",
    "svg.fonttype": "path",
    "text.parse_math": False,  # words come from outside: a $ in a title is a dollar
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.facecolor": "white",
}


def figures(board: Board) -> dict[str, bytes]:
    """File names and contents of all figures: `overall.svg` and one per task."""
    import matplotlib as mpl

    mpl.use("Agg")
    with mpl.rc_context(cast(Any, _STYLE)):
        made = {"overall.svg": _svg(_overall(board))}
        for task in board.tasks:
            made[f"{slug(task.results.name)}.svg"] = _svg(_task(board, task))
    return made


def _svg(figure: Figure) -> bytes:
    import matplotlib.pyplot as plt

    buffer = io.BytesIO()
    # a constrained layout has put all within the figure: to look for its edges would be to draw it once more
    edges = "tight" if figure.get_layout_engine() is None else None
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches=edges)
    plt.close(figure)
    return buffer.getvalue()


def _overall(board: Board) -> Figure:
    import matplotlib.pyplot as plt

    table, left_out = board.leaders[board.leaders["score"].notna()].iloc[::-1], board.unshown
    figure, axes = plt.subplots(figsize=(7.5, 0.28 * len(table) + 0.9))
    for place, (_, row) in enumerate(table.iterrows()):
        colour, marker = (_TRIVIAL, "o") if row["trivial"] else (_REAL, "D")
        face = "white" if row["trivial"] else colour
        axes.plot([row["low"], row["high"]], [place, place], color=colour, lw=1.5, solid_capstyle="butt")
        axes.plot(row["score"], place, marker, color=colour, mfc=face, ms=6)
    axes.axvline(0, color="0.6", lw=0.8, zorder=0)
    lacking = np.where(table["lacking"], " (values missing)", "")
    axes.set_yticks(range(len(table)), [f"{title}{word}" for title, word in zip(table["title"], lacking, strict=True)])
    axes.set_ylim(-0.7, len(table) - 0.3)
    note = f"\n{left_out} further metrics score less or have no value: leaderboard.md has them" if left_out else ""
    label = "score: mean over tasks of sign × Kendall's τ-b (trivial: the better sign), with 95 % interval"
    axes.set_xlabel(label + note)
    axes.plot([], [], "D", color=_REAL, label="metric")
    axes.plot([], [], "o", color=_TRIVIAL, mfc="white", label="trivial predictor")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _task(board: Board, task: TaskRanking) -> Figure:
    return _curves(board, task) if task.results.kind == "trajectory" else _scatter(board, task)


def _scatter(board: Board, task: TaskRanking) -> Figure:
    """The gap against each leading metric: colour is the first hyperparameter, marker the second."""
    import matplotlib.pyplot as plt

    frame, metrics = task.results.wide(), board.leading(task, 4)
    targets = task.results.targets
    width, height = 2.35 * len(metrics), 2.2 * len(targets) + 0.5
    figure, grid = plt.subplots(
        len(targets), len(metrics), figsize=(width, height), squeeze=False, layout="constrained"
    )
    _space(figure)
    colours, markers = _coding(task, frame)
    included = task.results.included.to_numpy()
    for r, target in enumerate(targets):
        for c, metric in enumerate(metrics):
            _cloud(grid[r][c], frame, metric, target, colours, markers, included)
            grid[r][c].set_title(_tau_label(task, metric, target))
            grid[r][c].set_xlabel(str(task.results.metrics.at[metric, "title"]) if r == len(targets) - 1 else "")
        grid[r][0].set_ylabel(target.replace("_", " ") + (" (nats)" if "loss" in target else ""))
    _legend(figure, task, frame)
    return figure


def _space(figure: Figure) -> None:
    """Room between the rows: a panel's title must not seem to belong to the axis above it."""
    engine = figure.get_layout_engine()
    assert engine is not None  # figures are made with layout="constrained"
    engine.set(h_pad=0.1, hspace=0.06)  # type: ignore[call-arg]  # what the constrained one takes


def _codes(frame: pd.DataFrame, factor: str) -> tuple[list[str], list[int]]:
    """The levels of a factor in order, and the number of each row's level."""
    names = levels(frame[factor])
    place = {name: number for number, name in enumerate(names)}
    return names, [place[setting(value)] for value in frame[factor]]


def _shades(count: int) -> np.ndarray[Any, Any]:
    import matplotlib as mpl

    shades: np.ndarray[Any, Any] = mpl.colormaps["viridis"](np.linspace(0, 0.92, count))
    return shades


def _coding(task: TaskRanking, frame: pd.DataFrame) -> tuple[np.ndarray[Any, Any], list[str]]:
    names = task.results.hyperparameters
    if not names:  # nothing but seeds differs
        return _shades(1)[[0] * len(frame)], ["o"] * len(frame)
    shown, codes = _codes(frame, names[0])
    colours = _shades(len(shown))[codes]
    kinds = _codes(frame, names[1])[1] if len(names) > 1 else [0] * len(frame)
    return colours, [_marker(kind) for kind in kinds]


def _marker(level: int) -> str:
    return _MARKERS[level] if level < len(_MARKERS) else _FURTHER


def _cloud(
    axes: Axes,
    frame: pd.DataFrame,
    metric: str,
    target: str,
    colours: np.ndarray[Any, Any],
    markers: list[str],
    included: np.ndarray[Any, Any],
) -> None:
    x, y = frame[metric].to_numpy(float), frame[target].to_numpy(float)
    drawn, edges = np.isfinite(x) & np.isfinite(y), colours * (1, 1, 1, 0.9)
    faces = np.where(included[:, None], edges, 0.0)  # left out: empty
    for marker in dict.fromkeys(markers):
        at = np.flatnonzero(drawn & (np.array(markers) == marker))
        edge = cast(Any, edges[at])  # matplotlib's types have no arrays of colours
        axes.scatter(x[at], y[at], 4.5**2, faces[at], marker=marker, linewidths=0.8, edgecolors=edge)
    shown = x[np.isfinite(x) & included]
    if len(shown) and shown.min() > 0 and shown.max() > 30 * shown.min():
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)


def _tau_label(task: TaskRanking, metric: str, target: str) -> str:
    rows = task.rows
    row = rows[(rows["metric"] == metric) & (rows["target"] == target)].iloc[0]
    return f"τ = {number(row['tau'])}"


def _plain_ticks(axis: Axis) -> None:
    """Powers of ten as plain text: matplotlib writes them as formulas, and formulas are off."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, task: TaskRanking, frame: pd.DataFrame) -> None:
    names, items = task.results.hyperparameters, []
    if names:
        first = levels(frame[names[0]])
        shades = zip(_shades(len(first)), first, strict=True)
        items = [_item(f"{short(names[0])} {level}", "o", shade) for shade, level in shades]
    if len(names) > 1:
        second = levels(frame[names[1]])
        items += [_item(f"{short(names[1])} {level}", mark) for mark, level in zip(_MARKERS, second, strict=False)]
        if (further := len(second) - len(_MARKERS)) > 0:
            items.append(_item(f"{short(names[1])}: {further} more", _FURTHER))
    if not task.results.included.all():
        items.append(_item("left out", "o", mfc="none"))
    if items:
        figure.legend(handles=items, loc="outside lower center", ncols=6, frameon=False, fontsize=8)


def _item(label: str, marker: str, colour: Any = "0.4", **style: Any) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], marker=marker, ls="", color=colour, label=label, **style)


def _curves(board: Board, task: TaskRanking) -> Figure:
    """Accuracies and the leading metrics over steps, one line a run, coloured by the run's setting."""
    import matplotlib.pyplot as plt

    frame = task.results.wide()
    panels = _panels(board, task)
    rows = -(-len(panels) // _COLUMNS)
    size = (11.5, 2.3 * rows + 0.6)
    figure, grid = plt.subplots(rows, _COLUMNS, figsize=size, squeeze=False, layout="constrained", sharex=True)
    _space(figure)
    settings, names = _settings(task, frame)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _lines(axes, frame, settings, names, panel)
        measured = panel in task.results.metrics.index
        axes.set_title(str(task.results.metrics.at[panel, "title"]) if measured else panel.replace("_", " "))
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)), frameon=False, fontsize=8)
    return figure


def _panels(board: Board, task: TaskRanking) -> list[str]:
    """What is drawn over steps: accuracies, a gap, the leading metrics."""
    metrics = [metric for metric in board.leading(task, 5) if not task.results.trivial(metric)]
    return ["train_accuracy", "test_accuracy", task.results.targets[-1], *metrics]


def _settings(task: TaskRanking, frame: pd.DataFrame) -> tuple[pd.Series[str], list[str]]:
    """The setting of each row in words, and all of them in the order of their levels."""
    factors = task.results.hyperparameters
    codes = [_codes(frame, factor) for factor in factors]
    keys = [tuple(places) for places in zip(*(numbers for _, numbers in codes), strict=True)] or [()] * len(frame)
    words = {
        key: ", ".join(
            f"{short(name)} {shown[place]}" for name, (shown, _), place in zip(factors, codes, key, strict=True)
        )
        for key in keys
    }
    return pd.Series([words[key] for key in keys], frame.index), [words[key] for key in sorted(words)]


def _lines(axes: Axes, frame: pd.DataFrame, settings: pd.Series[str], names: list[str], column: str) -> None:
    for shade, name, style in zip(_shades(len(names)), names, itertools.cycle(("-", "--", "-.", ":")), strict=False):
        # a label with nothing in it would be left out of the legend, which is right for a task of one setting
        label: str | None = name
        for _, run in frame[settings == name].groupby("run_id", sort=False):
            axes.plot(run["step"], run[column], style, color=shade, lw=1.1, alpha=0.9, label=label)
            label = None
    values = frame[column].dropna()
    if len(values) and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)
