"""What `suite verify` finds: files that are damaged or lost, rows that point nowhere, stacks of different data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from suite.data.folders import data_folders
from suite.errors import SuiteError
from suite.keeping.archive import Archive, Reference
from suite.keeping.owners import Owner, Owners
from suite.store import DamagedStore

Progress = Callable[[int, int], None]
"""Is told how many files are read, and of how many."""

REPAIR = "suite verify --repair"
_WORDS = {
    "initial": "initial weights", "curve": "loss curve", "weights": "weights", "states": "optimizer state",
    "distances": "distances between iterates", "probes": "probe",
}  # fmt: skip


@dataclass(frozen=True)
class Damage:
    """Something that is not as it was recorded.

    Attributes:
        what: a file or rows, and what they are.
        problem: what is wrong with it.
        redo: what has it made anew: commands.
        curable: whether `repair` makes an end of it.
        checksum: of a file that is there and damaged, to be removed.
        probes: keys of rows that are removed so that they are made again.
        stacks: likewise.
    """

    what: str
    problem: str
    redo: str
    curable: bool = True
    checksum: str | None = None
    probes: tuple[str, ...] = ()
    stacks: tuple[str, ...] = ()


@dataclass
class Findings:
    """What there is in a store.

    Attributes:
        damages: what is damaged; everything else is only told.
        files: tensor files that rows refer to and that are there.
        size: their bytes.
        let_go: files that are gone on purpose.
        orphans: files that no row refers to, and their bytes.
        half_gone: files that a `suite gc` was killed before it removed.
    """

    damages: list[Damage] = field(default_factory=list)
    files: int = 0
    size: int = 0
    let_go: int = 0
    orphans: tuple[int, int] = (0, 0)
    half_gone: int = 0

    @property
    def can_be_repaired(self) -> bool:
        """Whether `repair` leaves nothing damaged."""
        return all(one.curable for one in self.damages)


def check(archive: Archive, known: Owners, progress: Progress) -> Findings:
    """Read the whole store.

    Args:
        archive: the store.
        known: the tasks whose commands are named.
        progress: is told how far it is.
    """
    found = Findings([_of_database(line) for line in archive.complaints()])
    if found.damages:
        return found  # what its rows say cannot be relied upon
    found.damages += _rows_damaged(archive, known)
    referred: dict[str, list[Reference]] = {}
    for one in archive.references():
        referred.setdefault(one.checksum, []).append(one)
    files, marks, stacks = archive.files(), archive.let_go(), archive.stack_of_runs()
    for done, (checksum, group) in enumerate(referred.items(), 1):
        if checksum not in files:
            problem = "" if checksum in marks else "is missing"
        else:
            problem = "" if archive.is_whole(checksum) else "is damaged: its checksum is not its name"
        if problem:
            found.damages.append(_of_file(archive, group, problem, checksum in files, known, stacks))
        progress(done, len(referred))
    orphans = [size for checksum, size in files.items() if checksum not in referred]
    found.files, found.size = len(files) - len(orphans), sum(files.values()) - sum(orphans)
    found.orphans = len(orphans), sum(orphans)
    found.let_go = len(marks.keys() & referred.keys() - files.keys())
    found.half_gone = len(marks.keys() & referred.keys() & files.keys())
    return found


def repair(archive: Archive, found: Findings) -> None:
    """Remove damaged files, then the rows that point to them or nowhere: the next run makes them anew.

    In that order: a file that is gone counts as missing, whether its rows still say so or not.
    """
    archive.remove([one.checksum for one in found.damages if one.checksum])
    archive.forget(
        {key for one in found.damages for key in one.probes}, {key for one in found.damages for key in one.stacks}
    )


def broken(error: DamagedStore) -> Findings:
    """The findings where the database could not even be opened."""
    return Findings([_of_database(str(error))])


def _of_database(line: str) -> Damage:
    redo = "put a copy of it back, or move store.db* away and run again: all is made anew"
    return Damage("store.db", line, redo, curable=False)


def _of_file(
    archive: Archive, group: list[Reference], problem: str, there: bool, known: Owners, stacks: dict[str, str]
) -> Damage:
    first = group[0]
    place = "" if first.kind in ("initial", "curve", "distances") else f" at step {first.step}"
    more = f" and {len(group) - 1} more" if len(group) > 1 else ""
    return Damage(
        f"{archive.path(first.checksum)}: {_WORDS[first.kind]} of run {first.run_id}{place}{more}",
        problem,
        _redo(known, group),
        checksum=first.checksum if there else None,
        probes=tuple(one.key for one in group if one.kind == "probes"),
        stacks=tuple(sorted({stacks[one.run_id] for one in group if one.kind != "probes" and one.run_id in stacks})),
    )


def _rows_damaged(archive: Archive, known: Owners) -> Iterator[Damage]:
    for table, count in archive.nowhere().items():
        yield Damage(f"store.db: {count} rows of {table}", "are of runs that are not there", REPAIR)
    runs: dict[str, list[Reference]] = {}
    for run_id, stack in archive.stack_of_runs().items():
        runs.setdefault(stack, []).append(Reference("", "weights", run_id, 0, ""))
    for key in sorted(archive.stacks_without_row()):
        problem = "says not when and on what it was trained"
        yield Damage(f"store.db: stack {key}", problem, _redo(known, runs[key]), stacks=(key,))
    yield from _other_data(archive, known, runs)


def _other_data(archive: Archive, known: Owners, runs: dict[str, list[Reference]]) -> Iterator[Damage]:
    """Stacks of one data source that were trained on different data: a file was replaced in between."""
    noted = archive.stacks()
    sources: dict[str, list[str]] = {}
    for key, (owner, _) in known.stacks.items():
        if noted.get(key):
            sources.setdefault(owner.cell.data.model_dump_json(), []).append(key)
    for keys in sources.values():
        if len({noted[key] for key in keys}) == 1:
            continue
        now, why = _data_now(known.stacks[keys[0]][0])
        for key in keys:
            if noted[key] != now:
                problem = f"was trained on data of checksum {str(noted[key])[:12]}…, others of its source on other data"
                redo = _redo(known, runs.get(key, [])) if now else "put the data right, then `suite verify` again"
                yield Damage(
                    f"store.db: stack {key}", f"{problem}; {why}", redo, bool(now), stacks=(key,) if now else ()
                )


def _data_now(owner: Owner) -> tuple[str | None, str]:
    """The checksum of what a source gives now, or None where it cannot be read; and that in words."""
    try:
        now = owner.cell.data.load(*data_folders()).description.checksum
    except SuiteError as error:
        return None, f"which is right cannot be told: {error}"
    return now, f"it now gives {now[:12]}…"


def _redo(known: Owners, wanted: list[Reference]) -> str:
    commands, lost = known.commands(wanted)
    if lost:
        commands.append(
            "`suite run` with the task file of its run, none of those found here (`suite verify FILE` says more of it)"
        )
    return " && ".join([REPAIR, *commands])
