"""Many damaged files, each through the command line; what came of them, as figures."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.command import TINY
from tests.fuzz import calling, judging, metric_files, published, specs
from tests.fuzz.calling import Ended

Caller = Callable[[tuple[str, ...], Path, float], Ended]
TASK = "digits.yaml"
_IMPORTED = ("ends the process", "never ends", "too deep", "forks", "meddles")
"""Files of metrics that are imported in another process first, as `suite check` does."""


@dataclass(frozen=True)
class Case:
    """A damaged file (or folder): what is fuzzed, the kind of damage, and the seed of the one in hand."""

    subject: str
    damage: str
    seed: str

    @property
    def random(self) -> Random:
        """The generator of all that is drawn for it."""
        return Random(f"{self.subject}/{self.damage}/{self.seed}")

    @property
    def number(self) -> int:
        """Which of its kind it is, from 0."""
        return int(self.seed.rpartition("/")[2])


@dataclass(frozen=True)
class Call:
    """A command on a case.

    Attributes:
        words: of the command line.
        named: what an error may name: one of these.
        on_success: only if the call before it succeeded.
        loud: the damaged file prints what it likes.
        importing: seconds that a file may take to be imported.
    """

    words: tuple[str, ...]
    named: tuple[str, ...]
    on_success: bool = False
    loud: bool = False
    importing: float = calling.IMPORTING


@dataclass(frozen=True)
class Done:
    """What came of a case: all its calls, and what is wrong with each."""

    case: Case
    calls: tuple[tuple[Ended, tuple[str, ...]], ...]

    @property
    def wrong(self) -> list[str]:
        """All that is wrong, a line each, with the words of the command."""
        return [f"{' '.join(ended.words)}: {one}" for ended, found in self.calls for one in found]

    @property
    def outcome(self) -> str:
        """`wrong`, `refused` (by any of the calls) or `accepted`."""
        if self.wrong:
            return "wrong"
        return "refused" if any(ended.status for ended, _ in self.calls) else "accepted"


def cases(subject: str, count: int, seed: int) -> list[Case]:
    """So many cases, each kind of damage in turn."""
    kinds = [*SUBJECTS[subject].kinds]
    return [Case(subject, kinds[number % len(kinds)], f"{seed}/{number // len(kinds)}") for number in range(count)]


COUNTS = {"specs": 1000, "results": 300, "metrics": 300}
"""Cases of a whole campaign."""


def campaign(seed: int, counts: Mapping[str, int], told: Callable[[Done], object] = lambda _: None) -> dict[str, Any]:
    """So many cases of each subject; the figures. `told` hears of each that is done."""
    calling.ready()
    done = []
    for subject, count in counts.items():
        for case in cases(subject, count, seed):
            done.append(tried(case))
            told(done[-1])
    return figures(done)


def sample(subject: str, kinds: Sequence[str], count: int) -> list[Case]:
    """A few cases, of kinds that lie far apart; none of them meets the dearest command."""
    step = len(kinds) / count
    return [Case(subject, kinds[int(number * step)], f"sample {number}/1") for number in range(count)]


def tried(case: Case, caller: Caller = calling.call) -> Done:
    """A case through its commands."""
    with tempfile.TemporaryDirectory(prefix="suite-fuzz-") as name:
        folder = Path(name) / "here"
        folder.mkdir()
        found = []
        for call in SUBJECTS[case.subject].make(case, folder):
            if call.on_success and found and found[-1][0].status != 0:
                continue
            before = judging.tree(folder)
            ended = caller(call.words, folder, call.importing)
            wrong = judging.wrong(ended, call.named, before, judging.tree(folder), call.loud)
            found.append((ended, tuple(wrong)))
        _writable(folder)
        return Done(case, tuple(found))


def kept(case: Case, folder: Path) -> None:
    """Leave the files of a case in a folder, to look at."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for call in SUBJECTS[case.subject].make(case, folder):
        print("suite", *call.words)


def figures(done: Sequence[Done]) -> dict[str, Any]:
    """What came of cases, as plain data.

    Returns:
        By subject: `cases`, `calls`, `accepted`, `refused`, `wrong`, `seconds` (of all calls), `slowest` (the five
        slowest calls: damage, words, seconds), `damage` (by kind: cases, accepted, refused, wrong), `failures` (what is
        wrong, a line each).
    """
    return {subject: _figures([one for one in done if one.case.subject == subject]) for subject in _subjects(done)}


def _subjects(done: Sequence[Done]) -> list[str]:
    return [subject for subject in SUBJECTS if any(one.case.subject == subject for one in done)]


