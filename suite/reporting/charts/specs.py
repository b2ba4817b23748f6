"""Vega-Lite specifications of the charts, without their data.

A specification names its tables (`points`, `changes`, …: `suite.reporting.charts.sheet`), and where a reader chooses
what is drawn it has a word that begins with @ in the place of a column, its title or the type of its scale. `fill`, and
the same few lines in `static/site.js`, put the choice there: the page in a browser and the file for a paper are one
chart.
"""

from __future__ import annotations

import re
from typing import Any, TypeAlias

import altair as alt

from suite.reporting.charts.sheet import Factor, Quantity, Sheet, kind, wide

Spec: TypeAlias = dict[str, Any]

HEIGHT = 320
_SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"]
_KINDS = [kind(False), kind(True)]
_COSTS = ["free", "forward", "gradient", "search"]


def fill(spec: Any, words: dict[str, str]) -> Any:
    """A specification with every word that stands alone, and titles in `description`, replaced by what was chosen."""
    if isinstance(spec, dict):
        return {k: _told(v, words) if k == "description" else fill(v, words) for k, v in spec.items()}
    if isinstance(spec, list):
        return [fill(value, words) for value in spec]
    return words.get(spec, spec) if isinstance(spec, str) else spec


def _told(sentence: str, words: dict[str, str]) -> str:
    return re.sub(r"@\w+ title", lambda found: words.get(found[0], found[0]), sentence)


def chosen(word: str, quantity: Quantity) -> dict[str, str]:
    """What `fill` has to know of a choice."""
    scale = "log" if quantity.log else "linear"
    return {f"@{word}": quantity.key, f"@{word} title": quantity.title, f"@{word} scale": scale}


def scatter(sheet: Sheet) -> Spec:
    """The target against the metric: colour is the first hyperparameter, shape the second, hollow what is left out."""
    hover = [_hover("@metric", "@metric title"), _hover("@target", "@target title"), *_hovers(sheet)]
    encoding: dict[str, Any] = {"x": _open(alt.X, "metric"), "y": _open(alt.Y, "target"), "tooltip": hover}
    if sheet.factors:
        encoding["color"] = _ordered(alt.Color, sheet.factors[0])
    if len(sheet.factors) > 1:
        encoding |= _second(sheet.factors[1])
    layers = []
    for kept in ("ranked", "left out"):
        points = alt.Chart(alt.NamedData("points")).transform_filter(_equal("kept", kept)).encode(**encoding)
        layers.append(points.mark_point(filled=kept == "ranked", size=60, opacity=0.85, strokeWidth=1.3))
    return _finished(alt.layer(*layers), "@target title against @metric title")


def curves(sheet: Sheet, what: str, legend: bool = False) -> Spec:
    """A quantity over steps, a line a run, with the steps at which it and the test accuracy change.

    Args:
        sheet: of a trajectory task.
        what: `accuracy` (train dashed, test solid), `target` or `metric`.
        legend: whether it has one of its own; beside others of the same task that of the accuracies will do.
    """
    colour = alt.Color("setting:O", sort=sheet.setting_names, title="setting")
    if what != "accuracy" and not legend:
        colour = alt.Color("setting:O", sort=sheet.setting_names, legend=None)
    hovers = [_hover("step", "step", "d"), *_hovers(sheet)]
    marks = [_marks("test", [2, 2], colour)]
    if what == "accuracy":
        own = [_hover("train", "train accuracy"), _hover("test", "test accuracy"), *hovers]
        scale = alt.Scale(domain=[0, 1])
        both = (("train", [4, 3]), ("test", [1, 0]))
        lines = [_line(alt.Y(f"{k}:Q", title="accuracy", scale=scale), colour, own, dash) for k, dash in both]
    else:
        lines = [_line(_open(alt.Y, what), colour, [_hover(f"@{what}", f"@{what} title"), *hovers], [1, 0])]
        marks += [_marks("@metric", [1, 0], colour)] if what == "metric" else []
    return _finished(
        alt.layer(*lines, *marks),
        "train and test accuracy over steps" if what == "accuracy" else f"@{what} title over steps",
        260,
    )


