"""pydantic's errors in plain words, with the line of the file and what was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from suite.spec.positions import Document, Path, Problem, dotted
from suite.spec.task import MisfitError, TaskSpec

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
_NAME = (
    "cannot be a name: small letters and digits, with a hyphen or a slash between them, are meant, "
    "such as quick/digits-mlp3"
)


def problems(error: ValidationError, document: Document, root: type[BaseModel] = TaskSpec) -> list[Problem]:
    """One problem per field. A field that is missing because its name is misspelt is one problem, not two.

    `root` is the model of the whole document.
    """
    merged: dict[Path, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        for path, one in _located(detail, document.data, root):
            merged.setdefault(path, []).append(one)
    meant = {new for _, new in renamed(error, document.data, root)}
    return [
        Problem(document.line(path), dotted(path), _together(details))
        for path, details in merged.items()
        if not (path in meant and details[0]["type"] == "missing")
    ]


def renamed(error: ValidationError, data: Any, root: type[BaseModel] = TaskSpec) -> Iterator[tuple[Path, Path]]:
    """Unknown fields that are evidently others, which are not there, misspelt: as it is, and as it is meant."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "extra_forbidden":
            path, model = _walk(detail["loc"][:-1], data, root)
            word = str(detail["loc"][-1])
            if (near := nearest(word, _fields(model))) and near not in at(data, path):
                yield (*path, word), (*path, near)


def replaced(error: ValidationError, data: Any) -> Iterator[tuple[Path, str]]:
    """Words that are evidently others misspelt: where they are, and what is meant."""
    for detail in error.errors(include_url=False):
        path, _ = _walk(detail["loc"], data)
        if detail["type"] == "union_tag_invalid":
            if near := nearest(str(detail.get("ctx", {}).get("tag")), _options(detail)):
                yield (*path, "kind"), near
        elif (
            detail["type"] == "literal_error"
            and isinstance(detail["input"], str)
            and (near := nearest(detail["input"], _options(detail)))
        ):
            yield path, near


def at(data: Any, path: Path) -> Any:
    """What is at a path of plain data."""
    for word in path:
        data = data[word]
    return data


def models(annotation: Any) -> list[type[BaseModel]]:
    """The models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models(part)]


def chosen(candidates: list[type[BaseModel]], data: Any) -> type[BaseModel]:
    """The member of a union that the data's `kind` says, or the first."""
    kind = data.get("kind") if isinstance(data, dict) else None
    for model in candidates:
        field = model.model_fields.get("kind")
        if field and (field.default == kind or kind in get_args(field.annotation)):
            return model
    return candidates[0]


def mistyped(value: Any, meant: str) -> str:
    """That a value is of another type than is meant."""
    return (
        f"is empty, {meant} is meant" if value is None else f"{shown(value)} is {_described(value)}, {meant} is meant"
    )


def shown(value: Any) -> str:
    """A value as the file has it, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is nearest, if one is near."""
    return next(iter(difflib.get_close_matches(word, sorted(known), 1, 0.5)), None)


def suggestion(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest known word, or all there are."""
    options = sorted(known)
    near = nearest(word, options)
    return f"; did you mean {near}?" if near else f"; known are {', '.join(options)}"


def _located(detail: ErrorDetails, data: Any, root: type[BaseModel]) -> Iterator[tuple[Path, ErrorDetails]]:
    """The YAML's own path of an error (pydantic's has names of union members in it), one for each part that misfits."""
    path, _ = _walk(detail["loc"], data, root)
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, MisfitError):
        for field, problem in error.problems.items():
            yield tuple(field.split(".")), {**detail, "msg": problem}
    elif detail["type"] == "extra_forbidden":
        parent, model = _walk(detail["loc"][:-1], data, root)
        word = str(detail["loc"][-1])
        yield (*parent, word), {**detail, "msg": f"unknown key{suggestion(word, _fields(model))}"}
    else:
        yield path, {**detail, "msg": str(error)} if error else detail


def _together(details: list[ErrorDetails]) -> str:
    """The messages on one field as one. A word that is also allowed where a number is wrong is only an alternative."""
    words = [detail for detail in details if detail["type"] == "literal_error"]
    others = [detail for detail in details if detail["type"] != "literal_error"]
    if not words or not others:
        return " or ".join(dict.fromkeys(map(_message, details)))
    options = [option for detail in words for option in _options(detail)]
    value = words[0]["input"]
    if isinstance(value, str) and (near := nearest(value, options)):
        return f"{shown(value)} is unknown; did you mean {near}?"
    return f"{' or '.join(dict.fromkeys(map(_message, others)))} (or say {' or '.join(options)})"


def _message(detail: ErrorDetails) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in _MEANT:
        return mistyped(value, _MEANT[kind])
    if kind in _BOUND:
        words, bound = _BOUND[kind]
        return f"{shown(value)} is {words} {context[bound]}"
    said = _SAID.get(kind)
    return said(detail) if said else f"{detail['msg']} (found {shown(value)})"


def _not_one_of(detail: ErrorDetails) -> str:
    value, options = detail["input"], _options(detail)
    near = nearest(str(value), options)
    return f"{shown(value)} is not one of {', '.join(options)}" + (f"; did you mean {near}?" if near else "")


def _unknown_kind(detail: ErrorDetails) -> str:
    tag = str(detail.get("ctx", {}).get("tag"))
    return f"kind {shown(tag)} is unknown{suggestion(tag, _options(detail))}"


def _missing(detail: ErrorDetails) -> str:
    parent = detail["input"]
    beside = f": add it beside {', '.join(sorted(map(str, parent))[:4])}" if isinstance(parent, dict) and parent else ""
    return f"is missing{beside}"


def _counted(detail: ErrorDetails, how: str, bound: str) -> str:
    context = detail.get("ctx", {})
    return f"{context['actual_length']} entries are {how} than {context[bound]}"


_SAID: dict[str, Callable[[ErrorDetails], str]] = {
    "extra_forbidden": lambda detail: detail["msg"],
    "value_error": lambda detail: detail["msg"],
    "missing": _missing,
    "literal_error": _not_one_of,
    "union_tag_invalid": _unknown_kind,
    "union_tag_not_found": lambda _: "kind is missing: it says which of the possible forms this is",
    "too_short": lambda detail: _counted(detail, "fewer", "min_length"),
    "too_long": lambda detail: _counted(detail, "more", "max_length"),
    "string_too_short": lambda _: "is empty: words are meant",
    "string_too_long": lambda detail: f"is longer than {detail.get('ctx', {})['max_length']} characters: shorten it",
    "finite_number": lambda detail: f"{detail['input']} is not a finite number",
    "string_pattern_mismatch": lambda detail: f"{shown(detail['input'])} {_NAME}",
}


def _options(detail: ErrorDetails) -> list[str]:
    """The words that are possible, where an error is of one that is not."""
    context = detail.get("ctx", {})
    return re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))


def _fields(model: type[BaseModel] | None) -> Iterable[str]:
    return model.model_fields if model else ()


def _described(value: Any) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _walk(
    location: tuple[str | int, ...], data: Any, root: type[BaseModel] = TaskSpec
) -> tuple[Path, type[BaseModel] | None]:
    """Follow an error's location through the data, leaving out what is not a key there; the path, and its model."""
    path: list[str | int] = []
    model: type[BaseModel] | None = root
    for word in location:
        if isinstance(data, dict) and word in data:
            data = data[word]
            model = _next(model, str(word), data)
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
    inner = models(field.annotation) if field else []
    return chosen(inner, data) if inner else None
