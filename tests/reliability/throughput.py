"""How many jobs a second the driver can feed to two workers: empty ones, so that nothing but its own work counts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from suite.executors import Job, LocalExecutor, Outcome, Progress
from suite.progress import STATUS, Board
from suite.store import Store, StoredValue
from tests.reliability.record import Keep, Told

WORKERS = 2
COUNTS = (1000, 10_000)
WANTED = 200.0
_VALUES = 60
_WARM = 20


def nothing(number: int, progress: Progress) -> int:
    """A job that does nothing."""
    return number


@dataclass
class Watch:
    """Seconds of the clock and of this process's processor, between its making and `stop`."""

    begun: float
    used: float

    @classmethod
    def start(cls) -> Watch:
        """From now on."""
        return cls(time.perf_counter(), time.process_time())

    def stop(self, jobs: int) -> dict[str, float]:
        """Jobs a second."""
        seconds, used = time.perf_counter() - self.begun, time.process_time() - self.used
        return {
            "jobs": jobs,
            "seconds": round(seconds, 2),
            "driver_processor_seconds": round(used, 2),
            "jobs_per_second": round(jobs / seconds, 1),
            "jobs_per_driver_processor_second": round(jobs / used, 1),
        }


def jobs_of(count: int) -> list[Job]:
    """Empty jobs as the driver makes its own."""
    return [Job("empty", nothing, (number,), limit=60.0, plain=True) for number in range(count)]


def alone(count: int) -> dict[str, float]:
    """Through the executor, and no further."""
    with LocalExecutor(WORKERS) as executor:
        _check(executor.map(jobs_of(_WARM)), _WARM)
        watch = Watch.start()
        _check(executor.map(jobs_of(count)), count)
        return watch.stop(count)


def recorded(count: int, home: Path, values: int) -> dict[str, float]:
    """As the driver does it: followed on a board with its status file, the values of each job one transaction."""
    with LocalExecutor(WORKERS) as executor, Store(home, writing=True) as store:
        _check(executor.map(jobs_of(_WARM)), _WARM)
        with Board(Console(quiet=True), quiet=True, status=home / STATUS) as board:
            watch = Watch.start()
            outcomes = board.follow("measure", "runs", jobs_of(count), executor)
            _check(_recording(outcomes, store, values), count)
            return watch.stop(count) | {"values_per_job": values}


def _recording(outcomes: Iterator[Outcome], store: Store, values: int) -> Iterator[Outcome]:
    for outcome in outcomes:
        store.record_values([_value(outcome.result, number) for number in range(values)])
        yield outcome


def _value(run: int, metric: int) -> StoredValue:
    name = f"metric_{metric:02}"
    key = f"{run:08x}{metric:08x}"
    return StoredValue(
        key, "", f"{run:016x}", 1, name, 1, "0" * 16, 0.5 * run, None, "ok", "", 0.01, 2**20, '{"torch": "2.13.0"}'
    )


def _check(outcomes: Iterator[Outcome], count: int) -> None:
    """Every job once, with its own result.

    Raises:
        RuntimeError: otherwise.
    """
    found = sorted(int(outcome.result) for outcome in outcomes if outcome.status == "ok")
    if found != [*range(count)]:
        raise RuntimeError(f"{len(found)} of {count} jobs came back")


def bytes_of(home: Path) -> int:
    """Of a store's database, its log included."""
    return sum(path.stat().st_size for path in home.glob("store.db*"))


def take(folder: Path, seed: int, told: Told, keep: Keep) -> dict[str, Any]:
    """The section."""
    figures: dict[str, Any] = {"workers": WORKERS, "wanted": WANTED, "cores": os.cpu_count()}
    for count in COUNTS:
        figures.setdefault("alone", []).append(alone(count))
        told(f"{count} jobs alone: {figures['alone'][-1]['jobs_per_second']} a second")
    for number, values in enumerate((1, _VALUES)):
        home = folder / f"home-{number}"
        figures.setdefault("recorded", []).append(recorded(COUNTS[0], home, values))
        figures["recorded"][-1]["database_bytes"] = bytes_of(home)
        told(f"{values} values of each recorded: {figures['recorded'][-1]['jobs_per_second']} a second")
    slow = [one["jobs_per_second"] for one in figures["alone"] if one["jobs_per_second"] < WANTED]
    figures["failures"] = [f"{rate:g} jobs a second, wanted are {WANTED:g}" for rate in slow]
    return figures
