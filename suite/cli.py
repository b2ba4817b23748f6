"""The command line: it reads options, calls the pipeline and says what went wrong in one line. No logic here.

Everything heavy is imported inside the commands, so that `suite --help` answers at once and `suite leaderboard` never
meets torch.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from suite import __version__, arguments
from suite.arguments import (
    HERE,
    RESULTS,
    TASKS,
    AsJson,
    Cells,
    Cost,
    Device,
    DryRun,
    Dtype,
    Folder,
    Limit,
    Metrics,
    On,
    Only,
    Quiet,
    Tasks,
    Workers,
    Yes,
)
from suite.errors import SuiteError

app = typer.Typer(
    help="Which measure of curvature predicts generalization? Every metric, the same networks, the same rules.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

new = typer.Typer(help="Files to begin with.", no_args_is_help=True)
app.add_typer(new, name="new")


def main() -> None:
    """Entry point: errors a user can act on are one line on standard error."""
    try:
        app()
    except SuiteError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # typer turns Ctrl-C into this
            print("\ninterrupted: what was finished is kept; the same command goes on from there", file=sys.stderr)
        raise


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit")] = False) -> None:
    if version:
        print(f"suite {__version__}")
        raise typer.Exit


@app.command()
def run(
    tasks: Tasks = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    workers: Workers = None,
    metric: Metrics = None,
    metric_limit: Limit = None,
    cost: Cost = "search",
    yes: Yes = False,
    quiet: Quiet = False,
    cells: Cells = None,
    results: Annotated[Path, typer.Option(help="The published results that --cells makes again")] = RESULTS,
    dry_run: DryRun = False,
    on: On = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="With --cells or --dry-run: as JSON")] = False,
) -> None:
    """Train, measure, rank and report; does only what is missing."""
    if dry_run:
        files = arguments.paths(tasks)
        arguments.estimated(files, metric, cost, on, workers, dtype, yes, as_json, cells, metric_limit)
        return
    from suite import pipeline

    options = arguments.options(device, dtype, workers, metric, yes, quiet, metric_limit, cost)
    if cells is not None:
        where = arguments.console(aside=as_json)
        found = pipeline.reproduce(arguments.to_work_on(tasks), cells, options, results, where)
        arguments.judged(found, as_json, quiet)
        return
    arguments.lost(pipeline.run(arguments.to_work_on(tasks), options, arguments.console()))


@app.command()
def train(
    tasks: Tasks = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    workers: Workers = None,
    yes: Yes = False,
    quiet: Quiet = False,
) -> None:
    """Train what is missing."""
    from suite import pipeline

    options = arguments.options(device, dtype, workers, None, yes, quiet)
    pipeline.train(arguments.to_work_on(tasks), options, arguments.console())


@app.command()
def measure(
    tasks: Tasks = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    workers: Workers = None,
    metric: Metrics = None,
    metric_limit: Limit = None,
    cost: Cost = "search",
    yes: Yes = False,
    quiet: Quiet = False,
) -> None:
    """Measure what is missing of trained tasks."""
    from suite import pipeline

    options = arguments.options(device, dtype, workers, metric, yes, quiet, metric_limit, cost)
    arguments.lost(pipeline.measure(arguments.to_work_on(tasks), options, arguments.console()))


@app.command()
def rank(
    tasks: Annotated[list[str] | None, typer.Argument(help="Names of measured tasks; default: all of them")] = None,
    quiet: Quiet = False,
) -> None:
    """Rank what is measured in the local store, and write its report."""
    from suite.reporting.local import report

    report(arguments.home() / "reports", arguments.console(), quiet, tasks or None)


@app.command()
def leaderboard(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail on drift")] = False,
    results: Annotated[Path, typer.Option(help="The published results")] = RESULTS,
    markdown: Annotated[
        Path | None,
        typer.Option(help="The leaderboard to write; default: leaderboard.md, of other results beside their folder"),
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="Where figures, tables and site go; default: beside the results' folder")
    ] = None,
    claims: Annotated[
        Path | None, typer.Option(help="Claims to give verdicts on; default: claims.yaml beside the results, if any")
    ] = None,
) -> None:
    """Regenerate leaderboard.md, figures, tables and site (in reports/) from the published results."""
    from suite.ranking.claims import judge
    from suite.reporting import build
    from suite.reporting.board import PUBLISHED, read_board

    beside = results.parent
    board = read_board(results)
    read = [task.results for task in board.tasks]
    file = claims or (beside / "claims.yaml" if (beside / "claims.yaml").exists() else None)
    verdicts = judge(arguments.claims(file, read), read) if file else []
    page = markdown or (Path("leaderboard.md") if results == RESULTS else beside / "leaderboard.md")
    place = build.Place(page, reports or beside)
    prose, untrue = arguments.prose(place.reports / "findings.md", board)
    for sentence in untrue:
        print(sentence, file=sys.stderr)
    if check:
        drifted = build.check(board, place, verdicts, prose)
        for name in drifted:
            print(f"{name} is not what `suite leaderboard` makes of {results}", file=sys.stderr)
        if drifted or untrue:
            raise typer.Exit(1)
        print(f"{page}, {place.reports}/figures and {place.reports}/tables are current")
        return
    written = build.build(board, PUBLISHED, place, place.reports / "site", verdicts, prose)
    print(f"{page}, and in {place.reports}: figures, tables and site/index.html ({len(written)} files)")


@app.command()
def figures(
    folder: Annotated[Path, typer.Argument(help="Where to write them")],
    task: Annotated[list[str] | None, typer.Option("--task", help="Of this task (a name), and no others")] = None,
    form: Annotated[str, typer.Option("--format", help="svg, pdf or both")] = "both",
    results: Annotated[Path, typer.Option(help="The results")] = RESULTS,
) -> None:
    """The site's charts as SVG and PDF for papers, with the data behind each as CSV."""
    from suite.reporting import plots

    for path in plots.draw(results, folder, task, form):
        print(path)


