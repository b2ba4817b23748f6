"""The command line: it reads options, calls the pipeline and says what went wrong in one line. No logic here.

Everything heavy is imported inside the commands, so that `suite --help` answers at once and `suite leaderboard` never
meets torch. Commands are in the order in which `suite --help` lists them.
"""

from suite.cli import running, watching, results, describing, submitting, keeping  # noqa: I001 - in the order of --help
from suite.cli.app import app, main

__all__ = ["app", "describing", "keeping", "main", "results", "running", "submitting", "watching"]
