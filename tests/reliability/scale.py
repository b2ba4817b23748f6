"""A made-up task of 100, 1,000 and 10,000 cells × 60 metrics, from its file to its leaderboard: time and memory.

Each stage is a process of its own, so that its peak of memory is its own; what it makes is what `suite run` and
`suite leaderboard` make, by the same functions, with as many resamples and permutations as published boards have.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from suite.executors import Job, Outcome
from tests.reliability import record
from tests.reliability.record import Keep, Told

SIZES = (100, 1000, 10_000)
MOST_SECONDS = 4 * 3600
"""Of a processor: a stage that takes more is ended, and what it would have taken is not known."""
STAGES = ("plan", "record", "resume", "publish", "read", "rank", "report")
_SEED = 20261126


def take(folder: Path, seed: int, told: Told, keep: Keep) -> dict[str, Any]:
    """The section. SUITE_RELIABILITY_SECONDS ends stages sooner, for a machine that has other work."""
    from suite.ranking.bootstrap import RESAMPLES
    from suite.ranking.significance import PERMUTATIONS
    from tests.reliability.made_task import METRICS, SEEDS

    most_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    limits = int(os.environ.get("SUITE_RELIABILITY_SECONDS", MOST_SECONDS)), most_bytes
    figures: dict[str, Any] = {
        "metrics": METRICS, "seeds": SEEDS, "resamples": RESAMPLES, "permutations": PERMUTATIONS,
        "most_seconds": limits[0], "most_mib": limits[1] // 2**20, "sizes": {},
    }  # fmt: skip
    for cells in SIZES:
        place = folder / str(cells)
        place.mkdir()
        figures["sizes"][str(cells)] = {}
        measured(place, cells, limits, figures["sizes"][str(cells)], lambda line: (told(line), keep(figures)))
    return figures


def measured(place: Path, cells: int, limits: tuple[int, int], found: dict[str, Any], told: Told) -> None:
    """All stages of a size in turn, and what the store has grown to. After one that was ended the rest are not begun.

    Args:
        place: an empty folder.
        cells: how many.
        limits: seconds of a processor and bytes that a stage may take.
        found: what is found goes here.
        told: hears of each stage.
    """
    for stage in STAGES:
        found[stage] = _in_a_process(stage, cells, place, limits)
        found["store"] = sizes_of(place)
        told(f"{cells} cells: {stage}: {found[stage]}")
        if "ended" in found[stage]:
            break


def _in_a_process(stage: str, cells: int, place: Path, limits: tuple[int, int]) -> dict[str, Any]:
    words = [sys.executable, "-m", "tests.reliability.scale", stage, str(cells), str(place), *map(str, limits)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, cwd=record.ROOT, env=environment, check=False)
    if done.returncode == -signal.SIGXCPU:
        return {"ended": f"after {limits[0]} s of a processor"}
    if done.returncode and "MemoryError" in done.stderr:
        return {"ended": f"it does not fit into {limits[1] // 2**20} MiB"}
    if done.returncode:
        raise RuntimeError(f"{stage} of {cells} cells ended with status {done.returncode}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def sizes_of(place: Path) -> dict[str, int]:
    """Bytes and numbers of files."""
    home = place / "store"
    tensors = [path.stat().st_size for path in (home / "tensors").glob("*/*.safetensors")]
    results = [path.stat().st_size for path in (home / "reports/results").rglob("*") if path.is_file()]
    return {
        "database_bytes": sum(path.stat().st_size for path in home.glob("store.db*")),
        "tensor_files": len(tensors),
        "tensor_bytes": sum(tensors),
        "results_bytes": sum(results),
    }


class _Idle:
    """Workers for whom nothing is left to do."""

    workers, memory = 2, None

    def map(self, jobs: Sequence[Job], tick: Any = None, revise: Any = None) -> Iterator[Outcome]:
        """Nothing.

        Raises:
            RuntimeError: there is something to do.
        """
        if jobs:
            raise RuntimeError(f"{len(jobs)} jobs are to be done again")
        yield from ()

    def renew(self) -> None:
        """Nothing."""

    def __enter__(self) -> _Idle:
        return self

    def __exit__(self, *exception: object) -> None: ...


def plan(place: Path, cells: int) -> dict[str, Any]:
    """The task file becomes cells, stacks and the names of all runs."""
    from tests.reliability.made_task import made_plan

    made = made_plan(place, cells)
    return {"stacks": len(made.stacks), "runs": len(list(made.runs()))}


def record_all(place: Path, cells: int) -> dict[str, Any]:
    """All runs, probes and values go into the store, a transaction for each stack, probe, and run's values."""
    from suite.store import Store
    from tests.reliability import made_task as task

    made = task.made_plan(place, cells)
    metrics = task.metrics_for(made)
    pairs = list(made.runs())
    numbers = task.made_up([cell for cell, _ in pairs], [*metrics], _SEED)
    order = {run_id: number for number, (_, run_id) in enumerate(pairs)}
    begun, used = time.perf_counter(), time.process_time()
    with Store(place / "store", writing=True) as store:
        for stack in made.stacks:
            ids = stack.run_ids(made.environment)
            runs = [
                task.stored_run(run_id, task.last_step(cell), numbers, order[run_id])
                for cell, run_id in zip(stack.cells, ids, strict=True)
            ]
            store.record_stack(stack.key(made.environment), runs, 1.0, task.PROVENANCE)
        for number, (cell, run_id) in enumerate(pairs):
            point = task.point_of(cell, run_id)
            store.record_probes([task.stored_probe(point, number)])
            store.record_values(task.stored_values(point, metrics, numbers, number))
    return {"store_seconds": time.perf_counter() - begun, "store_processor_seconds": time.process_time() - used}


