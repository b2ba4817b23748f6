"""From a YAML file to a `TaskSpec`, or to every problem it has, each with file, line and field."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from suite.errors import BadInput
from suite.spec import explain
from suite.spec.cells import put
from suite.spec.positions import Document, Problem, Unreadable, parse
from suite.spec.task import TaskSpec
from suite.spec.training import Spaced

MOST_CELLS = 1000
"""Cells that a task may have without being asked twice (`--yes`)."""


def load_task(path: Path, max_cells: int = MOST_CELLS) -> TaskSpec:
    """Read a task.

    Raises:
        BadInput: all its problems, one `file:line: field: what is wrong, what was meant` a line.
    """
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise BadInput(_absent(path, error)) from None
    task, problems = check(content, max_cells)
    if task is None or problems:
        raise BadInput("\n".join(problem.text(str(path)) for problem in problems))
    return task


def check(content: bytes, max_cells: int = MOST_CELLS) -> tuple[TaskSpec | None, list[Problem]]:
    """A task file's content as a task, or None; and what is wrong with it, by line."""
    try:
        document = parse(content)
    except Unreadable as error:
        return None, sorted(error.problems, key=lambda p: p.line)
    try:
        task = TaskSpec.model_validate(document.data)
    except ValidationError as error:
        problems = explain.problems(error, document)
        # the grid is looked at as far as that can be done without a valid task
        problems += [p for p in _grid_problems(document) if p.field not in {q.field for q in problems}]
        return None, sorted(problems, key=lambda p: p.line)
    problems = [*_grid_problems(document), *_kind_problems(task, document)]
    problems = problems or _cell_problems(task, document, max_cells)
    return task, sorted(problems, key=lambda p: p.line)


def find_tasks(root: Path) -> list[Path]:
    """All task files under a folder, by name."""
    return sorted(root.rglob("*.yaml"))


def resolve(names: Iterable[str], root: Path) -> list[Path]:
    """Task files for paths, folders and task names such as `quick/digits-mlp3`, each once, in that order.

    Raises:
        BadInput: nothing of that name; the nearest one is suggested.
    """
    found: dict[Path, None] = {}
    for name in names:
        for path in _resolve(name, root):
            found[path] = None
    return list(found)


def _resolve(name: str, root: Path) -> list[Path]:
    for place in (Path(name), root / name):
        if place.is_dir():
            if files := find_tasks(place):
                return files
            raise BadInput(f"{place}: there is no task file (*.yaml) in this folder")
        if place.is_file():
            return [place]
    if (file := root / f"{name}.yaml").is_file():
        return [file]
    known = [str(p.relative_to(root).with_suffix("")) for p in find_tasks(root)]
    folders = sorted({str(p.parent) for p in find_tasks(root)})
    near = difflib.get_close_matches(name, [*known, *folders], 1, 0.5)
    hint = f"; did you mean {near[0]}?" if near else f"; tasks are: {', '.join(known) or f'none in {root}/'}"
    raise BadInput(f"{name}: no task file, folder or task of that name{hint}")


def _absent(path: Path, error: Exception) -> str:
    if isinstance(error, IsADirectoryError):
        return f"{path}: is a folder; a task file is meant"
    if isinstance(error, FileNotFoundError):
        siblings = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, 1)
        return f"{path}: no such file" + (f"; did you mean {path.parent / near[0]}?" if near else "")
    return f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"


def _grid_problems(document: Document) -> Iterator[Problem]:
    """What can be said of each line of the grid on its own."""
    grid = document.data.get("grid", {})
    if not isinstance(grid, dict):
        return
    for name, values in grid.items():
        line, field = document.line(("grid", name)), f"grid.{name}"
        if wrong := explain.grid_path_problem(name, document.data):
            yield Problem(line, field, wrong)
        elif isinstance(values, list):
            yield from _value_problems(name, values, document)


def _value_problems(name: str, values: list[Any], document: Document) -> Iterator[Problem]:
    field = f"grid.{name}"
    if not values:
        yield Problem(document.line(("grid", name)), field, "no values: give at least one, or leave the line out")
    seen: list[Any] = []
    for i, value in enumerate(values):
        line = document.line(("grid", name, i))
        if isinstance(value, dict | list) or value is None:
            yield Problem(line, field, f"{explain.shown(value)} is not a single value")
        elif isinstance(value, float) and not math.isfinite(value):
            yield Problem(line, field, f"{value} is not a finite number")
        elif value in seen:
            yield Problem(line, field, f"{explain.shown(value)} is given twice: keep one")
        else:
            seen.append(value)
            yield from _misfit(name, value, line, document)


def _misfit(name: str, value: Any, line: int, document: Document) -> Iterator[Problem]:
    """Does the value fit its field, whatever the other fields say?"""
    try:
        trial = {key: _copied(part) for key, part in document.data.items() if key != "grid"}
        put(trial, name, value)
        TaskSpec.model_validate(trial)
    except ValidationError as error:
        for problem in explain.problems(error, Document(trial, {})):
            if problem.field == name:
                yield Problem(line, f"grid.{name}", problem.message)
    except (KeyError, TypeError):
        return  # the field's parents are themselves wrong, which is said elsewhere


def _copied(part: Any) -> Any:
    return {key: _copied(value) for key, value in part.items()} if isinstance(part, dict) else part


def _kind_problems(task: TaskSpec, document: Document) -> Iterator[Problem]:
    line = document.line(("kind",))
    checkpoints = task.training.checkpoints
    if task.kind == "grid":
        if not [name for name in task.grid if not is_seed(name)]:
            where = document.line(("grid",))
            yield Problem(where, "grid", "kind grid needs at least one hyperparameter, such as learning_rate: […]")
        if isinstance(checkpoints, Spaced):
            where = document.line(("training", "checkpoints"))
            yield Problem(where, "training.checkpoints", "kind grid looks at the end alone: kind final is meant")
    elif not isinstance(checkpoints, Spaced) or checkpoints.count < 2:
        yield Problem(line, "kind", "kind trajectory needs training.checkpoints of kind even or log with count ≥ 2")


def is_seed(name: str) -> bool:
    """Whether a grid's field is a seed, which is repeated, not varied."""
    return name.rsplit(".", maxsplit=1)[-1] == "seed" or name.endswith("_seed")


def _cell_problems(task: TaskSpec, document: Document, max_cells: int) -> list[Problem]:
    """Every cell as a whole, up to the first few that are wrong."""
    line, count = document.line(("grid",)), math.prod(len(values) for values in task.grid.values())
    if count > max_cells:
        return [Problem(line, "grid", f"{count:,} cells, more than {max_cells:,}: allow it with --yes")]
    plain = task.model_dump(mode="json", exclude={"grid"})
    problems: list[Problem] = []
    for values in itertools.product(*task.grid.values()):
        try:
            cell = _copied(plain)
            for name, value in zip(task.grid, values, strict=True):
                put(cell, name, value)
            TaskSpec.model_validate(cell)
        except ValidationError as error:
            where = ", ".join(f"{n} = {explain.shown(v)}" for n, v in zip(task.grid, values, strict=True))
            first = explain.problems(error, Document(cell, {}))[0]
            problems.append(Problem(line, "grid", f"in the cell {where}: {first.field}: {first.message}"))
            if len(problems) == 5:
                break
    return problems
