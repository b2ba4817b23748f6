"""What the words of a command line mean, and how answers are printed.

Everything heavy is imported inside the functions, as in `suite.cli`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from suite.estimating.estimate import Measure
    from suite.executors.engine import Engine
    from suite.pipeline import Options
    from suite.ranking.tables import TaskResults
    from suite.reporting.board import Board
    from suite.reproducing.judged import Judgement
    from suite.spec.claims import Claim
    from suite.spec.task import TaskSpec

Tasks = Annotated[
    list[str] | None, typer.Argument(help="Task files, names or folders; default: tasks/quick", show_default=False)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Dtype = Annotated[str, typer.Option(help="float32 or float64: the dtype of training")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Worker processes, at most 4 per core; default: one per core, or one on a GPU"),
]
Where = Annotated[str, typer.Option("--executor", help="Where workers are: local, ray or slurm")]
Address = Annotated[str, typer.Option(help="Of a Ray cluster: auto (on this machine), HOST:PORT or ray://HOST:PORT")]
Need = Annotated[
    list[str] | None,
    typer.Option(
        "--need", metavar="KEY=VALUE",
        help="Of each worker of ray or slurm: cpus, gpus, memory (GiB), hours; with slurm any option of sbatch too",
    ),
]  # fmt: skip
Metrics = Annotated[list[Path] | None, typer.Option("--metric", help="A further file that defines metrics")]
Limit = Annotated[
    float | None, typer.Option("--metric-limit", min=1, help="Seconds a metric may take on a checkpoint; default: 120")
]
Cost = Annotated[
    str,
    typer.Option(
        envvar="SUITE_COST",
        help="Leave out metrics that cost more than this: free, forward, gradient or search (all); trivial ones stay",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Allow more than 1,000 cells in a task")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no tables")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs")]
Only = Annotated[list[str] | None, typer.Option("--task", help="The name of a task to look at; default: all")]
Folder = Annotated[Path, typer.Option(help="Where to write it")]
Cells = Annotated[
    int | None,
    typer.Option("--cells", help="Make this many published cells again, and say whether they are what is published"),
]

HERE = Path()
TASKS = Path("tasks")
"""Where the names of tasks are sought."""
QUICK = TASKS / "quick"
"""The tasks that are meant where none is named."""
RESULTS = Path("reports/results")
"""The published results."""
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do nothing: say what there is to do, and how long it takes")]
On = Annotated[str, typer.Option(help="With --dry-run: cpu (as here), h100, h200 or a100 (assumed, not measured)")]
_MOST_WORKERS_PER_CORE = 4
_NO_LIMIT = 10**9


def paths(tasks: list[str] | None) -> list[Path]:
    """The task files that are meant by files, names or folders; without any, those of the quick suite.

    Raises:
        BadInput: there is no such task, or none is named and the quick suite is not here.
    """
    from suite.errors import BadInput
    from suite.spec.loading import resolve

    if not tasks and not QUICK.is_dir():
        raise BadInput(
            f"no task is named, and there is no folder {QUICK} in {Path.cwd()}: name a task file, "
            "or go to the folder that tasks/ is in"
        )
    return resolve(tasks or [str(QUICK)], TASKS)


def to_work_on(tasks: list[str] | None) -> list[Path]:
    """The task files, before work on them: a folder of data that is not there is said at once, not by every job.

    Raises:
        BadInput: as of `paths`, or there is no such folder of data.
    """
    from suite.data.folders import data_folders

    data_folders()
    return paths(tasks)


def options(
    device: str,
    dtype: str,
    workers: int | None,
    metric: list[Path] | None,
    yes: bool,
    quiet: bool,
    metric_limit: float | None = None,
    cost: str = "search",
    engine: Engine | None = None,
) -> Options:
    """What the options of a command say, for the pipeline.

    Raises:
        BadInput: no such class of cost or dtype, or more workers here than the cores can carry.
    """
    from suite.errors import BadInput
    from suite.pipeline import Options

    known_words(cost, dtype)
    cores = os.cpu_count() or 1
    here = engine is None or engine.local
    if here and workers and workers > (most := _MOST_WORKERS_PER_CORE * cores):
        raise BadInput(f"--workers {workers}: at most {most} here ({_MOST_WORKERS_PER_CORE} for each of {cores} cores)")
    made = Options(
        home=home(),
        device=device,
        dtype=dtype,
        workers=workers,
        metric_files=tuple(path.absolute() for path in metric or ()),
        max_cells=max_cells(yes),
        quiet=quiet,
        cost=cost,
    )
    made = made if engine is None else replace(made, engine=engine)
    return made if metric_limit is None else replace(made, metric_limit=metric_limit)


def engine(kind: str, address: str, needs: list[str] | None) -> Engine:
    """Where workers are to be.

    Raises:
        BadInput: no such engine or need.
    """
    from suite.executors.engine import engine_of

    return engine_of(kind, address, needs or [])


def known_words(cost: str, dtype: str) -> None:
    """Check two words.

    Raises:
        BadInput: no such class of cost or dtype.
    """
    from suite.errors import BadInput
    from suite.metrics.registry import COSTS

    if cost not in COSTS:
        raise BadInput(f"--cost {cost}: use {', '.join(COSTS)}")
    if dtype not in ("float32", "float64"):
        raise BadInput(f"--dtype {dtype}: use float32 or float64")


def max_cells(yes: bool) -> int:
    """How many cells a task may have: as many as it likes where --yes was said."""
    return _NO_LIMIT if yes else 1000


def home() -> Path:
    """The folder of the local store."""
    return Path(os.environ.get("SUITE_HOME") or ".suite")


def batch_size(word: str | None) -> int | Literal["full"] | None:
    """What --batch-size says; None where it is left to the task.

    Raises:
        BadInput: neither a whole number from 1 nor `full`.
    """
    from suite.errors import BadInput

    if word is None:
        return None
    if word == "full":
        return "full"
    if not word.isdigit() or int(word) < 1:
        raise BadInput(f"--batch-size {word}: a whole number from 1, or full")
    return int(word)


def console(aside: bool = False) -> Console:
    """Where progress and tables are printed: standard output; or standard error, where JSON goes to the other."""
    from rich.console import Console

    return Console(stderr=aside)


def claims(file: Path, results: Sequence[TaskResults]) -> list[Claim]:
    """The claims of a file, held against what is published.

    Raises:
        BadInput: the file cannot be read, or something in it is wrong.
    """
    from suite.spec.claims import Published, load_claims
    from suite.spec.loading import task_names

    published = {
        read.name: Published(read.kind, dict(read.metrics["family"]), tuple(read.hyperparameters), tuple(read.targets))
        for read in results
    }
    described = set(task_names(file.parent.parent / "tasks"))  # beside the folder of reports, as in this repository
    return load_claims(file, published, described or None)


def prose(page: Path, board: Board) -> tuple[dict[Path, str], list[str]]:
    """A page of findings, if it is there, with its figures written anew; and what it says that is not so, a line each.

    Raises:
        BadInput: a figure in it is not one.
    """
    from suite.reporting.findings import refreshed
    from suite.spec.figure import read_page

    if not page.is_file():
        return {}, []
    text, untrue = refreshed(read_page(page), board)
    return {page: text}, untrue


def table(title: str, rows: list[dict[str, Any]], as_json: bool, **columns: tuple[str, ...]) -> None:
    """Rows as a table (see `print_rows`), or as JSON with all there is."""
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    from suite.reporting.listing import print_rows

    print_rows(console(), title, rows, **columns)


def plain(value: Any) -> Any:
    """A cell of a table: the parts of a tuple in a row."""
    return ", ".join(value) if isinstance(value, tuple) else value


def generated(text: str, write: Path | None, check: Path | None, command: str) -> None:
    """Write a generated file, if that is not what is in it; or write nothing, and say whether it is current.

    Raises:
        BadInput: it cannot be written.
    """
    from suite.errors import BadInput

    path = check or write
    assert path is not None  # the command asks for one of them
    current = path.is_file() and path.read_bytes() == text.encode()
    if check and not current:
        print(f"{path} is out of date: `{command} --write {path}` writes it", file=sys.stderr)
        raise typer.Exit(1)
    try:
        if not current:
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}): give a file in a folder that is there") from None


def began(written: list[Path], then: list[str]) -> None:
    """Print the files that are there to begin with, and what to do next."""
    for line in (*written, "", *then):
        print(line)


def judged(judgements: Sequence[Judgement], as_json: bool, quiet: bool) -> None:
    """Print judgements on cells made again; exit status 1 where one of them is not what is published."""
    from suite.reproducing.shown import show, to_text

    if as_json:
        print(to_text(list(judgements)))
    for judgement in () if as_json else judgements:
        show(console(), judgement, quiet)
    if not all(judgement.within for judgement in judgements):
        raise typer.Exit(1)


def estimated(
    files: list[Path],
    metric: list[Path] | None,
    cost: str,
    on: str,
    workers: int | None,
    dtype: str,
    yes: bool,
    as_json: bool,
    cells: int | None,
    metric_limit: float | None,
    engine: Engine,
    device: str = "auto",
) -> None:
    """Print what tasks ask for and take; nothing is made, and neither data nor networks are loaded.

    Raises:
        BadInput: a task file or a word is wrong, or --cells was said too.
    """
    from suite.errors import BadInput
    from suite.estimating.devices import device_named
    from suite.estimating.estimate import estimate, known_metrics
    from suite.estimating.shown import show, to_text
    from suite.spec.loading import load_task

    if cells is not None:
        raise BadInput("--dry-run and --cells: give one of them; the dry run is of the whole task")
    priced = device_named(on)
    known_words(cost, dtype)
    kind = None if engine.local else engine.device(device)
    many = workers or (os.cpu_count() or 1 if priced.name == "cpu" else 1)
    metrics = known_metrics(tuple(path.absolute() for path in metric or ()), cost)
    tasks = [load_task(file, max_cells(yes)) for file in files]
    found = [estimate(task, metrics, priced, many, dtype, metric_limit) for task in tasks]
    worker = None if kind is None else _worker(tasks, metrics, dtype, engine, kind, workers)
    if as_json:
        print(to_text(found, worker))
        return
    show(console(), found)
    if worker is not None:
        said = [f"cpus={worker['cpus']}", f"gpus={worker['gpus']:g}", f"memory={worker['memory'] / 2**30:.1f} (GiB)"]
        hours = [f"{seconds / 3600:.1f} h to {what}" for what, seconds in (worker["seconds"] or {}).items()]
        said += [f"{' and '.join(hours)} for a job"] if hours else []
        console().print(f"A worker is asked for with {', '.join(said)}.", soft_wrap=True, highlight=False)


def _worker(
    tasks: Sequence[TaskSpec], metrics: Sequence[Measure], dtype: str, engine: Engine, device: str, workers: int | None
) -> dict[str, Any]:
    """What a worker on another machine is asked for: memory in bytes, and seconds where there is a limit on them."""
    from suite.estimating.needs import needed
    from suite.executors.job import Needs

    seconds = dict[str, float | None]()
    for what in ("train", "measure"):
        memory, longest = needed(tasks, metrics, device == "cpu", engine.bundles(workers), dtype, what == "train")
        needs = engine.needs(device, Needs(memory=memory, seconds=longest))
        seconds[what] = needs.seconds
    asked = {"device": device.partition(":")[0], "cpus": needs.cpus, "gpus": needs.gpus, "memory": needs.memory}
    return asked | {"seconds": seconds if engine.kind == "slurm" else None}


def lost(lines: list[str]) -> None:
    """Exit status 1 where something could not be measured, saying what."""
    for line in lines:
        print(line, file=sys.stderr)
    if lines:
        raise typer.Exit(1)
