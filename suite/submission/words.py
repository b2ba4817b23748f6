"""What a metric's file imports and names, as its text shows it: honest files pass, and it is no cage for others."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

SEEN = (
    "its text imports and names nothing that reads files or starts anything (what it makes up in running is not seen)"
)
_ALLOWED = {
    "__future__", "abc", "bisect", "cmath", "collections", "contextlib", "copy", "dataclasses", "enum", "fractions",
    "functools", "heapq", "itertools", "math", "operator", "random", "statistics", "typing", "warnings",
    "numpy", "scipy", "torch",
    "suite.curvature", "suite.errors", "suite.metrics", "suite.spec",
}  # fmt: skip
"""What computes. Nothing that reads files, data sets or the network, nor starts anything."""
_NEVER = {"scipy.datasets", "scipy.io", "torch.hub", "torch.utils.cpp_extension", "torch.multiprocessing",
          "numpy.ctypeslib", "numpy.f2py", "torch.distributed"}  # fmt: skip
_OURS = ("suite.curvature", "suite.metrics", "suite.spec")
_NAMES = {"__import__", "open", "exec", "eval", "compile", "__builtins__", "__loader__", "__spec__"}
_ATTRIBUTES = {
    "load", "fromfile", "from_file", "loadtxt", "genfromtxt", "fromregex", "memmap", "open_memmap", "tofile", "savetxt",
    "savez", "loadmat", "load_state_dict_from_url", "datasets", "hub", "ctypeslib", "DataSource",
    "os", "sys", "io", "builtins", "importlib", "subprocess", "pathlib", "shutil", "socket", "pickle", "urllib", "glob",
    "tempfile", "inspect", "__builtins__", "__globals__", "__loader__", "__subclasses__", "__import__",
}  # fmt: skip
"""Of numpy, scipy and torch, and of any module that has one of these by accident."""
_WHY = "a metric uses what torch, numpy, scipy and suite.metrics compute"


def strange_words(home: Path) -> Iterator[str]:
    """What a file names that a metric has no business with, anywhere in it, each with its line."""
    for node in ast.walk(ast.parse(home.read_bytes())):  # bytes: a file may declare another encoding
        for word in _strange(node):
            yield f"line {getattr(node, 'lineno', 0)}: {word} ({_WHY})"


def _strange(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if not _is_allowed(alias.name))
    elif isinstance(node, ast.ImportFrom):
        yield from _imported_from("." * node.level + (node.module or ""), [alias.name for alias in node.names])
    elif isinstance(node, ast.Name) and node.id in _NAMES:
        yield f"{node.id}()"
    elif isinstance(node, ast.Attribute):
        path = _dotted(node)
        if node.attr in _ATTRIBUTES:
            yield path or f".{node.attr}"
        elif path.startswith("suite.") and path.count(".") == 1 and not _is_allowed(path):
            yield path


def _imported_from(module: str, names: list[str]) -> Iterator[str]:
    if module == "suite":
        yield from (f"suite.{name}" for name in names if not _is_allowed(f"suite.{name}"))
    elif not _is_allowed(module):
        yield module
    elif module.startswith(_OURS):
        yield from (f"{name} of {module}" for name in names if not _is_given(module, name))
    else:
        yield from (f"{module}.{name}" for name in names if name in _ATTRIBUTES or not _is_allowed(f"{module}.{name}"))


def _is_allowed(name: str) -> bool:
    return _is_within(name, _ALLOWED) and not _is_within(name, _NEVER)


def _is_within(name: str, modules: set[str]) -> bool:
    return any(name == known or name.startswith(f"{known}.") for known in modules)


def _is_given(module: str, name: str) -> bool:
    """Whether a room means to give a name: by `__all__`; a module that has none, if nothing strange came by it."""
    if name in _ATTRIBUTES:
        return False
    try:
        room = importlib.import_module(module)
    except ImportError:
        return False
    thing = getattr(room, name, None)
    if isinstance(thing, ModuleType):
        return thing.__name__.startswith(_OURS)
    return name in getattr(room, "__all__", [name]) and _is_allowed(str(getattr(thing, "__module__", module)))


def _dotted(node: ast.expr) -> str:
    """`a.b.c` of such an expression; empty for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""
