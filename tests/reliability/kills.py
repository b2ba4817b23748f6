"""`kill -9` of the driver or of one of its workers at random moments of a small run, until it is done; what is left.

What is in the store is looked at after each kill, row by row: seconds that something took are in its row, and the place
of a row in its table too, so that what is done and recorded once more is another row, be its value the same.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from suite.progress import STATUS, read_status
from tests.command import TINY, start, suite
from tests.reliability.record import Keep, Told

RUN = ("run", "tasks/small", "--quiet")
SMALL = (
    TINY.replace("name: tiny/digits\ntitle: A tiny grid", "name: small/digits\ntitle: As small as can be")
    .replace("[0.03, 0.1, 0.3]", "[0.03, 0.3]")
    .replace("[32, 64]", "[32, 64, 128]")
)
"""Three stacks where the tests' tiny grid has two: a kill between stacks is met more often."""
MOST_ENDS = 5
"""So often a run may end by itself before it is done, one start after another."""
HANGS = 900.0
"""Seconds after which a run that nobody disturbs any more is taken for one that hangs."""
SETTLED = {
    "stacks": ("key", "TRUE"),
    "runs": ("run_id", "TRUE"),
    "checkpoints": ("run_id || ' ' || step", "TRUE"),
    "probes": ("key", "status = 'ok'"),
    "metric_values": ("key || ' ' || component", "status IN ('ok', 'undefined')"),
}
"""What is not to be done again: by table, its name, and which rows. A value that was lost with its worker is."""

Rows = dict[tuple[str, str], tuple[Any, ...]]


def settled(home: Path) -> Rows:
    """What is recorded for good in a store, whoever writes there now."""
    found: Rows = {}
    where = f"{(home / 'store.db').absolute().as_uri()}?mode=ro"
    with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(sqlite3.connect(where, uri=True)) as db:
        db.execute("BEGIN")  # all tables at one moment
        for table, (name, which) in SETTLED.items():
            for key, *row in db.execute(f"SELECT {name}, rowid, * FROM {table} WHERE {which}"):
                found[table, str(key)] = tuple(row)
    return found


@dataclass
class Seen:
    """All that was ever recorded in a store, and what became of it."""

    rows: Rows = field(default_factory=dict)
    lost: set[tuple[str, str]] = field(default_factory=set)
    again: set[tuple[str, str]] = field(default_factory=set)

    def look(self, now: Rows) -> None:
        """Compare with what was there before."""
        self.lost |= self.rows.keys() - now.keys()
        self.again |= {name for name, row in self.rows.items() if name in now and now[name] != row}
        self.rows |= now


@dataclass(frozen=True)
class Calm:
    """An undisturbed run: its seconds, what it recorded, and its files."""

    seconds: float
    rows: Rows
    files: dict[str, bytes]

    @classmethod
    def of(cls, place: Path) -> Calm:
        """Run it.

        Raises:
            RuntimeError: it fails.
        """
        begun = time.monotonic()
        code, _, err = suite(place, *RUN)
        if code:
            raise RuntimeError(f"the undisturbed run ended with status {code}: {err}")
        return cls(time.monotonic() - begun, settled(place / ".suite"), published(place))


def workplace(folder: Path) -> Path:
    """A folder with a small task, as a user's checkout has."""
    (folder / "tasks" / "small").mkdir(parents=True)
    (folder / "tasks" / "small" / "digits.yaml").write_text(SMALL)
    return folder


def published(place: Path) -> dict[str, bytes]:
    """The leaderboard and all tables of results: everything that says nothing of when and for how long."""
    reports = place / ".suite/reports"
    files = [reports / "leaderboard.md", *sorted(reports.rglob("*.csv"))]
    return {path.relative_to(reports).as_posix(): path.read_bytes() for path in files if path.is_file()}


@dataclass
class Tally:
    """What was counted over all runs.

    `failures`: what should not be, a line each.
    """

    killed: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    restarts: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    recorded: int = 0
    values: int = 0
    again: int = 0
    lost: int = 0
    identical: int = 0
    files: int = 0
    failures: list[str] = field(default_factory=list)


def campaign(
    folder: Path, kills: int, seed: int, told: Told = lambda _: None, keep: Keep = lambda _: None
) -> dict[str, Any]:
    """So many kills; figures as plain data.

    Args:
        folder: an empty one; what the runs leave stays there.
        kills: of drivers and workers together.
        seed: of who is killed, and when.
        told: hears what happens.
        keep: is given the figures after each run.
    """
    calm = Calm.of(workplace(folder / "calm"))
    told(f"undisturbed: {calm.seconds:.0f} s, {len(calm.rows)} rows")
    random, tally = Random(seed), Tally()
    while (left := kills - tally.killed.total()) > 0:
        place = workplace(folder / f"rough-{tally.runs}")
        _until_done(place, left, calm, random, tally, told)
        tally.runs += 1
        told(f"run {tally.runs} done after {tally.killed.total()} kills; {'; '.join(tally.failures) or 'all well'}")
        keep(_figures(kills, seed, calm, tally))
    return _figures(kills, seed, calm, tally)


