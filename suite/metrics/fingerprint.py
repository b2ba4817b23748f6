"""A hash of a metric's code: its function, and what that reaches here and in the modules that it imports.

Comments, docstrings, and the words of `@metric` that change no value are not in it, nor is anything that the function
does not reach. Followed are:

- by name, statement by statement: its own module, others of `suite.metrics`, and, for a metric from outside, others of
  its own package or, where it is a file, those beside it;
- as whole modules, with those of them that these import: `suite.curvature`, `suite.metrics.probed`, `suite.spec.seeds`;
- for every metric, as whole modules: `suite.metrics.run` and `suite.metrics.probed`, what it is given; of what
  `run` imports, only what the members of `Run` need that the metric names.

All other imports (torch, the rest of `suite`) are in the hash by name alone.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import symtable
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

FILE_PREFIX = "suite_metric_file_"
"""How the name of a module begins that is a file given by path: what lies beside it counts as its own package."""

_SUITE = Path(__file__).parents[1]
_WHOLE = ("metrics/probed", "curvature", "spec/seeds.py")
"""What of `suite` is taken by whole modules."""

_NOT_FOLLOWED = ("metrics/run.py", "metrics/registry.py", "metrics/fingerprint.py")
"""`run` is in every hash; the others compute no value."""

_WORDS = {"title", "source", "family", "sign", "invariances", "cost", "trivial", "optimizers", "applies"}
"""Words of `@metric` that change no value."""

_DECLARES = {"title", "source", "family", "sign"}
"""A call with these words is `@metric`, whatever name it was imported by."""

_UNSEEN = {"globals", "vars", "locals", "eval", "exec"}
"""Who calls one of these may reach names that cannot be read from the code."""


def fingerprint_of(measure: Callable[..., Any]) -> str:
    """The hash of a function of a module and of what it reaches; of the whole module for any other function.

    Raises:
        OSError: its source cannot be read.
        SyntaxError: that of a module that it imports cannot be.
    """
    function = inspect.unwrap(measure)
    lines, _ = inspect.findsource(function)
    path, own = Path(inspect.getsourcefile(function) or "").absolute(), _module("".join(lines))
    named = function.__name__ if function.__qualname__ == function.__name__ else ""
    closure = _Closure(_Home.of(path, function.__module__), path, {path: own})
    closure.reach(path, named if named in own.bound else None)
    return closure.fingerprint()


@dataclass(frozen=True)
class _Home:
    """Where the modules lie that are followed: those of `suite`, and those of the metric's own package or folder."""

    root: Path
    package: str

    @classmethod
    def of(cls, path: Path, module: str) -> _Home:
        if module.startswith(FILE_PREFIX):
            return cls(path.parent, "")
        depth = module.count(".") + (path.name == "__init__.py")
        return cls(path.parents[depth], module.partition(".")[0])

    def base(self, path: Path) -> Path:
        """The folder that a module's full name begins in."""
        return _SUITE.parent if path.is_relative_to(_SUITE) else self.root

    def find(self, name: str) -> Path | None:
        """The file of the module of that full name, if it is followed."""
        first, *rest = name.split(".")
        if first == "suite":
            return _followed(_file(_SUITE.joinpath(*rest)))
        return _file(self.root.joinpath(first, *rest)) if first and self.package in ("", first) else None

    def absolute(self, path: Path, module: str, level: int) -> str:
        """The full name of what the module in `path` imports as `module`, with so many dots before it."""
        if not level:
            return module
        folder = path.parents[level - 1]
        parts = folder.relative_to(self.base(path)).parts if folder.is_relative_to(self.base(path)) else ()
        return ".".join((*parts, *filter(None, [module])))


def _file(place: Path) -> Path | None:
    options = (place.with_name(f"{place.name}.py"), place / "__init__.py")
    return next((one for one in options if one.is_file()), None)


def _followed(path: Path | None) -> Path | None:
    """The file in `suite`, unless it is in no hash."""
    if path is None or _lies(path, _NOT_FOLLOWED):
        return None
    return path if _lies(path, ("metrics", *_WHOLE)) else None


def _lies(path: Path, places: Iterable[str]) -> bool:
    return any(path.is_relative_to(_SUITE / place) for place in places)


