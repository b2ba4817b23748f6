"""Deterministic SVG figures."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from suite.ranking.leaderboard import TaskRanking
from suite.ranking.tables import short
from suite.reporting.board import Board, number, slug

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_REAL, _TRIVIAL = "#0072B2", "#D55E00"  # Okabe & Ito's blue and vermilion: told apart by everyone
_MARKERS = "osD^vP*X"
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "sharpness-suite",
    "svg.fonttype": "path",
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
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
    plt.close(figure)
    return buffer.getvalue()


def _overall(board: Board) -> Figure:
    import matplotlib.pyplot as plt

    table = board.overall.iloc[::-1]
    figure, axes = plt.subplots(figsize=(7.5, 0.28 * len(table) + 0.9))
    for place, (_, row) in enumerate(table.iterrows()):
        colour, marker = (_TRIVIAL, "o") if row["trivial"] else (_REAL, "D")
        face = "white" if row["trivial"] else colour
        axes.plot([row["low"], row["high"]], [place, place], color=colour, lw=1.5, solid_capstyle="butt")
        axes.plot(row["score"], place, marker, color=colour, mfc=face, ms=6)
    axes.axvline(0, color="0.6", lw=0.8, zorder=0)
    axes.set_yticks(range(len(table)), [str(title) for title in table["title"]])
    axes.set_ylim(-0.7, len(table) - 0.3)
    axes.set_xlabel("score: mean over tasks of sign × Kendall's τ-b, with 95 % bootstrap interval")
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


def _coding(task: TaskRanking, frame: pd.DataFrame) -> tuple[np.ndarray[Any, Any], list[str]]:
    import matplotlib as mpl

    names = task.results.hyperparameters
    levels = pd.factorize(frame[names[0]], sort=True)[0]
    colours = mpl.colormaps["viridis"](levels / max(1, levels.max()) * 0.92)
    if len(names) < 2:
        return colours, [_MARKERS[0]] * len(frame)
    kinds = pd.factorize(frame[names[1]], sort=True)[0]
    return colours, [_MARKERS[k % len(_MARKERS)] for k in kinds]


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
    for i in np.flatnonzero(np.isfinite(x) & np.isfinite(y)):
        face = colours[i] if included[i] else "none"
        axes.plot(x[i], y[i], markers[i], color=colours[i], mfc=face, ms=4.5, mew=0.8, alpha=0.9)
    shown = x[np.isfinite(x) & included]
    if len(shown) and shown.min() > 0 and shown.max() > 30 * shown.min():
        axes.set_xscale("log")


def _tau_label(task: TaskRanking, metric: str, target: str) -> str:
    rows = task.rows
    row = rows[(rows["metric"] == metric) & (rows["target"] == target)].iloc[0]
    return f"τ = {number(row['tau'])}"


def _legend(figure: Figure, task: TaskRanking, frame: pd.DataFrame) -> None:
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    names = task.results.hyperparameters
    values = sorted(frame[names[0]].unique())
    shades = mpl.colormaps["viridis"](np.arange(len(values)) / max(1, len(values) - 1) * 0.92)
    items = [
        Line2D([], [], marker="o", ls="", color=s, label=f"{short(names[0])} {v:g}")
        for s, v in zip(shades, values, strict=True)
    ]
    if len(names) > 1:
        items += [
            Line2D([], [], marker=_MARKERS[k % len(_MARKERS)], ls="", color="0.4", label=f"{short(names[1])} {v:g}")
            for k, v in enumerate(sorted(frame[names[1]].unique()))
        ]
    if not task.results.included.all():
        items.append(Line2D([], [], marker="o", ls="", color="0.4", mfc="none", label="left out"))
    figure.legend(handles=items, loc="outside lower center", ncols=6, frameon=False, fontsize=8)


def _curves(board: Board, task: TaskRanking) -> Figure:
    """Accuracies and the leading metrics over steps, one line a run, coloured by the first hyperparameter's setting."""
    import matplotlib.pyplot as plt

    frame = task.results.wide()
    metrics = [m for m in board.leading(task, 4) if not task.results.metrics.at[m, "trivial"]]
    # the quantity the task is about is shown wherever it ranks
    if "sharpness_dimension" in task.results.metrics.index and "sharpness_dimension" not in metrics:
        metrics = [*metrics, "sharpness_dimension"]
    panels = ["train_accuracy", "test_accuracy", task.results.targets[-1], *metrics]
    columns = 4
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(11.5, 2.3 * rows + 0.6), squeeze=False, layout="constrained", sharex=True
    )
    settings = frame[task.results.hyperparameters].apply(
        lambda row: ", ".join(f"{short(str(n))} {v:g}" for n, v in row.items()), axis=1
    )
    names = sorted(settings.unique())
    for place, panel in enumerate(panels):
        axes = grid[place // columns][place % columns]
        _lines(axes, frame, settings, names, panel)
        title = task.results.metrics.at[panel, "title"] if panel in metrics else panel.replace("_", " ")
        axes.set_title(str(title))
    for place in range(len(panels), rows * columns):
        grid[place // columns][place % columns].axis("off")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(names)), frameon=False, fontsize=8)
    return figure


def _lines(axes: Axes, frame: pd.DataFrame, settings: pd.Series[str], names: list[str], column: str) -> None:
    import matplotlib as mpl

    shades = mpl.colormaps["viridis"](np.linspace(0, 0.92, len(names)))
    for shade, name, style in zip(shades, names, ("-", "--", "-.", ":") * len(names), strict=False):
        label: str | None = name
        for _, run in frame[settings == name].groupby("run_id", sort=False):
            axes.plot(run["step"], run[column], style, color=shade, lw=1.1, alpha=0.9, label=label)
            label = None
    values = frame[column].dropna()
    if len(values) and values.min() > 0 and values.max() > 30 * values.min():
        axes.set_yscale("log")
