"""Colours and type of the charts, light and dark, and the JavaScript that draws them in a browser.

Words, axes and outlines are drawn in `currentColor`, the colour of the page's own text: they follow the page from light
to dark and onto paper, and are black in a file saved from it. Colours that mean something are told apart by everyone:
Okabe and Ito's eight for kinds, viridis for order, blue to orange for signs.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

INK = "currentColor"
KINDS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#999999"]
"""Okabe and Ito 2008, blue and vermilion first (on dark the sky blue and orange); their black is the page's ink."""
_VIRIDIS = [
    "#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725",
]  # fmt: skip
SIGNED = ["#b35806", "#f1a340", "#f7f7f7", "#7aa6d6", "#21508c"]
"""From −1 (orange) through 0 to +1 (blue)."""
DIALECT = "6.4"
"""The Vega-Lite that Altair writes and the bundle reads."""


def theme(dark: bool = False) -> dict[str, Any]:
    """A Vega-Lite configuration.

    Args:
        dark: for a dark page: of viridis the brighter part, for a light one the darker.
    """
    ordered = _VIRIDIS[2:] if dark else _VIRIDIS[:-1]
    kinds = [*KINDS[5:6], *KINDS[4:5], *KINDS[2:4], *KINDS[0:2], *KINDS[6:]] if dark else KINDS
    words = {"labelColor": INK, "titleColor": INK}
    lines = {"domainColor": INK, "domainOpacity": 0.5, "tickColor": INK, "tickOpacity": 0.5, "gridColor": INK}
    return {
        "background": "transparent",
        "font": "system-ui, 'Segoe UI', 'Liberation Sans', sans-serif",
        "axis": {
            **words, **lines, "gridOpacity": 0.12, "titleFontWeight": "normal", "titleFontSize": 12,
            "labelFontSize": 11, "titlePadding": 8, "labelLimit": 300, "titleLimit": 420,
        },
        "legend": {
            **words, "titleFontWeight": "normal", "titleFontSize": 12, "labelFontSize": 11, "orient": "bottom",
            "direction": "horizontal", "columns": 6, "labelLimit": 300, "symbolOpacity": 1, "titleLimit": 300,
            "symbolBaseFillColor": INK, "symbolBaseStrokeColor": INK, "gradientLength": 160,
            "layout": {"direction": "vertical", "anchor": "start"},
        },
        "view": {"stroke": None},
        "scale": {"zero": False},
        "title": {"color": INK, "fontWeight": "normal", "fontSize": 13, "anchor": "start"},
        "range": {
            "category": kinds, "ordinal": ordered, "ramp": _VIRIDIS, "heatmap": _VIRIDIS, "diverging": SIGNED,
        },
        "rule": {"color": INK}, "text": {"color": INK}, "tick": {"color": INK},
    }  # fmt: skip


def themes() -> str:
    """Both themes, as a script for the pages."""
    both = {"light": theme(), "dark": theme(dark=True)}
    return f"window.suiteThemes = {json.dumps(both, ensure_ascii=False, sort_keys=True)};\n"


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one plain script: modules are not read from a file system.

    It leaves `vegaEmbed` behind, and no other name.
    """
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=DIALECT)
    return f"(function () {{\n{bundle}\n}})();\n"
