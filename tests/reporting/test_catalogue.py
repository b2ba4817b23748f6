"""The catalogue of metrics: every one of them, in families, its formulas unharmed."""

from __future__ import annotations

from suite.reporting.catalogue import Entry, catalogue


def entry(name: str, family: str, definition: str = "What it is.", **words: object) -> Entry:
    told = {"title": name.title(), "source": "Somebody 2020, Eq. 1", "sign": 1, "trivial": False, "probes": ()}
    told |= {"cost": "free", "invariances": ()}
    return Entry(name=name, family=family, definition=definition, **told | words)  # type: ignore[arg-type]


def test_every_metric_has_its_place() -> None:
    text = catalogue([entry("b", "norms"), entry("a", "norms"), entry("c", "curvature", probes=("spectrum", "whole"))])
    assert "3 metrics in 2 families." in text
    places = [text.index(word) for word in ("## Curvature", "### C", "## Norms", "### A", "### B")]
    assert places == sorted(places)
    assert "**reads** spectrum, whole" in text
    assert "Source: Somebody 2020, Eq. 1." in text


def test_signs_are_the_authors_or_none() -> None:
    text = catalogue([entry("a", "x"), entry("b", "x", sign=-1), entry("c", "x", trivial=True)])
    assert [part.split()[0] for part in text.split("**sign** ")[1:]] == ["+", "−", "±"]


def test_formulas_are_no_markup() -> None:
    text = catalogue([entry("a", "x", "The *sum* of\nw * v < 1.\n\nRaises:\n    ValueError: nothing to add.")])
    assert "The \\*sum\\* of w \\* v \\< 1.\n\n**No value** where: nothing to add." in text