def _figures(done: Sequence[Done]) -> dict[str, Any]:
    outcomes = Counter(one.outcome for one in done)
    calls = [(ended, one.case) for one in done for ended, _ in one.calls]
    slowest = sorted(calls, key=lambda pair: -pair[0].seconds)[:5]
    by_damage: dict[str, Counter[str]] = {}
    for one in done:
        by_damage.setdefault(one.case.damage, Counter()).update([one.outcome, "cases"])
    return {
        "cases": len(done),
        "calls": len(calls),
        **{word: outcomes[word] for word in ("accepted", "refused", "wrong")},
        "statuses": dict(sorted(Counter(str(ended.status) for ended, _ in calls).items())),
        "seconds": round(sum(ended.seconds for ended, _ in calls), 1),
        "slowest": [
            {"damage": case.damage, "words": " ".join(ended.words), "seconds": round(ended.seconds, 2)}
            for ended, case in slowest
        ],
        "damage": {
            kind: {word: counts[word] for word in ("cases", "accepted", "refused", "wrong")}
            for kind, counts in sorted(by_damage.items())
        },
        "failures": [f"{one.case.damage} {one.case.seed}: {line}" for one in done for line in one.wrong],
    }


def _writable(folder: Path) -> None:
    """So that it can be removed."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


@dataclass(frozen=True)
class Subject:
    """What is fuzzed: the kinds of damage, and how a case's files are made and which commands meet them."""

    kinds: Sequence[str]
    make: Callable[[Case, Path], Iterator[Call]]


def _spec(case: Case, folder: Path) -> Iterator[Call]:
    random = case.random
    (folder / "task.yaml").write_bytes(specs.spoilt(case.damage, random))
    yes = ("--yes",) if case.damage == "enormous grids" and random.random() < 0.5 else ()
    yield Call(("validate", "task.yaml", *yes), ("task.yaml",))
    shown = ("--json",) if case.number % 2 else ()
    yield Call(("run", "--dry-run", *shown, "task.yaml", *yes), ("task.yaml",), on_success=True)


def _results(case: Case, folder: Path) -> Iterator[Call]:
    """Reports of damaged results over older ones, and one of the other commands that read them."""
    random, results = case.random, folder / "reports" / "results"
    others = [task for task in published.TASKS if task != "confounds/width"]
    published.original(results, ("confounds/width", random.choice(others)))
    (folder / "reports" / "claims.yaml").write_bytes(published.claims())
    (folder / "reports" / "leaderboard.md").write_text("an older one\n")
    published.original(folder / "sound", ("confounds/width",))
    published.spoil(case.damage, random, results)
    metrics = random.sample(published.METRICS, 2)
    table, suffix = random.choice(["values", "runs", "metrics"]), random.choice(["csv", "parquet"])
    commands = [
        ("compare", *metrics, "--results", "reports/results"),
        ("compare", "sound", "reports/results", "--json"),
        ("compare", "reports/results", "sound", "--all"),
        ("export", f"out.{suffix}", "--table", table, "--results", "reports/results"),
        ("export", f"out.{suffix}", "--table", "overall", "--results", "reports/results"),
        ("claims", "--results", "reports/results", "--json"),
    ]
    chosen = random.sample(commands, 2)
    if case.number % 3 == 0:  # the dearest: of the first of three cases of a kind
        chosen = [("leaderboard", "--results", "reports/results"), chosen[0]]
    for words in chosen:
        yield Call(words, ("reports", *metrics))


def _metric(case: Case, folder: Path) -> Iterator[Call]:
    """A file of metrics through the commands that take one."""
    random = case.random
    (folder / TASK).write_text(TINY, encoding="utf-8")
    name = metric_files.spoil(case.damage, random, folder)
    named, loud = (name, "digits.yaml"), case.damage in ("prints", "raises", "never ends", "meddles")
    word = f"./{name}"
    checked = Call(("check", "--fast", word), named, loud=loud, importing=60.0)
    if case.damage in _IMPORTED or case.number % 10 == 9:
        yield checked
    else:
        listed = ("metrics", "--json", "--metric", word)
        yield Call(random.choice([listed, ("run", "--dry-run", "--json", "--metric", word, TASK)]), named, loud=loud)
    if case.damage == "never ends" and not metric_files.ends_never(folder / name):
        yield Call(("metrics", "--json", "--metric", word), named, loud=loud)


SUBJECTS = {
    "specs": Subject([*specs.SPECS], _spec),
    "results": Subject(published.KINDS, _results),
    "metrics": Subject(metric_files.KINDS, _metric),
}
