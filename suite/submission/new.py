"""Files to begin with: a metric and its test, or a task."""

from __future__ import annotations

import importlib.util
import keyword
import pkgutil
import re
from importlib.resources import files
from pathlib import Path

import yaml

import suite.metrics
from suite.errors import BadInput
from suite.metrics import find_metrics
from suite.ranking.tables import GAPS, MEASURES
from suite.spec.loading import check

COLUMNS = ("run_id", "step", "epoch", "status", *MEASURES, *GAPS)
"""What the columns of `runs.csv` are called: a metric is a further column beside them."""


def new_metric(name: str, folder: Path) -> list[Path]:
    """Write `<name>.py` and `test_<name>.py` into a folder; returns both.

    Raises:
        BadInput: the name cannot be a metric's or is taken, or a file is in the way.
    """
    paths = [folder / f"{name}.py", folder / f"test_{name}.py"]
    _check_name(name)
    _check_free(paths)
    if importlib.util.find_spec(name):
        raise BadInput(f"{name}: is a Python module that is installed here, which a file of that name would hide")
    for path, template in zip(paths, ("metric.py.txt", "test_metric.py.txt"), strict=True):
        _write(path, _filled(template, name))
    return paths


def new_task(name: str, folder: Path) -> list[Path]:
    """Write a task file of that name into a folder, `<name>.yaml`; returns it.

    Raises:
        BadInput: the name cannot be a task's, or a file is in the way.
    """
    plain = re.fullmatch("[a-z][a-z0-9/-]*", name) and isinstance(yaml.safe_load(name), str)  # not yes, nor 1e3
    content = _filled("task.yaml.txt", name if plain else f'"{name}"')
    _, problems = check(content.encode("utf-8", "replace"))
    if problems:
        raise BadInput(f"{name!r}: a task's name is lower-case words and digits joined by - and /, like my/digits-grid")
    path = folder / f"{name}.yaml"
    _check_free([path])
    _write(path, content)
    return [path]


def after_metric(name: str, folder: Path) -> list[str]:
    """What to do with a new metric, a line each."""
    file = folder / f"{name}.py"
    return [
        f"Fill in {file} and {folder / f'test_{name}.py'} where they say FILL IN. Then",
        f"  python -m pytest {folder / f'test_{name}.py'}",
        f"  suite check --fast {file}      what takes seconds",
        f"  suite check {file}             all that is asked of a metric, on the quick suite",
        f"  suite run --metric {file}      a line on your own leaderboard",
    ]


def after_task(name: str, folder: Path) -> list[str]:
    """What to do with a new task, a line each."""
    file = folder / f"{name}.yaml"
    return [f"Change {file} as you need it. Then", f"  suite validate {file}", f"  suite run {file}"]


def _check_name(name: str) -> None:
    if not name.isascii() or not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise BadInput(f"{name!r}: a metric's name is a function's, in lower case, like largest_weight")
    if name.startswith(("_", "test_")) or len(name) > 60:
        raise BadInput(f"{name}: a metric's name begins with a letter, not with test_, and has at most 60 characters")
    if name in COLUMNS:
        raise BadInput(f"{name}: is a column of the results, which a metric is written beside; choose another name")
    if taken := find_metrics().get(name):
        raise BadInput(f"{name}: there is a metric of that name, {taken.title} ({taken.source}); choose another name")
    if name in {module.name for module in pkgutil.iter_modules(suite.metrics.__path__)}:
        raise BadInput(f"{name}: suite/metrics has a file {name}.py, which this one would replace; choose another name")


def _check_free(paths: list[Path]) -> None:
    for path in paths:
        if path.exists():
            raise BadInput(f"{path}: is there already and is not written over; choose another name or folder")


def _filled(template: str, name: str) -> str:
    text = files("suite.submission").joinpath("templates", template).read_text(encoding="utf-8")
    return text.replace("{{name}}", name)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:  # never over a file that came meanwhile
            file.write(text)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror or error})") from None
