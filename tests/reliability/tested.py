"""Files of tests run by pytest, and what became of each test."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.reliability import record

Row = dict[str, Any]


def tested(files: Sequence[str], folder: Path, told: Callable[[str], object]) -> list[Row]:
    """What became of all tests of some files (or of one test of a file, `FILE::TEST`), one file after another.

    Returns:
        A row a test: `file` (as asked for), `test` (its name, in words), `of` (the parameters), `says` (its docstring's
        first line), `outcome` (passed, failed or skipped), `why` (it failed or was skipped), `seconds`.
    """
    rows: list[Row] = []
    for number, file in enumerate(files):
        report = folder / f"{number}.xml"
        words = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", f"--junitxml={report}", file]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            check=False,
            cwd=record.ROOT,
            env=_environment(),
            capture_output=True,
            text=True,
        )
        if not report.exists():
            raise RuntimeError(
                f"{file}: pytest ended with status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
            )
        rows += rows_of(report, file)
        told(f"{file}: {(done.stdout.splitlines() or ['nothing'])[-1]}")
    return rows


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def rows_of(report: Path, file: str) -> list[Row]:
    """The rows of the JUnit report of one file, or of one test of it: `file` is what was asked for, as it was."""
    said = docstrings(record.ROOT / file.partition("::")[0])
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        name, _, of = str(case.get("name")).partition("[")
        outcome, why = "passed", ""
        for kind, word in (("skipped", "skipped"), ("failure", "failed"), ("error", "failed")):
            if (part := case.find(kind)) is not None:
                lines = str(part.get("message")).strip().splitlines()
                outcome, why = word, lines[0][:200] if lines else ""
        words = name.removeprefix("test_").replace("_", " ")
        found.append(
            {"file": file, "test": words, "of": of.removesuffix("]"), "says": said.get(name, ""), "outcome": outcome,
             "why": why, "seconds": round(float(case.get("time") or 0), 1)}
        )  # fmt: skip
    return found


def docstrings(path: Path) -> dict[str, str]:
    """The first lines of the docstrings of a file's functions that have one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {one.name: said.splitlines()[0] for one in functions if (said := ast.get_docstring(one))}


def wrong(rows: Sequence[Row]) -> list[str]:
    """The tests that failed, a line each."""
    return [f"{row['file']}: {row['test']}: {row['why']}" for row in rows if row["outcome"] == "failed"]
