"""The commands that work: train, measure, rank, publish, a spectrum of saved weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suite import arguments
from suite.arguments import (
    RESULTS,
    Address,
    AsJson,
    Cells,
    Cost,
    Device,
    DryRun,
    Dtype,
    Limit,
    Metrics,
    Need,
    On,
    Quiet,
    Tasks,
    Where,
    Workers,
    Yes,
)
from suite.cli.app import app


@app.command()
def run(
    tasks: Tasks = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    workers: Workers = None,
    executor: Where = "local",
    address: Address = "auto",
    need: Need = None,
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
    engine = arguments.engine(executor, address, need)
    if dry_run:
        files = arguments.paths(tasks)
        arguments.estimated(files, metric, cost, on, workers, dtype, yes, as_json, cells, metric_limit, engine, device)
        return
    from suite import pipeline

    options = arguments.options(device, dtype, workers, metric, yes, quiet, metric_limit, cost, engine)
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
    executor: Where = "local",
    address: Address = "auto",
    need: Need = None,
    yes: Yes = False,
    quiet: Quiet = False,
) -> None:
    """Train what is missing."""
    from suite import pipeline

    engine = arguments.engine(executor, address, need)
    options = arguments.options(device, dtype, workers, None, yes, quiet, engine=engine)
    pipeline.train(arguments.to_work_on(tasks), options, arguments.console())


@app.command()
def measure(
    tasks: Tasks = None,
    device: Device = "auto",
    dtype: Dtype = "float32",
    workers: Workers = None,
    executor: Where = "local",
    address: Address = "auto",
    need: Need = None,
    metric: Metrics = None,
    metric_limit: Limit = None,
    cost: Cost = "search",
    yes: Yes = False,
    quiet: Quiet = False,
) -> None:
    """Measure what is missing of trained tasks."""
    from suite import pipeline

    engine = arguments.engine(executor, address, need)
    options = arguments.options(device, dtype, workers, metric, yes, quiet, metric_limit, cost, engine)
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

    options, missing = arguments.options(device, dtype, None, None, yes, False, cost=cost), list[str]()
    if metric:
        written = pipeline.publish_metrics(arguments.paths(tasks), metric, options, results)
    else:
        written, missing = pipeline.publish(arguments.paths(tasks), options, results)
    for path in written:
        print(path)
    for line in missing:
        typer.echo(line, err=True)


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