@app.command("claims")
def list_claims(
    results: Annotated[Path, typer.Option(help="The published results")] = RESULTS,
    file: Annotated[Path, typer.Option(help="The claims")] = Path("reports/claims.yaml"),
    as_json: AsJson = False,
) -> None:
    """What the published results say of the claims in reports/claims.yaml: supported, refuted or undecided."""
    from suite.ranking.claims import judge
    from suite.ranking.tables import read_results
    from suite.reporting.claims import counted, records, rows
    from suite.reporting.terminal import print_claims

    read = read_results(results)
    verdicts = judge(arguments.claims(file, read), read)
    if as_json:
        arguments.table("Claims", records(verdicts), as_json)
        return
    print_claims(arguments.console(), counted(verdicts), rows(verdicts))


@app.command()
def publish(
    tasks: Tasks = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Add this metric's values (a name, or a file), and no others")
    ] = None,
    cost: Cost = "search",
    yes: Yes = False,
    results: Annotated[Path, typer.Option(help="Where published results live")] = RESULTS,
) -> None:
    """Write finished tasks from the local store into reports/results, or a metric's values into those written."""
    from suite import pipeline

    options = arguments.options(device, dtype, None, None, yes, False, cost=cost)
    if metric:
        written = pipeline.publish_metrics(arguments.paths(tasks), metric, options, results)
    else:
        written = pipeline.publish(arguments.paths(tasks), options, results)
    for path in written:
        print(path)


@app.command()
def check(
    metrics: Annotated[list[str] | None, typer.Argument(help="Files that define metrics, or names of metrics")] = None,
    task: Annotated[list[str] | None, typer.Option(help="On these tasks instead of the quick suite")] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only what takes seconds: nothing is trained but a trial")
    ] = False,
    against: Annotated[Path | None, typer.Option(help="Compare with these published results")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="The metrics of which the file changed since this commit; no other published values may"),
    ] = None,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Let a metric pass that orders all networks as another one does")
    ] = False,
    device: Device = "auto",
    dtype: Dtype = "float32",
    workers: Workers = None,
    metric_limit: Limit = None,
    cost: Cost = "search",
    quiet: Quiet = False,
) -> None:
    """All that CI asks of a metric: file, test, a trial, values, place, relatives; exit 1 if something is wrong."""
    from suite import pipeline
    from suite.submission.check import Terms
    from suite.submission.findings import END
    from suite.submission.subject import words_of

    words = words_of(metrics or [], since, Path())
    if not words:
        print(f"{END}: no metric changed since {since} (files that git does not track are not looked at)")
        return
    options = arguments.options(device, dtype, workers, None, False, quiet, metric_limit, cost)
    tasks = [] if fast else arguments.to_work_on(task)
    if not pipeline.check(tasks, words, options, Terms(against, allow_duplicate), arguments.console()):
        raise typer.Exit(1)


