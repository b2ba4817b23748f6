"""The app, and what happens to the errors of its commands."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
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


_TERMINATED = 128 + signal.SIGTERM
_terminating, _unsaid = threading.Event(), threading.Lock()
_SECONDS_TO_END = 8.0
"""What a schedule of jobs leaves before it kills is ten seconds, as a rule."""


class Terminated(KeyboardInterrupt):
    """SIGTERM: whoever lets Ctrl-C through lets it through."""


def main() -> None:
    """Entry point: errors a user can act on are one line on standard error. SIGTERM ends the work as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except (SuiteError, SystemExit, Terminated) as end:
        if _terminating.is_set():  # whatever came of it
            _say_terminated()
            sys.exit(_TERMINATED)
        if isinstance(end, SuiteError):
            print(end, file=sys.stderr)
            sys.exit(2)
        if isinstance(end, SystemExit) and end.code == 130:  # typer turns Ctrl-C into this
            print("\ninterrupted: what was finished is kept; the same command goes on from there", file=sys.stderr)
        raise


def _terminate(number: int, frame: FrameType | None) -> None:
    """Leave every block of the work, which ends its workers; at once where that takes too long.

    A store may be left at any moment, and workers end by themselves when the command is gone.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _terminating.set()
    last = threading.Timer(_SECONDS_TO_END, _leave)
    last.daemon = True
    last.start()
    raise Terminated


def _leave() -> None:
    _say_terminated()
    os._exit(_TERMINATED)


def _say_terminated() -> None:
    if _unsaid.acquire(blocking=False):
        print("terminated: what was finished is kept; the same command goes on from there", file=sys.stderr, flush=True)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit")] = False) -> None:
    if version:
        print(f"suite {__version__}")
        raise typer.Exit
