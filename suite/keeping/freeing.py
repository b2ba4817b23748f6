"""What `suite gc` frees: what every task of a run lets go and nothing needs, and files that no row refers to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from suite.keeping.archive import Archive, Mark, Reference
from suite.keeping.owners import Owners
from suite.measuring.probes import BACKWARD, probe_key
from suite.metrics import find_metrics
from suite.spec.keep import Keep

KINDS = ("weights", "states", "distances", "probes")
"""What may be let go: the fields of `keep`."""
FREED, NEEDED, READ = "let go", "needed", "in results"
"""What becomes of a file that policies let go."""
_ORPHAN = "of no row"


@dataclass
class Freeing:
    """What there is to free.

    Attributes:
        marks: files to let go.
        orphans: checksums of files that no row refers to.
        outdated: marks of files that are there (a `suite gc` was killed before it removed them) or of no row.
        counted: files and bytes by task, kind and what becomes of them.
    """

    marks: list[Mark] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    counted: dict[tuple[str, str, str], Counter[str]] = field(default_factory=dict)

    def count(self, task: str, kind: str, fate: str, size: int) -> None:
        """Count one file."""
        self.counted.setdefault((task, kind, fate), Counter(files=0, bytes=0)).update(files=1, bytes=size)

    def total(self, fate: str) -> tuple[int, int]:
        """Files, and their bytes, that this becomes of."""
        found = [count for (_, _, its), count in self.counted.items() if its == fate]
        return sum(c["files"] for c in found), sum(c["bytes"] for c in found)

    def rows(self) -> list[dict[str, str | int]]:
        """As a table."""
        return [
            {"task": task, "tensors": kind, "files": count["files"], "bytes": count["bytes"], "what": fate}
            for (task, kind, fate), count in sorted(self.counted.items())
        ]


def survey(archive: Archive, asked: Owners, known: Owners, force: bool) -> Freeing:
    """What there is to free, of the runs of the tasks that are asked for.

    A file may be of several runs, and a run of several tasks: all of them must let it go.

    Args:
        archive: the store.
        asked: whose tensors are looked at.
        known: who has a say: the tasks asked for, and all others whose files are there.
        force: also what only training can make again.
    """
    found, files, judge = Freeing(), archive.files(), _Judge(archive, known, force)
    for checksum, size in files.items():
        group = judge.references.get(checksum)
        if group is None:
            found.orphans.append(checksum)
            found.count("", _ORPHAN, FREED, size)
            continue
        owner = next((asked.of[one.run_id][0] for one in group if one.run_id in asked.of), None)
        fate = judge.fate(group) if owner else None
        if owner and fate:
            kind = _field(group[0])
            found.count(owner.cell.name, kind, fate, size)
            if fate == FREED:
                found.marks.append(Mark(checksum, kind, size))
    found.outdated = [sum_ for sum_ in archive.let_go() if sum_ in files or sum_ not in judge.references]
    return found


def free(archive: Archive, found: Freeing) -> None:
    """Let go what there is to free: marked first, then removed.

    Killed between the two it leaves marks of files that are there, which are as good as before.
    """
    archive.mark(found.marks, found.outdated)
    archive.remove([mark.checksum for mark in found.marks])
    archive.remove(found.orphans)


def restore(archive: Archive, asked: Owners, kinds: Collection[str]) -> tuple[int, list[str]]:
    """From now on what was let go of these kinds counts as missing; how many files, and the commands that make them."""
    marks = archive.let_go()
    wanted = [
        one for one in archive.references() if one.run_id in asked.of and one.checksum in marks and _field(one) in kinds
    ]
    checksums = {one.checksum for one in wanted}
    archive.mark([], checksums)
    return len(checksums), asked.commands(wanted)[0]


def _field(one: Reference) -> str:
    """The field of `keep` that it comes under."""
    return "weights" if one.kind == "initial" else one.kind


class _Judge:
    """What becomes of a file, given every row's word for it."""

    def __init__(self, archive: Archive, known: Owners, force: bool) -> None:
        self._known, self._force, self._archive = known, force, archive
        self._metrics = {name: BACKWARD in metric.probes for name, metric in find_metrics().items()}
        self._tried = archive.metrics_of_runs()
        self.references: dict[str, list[Reference]] = {}
        self._steps: dict[str, list[int]] = {}
        self._made_from: dict[tuple[str, int], list[str]] = {}
        self._initial: dict[str, str] = {}
        for one in archive.references():
            self.references.setdefault(one.checksum, []).append(one)
            if one.kind == "weights":
                self._steps.setdefault(one.run_id, []).append(one.step)
            if one.kind in ("weights", "states"):
                self._made_from.setdefault((one.run_id, one.step), []).append(one.checksum)
            if one.kind == "initial":
                self._initial[one.run_id] = one.checksum

    def fate(self, group: Sequence[Reference]) -> str | None:
        """What becomes of a file that these rows refer to; None: a policy keeps it, or it is of a run of no task."""
        if not all(self._let_go(one) for one in group):
            return None
        if any(self._is_read_by_every_run(one) for one in group):
            return READ
        if not self._force and any(self._is_needed(one) for one in group):
            return NEEDED
        return FREED

    def _let_go(self, one: Reference) -> bool:
        """Whether all tasks that a run belongs to let this go."""
        last = one.step == max(self._steps.get(one.run_id, [one.step]))
        policies = [owner.keep for owner in self._known.of.get(one.run_id, ())]
        return bool(policies) and not any(_keeps(policy, one, last) for policy in policies)

    def _is_read_by_every_run(self, one: Reference) -> bool:
        """`spectra.csv` is made of these spectra whenever results are written: `suite.publishing`."""
        steps = self._steps.get(one.run_id, [one.step])
        if one.kind != "probes" or one.step not in (min(steps), max(steps)):
            return False
        cells = (owner.cell for owner in self._known.of[one.run_id])
        return any(one.key == probe_key(one.run_id, one.step, cell, "spectrum") for cell in cells)

    def _is_needed(self, one: Reference) -> bool:
        """Whether a value that is recorded, or still to come, rests on it, and only training could make it again."""
        if one.kind == "distances":
            tried = self._tried.get(one.run_id)
            # a metric that is not known here may read anything
            return not tried or any(self._metrics.get(name, True) for name in tried)
        if one.kind != "probes":
            return True
        made_from = [self._initial.get(one.run_id), *self._made_from.get((one.run_id, one.step), [None])]
        return not all(checksum and self._archive.path(checksum).exists() for checksum in made_from)


def _keeps(policy: Keep, one: Reference, last: bool) -> bool:
    if one.kind == "curve":
        return True
    if one.kind == "initial":
        return policy.weights != "none"
    said = getattr(policy, one.kind)
    return bool(said == "all" or (said == "last" and last))
