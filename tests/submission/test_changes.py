"""What changed since a commit, and which changes of published results no changed code explains."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suite.errors import BadInput
from suite.submission.subject import changed_since

FOLDER = "reports/results/quick/one"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One of two metrics, each in a file, with the published results of one task; `gone` was a metric once."""
    package = tmp_path / "suite/metrics"
    known = {name: SimpleNamespace(origin=package / f"{name}.py") for name in ("mine", "other")}
    monkeypatch.setattr("suite.submission.subject.PACKAGE", package)
    monkeypatch.setattr("suite.submission.subject.find_metrics", lambda: known)
    monkeypatch.setattr("suite.submission.subject._home", lambda metric: metric.origin)
    package.mkdir(parents=True)
    (tmp_path / FOLDER / "values").mkdir(parents=True)
    for name in ("mine", "other", "gone"):
        (package / f"{name}.py").write_text(f"@metric()\ndef {name}(run):\n    return 1.0\n")
        (tmp_path / FOLDER / "values" / f"{name}.csv").write_text("a")
    (package / "run.py").write_text("a")
    (tmp_path / FOLDER / "runs.csv").write_text("a")
    entries = [{"name": name, "sign": 1} for name in ("gone", "mine", "other")]
    (tmp_path / FOLDER / "metrics.json").write_text(json.dumps(entries))
    costs = {name: {"seconds": 1.0} for name in ("gone", "mine", "other")}
    (tmp_path / FOLDER / "provenance.json").write_text(json.dumps({"device": "cpu", "metric_costs": costs}))
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-qm", "one")
    return tmp_path


def _git(root: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *words], cwd=root, check=True)


def _edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def _publish(root: Path, number: int, name: str) -> None:
    """As `suite publish --metric` does: values, the entry (in the order of names) and the cost."""
    (root / FOLDER / "values" / f"{name}.csv").write_text("b")
    _edit(root / FOLDER / "metrics.json", lambda entries: entries[number].update(sign=-1))
    _edit(root / FOLDER / "provenance.json", lambda whole: whole["metric_costs"].update({name: {"seconds": 2.0}}))


def test_metrics_whose_file_changed_are_looked_at_and_may_be_published(repository: Path) -> None:
    assert changed_since("HEAD", repository) == []
    (repository / "suite/metrics/run.py").write_text("b")
    assert changed_since("HEAD", repository) == []
    with (repository / "suite/metrics/mine.py").open("a") as file:
        file.write("# changed")
    assert changed_since("HEAD", repository) == ["mine"]
    _publish(repository, 1, "mine")
    assert changed_since("HEAD", repository) == ["mine"]
    _publish(repository, 2, "other")
    with pytest.raises(BadInput) as caught:
        changed_since("HEAD", repository)
    for said in ("values/other.csv. ", "metrics.json: other; ", "provenance.json: other; "):
        assert said in str(caught.value)
    assert "mine" not in str(caught.value).split("since HEAD:")[1].split(". A pull")[0]


@pytest.mark.parametrize("file", ["runs.csv", "values/other.csv", "values/mine.csv", "metrics.json", "provenance.json"])
@pytest.mark.parametrize("deleted", [False, True])
def test_results_that_no_code_explains_are_refused(repository: Path, file: str, deleted: bool) -> None:
    path = repository / FOLDER / file
    if deleted:
        path.unlink()
    elif file == "metrics.json":
        _edit(path, lambda entries: entries[1].update(title="Better"))
    elif file == "provenance.json":
        _edit(path, lambda whole: whole.update(device="cuda"))
    else:
        path.write_text("b")
    with pytest.raises(BadInput, match="published results changed") as caught:
        changed_since("HEAD", repository)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_metric_takes_its_values_with_it(repository: Path) -> None:
    (repository / FOLDER / "values/gone.csv").unlink()
    with pytest.raises(BadInput, match=r"values/gone\.csv"):
        changed_since("HEAD", repository)
    (repository / "suite/metrics/gone.py").unlink()
    assert changed_since("HEAD", repository) == []
    (repository / "suite/metrics/other.py").unlink()
    (repository / FOLDER / "values/other.csv").unlink()
    with (repository / FOLDER / "strange.txt").open("w") as file:
        file.write("x")
    _git(repository, "add", ".")
    with pytest.raises(BadInput, match=r"strange\.txt"):
        changed_since("HEAD", repository)


def test_it_is_the_same_from_a_folder_within(repository: Path) -> None:
    (repository / "suite/metrics/mine.py").write_text("b")
    assert changed_since("HEAD", repository / "suite") == ["mine"]
    (repository / FOLDER / "runs.csv").write_text("b")
    with pytest.raises(BadInput, match=r"runs\.csv"):
        changed_since("HEAD", repository / "reports")


def test_what_cannot_be_told_is_one_line(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no_such_commit: the changes since it cannot be told in"):
        changed_since("no_such_commit", repository)
    (repository / FOLDER / "metrics.json").write_text("[")
    with pytest.raises(BadInput, match="is not what `suite publish` writes"):
        changed_since("HEAD", repository)
    monkeypatch.setattr("suite.submission.subject.PACKAGE", tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="is not the repository of the suite that runs"):
        changed_since("HEAD", repository)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BadInput, match=r"HEAD: .* git is not installed here"):
        changed_since("HEAD", repository)
