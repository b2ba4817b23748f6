"""The command that looks on while another one works."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite import arguments
from suite.arguments import AsJson
from suite.cli.app import app

if TYPE_CHECKING:
    from suite.progress import Status

_LOOK_SECONDS = 2.0


@app.command()
def status(
    follow: Annotated[bool, typer.Option("--follow", help="Look again every 2 s until the run is over")] = False,
    as_json: AsJson = False,
) -> None:
    """How far a run in another terminal is, or how the last one ended."""
    from suite.errors import BadInput
    from suite.progress import STATUS, read_status

    home = arguments.home()
    found = read_status(home / STATUS)
    if found is None:
        raise BadInput(f"no run of a suite is known in {home}: run one there, or set SUITE_HOME to its folder")
    show(found, as_json)
    while follow and found.state == "running":
        time.sleep(_LOOK_SECONDS)
        found = read_status(home / STATUS) or found
        show(found, as_json)


def show(found: Status, as_json: bool) -> None:
    """One line on the run and a table of its work, or all there is as JSON."""
    from dataclasses import asdict

    from suite.progress import duration

    if as_json:
        arguments.table("Status", [{"state": found.state, **asdict(found)}], as_json)
        return
    ago = duration(max(0.0, time.time() - found.told))
    who = f"process {found.process} on {found.host}"
    arguments.console().print(f"{found.command}: {found.state} ({who}, said {ago} ago)", highlight=False, markup=False)
    rows: list[dict[str, Any]] = [
        {
            "work": one.title,
            "done": f"{one.finished} of {one.total} {one.unit}",
            "running": one.running,
            "failed": one.failed,
            "left": "" if one.left is None else f"about {duration(one.left)}",
        }
        for one in found.work
    ]
    arguments.table("Work", rows, as_json)
