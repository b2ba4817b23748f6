"""What is asked of the command line before any work is answered without the libraries that take seconds to import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "pandas", "scipy", "sklearn", "matplotlib")
PROGRAM = f"""\
import sys
from suite.cli import main
try:
    main()
finally:
    print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("--version",),
        ("run", "--help"),
        ("tasks",),
        ("validate", "tasks/quick/digits-mlp3.yaml", "tasks/quick/modular-transformer.yaml"),
        ("schema",),
    ],
    ids=" ".join,
)
def test_no_heavy_library_is_imported(words: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip()
    assert done.stderr.strip() == ""


def test_the_program_would_see_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "metrics"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "torch" in done.stderr.split()