def correlations() -> Spec:
    """τ between metrics, as a matrix in the order of its table."""
    axis: dict[str, Any] = {"labelFontSize": 10, "ticks": False, "domain": False, "labelOverlap": False}
    chart = (
        alt.Chart(alt.NamedData("matrix"))
        .mark_rect()
        .encode(
            x=alt.X("a:N", sort=None, title=None, axis=alt.Axis(labelAngle=-90, **axis)),
            y=alt.Y("b:N", sort=None, title=None, axis=alt.Axis(**axis)),
            color=alt.Color(
                "tau:Q",
                scale=alt.Scale(domain=[-1, 1], domainMid=0),
                legend=alt.Legend(title="Kendall’s τ-b", format="+.1f"),
            ),
            tooltip=[_word("a", "metric"), _word("b", "and"), _hover("tau", "τ", "+.2f")],
        )
    )
    return _finished(chart, "Kendall’s τ between metrics") | {"height": {"step": 16}, "width": {"step": 16}}


def heat(sheet: Sheet) -> Spec:
    """The mean of a quantity over the networks of each cell of the first two hyperparameters; ● beyond the edge."""
    first, second = sheet.factors[:2]
    place = {
        "x": alt.X(f"{first.key}:O", sort=first.levels, title=first.title, axis=alt.Axis(labelAngle=-45)),
        "y": alt.Y(f"{second.key}:O", sort=second.levels[::-1], title=second.title),
    }
    cell = [_word(first.key, first.title), _word(second.key, second.title)]
    colour = alt.Color("mean:Q", title="@quantity title", scale=alt.Scale(), legend=alt.Legend(format=".4~r"))
    hover = [*cell, _hover("mean", "@quantity title"), _hover("networks", "networks", "d")]
    layers = [_cells(sheet, "@quantity", "mean").mark_rect().encode(**place, color=colour, tooltip=hover)]
    if edge := sheet.find("edge_ratio"):
        beyond = (
            _cells(sheet, edge.key, "edge")
            .transform_filter("datum.edge >= 1")
            .mark_point(filled=True, size=70, opacity=1)
        )
        look = {"fill": alt.value("white"), "stroke": alt.value("black"), "strokeWidth": alt.value(1.5)}
        layers.append(beyond.encode(**place, **look, tooltip=[*cell, _hover("edge", edge.title)]))
    return _finished(alt.layer(*layers), "mean of @quantity title over the grid", 230)


def spectra(sheet: Sheet, column: str) -> Spec:
    """A spectrum against the share of its length, a line a setting.

    Args:
        sheet: of a task with spectra.
        column: `eigenvalue` (of the minibatch Hessian) or `exponent` (ln|1 − ηα|).
    """
    title = "eigenvalue α of the minibatch Hessian" if column == "eigenvalue" else "ln|1 − ηα|, in nats a step"
    scale = alt.Scale(type="symlog", constant=0.01) if column == "eigenvalue" else alt.Scale()
    chart = (
        alt.Chart(alt.NamedData("spectra"))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("share:Q", scale=alt.Scale(type="log", nice=False), title="position in the spectrum, k / d"),
            y=alt.Y(f"{column}:Q", title=title, scale=scale),
            color=alt.Color("setting:O", sort=sheet.setting_names, title="setting"),
            detail="step:N",
            tooltip=[_word("setting"), _hover("step", "step", "d"), _hover("share", "k / d"), _hover(column, title)],
        )
    )
    zero = alt.Chart(alt.InlineData([{"zero": 0}])).mark_rule(opacity=0.4, strokeDash=[2, 2]).encode(y="zero:Q")
    return _finished(alt.layer(chart, zero), f"{title}, from the largest to the smallest")


def edge(sheet: Sheet) -> Spec:
    """The edge ratio over the steps of training, a line a run, with a rule at 1; colour is the learning rate.

    On a logarithmic axis what is not above 0 is left out. Where some runs are much longer than others, steps are on an
    axis of square roots: the short ones would else be crowded at its beginning.
    """
    title, log = "edge ratio", wide(sheet.edge["edge_ratio"])
    lengths = sheet.results.edge.groupby("run_id")["step"].max()  # a diverged run is as long as was planned
    uneven = bool(lengths.max() > _UNEVEN * lengths.min())
    steps = alt.X("step:Q", title="step (axis of square roots)" if uneven else "step")
    steps = steps.scale(type="sqrt" if uneven else "linear", nice=False)
    said = [_word(factor.key, factor.title) for factor in [*sheet.factors, *sheet.seeds]]
    hover = [_hover("edge_ratio", title), _hover("sharpness", "λ_max"), _hover("step", "step", "d"), *said]
    encoding: dict[str, Any] = {
        "x": steps,
        "y": alt.Y("edge_ratio:Q", title=title, scale=alt.Scale(type="log" if log else "linear")),
        "tooltip": [*hover, _word("run"), _word("status")],
    }
    if sheet.rate is not None:
        encoding["color"] = _ordered(alt.Color, sheet.rate)
    shown = alt.Chart(alt.NamedData("edge"))
    if log:
        shown = shown.transform_filter(alt.FieldGTPredicate(field="edge_ratio", gt=0))
    points = alt.OverlayMarkDef(size=14, filled=True, opacity=0.8)
    lines = shown.mark_line(strokeWidth=1.2, opacity=0.8, point=points).encode(**encoding, detail="run:N")
    one = alt.Chart(alt.InlineData([{"one": 1}])).mark_rule(strokeDash=[4, 3], strokeWidth=1.5).encode(y="one:Q")
    return _finished(alt.layer(lines, one), "edge ratio over the steps of training; the edge of stability is at 1")


