"""The app, and what happens to the errors of its commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from suite import __version__
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