@new.command("metric")
def new_metric(
    name: Annotated[str, typer.Argument(help="Of its function, like largest_weight")], folder: Folder = HERE
) -> None:
    """A file to begin a metric with, and its test."""
    from suite.submission import new

    arguments.began(new.new_metric(name, folder), new.after_metric(name, folder))


@new.command("task")
def new_task(name: Annotated[str, typer.Argument(help="Like my/digits-grid")], folder: Folder = HERE) -> None:
    """A file to begin a task with."""
    from suite.submission import new

    arguments.began(new.new_task(name, folder), new.after_task(name, folder))


@app.command()
def validate(
    tasks: Annotated[list[str], typer.Argument(help="Task files, names or folders")],
    yes: Yes = False,
) -> None:
    """Check task files; problems as file:line: field: what is wrong and what was meant."""
    from suite.errors import BadInput
    from suite.spec.loading import resolve

    wrong = False
    for name in tasks:
        try:
            for path in resolve([name], TASKS):
                wrong |= not _is_valid(path, yes)
        except BadInput as error:
            print(error, file=sys.stderr)
            wrong = True
    if wrong:
        raise typer.Exit(2)


def _is_valid(path: Path, yes: bool) -> bool:
    from suite.errors import BadInput
    from suite.spec.cells import cells, spec_hash
    from suite.spec.loading import load_task

    try:
        task = load_task(path, arguments.max_cells(yes))
    except BadInput as error:
        print(error, file=sys.stderr)
        return False
    print(f"{path}: {task.name}, {len(cells(task))} cells, hash {spec_hash(task)}")
    return True


@app.command("tasks")
def list_tasks(
    root: Annotated[Path, typer.Option(help="Folder of the task files")] = TASKS, as_json: AsJson = False
) -> None:
    """What tasks there are."""
    from suite.spec.cells import cells, spec_hash
    from suite.spec.loading import listed, load_task

    loaded = [(path, load_task(path)) for path in listed(root)]
    rows = [
        {"name": t.name, "title": t.title, "kind": t.kind, "cells": len(cells(t)), "hash": spec_hash(t), "file": str(p)}
        for p, t in loaded
    ]
    arguments.table("Tasks", rows, as_json, prose=("title",), spare=("file", "hash"))


@app.command("metrics")
def list_metrics(
    metric: Metrics = None,
    as_json: AsJson = False,
    write: Annotated[Path | None, typer.Option(help="Write the catalogue, with definitions, as Markdown")] = None,
    check: Annotated[Path | None, typer.Option(help="Fail if that catalogue is not current")] = None,
) -> None:
    """What metrics there are; with definitions: docs/metrics.md, or --json."""
    if write or check:
        from suite.pipeline import metrics_page

        arguments.generated(metrics_page(), write, check, "suite metrics")
        return
    from suite.metrics import find_metrics
    from suite.publishing import definition

    words = ("name", "title", "family", "sign", "trivial", "cost", "probes", "invariances", "optimizers")
    found = find_metrics(metric or ()).values()
    rows = [
        {w: getattr(m, w) if as_json else arguments.plain(getattr(m, w)) for w in (*words, "version", "source")}
        for m in found
    ]
    if as_json:
        rows = [row | {"definition": definition(m)} for row, m in zip(rows, found, strict=True)]
    spare = ("source", "optimizers", "invariances", "version", "trivial", "probes", "family")
    arguments.table("Metrics", rows, as_json, prose=("title", "family", "source", "probes", "invariances"), spare=spare)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A metric, or a folder of results (before)")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one (after)")],
    results: Annotated[Path, typer.Option(help="Where the metrics are compared")] = RESULTS,
    task: Only = None,
    everything: Annotated[bool, typer.Option("--all", help="Of two folders, also what did not change")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown, for a pull request or a paper")] = False,
    as_json: AsJson = False,
) -> None:
    """Two metrics, or two folders of results before and after a change, side by side with paired statistics."""
    from suite.reporting import compare

    found = compare.compare(a, b, results, task)
    if as_json:
        print(compare.as_json(found))
    elif markdown:
        print(compare.markdown(compare.parts(found, everything)), end="")
    else:
        compare.print_parts(arguments.console(), compare.parts(found, everything))


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="To write: .parquet, .csv or .csv.gz")],
    results: Annotated[Path, typer.Option(help="The results")] = RESULTS,
    task: Only = None,
    table: Annotated[str, typer.Option(help="values, runs, metrics, ranking or overall")] = "values",
) -> None:
    """Results as one tidy table; docs/comparing.md explains its columns."""
    from suite.ranking.export import export

    rows, columns = export(file, results, task, table).shape
    print(f"{file}: {rows:,} rows, {columns} columns")


