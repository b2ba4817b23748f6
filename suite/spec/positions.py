"""YAML as plain data with the line of every field. A strict subset: what a task file has no use for is refused.

Scalars follow YAML 1.2's core schema (`1e-4` is a number, `on` is a word). Anchors, aliases, tags, several documents
and duplicate keys are errors, so that no file can expand to more than it shows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

MOST_BYTES = 1_000_000
MOST_DEPTH = 20
MOST_VALUES = 20_000
"""Scalars, lists and mappings in a file: checks that look at each of them must come to an end."""
LARGEST = 10**15
"""No size, count or seed is larger: products of several of them still fit a float."""

Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MOST_PROBLEMS = 20
"""Problems of a file that are told at once."""
_MOST_FIELD, _MOST_MESSAGE = 120, 1500
"""Characters of a problem's parts that are shown."""
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: its line (from 1), its field by dotted path ("" for the whole file), and what it is."""

    line: int
    field: str
    message: str

    def text(self, file: str) -> str:
        """`file:line: field: message`, in one line that can be printed, whatever is in the file."""
        field = f"{shortened(self.field, _MOST_FIELD)}: " if self.field else ""
        return f"{shortened(file, _MOST_MESSAGE)}:{self.line}: {field}{shortened(self.message, _MOST_MESSAGE)}"


class Unreadable(Exception):
    """The file is not the YAML that is meant; `problems` says where."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


@dataclass(frozen=True)
class Document:
    """A mapping, and the line of each of its fields by path (for a key's value: the line of the key)."""

    data: dict[str, Any]
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of a field, or of the nearest enclosing one that is there."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


def told(problems: Sequence[Problem], file: str) -> str:
    """Problems of a file, a line each: the first of them, and how many more there are."""
    lines = [problem.text(file) for problem in problems[:_MOST_PROBLEMS]]
    more = len(problems) - len(lines)
    return "\n".join([*lines, f"{shortened(file, _MOST_MESSAGE)}: and {more:,} more"] if more else lines)


def shortened(text: str, most: int) -> str:
    r"""A text without what a terminal would take for an order to it, its middle left out where it is too long.

    >>> print(shortened("a\x1b[31m\u202eb", 40))
    a\x1b[31m\u202eb
    """
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[-(most // 2) :]}"
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def parse(content: bytes) -> Document:
    """Read a YAML file's content.

    Raises:
        Unreadable: it is not a mapping in the subset described above.
    """
    if len(content) > MOST_BYTES:
        raise Unreadable(Problem(1, "", f"the file is too long: a task file has at most {MOST_BYTES:,} bytes"))
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Unreadable(Problem(line, "", f"byte {error.start} is not UTF-8: save the file as UTF-8")) from None
    try:
        _check_events(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise Unreadable(_syntax(error)) from None
    except yaml.YAMLError as error:  # a reader error: characters that YAML does not allow
        raise Unreadable(Problem(1, "", f"not YAML: {' '.join(str(error).split())}")) from None
    if not isinstance(node, yaml.MappingNode):
        found = "empty" if node is None else "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        raise Unreadable(Problem(1, "", f"the file is {found}; a mapping of fields such as `name: …` is meant"))
    lines: dict[Path, int] = {(): 1}
    problems: list[Problem] = []
    data = _value(node, (), lines, problems)
    if problems:
        raise Unreadable(*problems)
    return Document(data, lines)


def dotted(path: Path) -> str:
    """A path as people write it; list indices in brackets."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


def _check_events(text: str) -> None:
    depth = documents = values = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        values += isinstance(event, yaml.NodeEvent)
        if values > MOST_VALUES:
            raise Unreadable(Problem(line, "", f"more than {MOST_VALUES:,} values: split the file into several"))
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Unreadable(Problem(line, "", "anchors and aliases are not allowed: write the value out"))
        if (tag := getattr(event, "tag", None)) is not None:
            raise Unreadable(Problem(line, "", f"the tag {tag} is not allowed: write a plain value"))
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise Unreadable(Problem(line, "", "a second document begins here: one task a file"))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise Unreadable(Problem(line, "", f"nested more than {MOST_DEPTH} deep"))


def _syntax(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    where = f", column {mark.column + 1}" if mark else ""
    context = f" ({error.context})" if error.context else ""
    return Problem(mark.line + 1 if mark else 1, "", f"not YAML{where}: {error.problem}{context}")


def _value(node: yaml.Node, path: Path, lines: dict[Path, int], problems: list[Problem]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, lines, problems)
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*path, i), lines, problems) for i, child in enumerate(node.value)]
    try:
        return _scalar(node.value, plain=getattr(node, "style", None) is None)
    except ValueError:
        problems.append(
            Problem(node.start_mark.line + 1, dotted(path), f"the number has too many digits: at most {LARGEST:,}")
        )
        return None


def _mapping(node: yaml.MappingNode, path: Path, lines: dict[Path, int], problems: list[Problem]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, child in node.value:
        line = key.start_mark.line + 1
        name = key.value if isinstance(key, yaml.ScalarNode) else None
        if not isinstance(name, str) or not _is_word(name, key.style is None):
            problems.append(Problem(line, dotted(path), "a key must be a word"))
            continue
        if name in made:
            first = lines[(*path, name)]
            problems.append(Problem(line, dotted((*path, name)), f"given twice, first in line {first}: keep one"))
            continue
        lines[(*path, name)] = line
        made[name] = _value(child, (*path, name), lines, problems)
    return made


def _is_word(text: str, plain: bool) -> bool:
    try:
        return isinstance(_scalar(text[:100], plain), str)
    except ValueError:
        return False


def _scalar(text: str, plain: bool) -> Any:
    """A scalar by YAML 1.2's core schema; quoted ones are strings.

    Raises:
        ValueError: a whole number is beyond `LARGEST`, or has more digits than Python reads.
    """
    if not plain:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        number = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if abs(number) > LARGEST:
            raise ValueError
        return number
    if _FLOAT.fullmatch(text) or _SPECIAL.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
