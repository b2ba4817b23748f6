"""The library's README does what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from tests.bench.report import markdown

README = Path(__file__).parents[2] / "suite/curvature/README.md"


class Axes:
    """Stands for matplotlib.pyplot: keeps what was to be drawn."""

    def semilogy(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.x, self.y = x, y


def test_the_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3)
    )
    model.train()
    batches = [(torch.randn(16, 6), torch.randint(0, 3, (16,))) for _ in range(12)]
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    assert sum(bool(line) for line in found[1].splitlines()) <= 10
    axes = Axes()
    exec(found[1], {"model": model, "batches": batches, "plt": axes})
    assert re.match(r"SD = \d+\.\d ± \d+\.\d of d = 99; trace", capsys.readouterr().out)
    assert axes.x.shape == axes.y.shape
    assert float(axes.y.sum()) > 0
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_tables_of_benchmarks_are_those_of_the_recorded_results() -> None:
    text = README.read_text(encoding="utf-8")
    assert not re.search(r"^[A-Z]+_TABLE$", text, re.MULTILINE)
    files = sorted((README.parents[2] / "reports/bench").glob("*.json"))
    assert files
    for path in files:
        assert markdown(path) in text


def test_every_file_that_is_named_is_there() -> None:
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| (`[a-z_]+\.py`(?:, `[a-z_]+\.py`)*)", text, re.MULTILINE))
    files = {name for row in named for name in re.findall(r"[a-z_]+\.py", row)}
    assert len(files) > 12
    here = {path.name for path in README.parent.glob("*.py")}
    assert files <= here
    assert here - files <= {
        "__init__.py",
        "estimate.py",
        "normalisation.py",
        "smoothing.py",
        "spectrum.py",
    }
