"""`python -m tests.reliability [SECTION ...]`: take the figures of sections (all), then write reports/reliability.md.

The word `page` writes the page alone, from the figures that there are.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.reliability import record
from tests.reliability.record import Keep, Told

SECTIONS = ("throughput", "scale", "kills", "faults", "fuzz", "engines")


def main() -> int:
    """Take what was asked for; 1 where a figure is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; or page")
    parser.add_argument("--seed", type=int, default=20261126, help="of all that is drawn")
    given = parser.parse_args()
    asked = given.sections or [*SECTIONS]
    if strange := [name for name in asked if name not in (*SECTIONS, "page")]:
        parser.error(f"{', '.join(strange)}: use {', '.join(SECTIONS)} or page")
    failures = []
    for name in asked:
        if name != "page":
            failures += _take(name, given.seed)
        _page()
    for line in failures:
        print(f"WRONG {line}", file=sys.stderr)
    return int(bool(failures))


def _take(name: str, seed: int) -> list[str]:
    """Take a section's figures in a folder of its own, which goes; what is wrong with them, a line each."""
    take: Callable[[Path, int, Told, Keep], dict[str, Any]]
    take = importlib.import_module(f"tests.reliability.{name}").take
    taking = record.Taking(name)

    def keep(figures: dict[str, Any]) -> None:
        """What there is by now: a section of hours may be ended before its end."""
        record.written(taking.content(figures, complete=False))

    with tempfile.TemporaryDirectory(prefix="rel-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "t").mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(Path(folder) / "t")  # what killed processes leave goes too
        try:
            figures = take(Path(folder), seed, lambda line: _told(name, line), keep)
        finally:
            del os.environ["TMPDIR"]
            tempfile.tempdir = None
    print(record.written(taking.content(figures)))
    return [f"{name}: {line}" for line in figures.get("failures", [])]


def _told(name: str, line: str) -> None:
    print(f"{name}: {line}", file=sys.stderr, flush=True)


def _page() -> None:
    from tests.reliability.page import write

    print(write())


if __name__ == "__main__":
    sys.exit(main())
