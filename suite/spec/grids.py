"""What is wrong with a grid: paths of fields that cannot be varied, values that do not fit theirs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from suite.spec import explain
from suite.spec.cells import put
from suite.spec.meant import all_problems, copied
from suite.spec.positions import Document, Problem
from suite.spec.task import TaskSpec

_VARIED = ("data", "model", "training", "seed")
_ONLY_SEEN = ("training.stack_size", "training.sharpness.")
"""Fields of these that do not change what is trained."""


def grid_problems(document: Document, values: bool = True) -> Iterator[Problem]:
    """What can be said of each line of the grid on its own.

    Args:
        document: as it is meant.
        values: look at each value, too; of a grid that is too large they are too many.
    """
    grid = document.data.get("grid", {})
    if not isinstance(grid, dict):
        return
    for name, listed in grid.items():
        line, field = document.line(("grid", name)), f"grid.{name}"
        if wrong := path_problem(name, document.data):
            yield Problem(line, field, wrong)
        elif not isinstance(listed, list):
            yield Problem(line, field, explain.mistyped(listed, "a list of values"))
        elif values:
            yield from _value_problems(name, listed, document)


def path_problem(name: str, data: dict[str, Any]) -> str | None:
    """Why a grid may not vary the field at this dotted path, or None."""
    reasons = dict(_reasons(TaskSpec, data))
    if name in reasons:
        return reasons[name]
    free = sorted(path for path, reason in reasons.items() if reason is None)
    if any(path.startswith(f"{name}.") for path in reasons):
        inside = [path for path in free if path.startswith(f"{name}.")]
        return f"is a group of fields: vary one of {', '.join(inside)}" if inside else _UNTRAINED
    same = [path for path in free if path.split(".")[-1] == name.rsplit(".", maxsplit=1)[-1]]
    near = same[0] if same else explain.nearest(name, free)
    return "no such field; " + (f"did you mean {near}?" if near else f"fields that can be varied are {', '.join(free)}")


_UNTRAINED = "cannot be varied: it does not change what is trained"


def _reasons(model: type[BaseModel], data: Any, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Dotted paths of the fields, in the models that `data` chooses, and why one cannot be varied (None: it can)."""
    for name, field in model.model_fields.items():
        path, inner = f"{prefix}{name}", explain.models(field.annotation)
        if inner:
            part = data.get(name) if isinstance(data, dict) else None
            yield from _reasons(explain.chosen(inner, part), part, f"{path}.")
        elif path.split(".", maxsplit=1)[0] not in _VARIED or path.startswith(_ONLY_SEEN):
            yield path, _UNTRAINED
        elif name == "kind":
            yield path, "cannot be varied: the other fields depend on it; write another task"
        elif "list" in str(field.annotation):
            yield path, "cannot be varied: it is a list, and only fields with a single value can; write another task"
        else:
            yield path, None


def _value_problems(name: str, values: list[Any], document: Document) -> Iterator[Problem]:
    field = f"grid.{name}"
    if not values:
        yield Problem(document.line(("grid", name)), field, "no values: give at least one, or leave the line out")
    counts = Counter(value for value in values if not isinstance(value, dict | list))
    seen: set[Any] = set()
    for i, value in enumerate(values):
        line = document.line(("grid", name, i))
        if isinstance(value, dict | list) or value is None:
            yield Problem(line, field, f"{explain.shown(value)} is not a single value")
        elif isinstance(value, float) and not math.isfinite(value):
            yield Problem(line, field, f"{value} is not a finite number")
        elif value not in seen:
            seen.add(value)
            yield from _misfit(name, value, line, document)
        elif counts[value] > 1:  # said once, however often it is there
            yield Problem(line, field, f"{explain.shown(value)} is given {_times(counts.pop(value))}: keep one")


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


def _misfit(name: str, value: Any, line: int, document: Document) -> Iterator[Problem]:
    """Does the value fit its field, whatever the other fields say?"""
    try:
        trial = {key: copied(part) for key, part in document.data.items() if key != "grid"}
        put(trial, name, value)
    except (KeyError, TypeError):
        return  # the field's parents are themselves wrong, which is said elsewhere
    for problem in all_problems(Document(trial, {}))[0]:
        if problem.field == name:
            yield Problem(line, f"grid.{name}", problem.message)
