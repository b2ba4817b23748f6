"""The commands that say what there is: tasks, metrics, the schema, this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from suite import arguments
from suite.arguments import TASKS, AsJson, Metrics, Yes
from suite.cli.app import app


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
