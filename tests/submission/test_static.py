"""What is seen without measuring."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from suite.errors import BadInput
from suite.metrics import find_metrics
from suite.submission.findings import Finding
from suite.submission.static import static_findings
from suite.submission.subject import PACKAGE, changed_since, subject_of, words_of

GOOD = '''
import math
from torch import nn
from suite.metrics import metric

@metric(title="A title", family="test", source="Nobody 2020, equation 1", sign=-1)
def mine(run):
    """A definition of some length."""
    return 1.0
'''


def _found(folder: Path, text: str, test: str | None = '"""mine."""\ndef test_it(): assert 1\n') -> dict[str, Finding]:
    file = folder / "mine.py"
    file.write_text(text)
    if test is not None:
        (folder / "test_mine.py").write_text(test)
    subject = subject_of([str(file)])
    return {f.what: f for f in static_findings(subject.metrics["mine"], subject.homes["mine"])}


def test_a_good_file_is_good(tmp_path: Path) -> None:
    found = _found(tmp_path, GOOD)
    assert {what: f.state for what, f in found.items()} == {
        "imports": "good",
        "documentation": "good",
        "sign": "told",
        "test": "good",
    }
    assert found["test"].said.startswith("test_mine.py: 1 passed")
    assert "shrinks" in found["sign"].said


@pytest.mark.parametrize(
    ("old", "new", "what", "said"),
    [
        ("import math", "import os", "imports", "line 2: os"),
        ("import math", "import sklearn.datasets", "imports", "sklearn.datasets"),
        ("import math", "from suite import training", "imports", "suite.training"),
        ("import math", "import suite.data.digits", "imports", "suite.data.digits"),
        ("return 1.0", "import subprocess\n    return 1.0", "imports", "line 9: subprocess"),
        ("return 1.0", "return float(open('x').read())", "imports", "open()"),
        ("return 1.0", "return float(__import__('os').getpid())", "imports", "__import__()"),
        ('"""A definition of some length."""', "", "documentation", "a docstring"),
        ("Nobody 2020, equation 1", "Nobody", "documentation", "a source with a year"),
        ("Nobody 2020", "FILL IN 2020", "documentation", "the source is still to be filled in"),
        ("A title", "mine", "documentation", "a title in words"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, old: str, new: str, what: str, said: str) -> None:
    assert old in GOOD
    found = _found(tmp_path, GOOD.replace(old, new), test=None)
    assert {name for name, f in found.items() if f.state == "wrong"} == {what, "test"}
    assert said in found[what].said


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (None, "no .*test_mine.py names mine"),
        ("x = 1", "names mine"),
        ('"""mine."""\ndef test_it(): assert 0', "1 failed"),
    ],
)
def test_a_test_has_to_be_there_and_to_pass(tmp_path: Path, test: str | None, said: str) -> None:
    finding = _found(tmp_path, GOOD, test)["test"]
    assert finding.state == "wrong"
    assert re.search(said, finding.said), finding.said


def test_a_metric_of_the_package_is_tested_by_name() -> None:
    found = {f.what: f for f in static_findings(find_metrics()["weight_norm"], PACKAGE / "norms.py")}
    assert {f.state for f in found.values()} == {"good", "told"}
    assert "make test" in found["test"].said


def test_words_name_metrics_and_files(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(GOOD)
    subject = subject_of(["weight_norm", str(tmp_path / "mine.py")])
    assert set(subject.metrics) == {"weight_norm", "mine"}
    assert subject.files == (tmp_path / "mine.py",)
    assert subject.homes == {"weight_norm": PACKAGE / "norms.py", "mine": tmp_path / "mine.py"}
    inside = subject_of([str(PACKAGE / "norms.py")])
    assert {"weight_norm", "distance_from_initialisation"} <= set(inside.metrics)
    assert inside.files == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["weight_nrm"], "did you mean weight_norm"),
        (["no/such.py"], "not a Python file"),
        ([str(PACKAGE / "run.py")], "defines no metric"),
        ([str(PACKAGE / "gone.py")], "defines no metric"),
    ],
)
def test_a_word_that_names_nothing_is_one_clear_line(words: list[str], said: str) -> None:
    with pytest.raises(BadInput, match=said) as caught:
        subject_of(words)
    assert "\n" not in str(caught.value)


def test_nothing_named_is_told() -> None:
    with pytest.raises(BadInput, match="--since COMMIT"):
        words_of([], None, Path())


def test_what_changed_since_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    def git(*words: str) -> None:
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@x", *words], cwd=tmp_path, check=True)

    home = tmp_path / "suite" / "metrics" / "norms.py"
    values = tmp_path / "reports" / "results" / "quick" / "one" / "values"
    home.parent.mkdir(parents=True)
    values.mkdir(parents=True)
    home.write_text("a")
    (home.parent / "run.py").write_text("a")
    (values / "steps.csv").write_text("a")
    (values / "batch_size.csv").write_text("a")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    monkeypatch.setattr(
        "suite.submission.subject._home",
        lambda m: home if m.measure.__module__ == "suite.metrics.norms" else tmp_path / "elsewhere.py",
    )
    assert changed_since("HEAD", tmp_path) == []
    (home.parent / "run.py").write_text("b")
    (values / "steps.csv").write_text("b")
    (values / "batch_size.csv").unlink()
    assert changed_since("HEAD", tmp_path) == ["steps"]
    home.write_text("b")
    assert {"steps", "weight_norm"} <= set(changed_since("HEAD", tmp_path))
    (values / "of_nobody.csv").write_text("b")
    git("add", ".")
    with pytest.raises(BadInput, match="of_nobody, which is no metric"):
        changed_since("HEAD", tmp_path)
    with pytest.raises(BadInput, match="no_such_commit: the changes since it cannot be told"):
        changed_since("no_such_commit", tmp_path)