def resume(place: Path, cells: int) -> dict[str, Any]:
    """What `suite run` does where all is done: ask the store for everything, and find nothing to do."""
    from suite.measuring.measure import Laboratory
    from suite.progress import Board
    from suite.store import Store
    from tests.reliability.made_task import made_plan, metrics_for

    made = made_plan(place, cells)
    metrics, idle = metrics_for(made), _Idle()
    with Store(place / "store", writing=True) as store, Board(Console(quiet=True), quiet=True) as board:
        laboratory = Laboratory(store, board)
        laboratory.train([made], idle)
        laboratory.probe([made], metrics, idle)
        laboratory.measure([made], metrics, idle)
    return {}


def publish(place: Path, cells: int) -> dict[str, Any]:
    """The store's rows become the files of results."""
    from suite.publishing import failures, write_results
    from suite.store import Store
    from tests.reliability.made_task import made_plan, metrics_for

    made = made_plan(place, cells)
    metrics = metrics_for(made)
    with Store(place / "store") as store:
        write_results(made, store, metrics, place / "store/reports/results")
        lost = failures(made, store, metrics)
    return {"failures": len(lost)}


def read(place: Path, cells: int) -> dict[str, Any]:
    """The files of results become tables."""
    from suite.ranking.tables import read_results

    (results,) = read_results(place / "store/reports/results")
    (place / "results.pickle").write_bytes(pickle.dumps(results))
    return {"values": len(results.values)}


def rank(place: Path, cells: int) -> dict[str, Any]:
    """All statistics of a board: of the task, of its control, over all tasks (`suite.reporting.board.read_board`)."""
    from suite.ranking.control import control
    from suite.ranking.leaderboard import rank_overall
    from suite.ranking.task import rank_task
    from suite.reporting.board import Board

    results = pickle.loads((place / "results.pickle").read_bytes())  # our own
    ranking = rank_task(results)
    board = Board([ranking], rank_overall([ranking]), control([results]))
    (place / "board.pickle").write_bytes(pickle.dumps(board))
    return {"networks": int(results.included.sum()), "settings": ranking.clusters}


def report(place: Path, cells: int) -> dict[str, Any]:
    """leaderboard.md, figures, tables and site."""
    from suite.reporting.board import LOCAL
    from suite.reporting.build import Place, build

    board = pickle.loads((place / "board.pickle").read_bytes())  # our own
    reports = place / "store/reports"
    written = build(board, LOCAL, Place.within(reports), reports / "site")
    return {"files": len(written), "bytes": sum(path.stat().st_size for path in written)}


_STAGES: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "plan": plan, "record": record_all, "resume": resume, "publish": publish, "read": read, "rank": rank,
    "report": report,
}  # fmt: skip


def _peak_mib() -> float:
    """Of this program. What `getrusage` tells begins with the memory of the process that this one was begun from."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(peak) / 1024


def main() -> None:
    """A stage: `STAGE CELLS FOLDER SECONDS BYTES`; the last line of its output says what it took."""
    stage, cells, place, seconds, memory = sys.argv[1:]
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(seconds), int(seconds) + 60)
    )  # beyond the second a signal tells nothing
    resource.setrlimit(resource.RLIMIT_DATA, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    begun = time.perf_counter()
    found = _STAGES[stage](Path(place), int(cells))
    used = resource.getrusage(resource.RUSAGE_SELF)
    taken = {
        "seconds": time.perf_counter() - begun,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_mib": _peak_mib(),
    }
    print(json.dumps({name: round(value, 2) for name, value in (taken | found).items()}))


if __name__ == "__main__":
    main()
