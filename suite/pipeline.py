"""The whole way in one file: specs → training → probes → metrics → results → ranking → report."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from inspect import getdoc, getmodule
from pathlib import Path

from rich.console import Console

from suite.errors import BadInput, Untrained
from suite.estimating.durations import Durations
from suite.estimating.estimate import affordable, known_metrics, measures
from suite.estimating.needs import needed, slowest
from suite.executors import Executor, Needs
from suite.executors.engine import HERE, Engine
from suite.measuring.devices import resolve_device, workers_here
from suite.measuring.measure import Laboratory, Plan, as_trained, plan
from suite.measuring.place import WORKER_MODULES, WORKER_VARIABLES, Place
from suite.measuring.saved import Budget, SpectrumReport, from_python, from_task, measure_saved
from suite.metrics import Metric, find_metrics
from suite.metrics.registry import COSTS
from suite.progress import STATUS, Board
from suite.publishing import check_names, check_none_is_lost, definition, failures, make_ready, untrained, write_results
from suite.ranking.tables import read_results
from suite.reporting.catalogue import Entry, catalogue
from suite.reporting.local import report
from suite.reporting.spectrum import draw_spectrum
from suite.reproducing.chosen import Chosen, choose, named_as_published
from suite.reproducing.judged import Judgement, judge
from suite.spec.loading import load_task
from suite.spec.task import TaskSpec
from suite.store import Store
from suite.submission.check import Terms, add_values, first_reports
from suite.submission.findings import print_reports
from suite.submission.publish import publish_metrics as add_metrics
from suite.submission.subject import subject_of


@dataclass(frozen=True)
class Options:
    """How work is done: the store's folder, where to compute, in which dtype, with which further metric files.

    `metric_limit` is the seconds a metric may take on one checkpoint, whatever the tasks' `limits` say; metrics of a
    class of cost beyond `cost` are left out. `engine` says on which machines workers are.
    """

    home: Path
    device: str = "auto"
    dtype: str = "float32"
    workers: int | None = None
    metric_files: tuple[Path, ...] = ()
    metric_limit: float | None = None
    max_cells: int = 1000
    quiet: bool = False
    cost: str = COSTS[-1]
    engine: Engine = HERE

    @property
    def reports(self) -> Path:
        """The local report: results, leaderboard.md, figures and site."""
        return self.home / "reports"

    @property
    def results(self) -> Path:
        """The results in it."""
        return self.reports / "results"

    def board(self, console: Console) -> Board:
        """Shows progress, here and to `suite status`."""
        return Board(console, self.quiet, self.home / STATUS)

    def place(self) -> Place:
        """Where to compute: of other machines what was said, of this one what there is.

        Raises:
            BadInput: there is no such device here.
        """
        device = resolve_device(self.device) if self.engine.local else self.engine.device(self.device)
        return Place.of(device, self.dtype)

    def workers_for(self, plans: Sequence[Plan], training: bool) -> Executor:
        """Worker processes: one per core, or one per GPU, unless it was said how many; or on other machines.

        Raises:
            BadInput: such machines are not to be had.
        """
        return self.engine.executor(
            self.workers,
            WORKER_VARIABLES,
            self.home,
            lambda: workers_here(self.device),
            lambda: self._needs([p.task for p in plans], training),
            WORKER_MODULES,
        )

    def durations(self, metrics: Mapping[str, Metric]) -> Durations:
        """How long jobs take, by the model of a dry run."""
        return Durations(slowest(self.place().device.type == "cpu"), measures(metrics), self.dtype)

    def _needs(self, tasks: Sequence[TaskSpec], training: bool) -> Needs:
        device = self.place().device
        metrics = known_metrics(self.metric_files, self.cost)
        bundles = self.engine.bundles(self.workers)
        memory, seconds = needed(tasks, metrics, device.type == "cpu", bundles, self.dtype, training)
        return self.engine.needs(str(device), Needs(memory=memory, seconds=seconds))


def run(tasks: Sequence[Path], options: Options, console: Console) -> list[str]:
    """Train, measure, rank and report; what could not be measured, one line each.

    Raises:
        Untrained: networks could not be trained; all else is done first, with those that could.
    """
    with _laboratory(tasks, options, console) as (laboratory, plans, metrics):
        _train(laboratory, plans, options)
        found, lost = _measured(laboratory, plans, metrics, options)
        laboratory.board.hide()
        report(options.reports, console, options.quiet, [p.task.name for p in found if p.stacks])
        return _but_for(found, lost)  # by now `suite status` says that the run goes on


def train(tasks: Sequence[Path], options: Options, console: Console) -> None:
    """Train what is missing.

    Raises:
        Untrained: networks could not be trained; the others are, first.
    """
    with _laboratory(tasks, options, console) as (laboratory, plans, _):
        _train(laboratory, plans, options)
        _but_for([as_trained(p, laboratory.store) for p in plans])


def measure(tasks: Sequence[Path], options: Options, console: Console) -> list[str]:
    """Measure what is missing of trained tasks; what could not be measured, one line each.

    Raises:
        Untrained: there are networks that could not be trained; the others are measured first.
    """
    with _laboratory(tasks, options, console) as (laboratory, plans, metrics):
        return _but_for(*_measured(laboratory, plans, metrics, options))


def reproduce(tasks: Sequence[Path], count: int, options: Options, results: Path, console: Console) -> list[Judgement]:
    """Make `count` published runs of each task again, in their whole stacks, and judge them; see `suite.reproducing`.

    Raises:
        BadInput: a task is not published in `results`, or has no so many runs that count; before any work.
        Untrained: some of them could not be trained; the others of their tasks are, and stay in the store.
    """
    plans, metrics = _plans(tasks, options), affordable(find_metrics(options.metric_files), options.cost)
    chosen = [choose(p, count, results) for p in plans]
    with Store(options.home, writing=True) as store, options.board(console) as board:
        laboratory = Laboratory(store, board, options.metric_limit, options.durations(metrics))
        _train(laboratory, [c.part for c in chosen], options)
        _but_for([as_trained(c.part, store) for c in chosen])
        return [_judged(laboratory, c, metrics, options) for c in chosen]


def _judged(laboratory: Laboratory, chosen: Chosen, metrics: dict[str, Metric], options: Options) -> Judgement:
    """Measures what is published of the chosen runs; results go through files, as the published ones did."""
    asked = {name: one for name, one in metrics.items() if name in chosen.measured}
    _measure(laboratory, [chosen.part], asked, options)
    with tempfile.TemporaryDirectory(prefix="suite-cells-") as folder:
        root = Path(folder) / "results"
        write_results(chosen.part, laboratory.store, asked, root)
        (here,) = read_results(root)
    return judge(chosen.published, named_as_published(here, chosen.names))


def publish(tasks: Sequence[Path], options: Options, results: Path) -> tuple[list[Path], list[str]]:
    """Write the results of finished tasks from the local store into `results` (`reports/results`).

    Returns:
        The folders, and which networks are missing in them, because they could not be trained.

    Raises:
        BadInput: something is not measured yet; networks are missing that are published.
    """
    metrics = affordable(find_metrics(options.metric_files), options.cost)
    plans = _plans(tasks, options)
    check_names(plans, results)
    with Store(options.home) as store:
        found = [as_trained(p, store) for p in plans]
        for p in found:
            if p.untrained and ((folder := results / p.task.name) / "provenance.json").is_file():
                (there,) = read_results(results, [p.task.name])
                check_none_is_lost(p, there.runs["run_id"], folder)
        written = [write_results(p, store, metrics, results) for p in found]
    return written, [line for p in found for line in untrained(p)]


def publish_metrics(tasks: Sequence[Path], words: Sequence[str], options: Options, results: Path) -> list[Path]:
    """Add the values of metrics (names or files) to tasks already published in `results`; returns what was written."""
    subject = subject_of(words)
    with Store(options.home) as store:
        plans = [as_trained(p, store) for p in _plans(tasks, options)]
        return add_metrics(plans, store, subject.metrics, results)


def check(tasks: Sequence[Path], words: Sequence[str], options: Options, terms: Terms, console: Console) -> bool:
    """All that CI asks of metrics (names or files), on tasks; without any, what takes seconds. Whether all is well.

    Raises:
        BadInput: words that contradict one another.
        Untrained: networks could not be trained; what the others say is printed first.
    """
    subject = subject_of(words)
    options = replace(options, metric_files=subject.files)
    if terms.against is not None and not terms.against.is_dir():
        raise BadInput(f"--against {terms.against}: there is no such folder of published results")
    if terms.against is not None and not tasks:
        raise BadInput("--against compares values on tasks, and --fast makes none: leave one of them out")
    if not tasks:
        return print_reports(console, first_reports(subject, options.metric_limit))
    with _laboratory(tasks, options, console) as (laboratory, plans, metrics):
        reports = first_reports(subject, options.metric_limit)
        _train(laboratory, plans, options)
        try:
            found, _ = _measured(laboratory, plans, metrics, options)
            trained = [p for p in found if p.stacks]
            add_values(reports, subject, trained, laboratory.store, options.results, terms)
        finally:
            laboratory.board.hide()
            good = print_reports(console, reports)
        _but_for(found)
        return good


def spectrum(
    checkpoint: str,
    task: Path | None,
    model: str | None,
    budget: Budget,
    options: Options,
    plot: Path | None,
    console: Console,
) -> SpectrumReport:
    """The spectrum and SD of a saved model, or of a run of the local store (by the beginning of its id).

    Raises:
        BadInput: neither task nor model, or both; no such checkpoint; see `suite.measuring.saved`.
    """
    import torch

    place = Place.of(resolve_device(options.device), options.dtype)
    device = place.device
    if device.type != "cpu":  # on a CPU all threads may work: nothing else does
        os.environ.update(WORKER_VARIABLES)
        place.prepare()
    dtype = torch.float64 if budget.exact else getattr(torch, options.dtype)
    if (task is None) == (model is None):
        raise BadInput(
            "give one of --task TASK and --model FILE.py:FUNCTION: they say what the numbers in the file mean"
        )
    if plot and plot.suffix not in (".svg", ".pdf", ".png"):
        raise BadInput(f"--plot {plot}: a name that ends in .svg, .pdf or .png is meant")
    if plot and not plot.parent.is_dir():
        raise BadInput(f"--plot {plot}: there is no folder {plot.parent}")
    if model is not None:
        saved = from_python(Path(checkpoint), model, device, dtype)
    else:
        saved = from_task(*_checkpoint(checkpoint, task, options), device, dtype)
    with Board(console, options.quiet) as board:
        found = measure_saved(saved, budget, board.tell("spectrum", "minibatches" if budget.exact else "steps"))
    if plot:
        masses = found.measure.masses * found.measure.run_weights[:, None]
        draw_spectrum(found.measure.nodes.numpy(), masses.numpy(), found.edge, plot)
    return found


def _checkpoint(checkpoint: str, path: Path | None, options: Options) -> tuple[Path, TaskSpec]:
    """The weights' file and the task that they belong to: of a file as given, of a run with its cell's own values."""
    assert path is not None  # one of task and model is given
    if Path(checkpoint).is_file() or not checkpoint.isalnum():
        return Path(checkpoint), load_task(path, options.max_cells)
    if not options.home.is_dir():
        raise BadInput(f"{checkpoint}: no such file, and no local store in {options.home} to find a run in")
    with Store(options.home) as store:
        runs = [(cell, run_id) for cell, run_id in _plans([path], options)[0].runs() if run_id.startswith(checkpoint)]
        stored = store.run(runs[0][1]) if len(runs) == 1 else None
        if stored is None:
            kind = f"--dtype {options.dtype} on {resolve_device(options.device).split(':')[0]}"
            raise BadInput(
                f"{checkpoint}: no such file, and not just one trained run of {path} in {options.home} begins so, "
                f"among those of {kind}"
            )
        return store.path(str(stored.checkpoints[-1].weights)), runs[0][0].task


def metrics_page() -> str:
    """The catalogue of this package's metrics, as Markdown."""
    own = [metric for metric in find_metrics().values() if metric.origin is None]
    words = [field.name for field in fields(Entry) if field.name not in ("definition", "notes")]
    return catalogue(
        [Entry(**{w: getattr(m, w) for w in words}, definition=definition(m), notes=_notes(m)) for m in own]
    )


