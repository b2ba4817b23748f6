"""From a YAML file to a `TaskSpec`, or to every problem it has, each with file, line and field."""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import ValidationError

from suite.errors import BadInput
from suite.spec import explain
from suite.spec.cells import put
from suite.spec.grids import grid_problems
from suite.spec.meant import all_problems, copied
from suite.spec.positions import LARGEST, MOST_BYTES, Document, Problem, Unreadable, parse, told
from suite.spec.task import TaskSpec

MOST_CELLS = 1000
"""Cells that a task may have without being asked twice (`--yes`)."""
_CELLS_EVER = 100_000
"""Cells that a task may have at all: each of them is looked at before anything is done."""


def load_task(path: Path, max_cells: int = MOST_CELLS) -> TaskSpec:
    """Read a task.

    Raises:
        BadInput: all its problems, one `file:line: field: what is wrong, what was meant` a line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)  # of /dev/urandom, too
    except (OSError, ValueError) as error:
        raise BadInput(_absent(path, error)) from None
    task, problems = check(content, max_cells)
    if task is None or problems:
        raise BadInput(told(problems, str(path)))
    return task


def check(content: bytes, max_cells: int = MOST_CELLS) -> tuple[TaskSpec | None, list[Problem]]:
    """A task file's content as a task, or None; and what is wrong with it, by line."""
    try:
        document = parse(content)
    except Unreadable as error:
        return None, _by_line(list(error.problems))
    problems, as_meant = all_problems(document)
    many = [*_too_many(as_meant, max_cells)]
    better = [*grid_problems(as_meant, values=not many), *many, *_kind_problems(as_meant)]
    # of a grid's values we say it better than pydantic, whose words are those of every type a value may have
    problems = [p for p in problems if not (p.field.startswith("grid.") and _covered(p, better))] + better
    if problems:
        return None, _by_line(problems)
    task = TaskSpec.model_validate(document.data)
    return task, _by_line(_cell_problems(task, document))


def _covered(problem: Problem, better: list[Problem]) -> bool:
    return any(problem.field.startswith(other.field) for other in better)


def _too_many(document: Document, max_cells: int) -> Iterator[Problem]:
    """A grid of more cells than are allowed, or than can be; its values are then not looked at one by one."""
    grid = document.data.get("grid")
    lists = [values for values in grid.values() if isinstance(values, list)] if isinstance(grid, dict) else []
    count, most = math.prod(len(values) for values in lists if values), min(max_cells, _CELLS_EVER)
    if count > most:
        hint = "split the task into several" if count > _CELLS_EVER else "allow it with --yes"
        many = f"{count:,}" if count < LARGEST else f"{count:.0e}" if count < 1e300 else "endlessly many"
        yield Problem(document.line(("grid",)), "grid", f"{many} cells, more than {most:,}: {hint}")


def _by_line(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line)


def find_tasks(root: Path) -> list[Path]:
    """All task files under a folder, by name."""
    return sorted(root.rglob("*.yaml"))


def task_names(root: Path) -> list[str]:
    """What the tasks under a folder go by, such as `quick/digits-mlp3`."""
    return [path.relative_to(root).with_suffix("").as_posix() for path in find_tasks(root)]


def listed(root: Path) -> list[Path]:
    """All task files under a folder, by name; at least one.

    Raises:
        BadInput: there is no such folder, or no task file in it.
    """
    if not root.is_dir():
        raise BadInput(f"there is no folder {root}/ in {Path.cwd()}: give one, or go to the folder it is in")
    if files := find_tasks(root):
        return files
    raise BadInput(f"{root}: there is no task file (*.yaml) in this folder")


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
            return listed(place)
        if place.exists():
            return [place]
    if (file := root / f"{name}.yaml").is_file():
        return [file]
    raise BadInput(f"{name}: no task file, folder or task of that name{_known(name, root)}")


def _known(name: str, root: Path) -> str:
    """A hint at a task of which the name is near, or at where tasks are looked for."""
    files, names = find_tasks(root), task_names(root)
    beside = [str(path) for path in Path(name).parent.glob("*.yaml")] if Path(name).parent.is_dir() else []
    near = explain.nearest(name, {*names, *(str(path.parent) for path in files), *beside})
    if near:
        return f"; did you mean {near}?"
    if not root.is_dir():
        return f"; there is no folder {root}/ in {Path.cwd()} either: give the path of a task file"
    return f"; tasks are: {', '.join(names) or f'none in {root}/'}"


def _absent(path: Path, error: Exception) -> str:
    if isinstance(error, IsADirectoryError):
        return f"{path}: is a folder; a task file is meant"
    if isinstance(error, FileNotFoundError):
        siblings = [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, siblings, 1)
        return f"{path}: no such file" + (f"; did you mean {path.parent / near[0]}?" if near else "")
    return f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})"


def _kind_problems(document: Document) -> Iterator[Problem]:
    """What a kind of task asks of the grid and of the checkpoints, whatever else is wrong."""
    data = document.data
    kind, grid, training = data.get("kind"), data.get("grid", {}), data.get("training")
    if kind == "grid" and isinstance(grid, dict) and not grid:
        where = document.line(("grid",))
        yield Problem(where, "grid", "kind grid needs something to vary, such as learning_rate: […], or seed: […]")
    if not isinstance(training, dict):
        return
    checkpoints = training.get("checkpoints")
    told = checkpoints if isinstance(checkpoints, dict) else {}
    spaced, count = told.get("kind") in ("even", "log"), told.get("count")
    if kind == "grid" and spaced:
        where = document.line(("training", "checkpoints"))
        yield Problem(where, "training.checkpoints", "kind grid looks at the end alone: kind final is meant")
    if kind == "trajectory" and (not spaced or count == 1):
        words = "kind trajectory needs training.checkpoints of kind even or log with count ≥ 2"
        yield Problem(document.line(("kind",)), "kind", words)


def is_seed(name: str) -> bool:
    """Whether a grid's field is a seed, which is repeated, not varied."""
    return name.rsplit(".", maxsplit=1)[-1] == "seed" or name.endswith("_seed")


def _cell_problems(task: TaskSpec, document: Document) -> list[Problem]:
    """Every cell as a whole, up to the first few that are wrong."""
    line = document.line(("grid",))
    plain = task.model_dump(mode="json", exclude={"grid"})
    problems: list[Problem] = []
    for values in itertools.product(*task.grid.values()):
        try:
            cell = copied(plain)
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