def noise() -> Spec:
    """The share of each metric's variance that is between seeds, and that of the gaps as lines."""
    one = alt.Legend(columns=1)  # beside long names of metrics there is little room
    points = (
        alt.Chart(alt.NamedData("noise"))
        .mark_point(filled=True, size=55, opacity=1)
        .encode(
            x=alt.X("noise:Q", scale=alt.Scale(domain=[0, 1]), title="share between seeds"),
            y=alt.Y("title:N", sort=None, title=None, axis=alt.Axis(grid=True, labelOverlap=False)),
            color=alt.Color("kind:N", scale=alt.Scale(domain=_KINDS), title=None, legend=one),
            shape=alt.Shape(
                "kind:N", scale=alt.Scale(domain=_KINDS, range=["diamond", "circle"]), title=None, legend=one
            ),
            tooltip=[_word("title", "metric"), _hover("noise", "between seeds", ".2f")],
        )
    )
    gaps = (
        alt.Chart(alt.NamedData("gaps"))
        .mark_rule(strokeWidth=1.5)
        .encode(x="noise:Q", strokeDash=alt.StrokeDash("title:N", title="the gaps themselves", legend=one))
        .encode(tooltip=[_word("title", "gap"), _hover("noise", "between seeds", ".2f")])
    )
    return _finished(alt.layer(points, gaps), "Seed noise of metrics") | _TALL


def cost() -> Spec:
    """Score against seconds a value, with intervals."""
    base = alt.Chart(alt.NamedData("cost")).encode(
        x=alt.X("@seconds:Q", scale=alt.Scale(type="log"), title="@seconds title"),
        color=alt.Color("kind:N", scale=alt.Scale(domain=_KINDS), title=None),
        tooltip=[
            _word("title", "metric"), _hover("score", "score", "+.2f"), _hover("low", "from", "+.2f"),
            _hover("high", "to", "+.2f"), _hover("whole", "seconds with probes"), _hover("own", "seconds without"),
            _word("probes"), _word("group", "family"), _word("class", "class of cost"),
        ],
    )  # fmt: skip
    bars = base.mark_rule(opacity=0.35).encode(y=alt.Y("low:Q", title=_SCORE), y2="high:Q")
    shape = alt.Shape("class:N", scale=alt.Scale(domain=_COSTS), title="class of cost")
    points = base.mark_point(filled=True, size=60, opacity=0.9).encode(y="score:Q", shape=shape)
    zero = alt.Chart(alt.InlineData([{"zero": 0}])).mark_rule(opacity=0.4).encode(y="zero:Q")
    return _finished(alt.layer(bars, points, zero), "Score against cost", 380)


def overall() -> Spec:
    """Scores with intervals, best first."""
    base = alt.Chart(alt.NamedData("overall")).encode(
        y=alt.Y("title:N", sort=None, title=None, axis=alt.Axis(labelOverlap=False)),
        color=alt.Color("kind:N", scale=alt.Scale(domain=_KINDS), title=None),
    )
    bars = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=_SCORE), x2="high:Q")
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=_KINDS, range=["diamond", "circle"]), title=None)
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x="score:Q", shape=shape)
    zero = alt.Chart(alt.InlineData([{"zero": 0}])).mark_rule(opacity=0.4).encode(x="zero:Q")
    return _finished(alt.layer(bars, points, zero), "Scores with 95 % intervals") | _TALL


_UNEVEN = 3
"""Times that the longest run is longer than the shortest."""
_TALL: Spec = {"height": {"step": 17}}
"""As high as its lines ask for."""
_SCORE = "score, with 95 % interval"


