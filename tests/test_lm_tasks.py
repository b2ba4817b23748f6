"""The tasks of GPT-2 on WikiText-2 are for a GPU; here a cell of a shrunken copy goes the whole way."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from suite.models.flat import flat_model
from suite.spec.loading import load_task
from tests.command import suite

FOLDER = Path(__file__).parents[1] / "tasks/lm"
NAMES = ["sgd", "momentum", "adamw"]


@pytest.mark.parametrize("name", NAMES)
def test_they_are_gpt2_small_on_the_papers_grids(name: str) -> None:
    task = load_task(FOLDER / f"gpt2-wikitext2-{name}.yaml")
    assert flat_model(task.model, task.data.shape()).size == 123_849_984  # 124,439,808 with 1,024 positions
    sizes = [len(values) for values in task.grid.values()]
    assert sizes == ([4, 3, 3] if name == "adamw" else [5, 5])


@pytest.mark.data
@pytest.mark.slow
def test_a_cell_of_a_shrunken_copy(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "adamw"  # the other two differ in the optimizer alone, which other tests have
    monkeypatch.setenv("SUITE_DATA_DIR", str(data_dir))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(_shrunken(FOLDER / f"gpt2-wikitext2-{name}.yaml")))
    code, out, err = suite(tmp_path, "run", "small.yaml", "--cost", "free", "--quiet")
    assert code == 0, out + err
    results = tmp_path / ".suite/reports/results/lm" / f"gpt2-wikitext2-{name}"
    runs = pd.read_csv(results / "runs.csv")
    assert runs["status"].tolist() == ["finished"]
    assert 10 < runs["train_loss"].iloc[0] < 11  # ln 50,257 = 10.82: it has begun to learn
    for metric in ("slq_sharpness_dimension", "kde_sharpness_dimension", "rds_sharpness", "largest_eigenvalue"):
        values = pd.read_csv(results / f"values/{metric}.csv")
        assert values["status"].tolist() == ["ok"], (name, metric, values["reason"].tolist())


def _shrunken(path: Path) -> dict[str, object]:
    """One cell, two blocks of width 16, 16 tokens, 16 sequences, one epoch."""
    task: dict[str, object] = yaml.safe_load(path.read_text())
    grid = {field: values[:1] for field, values in task["grid"].items()}  # type: ignore[attr-defined]
    grid["training.batch_size"] = [8]
    training = task["training"] | {"epochs": 1}  # type: ignore[operator]
    return task | {
        "data": task["data"] | {"length": 16, "train_limit": 16, "test_limit": 8},  # type: ignore[operator]
        "model": {"kind": "gpt2", "layers": 2, "width": 16, "heads": 2},
        "training": training,
        "grid": grid,
        "probes": {
            "spectrum": {"kind": "lanczos", "runs": 2, "steps": 10, "share": 2},
            "gradients": {"samples": 16, "minibatches": 2},
        },
    }
