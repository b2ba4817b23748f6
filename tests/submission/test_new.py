"""Files to begin with: what they are called, and that nothing is written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.errors import BadInput
from suite.metrics import find_metrics
from suite.spec.loading import load_task
from suite.submission.new import after_metric, new_metric, new_task
from tests.command import suite


def test_a_new_metric_is_one_and_so_is_its_test(tmp_path: Path) -> None:
    file, test = new_metric("brand_new", tmp_path)
    found = find_metrics([file])["brand_new"]
    assert "FILL IN" in found.title
    assert "FILL IN" in found.source
    assert "brand_new" in test.read_text()
    assert any(f"suite check {file}" in line for line in after_metric("brand_new", tmp_path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Largest", "in lower case"),
        ("two words", "in lower case"),
        ("class", "in lower case"),
        ("../up", "in lower case"),
        ("größe", "in lower case"),
        ("_hidden", "begins with a letter"),
        ("test_it", "not with test_"),
        ("accuracy_gap", "is a column of the results"),
        ("weight_norm", "there is a metric of that name"),
        ("norms", "suite/metrics has a file norms.py"),
        ("statistics", "is a Python module"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        new_metric(name, tmp_path)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("there", ["brand_new.py", "test_brand_new.py"])
def test_nothing_is_written_over(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(BadInput, match="is not written over"):
        new_metric("brand_new", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize("name", ["my/digits-grid", "plain", "123", "1e3", "yes"])
def test_a_new_task_is_valid(tmp_path: Path, name: str) -> None:
    (file,) = new_task(name, tmp_path)
    assert file == tmp_path / f"{name}.yaml"
    assert load_task(file).name == name
    with pytest.raises(BadInput, match="is not written over"):
        new_task(name, tmp_path)


@pytest.mark.parametrize("name", ["My/Grid", "a b", "a:b", "", "/etc/x", "../x", "a\nkind: grid", 'a"b', "a//b"])
def test_a_task_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="lower-case words"):
        new_task(name, tmp_path)
    assert not list(tmp_path.rglob("*"))


def test_the_command_prints_what_comes_next_and_refuses_in_one_line(tmp_path: Path) -> None:
    code, out, err = suite(tmp_path, "new", "task", "my/grid")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "my/grid.yaml"
    assert "  suite run my/grid.yaml" in out.splitlines()
    code, out, err = suite(tmp_path, "new", "metric", "weight_norm")
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("weight_norm: there is a metric of that name")