@dataclass
class _Closure:
    """What a metric in `path` reaches: names by module, and whole modules of the library."""

    home: _Home
    path: Path
    modules: dict[Path, _Module]
    names: dict[Path, set[str]] = field(default_factory=dict)
    entire: set[Path] = field(default_factory=set)
    library: set[Path] = field(default_factory=set)
    members: set[str] = field(default_factory=set)

    def module(self, path: Path) -> _Module:
        """The module in that file."""
        if path not in self.modules:
            self.modules[path] = _module(path.read_text(encoding="utf-8"))
        return self.modules[path]

    def reach(self, path: Path, name: str | None) -> None:
        """Add a name of a module (None: all of it), and all that it reaches from there."""
        module = self.module(path)
        if path not in self.names:
            self.names[path] = set()
            self._statements(path, module.always)
        if name is None and path not in self.entire:
            self.entire.add(path)
            self._statements(path, module.all)
        elif name in module.bound and name not in self.names[path]:
            self.names[path].add(name)
            self._statements(path, module.bound[name])

    def _statements(self, path: Path, statements: Iterable[_Statement]) -> None:
        bound = self.module(path).bound
        for one in statements:
            for name in one.reads & bound.keys() - self.names[path]:
                self.reach(path, name)
            if one.reads & _UNSEEN - bound.keys():
                self.reach(path, None)
            for imported in one.imports:
                self._import(path, *imported)
            for member in one.mentions & _members(_SUITE).keys() - self.members:
                self._member(member)

    def _import(self, path: Path, module: str, name: str | None, level: int) -> None:
        full = self.home.absolute(path, module, level)
        found = self.home.find(full)
        if name is None or name == "*":
            within = None
        elif found is not None and name in self.module(found).bound:
            within = name
        else:  # a module of a package, or what a module makes in a way of its own
            found, within = self.home.find(f"{full}.{name}") or found, None
        if found is not None and _lies(found, _WHOLE) and found.name != "__init__.py":
            self.library |= _library(found, _SUITE)
        elif found is not None:
            self.reach(found, within)

    def _member(self, member: str) -> None:
        """A member of `Run` that is named: what it and the members that it calls need of what `run` imports."""
        self.members.add(member)
        statement = _members(_SUITE)[member]
        run = _run(_SUITE)
        for name in statement.reads & run.bound.keys():
            for one in run.bound[name]:
                for imported in one.imports:
                    self._import(_SUITE / "metrics" / "run.py", *imported)
        for other in statement.mentions & _members(_SUITE).keys() - self.members:
            self._member(other)

    def fingerprint(self) -> str:
        """The hash of all of it; where the files lie, and what the metric's own is called, is not in it."""
        found = {self._label(path): self._digests(path, names) for path, names in self.names.items()}
        given = {_SUITE / "metrics" / "run.py", *(_SUITE / "metrics" / "probed").glob("*.py")}
        whole = {self._label(path): _entire(path)[0] for path in self.library | given}
        return _hash([found, whole])

    def _label(self, path: Path) -> str:
        return "" if path == self.path else path.relative_to(self.home.base(path)).as_posix()

    def _digests(self, path: Path, names: set[str]) -> Any:
        module = self.module(path)
        if path in self.entire:
            return [one.digest for one in module.all]
        by_name = {name: [one.digest for one in module.bound[name]] for name in names}
        return [[one.digest for one in module.always], by_name]


@lru_cache(maxsize=256)
def _library(path: Path, suite: Path) -> frozenset[Path]:
    """A module of the library and all that it imports there, directly or not."""
    closed: set[Path] = set()
    home, waiting = _Home(suite.parent, "suite"), [path]
    while waiting:
        one = waiting.pop()
        if one in closed:
            continue
        closed.add(one)
        for module, name, level in _entire(one)[1]:
            full = home.absolute(one, module, level)
            found = [home.find(full), None if name is None else home.find(f"{full}.{name}")]
            waiting += [file for file in found if file is not None and _lies(file, _WHOLE)]
    return frozenset(closed)


@lru_cache(maxsize=256)
def _entire(path: Path) -> tuple[str, frozenset[tuple[str, str | None, int]]]:
    """The hash of a whole module, without comments and docstrings, and what it imports."""
    tree = ast.parse(path.read_bytes())
    return _hash(_plain(_stripped(tree).body)), frozenset(_imports(tree))


def _run(suite: Path) -> _Module:
    return _module((suite / "metrics" / "run.py").read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def _members(suite: Path) -> dict[str, _Statement]:
    """The methods and properties of `Run` by name."""
    (made,) = _run(suite).bound["Run"]
    return {one.name: _Statement(one) for one in ast.walk(made.node) if isinstance(one, ast.FunctionDef)}


def _imports(tree: ast.AST) -> Iterator[tuple[str, str | None, int]]:
    """What is imported anywhere in it: module, name in it (None: the module itself), dots before it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name, node.level) for alias in node.names)


@lru_cache(maxsize=128)
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


class _Statement:
    """One statement at the top level of a module."""

    def __init__(self, node: ast.stmt) -> None:
        self.node = node
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
        if isinstance(self.node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            return not self.binds or _has_parts(self.node)
        if isinstance(self.node, ast.If) and "TYPE_CHECKING" in ast.unparse(self.node.test):
            return False
        return not self.binds or not isinstance(
            self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
        )

    @cached_property
    def imports(self) -> list[tuple[str, str | None, int]]:
        """What it imports, its functions included."""
        return list(_imports(self.node))

    @cached_property
    def mentions(self) -> set[str]:
        """Names of attributes, and texts, which may be some for `getattr`."""
        said = (getattr(one, "attr", getattr(one, "value", None)) for one in ast.walk(self.node))
        return {one for one in said if isinstance(one, str)}

    @cached_property
    def digest(self) -> str:
        """The hash of what it says, without where it says it."""
        return _hash(_plain(self.node))


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
