"""Running the command line as a user does, in a folder of its own, with a small task."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.forked import Forks

TINY = """\
name: tiny/digits
title: A tiny grid
kind: grid
data: {kind: digits}
model: {kind: mlp, widths: [4], bias: false}
training:
  optimizer: {kind: sgd, learning_rate: 0.1}
  batch_size: 32
  epochs: 3
grid:
  training.optimizer.learning_rate: [0.03, 0.1, 0.3]
  training.batch_size: [32, 64]
  seed: [0, 1]
probes:
  spectrum: {kind: dense, minibatches: 2}
  gradients: null
"""

TINY_TRAJECTORY = """\
name: tiny/grokking
title: A tiny trajectory
kind: trajectory
data: {kind: modular, modulus: 11, operation: add, encoding: one_hot, train_fraction: 0.7}
model: {kind: mlp, widths: [8], activation: gelu}
training:
  optimizer: {kind: sgd, learning_rate: 1.0, momentum: 0.9, weight_decay: 0.0001}
  batch_size: full
  steps: 60
  checkpoints: {kind: even, count: 4}
grid:
  training.optimizer.learning_rate: [0.3, 1.0]
  seed: [0, 1]
probes:
  spectrum: {kind: lanczos, runs: 2, steps: 10, batch_size: full}
  gradients: null
"""


_SECONDS = 300
README = Path(__file__).parents[1] / "README.md"


def readme_block(language: str, containing: str) -> str:
    """The one block of code in the README that has this in it: what a user copies is what is tested."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


def install(site: Path, group: str, source: str) -> Path:
    """A package `outsider` with one entry point in `group`, as pip leaves it in `site`; for PYTHONPATH."""
    information = site / "outsider-1.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[{group}]\none = outsider\n")
    (site / "outsider.py").write_text(source)
    return site


def workplace(folder: Path) -> Path:
    """A folder with two tiny tasks, as a user's checkout has."""
    (folder / "tasks" / "tiny").mkdir(parents=True)
    (folder / "tasks" / "tiny" / "digits.yaml").write_text(TINY)
    (folder / "tasks" / "tiny" / "grokking.yaml").write_text(TINY_TRAJECTORY)
    return folder


def _environment(home: Path | None) -> dict[str, str]:
    found = {k: v for k, v in os.environ.items() if k not in ("SUITE_HOME", "COLUMNS")}
    found.setdefault("SUITE_COST", "free")  # the command line is tested here, each metric in tests/metrics
    return found | {"COLUMNS": "150"} | ({} if home is None else {"SUITE_HOME": str(home)})


_FORKS = Forks(_environment(None))


def start(folder: Path, *words: str, home: Path | None = None) -> subprocess.Popen[str]:
    """`suite WORDS` in `folder`, running."""
    return subprocess.Popen(
        [sys.executable, "-m", "suite", *words],
        cwd=folder,
        env=_environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def suite(folder: Path, *words: str, home: Path | None = None) -> tuple[int, str, str]:
    """`suite WORDS` in `folder`, with its store there or in `home`: exit status, standard output, standard error."""
    if _FORKS.fits(environment := _environment(home)):
        return _FORKS.run(folder, words, environment, _SECONDS)
    process = start(folder, *words, home=home)
    out, err = process.communicate(timeout=_SECONDS)
    return process.returncode, out, err
