"""pydantic's errors in plain words, with the line of the file and what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from suite.spec.positions import Document, Path, Problem, dotted
from suite.spec.task import TaskSpec

_KINDS = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}
_MEANT = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_BOUND = {
    "greater_than": ("not greater than", "gt"),
    "greater_than_equal": ("less than", "ge"),
    "less_than": ("not less than", "lt"),
    "less_than_equal": ("greater than", "le"),
}


def problems(error: ValidationError, document: Document) -> list[Problem]:
    """One problem per field, by line."""
    merged: dict[str, list[tuple[Path, str]]] = {}
    for detail in error.errors(include_url=False):
        path, message = _located(detail, document.data)
        merged.setdefault(dotted(path), []).append((path, message))
    return [
        Problem(document.line(found[0][0]), field, " or ".join(dict.fromkeys(message for _, message in found)))
        for field, found in merged.items()
    ]


def grid_path_problem(name: str, data: dict[str, Any]) -> str | None:
    """Why a grid may not vary the field at this dotted path, or None."""
    scalars = set(scalar_paths(TaskSpec, data))
    if name in scalars and not name.startswith(_FIXED):
        return None
    if name in scalars:
        return "cannot be varied: it does not change what is trained"
    if any(path.startswith(f"{name}.") for path in scalars):
        return f"is a group of fields: vary one of {', '.join(sorted(p for p in scalars if p.startswith(f'{name}.')))}"
    near = difflib.get_close_matches(name, scalars, 1, 0.5)
    same = [path for path in scalars if path.split(".")[-1] == name.rsplit(".", maxsplit=1)[-1]]
    hint = (same or near)[:1]
    return "no such field" + (f"; did you mean {hint[0]}?" if hint else f"; fields are {', '.join(sorted(scalars))}")


_FIXED = ("name", "title", "description", "kind", "probes", "include", "targets", "training.stack_size")


def scalar_paths(model: type[BaseModel], data: Any, prefix: str = "") -> Iterator[str]:
    """Dotted paths of the fields that hold single values, in the models that `data` chooses."""
    for name, field in model.model_fields.items():
        inner = _models(field.annotation)
        if inner:
            part = data.get(name) if isinstance(data, dict) else None
            yield from scalar_paths(_chosen(inner, part), part, f"{prefix}{name}.")
        elif name != "kind" and "list" not in str(field.annotation) and "dict" not in str(field.annotation):
            yield f"{prefix}{name}"


def shown(value: Any) -> str:
    """A value as the file has it, shortened."""
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def suggestion(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest known word, or all there are."""
    options = sorted(known)
    near = difflib.get_close_matches(word, options, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(options)}"


def _located(detail: ErrorDetails, data: Any) -> tuple[Path, str]:
    """The YAML's own path of an error (pydantic's has names of union members in it), and the message."""
    path, model = _walk(detail["loc"], data)
    kind = detail["type"]
    if kind == "value_error":
        text = str(detail.get("ctx", {}).get("error", detail["msg"]))
        if named := re.match(r"([a-z_]+(?:\.[a-z_]+)+): (.*)", text, re.DOTALL):
            return tuple(named[1].split(".")), named[2]
        return path, text
    if kind == "extra_forbidden":
        word, known = str(detail["loc"][-1]), model.model_fields if model else {}
        return (*path[:-1], word) if path and path[-1] == word else (
            *path,
            word,
        ), f"unknown key{suggestion(word, known)}"
    return path, _message(detail)


def _message(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in _MEANT:
        return f"{shown(value)} is {_described(value)}, {_MEANT[kind]} is meant"
    if kind in _BOUND:
        words, bound = _BOUND[kind]
        return f"{shown(value)} is {words} {context[bound]}"
    options = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
    tag = str(context.get("tag"))
    plain = {
        "missing": f"is missing{_beside(value)}",
        "literal_error": f"{shown(value)} is not one of {', '.join(options)}{_near(value, options)}",
        "union_tag_invalid": f"kind {shown(tag)} is unknown{suggestion(tag, options)}",
        "union_tag_not_found": "kind is missing: it says which of the possible forms this is",
        "finite_number": f"{value} is not a finite number",
        "string_pattern_mismatch": f"{shown(value)} does not look like {context.get('pattern')}",
    }
    return plain.get(kind, f"{detail['msg']} (found {shown(value)})")


def _near(value: Any, options: list[str]) -> str:
    near = difflib.get_close_matches(str(value), options, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else ""


def _beside(parent: Any) -> str:
    return f": add it beside {', '.join(sorted(map(str, parent))[:4])}" if isinstance(parent, dict) and parent else ""


def _described(value: Any) -> str:
    return "nothing" if value is None else _KINDS.get(type(value), type(value).__name__)


def _walk(location: tuple[str | int, ...], data: Any) -> tuple[Path, type[BaseModel] | None]:
    """Follow an error's location through the data, leaving out what is not a key there."""
    path: list[str | int] = []
    model: type[BaseModel] | None = TaskSpec
    for i, word in enumerate(location):
        if isinstance(data, dict) and word in data:
            data = data[word]
            # the model of an error is that of its parent, unless the error is inside
            model = _next(model, str(word), data) if i < len(location) - 1 or isinstance(data, dict) else model
        elif isinstance(data, list) and isinstance(word, int) and word < len(data):
            data = data[word]
        elif isinstance(data, dict) and model is not None and word in model.model_fields:
            data = None  # a missing field: it has a name but no value
        else:
            continue
        path.append(word)
    return tuple(path), model


def _next(model: type[BaseModel] | None, name: str, data: Any) -> type[BaseModel] | None:
    field = model.model_fields.get(name) if model else None
    inner = _models(field.annotation) if field else []
    return _chosen(inner, data) if inner else None


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _chosen(models: list[type[BaseModel]], data: Any) -> type[BaseModel]:
    """The member of a union that the data's `kind` says, or the first."""
    kind = data.get("kind") if isinstance(data, dict) else None
    for model in models:
        field = model.model_fields.get("kind")
        if field and (field.default == kind or kind in get_args(field.annotation)):
            return model
    return models[0]
