"""A judgement in the terminal, and as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

from rich.console import Console
from rich.text import Text

from suite.ranking.tables import short
from suite.reporting.listing import print_rows
from suite.reproducing.judged import CellVerdict, Judgement

_CODE = ".fingerprint"


def show(console: Console, judgement: Judgement, quiet: bool = False) -> None:
    """Each cell's numbers side by side (unless quiet) with relative differences, what else differs, the verdict."""
    for cell in () if quiet else judgement.cells:
        print_rows(console, _title(judgement.task, cell), [_row(row) for row in cell.rows])
    codes = [setting for setting in judgement.settings if setting.name.endswith(_CODE)]
    for setting in judgement.settings:
        if setting not in codes:
            _say(console, f"{setting.name}: published {setting.before or '–'}, here {setting.after or '–'}")
    if codes:
        named = ", ".join(setting.name.removeprefix("metrics.").removesuffix(_CODE) for setting in codes)
        same = ", with the same values" if judgement.identical else ""
        _say(console, f"metrics whose code has changed since ({len(codes)}){same}: {named}")
    for cell in judgement.cells:
        if cell.missing:
            _say(console, f"run {cell.run_id}: {cell.missing} numbers are there on one side only")
    if any(cell.chaotic is None for cell in judgement.cells):
        _say(console, "no edge ratio is published: every cell is held to the tolerances of contracting ones")
    _say(console, judgement.line())


def as_json(judgement: Judgement) -> dict[str, Any]:
    """The whole judgement as plain data; None for a number that is not there."""
    return {
        "task": judgement.task,
        "within": judgement.within,
        "identical": judgement.identical,
        "verdict": judgement.line(),
        "settings": {s.name: {"published": s.before, "here": s.after} for s in judgement.settings},
        "cells": [_plain(cell) for cell in judgement.cells],
    }


def _plain(cell: CellVerdict) -> dict[str, Any]:
    numbers = {
        row.quantity: {word: _finite(getattr(row, word)) for word in ("published", "here", "difference")}
        for row in cell.rows
    }
    return {
        "run_id": cell.run_id,
        "factors": {name: getattr(value, "item", lambda v=value: v)() for name, value in cell.factors.items()},
        "step": cell.step,
        "chaotic": cell.chaotic,
        "within": cell.within,
        "identical": cell.identical,
        "status": {"published": cell.status[0], "here": cell.status[1]},
        "differences": {word: _finite(value) for word, value in cell.differences.items()},
        "tolerances": cell.tolerances,
        "numbers": numbers,
    }


def to_text(judgements: list[Judgement]) -> str:
    """The JSON of some judgements."""
    return json.dumps([as_json(one) for one in judgements], indent=1, ensure_ascii=False)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _title(task: str, cell: CellVerdict) -> str:
    factors = ", ".join(f"{short(name)} {value}" for name, value in cell.factors.items())
    kind = {True: "chaotic", False: "contracting", None: "no edge ratio"}[cell.chaotic]
    return f"{task}, run {cell.run_id} at step {cell.step}: {factors} ({kind})"


def _row(row: Any) -> dict[str, str | None]:
    sides = [None if math.isnan(side) else f"{side:.6g}" for side in (row.published, row.here)]
    apart = None if math.isnan(row.difference) else "same" if row.difference == 0 else f"{row.difference:.2g}"
    return {"quantity": row.quantity, "published": sides[0], "here": sides[1], "difference": apart}


def _say(console: Console, text: str) -> None:
    console.print(Text(text), highlight=False, soft_wrap=True)
