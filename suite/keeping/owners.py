"""Which tasks the runs of a store belong to, by their files: whose policy holds, and what makes them again."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from suite.keeping.archive import Reference
from suite.measuring.probes import find_probes, probe_key
from suite.spec.cells import Environment, Stack, stacks
from suite.spec.keep import Keep
from suite.spec.loading import find_tasks, load_task, resolve
from suite.spec.task import TaskSpec

_EVERYWHERE = tuple(Environment(device, dtype) for device in ("cpu", "cuda") for dtype in ("float32", "float64"))
"""Where runs of a task may have been made: their names say so."""
_ANY_SIZE = 10**9


def task_files(names: Sequence[str], root: Path) -> tuple[list[Path], list[Path]]:
    """The task files that are meant by files, names or folders (without any: all under `root`), and all that are known.

    Raises:
        BadInput: there is no such task.
    """
    known = find_tasks(root)
    asked = resolve(names, root) if names else known
    return asked, list(dict.fromkeys([*asked, *known]))


@dataclass(frozen=True)
class Owner:
    """A task that a run belongs to; `cell` is the task with that run's own values."""

    file: Path
    cell: TaskSpec
    environment: Environment

    @property
    def keep(self) -> Keep:
        """Its policy."""
        return self.cell.keep

    def command(self) -> str:
        """What trains and measures its runs, where it is not done yet."""
        words = ["suite", "run", str(self.file)]
        if self.environment.device != "cpu":
            words += ["--device", self.environment.device]
        if self.environment.dtype != "float32":
            words += ["--dtype", self.environment.dtype]
        return shlex.join(words)


@dataclass
class Owners:
    """Of some task files.

    Attributes:
        of: the tasks that a run belongs to, by run id.
        stacks: where each recorded stack of theirs was made, and the stack, by key.
    """

    of: dict[str, list[Owner]] = field(default_factory=dict)
    stacks: dict[str, tuple[Owner, Stack]] = field(default_factory=dict)

    def only(self, files: Container[Path]) -> Owners:
        """Those of some of the files."""
        of = {run_id: [one for one in found if one.file in files] for run_id, found in self.of.items()}
        stacks = {key: one for key, one in self.stacks.items() if one[0].file in files}
        return Owners({run_id: found for run_id, found in of.items() if found}, stacks)

    def commands(self, wanted: Iterable[Reference]) -> tuple[list[str], bool]:
        """What makes these again, one command for each task; and whether some are of no task that is known."""
        found: dict[str, None] = {}
        lost = False
        for one in wanted:
            lost |= one.run_id not in self.of
            makers = [owner for owner in self.of.get(one.run_id, ()) if _makes(owner, one)]
            found.update(dict.fromkeys(owner.command() for owner in makers[:1]))
        return list(found), lost


def _makes(owner: Owner, one: Reference) -> bool:
    """Whether a run's task makes this: of probes, only if it asks for that one."""
    asked = [name for name in find_probes() if getattr(owner.cell.probes, name) is not None] if one.key else []
    return not one.key or one.key in {probe_key(one.run_id, one.step, owner.cell, name) for name in asked}


def owners(files: Sequence[Path], recorded: Container[str]) -> Owners:
    """The owners of the runs of a store among some task files.

    Args:
        files: of tasks.
        recorded: the keys of its stacks.

    Raises:
        BadInput: a file is no task: what it would have kept cannot be told.
    """
    found = Owners()
    for file in dict.fromkeys(files):
        for stack in stacks(load_task(file, _ANY_SIZE)):
            for environment in _EVERYWHERE:
                if (key := stack.key(environment)) in recorded:
                    found.stacks[key] = (Owner(file, stack.cells[0].task, environment), stack)
                    for run_id, cell in zip(stack.run_ids(environment), stack.cells, strict=True):
                        found.of.setdefault(run_id, []).append(Owner(file, cell.task, environment))
    return found
