"""The store of a folder freed, restored and checked, on behalf of tasks by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from suite.errors import BadInput
from suite.keeping.archive import Archive
from suite.keeping.checking import Findings, Progress, broken, check, repair
from suite.keeping.freeing import KINDS, Freeing, free, restore, survey
from suite.keeping.owners import owners, task_files
from suite.store import DamagedStore


def free_store(home: Path, names: Sequence[str], root: Path, dry_run: bool, force: bool) -> Freeing:
    """Let go what the policies of these tasks let go and nothing needs (see `survey`), and files of no row.

    Args:
        home: the store's folder.
        names: task files, names or folders; without any, all tasks under `root`.
        root: where tasks are sought; all that are there have a say about runs that are theirs too.
        dry_run: only say what there is.
        force: also what only training can make again.

    Raises:
        BadInput: no store here, no such task, or a task file that cannot be read.
        StoreError: another process writes to the store, or it cannot be written.
    """
    asked, known = task_files(names, root)
    with Archive(home, writing=not dry_run) as archive:
        every = owners(known, archive.stacks())
        found = survey(archive, every.only(asked), every, force)
        if not dry_run:
            free(archive, found)
        return found


def restore_store(home: Path, names: Sequence[str], root: Path, kinds: Sequence[str]) -> tuple[int, list[str]]:
    """What was let go of these tasks and kinds counts as missing from now on: how many files, and what makes them.

    Raises:
        BadInput: as of `free_store`, or no such kind.
        StoreError: likewise.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise BadInput(f"--restore {kind}: use {', '.join(KINDS)}")
    asked, _ = task_files(names, root)
    with Archive(home, writing=True) as archive:
        return restore(archive, owners(asked, archive.stacks()), kinds)


def verify_store(home: Path, names: Sequence[str], root: Path, mend: bool, progress: Progress) -> Findings:
    """Read the whole store; with `mend`, remove what is damaged so that the next run makes it anew.

    Raises:
        BadInput: as of `free_store`.
        StoreError: with `mend`, likewise.
    """
    _, known = task_files(names, root)
    try:
        with Archive(home, writing=mend) as archive:
            found = check(archive, owners(known, archive.stacks()), progress)
            if mend:
                repair(archive, found)
            return found
    except DamagedStore as error:
        return broken(error)
