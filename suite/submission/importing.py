"""Files imported in a process of their own first: one that ends its process would end the check in silence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from suite.errors import BadInput

_WHOLE = "every file was imported"
_PROGRAM = f"""\
import pathlib, sys
from suite.errors import BadInput
from suite.metrics import find_metrics
try:
    find_metrics([pathlib.Path(word) for word in sys.argv[1:]])
except BadInput:
    pass  # is raised again, and told, by whoever imports them next
print({_WHOLE!r}, flush=True)
"""
_LIMIT = 120.0


def import_elsewhere(files: Sequence[Path]) -> None:
    """Import this package's metrics and these files in another process, which must come to its end.

    Raises:
        BadInput: it ended before, or took too long.
    """
    words = [sys.executable, "-c", _PROGRAM, *map(str, files)]
    where = ", ".join(["suite/metrics", *map(str, files)])
    try:
        done = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", timeout=_LIMIT)  # noqa: PLW1510, S603
    except subprocess.TimeoutExpired:
        raise BadInput(f"{where}: importing takes longer than {_LIMIT:g} s") from None
    if done.returncode or _WHOLE not in done.stdout.splitlines():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise BadInput(f"{where}: importing ended the process (exit code {done.returncode}; {last})")