def _notes(metric: Metric) -> str:
    return getdoc(getmodule(metric.measure)) or ""


def _plans(tasks: Sequence[Path], options: Options) -> list[Plan]:
    place = options.place()
    plans = [plan(load_task(path, options.max_cells), place) for path in tasks]
    names = [p.task.name for p in plans]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"two task files are called {', '.join(repeated)}: give each its own name")
    return plans


@contextmanager
def _laboratory(
    tasks: Sequence[Path], options: Options, console: Console
) -> Iterator[tuple[Laboratory, list[Plan], dict[str, Metric]]]:
    """The plans, the metrics and the store. Bad input ends here, before any work."""
    plans, metrics = _plans(tasks, options), affordable(find_metrics(options.metric_files), options.cost)
    check_names(plans, options.results)
    with Store(options.home, writing=True) as store, options.board(console) as board:
        make_ready(options.results)
        yield Laboratory(store, board, options.metric_limit, options.durations(metrics)), plans, metrics


def _train(laboratory: Laboratory, plans: Sequence[Plan], options: Options) -> None:
    """In processes of its own, which are gone before any metric runs: training reads the test data."""
    with options.workers_for(plans, training=True) as workers:
        laboratory.train(plans, workers)


def _measured(
    laboratory: Laboratory, plans: Sequence[Plan], metrics: dict[str, Metric], options: Options
) -> tuple[list[Plan], list[str]]:
    """Measure what is trained, and write its results: the plans of what there is, and what could not be measured.

    Raises:
        Untrained: there is nothing.
    """
    found = [as_trained(p, laboratory.store) for p in plans]
    if not (trained := [p for p in found if p.stacks]):
        _but_for(found)
    _measure(laboratory, trained, metrics, options)
    for p in trained:
        write_results(p, laboratory.store, metrics, options.results)
    return found, [line for p in trained for line in failures(p, laboratory.store, metrics)]


def _but_for(plans: Sequence[Plan], lost: Sequence[str] = ()) -> list[str]:
    """The end of work on plans of what there is: the lines of what was lost.

    Raises:
        Untrained: networks are lost, too; its lines are said after those.
    """
    if said := [line for p in plans for line in untrained(p)]:
        raise Untrained("\n".join([*lost, *said]))
    return list(lost)


def _measure(laboratory: Laboratory, plans: Sequence[Plan], metrics: dict[str, Metric], options: Options) -> None:
    with options.workers_for(plans, training=False) as workers:
        laboratory.probe(plans, metrics, workers)
        laboratory.measure(plans, metrics, workers)
