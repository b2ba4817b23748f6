"""A hash of a metric's code: its function, what that reaches in its module, and nothing else of the file.

Comments, docstrings, and the words of `@metric` that change no value are not in it, nor is anything of the module that
the function does not reach. Other modules are not followed: what a metric imports is in the hash by name alone.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import symtable
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

_WORDS = {"title", "source", "family", "sign", "invariances", "cost", "trivial", "optimizers"}
"""Words of `@metric` that change no value."""

_DECLARES = {"title", "source", "family", "sign"}
"""A call with these words is `@metric`, whatever name it was imported by."""

_UNSEEN = {"globals", "vars", "locals", "eval", "exec"}
"""Who calls one of these may reach names that cannot be read from the code."""


def fingerprint_of(measure: Callable[..., Any]) -> str:
    """The hash of a function of a module and of what it reaches there; of the whole module for any other function.

    Raises:
        OSError: its source cannot be read.
    """
    function = inspect.unwrap(measure)
    lines, _ = inspect.findsource(function)
    code = _module("".join(lines))
    named = function.__name__ if function.__qualname__ == function.__name__ else ""
    return code.fingerprint(named if named in code.bound else None)


def fingerprint_of_file(path: Path) -> str | None:
    """The hash of the file where it imports one beside it, which `fingerprint_of` cannot follow; else None."""
    content = path.read_bytes()
    names = _imported(ast.parse(content))
    if not any(name == "" or (path.parent / f"{name}.py").exists() or (path.parent / name).is_dir() for name in names):
        return None
    return hashlib.sha256(content).hexdigest()


def _imported(tree: ast.AST) -> Iterator[str]:
    """The first part of every imported name; empty for a relative one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "" if node.level else str(node.module).split(".")[0]


@lru_cache(maxsize=4)
def _module(text: str) -> _Module:
    return _Module(text)


class _Module:
    """A module's statements by the names that they bind, and those that may act on their own.

    Definitions, imports and assignments to names count where their names are reached; everything else at the top level
    (calls, loops, assignments to items) may change what others compute, and always counts.
    """

    def __init__(self, text: str) -> None:
        statements = [_Statement(node) for node in _single(_stripped(ast.parse(text)).body)]
        self.all, self.always = statements, [one for one in statements if one.acts]
        self.bound: dict[str, list[_Statement]] = {}
        for one in statements:
            for name in one.binds:
                self.bound.setdefault(name, []).append(one)

    def fingerprint(self, name: str | None) -> str:
        """The hash of what `name` reaches; of the whole module without a name."""
        reached = None if name is None else self._reached(name)
        if reached is None:
            return _hash([one.plain for one in self.all])
        return _hash([[one.plain for one in self.always], {n: [o.plain for o in self.bound[n]] for n in reached}])

    def _reached(self, name: str) -> set[str] | None:
        """All names of the module that are reached, or None where that cannot be told."""
        waiting = {name}.union(*(one.reads for one in self.always))
        seen: set[str] = set()
        while waiting:
            one = waiting.pop()
            if one in _UNSEEN and one not in self.bound:
                return None
            if one in self.bound and one not in seen:
                seen.add(one)
                waiting |= set().union(*(statement.reads for statement in self.bound[one]))
        return seen


class _Statement:
    """One statement at the top level of a module."""

    def __init__(self, node: ast.stmt) -> None:
        self._node = node
        self._table = symtable.symtable(ast.unparse(node), "<metric>", "exec")

    @cached_property
    def binds(self) -> set[str]:
        """The names that it gives a value."""
        symbols = self._table.get_symbols()
        return {one.get_name() for one in symbols if one.is_assigned() or one.is_imported() or one.is_namespace()}

    @cached_property
    def reads(self) -> set[str]:
        """The names of the module that it reads, now or when it is called."""
        return {one.get_name() for one in self._table.get_symbols() if one.is_referenced()} | _globals(self._table)

    @property
    def acts(self) -> bool:
        """Whether it may do more than bind names."""
        if isinstance(self._node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            return not self.binds or _has_parts(self._node)
        if isinstance(self._node, ast.If) and "TYPE_CHECKING" in ast.unparse(self._node.test):
            return False
        return not self.binds or not isinstance(
            self._node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
        )

    @cached_property
    def plain(self) -> Any:
        """What it says, without where it says it."""
        return _plain(self._node)


def _has_parts(node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> bool:
    """Whether an assignment changes a part of something."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(part, ast.Subscript | ast.Attribute) for target in targets for part in ast.walk(target))


def _globals(table: symtable.SymbolTable) -> set[str]:
    """Names that the functions and classes inside look up in their module."""
    found: set[str] = set()
    for inner in table.get_children():
        found |= {one.get_name() for one in inner.get_symbols() if one.is_global()} | _globals(inner)
    return found


def _single(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements, imports of several names one by one: who uses one of them does not use the others."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (ast.Import([alias]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module != "__future__":
                yield from (ast.ImportFrom(node.module, [alias], node.level) for alias in node.names)
        else:
            yield node


def _stripped(tree: ast.Module) -> ast.Module:
    """The tree without strings that are statements, and without words of `@metric` that change no value."""
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            kept = [one for one in body if not _is_text(one)]
            node.body = kept or ([] if isinstance(node, ast.Module) else [ast.Pass()])  # type: ignore[attr-defined]
        for one in getattr(node, "decorator_list", ()):
            if isinstance(one, ast.Call) and {word.arg for word in one.keywords} >= _DECLARES:
                one.keywords = [word for word in one.keywords if word.arg not in _WORDS]
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _plain(node: Any) -> Any:
    """A syntax tree as lists, without positions and empty fields: the same in every version of Python."""
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if isinstance(node, ast.Constant):
        return ["Constant", repr(node.value)]
    if isinstance(node, ast.AST):
        fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
        return [type(node).__name__, *([name, _plain(value)] for name, value in fields)]
    return repr(node)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
