"""What is seen without measuring."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from suite.errors import BadInput
from suite.metrics import find_metrics
from suite.submission.findings import Finding
from suite.submission.static import CONTROLS, static_findings
from suite.submission.subject import PACKAGE, subject_of, words_of
from suite.submission.words import strange_words

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
        (
            "import math",
            "from suite.metrics.registry import importlib",
            "imports",
            "importlib of suite.metrics.registry",
        ),
        ("import math", "from suite.metrics.registry import entry_points", "imports", "entry_points of"),
        ("import math", "from suite.metrics import __path__", "imports", "__path__ of suite.metrics"),
        ("import math", "from suite.curvature import __path__", "imports", "__path__ of suite.curvature"),
        ("return 1.0", "import suite.metrics\n    return suite.training.problem", "imports", "suite.training"),
        ("return 1.0", "import numpy as np\n    return np.load('x')", "imports", "np.load"),
        ("return 1.0", "import numpy as np\n    return np.fromfile('x')", "imports", "np.fromfile"),
        ("return 1.0", "import torch\n    return torch.load('x')", "imports", "torch.load"),
        ("import math", "from numpy import load", "imports", "numpy.load"),
        ("return 1.0", "return __builtins__['open']('x')", "imports", "__builtins__"),
        ("import math", "from scipy import datasets", "imports", "scipy.datasets"),
        ("import math", "import scipy.datasets", "imports", "scipy.datasets"),
        ("return 1.0", "import torch\n    return torch.os.getpid()", "imports", "torch.os"),
        ("return 1.0", "return run.task.data.load((), None)", "imports", "run.task.data.load"),
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
        ('"""mine."""\nimport pytest\ndef test_it(): pytest.skip("no")', "1 skipped"),
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


def test_files_of_one_stem_are_two(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(GOOD.replace("def mine", f"def mine_{folder}"))
    words = [str(tmp_path / folder / "mine.py") for folder in ("one", "two")]
    assert subject_of(words).homes == {f"mine_{f}": tmp_path / f / "mine.py" for f in ("one", "two")}
    assert set(subject_of(words[:1]).metrics) == {"mine_one"}


def test_what_ends_the_process_at_import_is_told(tmp_path: Path) -> None:
    """In another process: this one would be over without a word, with status 0."""
    (tmp_path / "mine.py").write_text("import os\nos._exit(0)\n")
    with pytest.raises(BadInput, match=r"mine\.py: importing ended the process \(exit code 0") as caught:
        words_of([str(tmp_path / "mine.py")], None, Path())
    assert "\n" not in str(caught.value)


def test_trivial_predictors_are_the_suites() -> None:
    one = find_metrics()["weight_norm"]
    assert "trivial" not in {f.what for f in static_findings(one, PACKAGE / "norms.py")}
    found = {f.what: f.state for f in static_findings(replace(one, trivial=True), PACKAGE / "norms.py")}
    assert found["trivial"] == "wrong"
    assert {m.name for m in find_metrics().values() if m.trivial} == CONTROLS


def test_files_in_other_encodings_are_read_or_told(tmp_path: Path) -> None:
    coded = "# coding: latin-1\n" + GOOD.replace("A title", "Größe")
    (tmp_path / "mine.py").write_bytes(coded.encode("latin-1"))
    (tmp_path / "test_mine.py").write_bytes('"""mine: Größe."""'.encode("latin-1"))
    subject = subject_of([str(tmp_path / "mine.py")])
    found = {f.what: f for f in static_findings(subject.metrics["mine"], subject.homes["mine"])}
    assert found["imports"].state == "good"
    assert found["test"].state == "wrong"
    assert "cannot be read as UTF-8" in found["test"].said


@pytest.mark.parametrize("module", sorted({m.measure.__module__ for m in find_metrics().values()}))
def test_the_metrics_of_this_suite_name_nothing_strange(module: str) -> None:
    assert list(strange_words(PACKAGE / f"{module.rsplit('.', maxsplit=1)[-1]}.py")) == []
