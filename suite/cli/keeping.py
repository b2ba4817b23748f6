"""The commands that look after the store: free what policies let go, check what is there."""

from __future__ import annotations

from typing import Annotated

import typer

from suite import arguments
from suite.arguments import TASKS, AsJson, Quiet
from suite.cli.app import app

Known = Annotated[
    list[str] | None, typer.Argument(help="Task files, names or folders; default: all of tasks/", show_default=False)
]


@app.command()
def gc(
    tasks: Known = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Remove nothing: say what would be let go")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what only training makes again")] = False,
    restore: Annotated[
        list[str] | None,
        typer.Option(help="weights, states, distances or probes that were let go: the next run makes them again"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Free what the tasks' `keep` lets go and no value needs, and files that nothing refers to."""
    from suite.keeping import house, shown

    home, names = arguments.home(), tasks or []
    if restore:
        for line in shown.restored(*house.restore_store(home, names, TASKS, restore), as_json):
            print(line)
        return
    found = house.free_store(home, names, TASKS, dry_run, force)
    if as_json or found.counted:
        arguments.table("Tensors", shown.rows(found, as_json), as_json)
    for line in () if as_json else shown.freed(found, dry_run):
        print(line)


@app.command()
def verify(
    tasks: Known = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is damaged, and its rows: the next run makes it anew")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Read the whole store: what is damaged, and the command that makes it anew."""
    from suite.keeping import house, shown
    from suite.progress import Board

    with Board(arguments.console(aside=True), quiet) as board:
        progress = board.tell("verify", "files")
        found = house.verify_store(arguments.home(), tasks or [], TASKS, repair, progress)
    for line in [shown.as_json(found)] if as_json else shown.verified(found, repair):
        print(line)
    if found.damages and not (repair and found.can_be_repaired):
        raise typer.Exit(1)