def _until_done(place: Path, most: int, calm: Calm, random: Random, tally: Tally, told: Told) -> None:
    """Start a run, and start it again, until it is done; kill at most so often."""
    home, seen = place / ".suite", Seen()
    process, kills, ends = start(place, *RUN), 0, 0
    while True:
        wait = random.uniform(0.02, 0.6) * calm.seconds
        who = random.choice(("driver", "worker"))
        if kills < most and _runs_for(process, wait):
            who, phase = _kill(process, who, home, random)
            if not who:
                continue
            kills, ends = kills + 1, 0
            tally.killed[who] += 1
            tally.phases[phase] += 1
            seen.look(settled(home))
            told(f"kill {tally.killed.total()}: {who}, {phase}, {len(seen.rows)} rows recorded")
            if who == "worker":
                continue
        elif not (said := _ended(process)):
            break
        else:
            ends += 1
            tally.ended.update(said)
            told(f"ended by itself: {'; '.join(said)}")
            if ends > MOST_ENDS:
                tally.failures.append(f"{place.name}: it never comes to its end: {said[0]}")
                return
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()  # at once: workers of a killed driver may still be there
        tally.restarts += 1
        process = start(place, *RUN)
    seen.look(settled(home))
    _judge(place, calm, seen, tally)


def _runs_for(process: subprocess.Popen[str], seconds: float) -> bool:
    """Whether it still runs after so long."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is None


def _ended(process: subprocess.Popen[str]) -> list[str]:
    """What a run that was left to itself says was not done; nothing: it is done."""
    try:
        _, err = process.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return [f"it had not ended after {HANGS:.0f} s"]
    lines = err.splitlines() if process.returncode else []
    # numbers and names of metrics left out: lines that say the same are counted together
    said = [f"status {process.returncode}: {line.rpartition(' × ')[2].rpartition('training ')[2]}" for line in lines]
    return [*dict.fromkeys(said)] or ([f"status {process.returncode}"] if process.returncode else [])


def _kill(process: subprocess.Popen[str], who: str, home: Path, random: Random) -> tuple[str, str]:
    """Kill the driver, or a worker as soon as there is one; who it was, and what the run was at."""
    while who == "worker" and process.poll() is None:
        workers = sorted(workers_of(process.pid))
        with contextlib.suppress(ProcessLookupError):
            if workers:
                phase = phase_of(home, process.pid)
                os.kill(random.choice(workers), signal.SIGKILL)
                return "worker", phase
        time.sleep(0.05)
    if who == "worker":  # none came any more
        return "", ""
    phase = phase_of(home, process.pid)
    process.kill()
    return ("driver", phase) if process.wait() == -signal.SIGKILL else ("", "")  # it had just ended


def workers_of(driver: int) -> set[int]:
    """The worker processes of a driver, whoever they are forks of."""
    parents, words = dict[int, int](), dict[int, bytes]()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            process = int(entry.parent.name)
            parents[process] = int(entry.read_text().rpartition(")")[2].split()[1])
            words[process] = entry.with_name("cmdline").read_bytes()
    own = {process for process, parent in parents.items() if parent == driver and process in words}
    servers = {process for process in own if b"forkserver" in words[process]}
    spawned = {process for process in own if b"spawn_main" in words[process]}
    return spawned | {process for process, parent in parents.items() if parent in servers}


def phase_of(home: Path, driver: int) -> str:
    """What a run is at, by its own word (`suite status`)."""
    said = read_status(home / STATUS)
    if said is None or said.process != driver:
        return "start"
    if said.end is not None:
        return "ranking and report"
    at = [one.title.split()[0] for one in said.work if one.finished + one.failed < one.total]
    return at[-1] if at else "between stages"


def _judge(place: Path, calm: Calm, seen: Seen, tally: Tally) -> None:
    """Compare a run that is done with the undisturbed one."""
    found = published(place)
    different = sorted(name for name in calm.files | found if calm.files.get(name) != found.get(name))
    code, out, err = suite(place, "verify")
    tally.recorded += len(seen.rows)
    tally.values += sum(table == "metric_values" for table, _ in seen.rows)
    tally.again += len(seen.again)
    tally.lost += len(seen.lost) + len(calm.rows.keys() - seen.rows.keys())
    tally.files += len(found)
    tally.identical += "leaderboard.md" not in different
    tally.failures += [f"{place.name}: {name} is another" for name in different]
    tally.failures += [f"{place.name}: done again: {' '.join(name)}" for name in sorted(seen.again)]
    tally.failures += [f"{place.name}: lost: {' '.join(name)}" for name in sorted(seen.lost)]
    if code:
        tally.failures.append(f"{place.name}: suite verify: {out}{err}")


def _figures(kills: int, seed: int, calm: Calm, tally: Tally) -> dict[str, Any]:
    return {
        "seed": seed,
        "kills": tally.killed.total(),
        "killed": dict(sorted(tally.killed.items())),
        "phases": dict(sorted(tally.phases.items())),
        "runs": tally.runs,
        "restarts": tally.restarts,
        "undisturbed_seconds": round(calm.seconds, 1),
        "rows_of_a_run": len(calm.rows),
        "rows_recorded": tally.recorded,
        "values_recorded": tally.values,
        "done_again": tally.again,
        "lost": tally.lost,
        "ended_by_themselves": dict(sorted(tally.ended.items())),
        "identical_leaderboards": tally.identical,
        "compared_files": tally.files,
        "temporary_folders_left": len([*Path(tempfile.gettempdir()).glob("suite-workers-*")]),
        "failures": tally.failures,
    }


def take(folder: Path, seed: int, told: Told, keep: Keep) -> dict[str, Any]:
    """The section."""
    return campaign(folder, 50, seed, told, keep)