@app.command()
def show(run_id: Annotated[str, typer.Argument(help="A run id, or the beginning of one")]) -> None:
    """One run: its cell, losses, accuracies and values at every checkpoint."""
    from suite.reporting.local import show_run

    show_run(arguments.home() / "reports" / "results", run_id, arguments.console())


@app.command()
def spectrum(
    checkpoint: Annotated[str, typer.Argument(help="A .safetensors file, a saved state dict, or a run id with --task")],
    task: Annotated[str | None, typer.Option(help="Task file or name: architecture, data, loss, η, batch size")] = None,
    model: Annotated[
        str | None, typer.Option(help="FILE.py:FUNCTION of the path → (module, criterion, inputs, targets)")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(min=1e-12, help="η; default: the task's")] = None,
    batch_size: Annotated[str | None, typer.Option(help="Of the minibatches, or full; default: the task's")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Lanczos runs, or minibatches with --exact")] = 20,
    probes: Annotated[int, typer.Option(min=1, help="Runs that share a minibatch")] = 1,
    steps: Annotated[
        int, typer.Option(min=2, help="Lanczos steps of a run; the error shown does not know of too few")
    ] = 100,
    exact: Annotated[bool, typer.Option("--exact", help="All eigenvalues, in float64")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the probes")] = 0,
    plot: Annotated[Path | None, typer.Option(help="Draw the spectrum into this .svg, .pdf or .png")] = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    as_json: AsJson = False,
) -> None:
    """Spectrum and sharpness dimension of a saved model, without training anything."""
    from rich.console import Console

    from suite import pipeline
    from suite.errors import BadInput
    from suite.measuring.saved import Budget

    budget = Budget(learning_rate, arguments.batch_size(batch_size), runs, probes, steps, exact, seed)
    options = arguments.options(device, dtype, None, None, False, False)
    files = arguments.paths([task]) if task else []
    if len(files) > 1:
        raise BadInput(f"--task {task}: one task is meant, this is {len(files)}")
    where = Console(stderr=True)  # the table, or its JSON, is alone on the standard output
    found = pipeline.spectrum(checkpoint, files[0] if files else None, model, budget, options, plot, where)
    arguments.table("Spectrum", found.rows(), as_json)


@app.command()
def schema(
    write: Annotated[Path | None, typer.Option(help="Write the one without installed plug-ins to this file")] = None,
    check: Annotated[
        Path | None, typer.Option(help="Write nothing; fail if this file is not the one --write writes")
    ] = None,
) -> None:
    """The JSON schema of task files, for editors; with the kinds that installed plug-ins bring, unless written."""
    from suite.spec.schema import json_schema

    if write or check:
        arguments.generated(json_schema(outsiders=False), write, check, "suite schema")
    else:
        print(json_schema(), end="")


@app.command()
def doctor() -> None:
    """Device, versions, data, store: what works, what is missing, how to get it."""
    from suite.doctor import diagnose

    rows = diagnose(arguments.home())
    arguments.table("Doctor", rows, False, prose=("note",))
    if any(row["state"] == "broken" for row in rows):
        raise typer.Exit(1)
