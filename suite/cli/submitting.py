"""The commands for those who bring something: checks of a metric, files to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suite import arguments
from suite.arguments import HERE, Cost, Device, Dtype, Folder, Limit, Quiet, Workers
from suite.cli.app import app, new


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