def _finished(chart: Any, description: str, height: int = HEIGHT) -> Spec:
    """The checked specification, as wide as its place; of Altair's own defaults nothing is left."""
    spec: Spec = chart.properties(width="container", height=height, description=description).to_dict()
    del spec["config"], spec["$schema"]
    _leave_scales_open(spec)
    return spec


def _leave_scales_open(spec: Any) -> None:
    """The type of the scale of a chosen quantity is chosen with it; Altair's check knows no such word."""
    if isinstance(spec, list):
        for part in spec:
            _leave_scales_open(part)
    elif isinstance(spec, dict):
        title = spec.get("title")
        if isinstance(title, str) and title.startswith("@") and isinstance(spec.get("scale"), dict):
            spec["scale"].setdefault("type", title.replace(" title", " scale"))
        for part in spec.values():
            _leave_scales_open(part)


def _open(channel: type[alt.X] | type[alt.Y], word: str) -> Any:
    """An axis of a chosen quantity."""
    return channel(f"@{word}:Q", title=f"@{word} title", scale=alt.Scale(nice=True))


def _ordered(channel: type[alt.Color] | type[alt.Size], factor: Factor) -> Any:
    return channel(f"{factor.key}:O", sort=factor.levels, title=factor.title)


def _second(factor: Factor) -> dict[str, Any]:
    """The second hyperparameter: shapes, or sizes where it has more levels than there are shapes."""
    if len(factor.levels) > len(_SHAPES):
        return {"size": _ordered(alt.Size, factor)}
    scale = alt.Scale(domain=factor.levels, range=_SHAPES[: len(factor.levels)])
    return {"shape": alt.Shape(f"{factor.key}:N", scale=scale, sort=factor.levels, title=factor.title)}


def _line(y: alt.Y, colour: alt.Color, hover: list[alt.Tooltip], dash: list[int]) -> Any:
    points = alt.OverlayMarkDef(size=14, filled=True, opacity=0.8)
    line = alt.Chart(alt.NamedData("points")).mark_line(strokeWidth=1.5, strokeDash=dash, point=points)
    return line.encode(x=alt.X("step:Q", title="step"), y=y, color=colour, detail="run:N", tooltip=hover)


def _marks(key: str, dash: list[int], colour: alt.Color) -> Any:
    """A vertical line at each run's change."""
    what = "test accuracy jumps at step" if key == "test" else "metric changes at step"
    rules = alt.Chart(alt.NamedData("changes")).transform_filter(_equal("key", key))
    hover = [_hover("step", what, "d"), _word("run"), _word("setting")]
    return rules.mark_rule(strokeDash=dash, opacity=0.8, strokeWidth=1.2).encode(
        x=alt.X("step:Q", title="step"), color=colour, tooltip=hover
    )


def _cells(sheet: Sheet, column: str, name: str) -> Any:
    """The mean of a column over the networks of each cell that have it.

    Two layers need two names: Vega-Lite makes one aggregate of those with the same groups, and of two columns of one
    name it keeps one.
    """
    keys: list[Any] = [factor.key for factor in sheet.factors[:2]]
    count = "networks" if name == "mean" else f"{name} networks"
    mean = alt.AggregatedFieldDef(op="mean", field=column, **{"as": name})
    number = alt.AggregatedFieldDef(op="valid", field=column, **{"as": count})
    base = alt.Chart(alt.NamedData("points")).transform_aggregate([mean, number], groupby=keys)
    return base.transform_filter(alt.FieldGTPredicate(field=count, gt=0))


def _equal(field: str, value: str) -> alt.FieldEqualPredicate:
    return alt.FieldEqualPredicate(field=field, equal=value)


def _word(field: str, title: str | None = None) -> alt.Tooltip:
    return alt.Tooltip(f"{field}:N", title=title or field)


def _hover(field: str, title: str, form: str = ".5~g") -> alt.Tooltip:
    return alt.Tooltip(f"{field}:Q", title=title, format=form)


def _hovers(sheet: Sheet) -> list[alt.Tooltip]:
    """What is said of every point: hyperparameters, seeds, step, run, accuracies."""
    said = [_word(factor.key, factor.title) for factor in [*sheet.factors, *sheet.seeds]]
    accuracies = [_hover("train", "train accuracy"), _hover("test", "test accuracy")]
    return [*said, *accuracies, _word("run", "run"), _word("kept", "in the ranking"), _word("status", "status")]
