"""All that is wrong with a document: each error is put right, as far as it is plain what was meant, to see the next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter, ValidationError

from suite.spec import explain
from suite.spec.positions import Document, Path, Problem
from suite.spec.probes import SPECTRA
from suite.spec.task import AnyData, AnyModel, TaskSpec, misfits

_ROUNDS = 4
"""A kind put right shows a misspelt field, that one a misspelt word: deeper than that nothing is nested."""
_DATA: TypeAdapter[Any] = TypeAdapter(AnyData)
_MODEL: TypeAdapter[Any] = TypeAdapter(AnyModel)


def all_problems(document: Document) -> tuple[list[Problem], Document]:
    """What is wrong with the fields of a document, one problem a field, and the document as it is meant.

    A misspelt kind hides what is wrong inside of it, and a wrong field hides that others do not fit one another.
    """
    found: dict[str, Problem] = {}
    for _ in range(_ROUNDS):
        try:
            TaskSpec.model_validate(document.data)
            return list(found.values()), document
        except ValidationError as error:
            for problem in explain.problems(error, document):
                found.setdefault(problem.field, problem)
            changed = _put_right(error, document)
            if changed is None:
                break
            document = changed
    for field, message in _misfits(document.data):
        found.setdefault(field, Problem(document.line(tuple(field.split("."))), field, message))
    return list(found.values()), document


def copied(part: Any) -> Any:
    """Plain data, its mappings copied."""
    return {key: copied(value) for key, value in part.items()} if isinstance(part, dict) else part


def _put_right(error: ValidationError, document: Document) -> Document | None:
    """The document with what is evidently misspelt put right, or None if there is nothing of the kind."""
    data, lines = copied(document.data), dict(document.lines)
    renamed, replaced = dict(explain.renamed(error, data)), dict(explain.replaced(error, data))
    for path, word in replaced.items():
        if all(isinstance(part, str) for part in path):  # a word in a list is nowhere a kind of something
            explain.at(data, path[:-1])[path[-1]] = word
    for old, new in renamed.items():
        parent = explain.at(data, old[:-1])
        if new[-1] not in parent:
            parent[new[-1]] = parent.pop(old[-1])
            lines |= {(*new, *path[len(old) :]): line for path, line in lines.items() if path[: len(old)] == old}
    return Document(data, lines) if renamed or replaced else None


def _misfits(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What does not fit the data, of those parts that are right by themselves."""
    source = _valid(_DATA, data.get("data"))
    if source is None:
        return
    model = _valid(_MODEL, data.get("model"))
    probes = {name: _inside(data, ("probes", name, "batch_size")) for name in SPECTRA}
    yield from misfits(source, model, _inside(data, ("training", "batch_size")), probes)


def _valid(kind: TypeAdapter[Any], value: Any) -> Any:
    try:
        return kind.validate_python(value)
    except ValidationError:
        return None


def _inside(data: Any, path: Path) -> Any:
    for word in path:
        data = data.get(word) if isinstance(data, dict) else None
    return data
