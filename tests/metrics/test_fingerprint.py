"""A metric's fingerprint changes with whatever its value may depend on in its file, and with nothing else of it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import suite
from suite.metrics import find_metrics, fingerprint
from suite.metrics.fingerprint import fingerprint_of

TEXT = '''\
"""A file of metrics."""

import math, os
from pathlib import PurePath
from suite.metrics import Run, metric

HALF = 0.5
"""A constant."""
_TABLE = {}
_TABLE["x"] = 1.0
_SOURCE = "Authors 2020"
UNUSED = 3


class Scale:
    """A class that is reached through a helper."""

    factor = 2.0


def _scaled(number: float) -> float:
    """A helper."""
    return HALF * Scale.factor * number  # a comment


def _unused():
    steps = UNUSED
    return PurePath(os.curdir, str(steps))


@metric(title="Mine", family="f", source=f"{_SOURCE}, eq. 1", sign=1, cost="free", probes=())
def mine(run: Run, steps=math.pi) -> float:
    """What it is."""
    local = steps
    return _scaled(local)


@metric(title="Other", family="f", source=_SOURCE, sign=1)
def other(run: Run) -> float:
    return mine.measure(run)
'''


def fingerprints(folder: Path, text: str) -> dict[str, str]:
    path = folder / "mine.py"
    path.write_text(text)
    found = find_metrics([path])
    return {name: one.fingerprint for name, one in found.items() if one.origin}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("UNUSED = 3", "UNUSED = 4"),
        ("steps = UNUSED", "steps = 2 * UNUSED"),
        ("# a comment", "# another"),
        ('"""A file of metrics."""\n', "#!/usr/bin/env python\n"),
        ('"""A constant."""\n', ""),
        ('    """A helper."""\n', ""),
        ('"""What it is."""', '"""What else it is."""'),
        ('title="Mine"', 'title="Ours"'),
        ("eq. 1", "eq. 2"),
        ("Authors 2020", "Authors 2021"),
        ('"Mine", family="f"', '"Mine", family="g"'),
        ("sign=1", "sign=-1"),
        ('cost="free"', 'cost="search"'),
        ('cost="free"', 'cost="free", invariances=("rescaling",), trivial=True, optimizers=("sgd",)'),
        ("from pathlib import PurePath", "from pathlib import PosixPath, PurePath"),
        ("import math, os", "import os, math"),
        ("return HALF * Scale.factor * number", "return (HALF * Scale.factor\n            * number)"),
        ("def other(run: Run) -> float:", 'def other(run: Run) -> "float":'),
    ],
)
def test_what_no_value_depends_on_is_not_in_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in TEXT
    before, after = fingerprints(tmp_path, TEXT), fingerprints(tmp_path, TEXT.replace(old, new))
    assert after["mine"] == before["mine"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("HALF = 0.5", "HALF = 0.25"),
        ("factor = 2.0", "factor = 3.0"),
        ("HALF * Scale", "HALF / Scale"),
        ("steps=math.pi", "steps=math.e"),
        ("local = steps", "local = steps + 1"),
        ("import math, os", "import cmath as math, os"),
        ("probes=()", 'probes=("spectrum",)'),
        ('_TABLE["x"] = 1.0', '_TABLE["x"] = 2.0'),
        ("HALF = 0.5", "HALF = 0.5\nHALF += 1"),
        ("HALF = 0.5", "if math.pi > 3:\n    HALF = 0.5"),
        ("HALF = 0.5", "HALF = 0.5\nos.environ.pop('x', None)"),
        ("HALF = 0.5", "HALF = 1 / 2"),
        ("HALF = 0.5", "HALF = True"),
        ("    return _scaled", "    return eval('UNUSED') + _scaled"),
    ],
)
def test_what_a_value_depends_on_is_in_it(tmp_path: Path, old: str, new: str) -> None:
    assert old in TEXT
    before, after = fingerprints(tmp_path, TEXT), fingerprints(tmp_path, TEXT.replace(old, new))
    assert after["mine"] != before["mine"]
    assert after["other"] != before["other"], "it reaches the other"


def test_an_edit_of_one_metric_is_not_one_of_its_neighbour(tmp_path: Path) -> None:
    before = fingerprints(tmp_path, TEXT)
    after = fingerprints(tmp_path, TEXT.replace("return mine.measure(run)", "return 2 * mine.measure(run)"))
    assert after["mine"] == before["mine"]
    assert after["other"] != before["other"]


def test_where_names_cannot_be_followed_the_whole_module_counts(tmp_path: Path) -> None:
    text = TEXT.replace("    return _scaled", "    return globals()['UNUSED'] + _scaled")
    before, after = fingerprints(tmp_path, text), fingerprints(tmp_path, text.replace("UNUSED = 3", "UNUSED = 4"))
    assert after["mine"] != before["mine"]
    made = TEXT + "\n\ndef factory(by):\n    @metric(title='M', family='f', source='s', sign=1)\n"
    made += "    def made(run):\n        return by\n    return made\n\n\nMADE = factory(1)\n"
    before, after = fingerprints(tmp_path, made), fingerprints(tmp_path, made.replace("factory(1)", "factory(2)"))
    assert after["made"] != before["made"]


def test_a_decorated_function_is_its_own_code(tmp_path: Path) -> None:
    text = TEXT.replace("def mine", "@torch.no_grad()\ndef mine").replace("import math", "import torch, math")
    before = fingerprints(tmp_path, text)
    assert fingerprints(tmp_path, text.replace("UNUSED = 3", "UNUSED = 4"))["mine"] == before["mine"]
    assert fingerprints(tmp_path, text.replace("HALF = 0.5", "HALF = 1.5"))["mine"] != before["mine"]


BESIDE = """\
from suite.metrics.neighbourhood import INPUTS
import deeper

THREE = 3
FOUR = 4


def five():
    return deeper.FIVE
"""


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [("THREE = 3", "THREE = 4", True), ("FOUR = 4", "FOUR = 5", False), ("FIVE = 5", "FIVE = 6", True)],
)
@pytest.mark.parametrize("local", [False, True])
def test_what_lies_beside_a_file_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, changes: bool, local: bool
) -> None:
    line = "from beside import THREE, five"
    text = TEXT.replace("    local = steps", f"    {line}\n    local = THREE * five()")
    text = text if local else text.replace(f"    {line}\n", "").replace("import math, os", f"import math, os\n{line}")
    found = []
    for number, change in enumerate([(old, old), (old, new)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "deeper.py").write_text("FIVE = 5\n".replace(*change))
        (folder / "beside.py").write_text(BESIDE.replace(*change))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            found.append(fingerprints(folder, text))
        sys.modules.pop("beside", None), sys.modules.pop("deeper", None)
    assert (found[0]["mine"] != found[1]["mine"]) == changes


def test_where_a_file_lies_is_not_in_it(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert fingerprints(tmp_path / "one", TEXT) == fingerprints(tmp_path / "two", TEXT)


METRICS = {name: one for name, one in find_metrics().items() if one.origin is None}


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], set[str]]:
    """The metrics of this package whose hash an edit changes, made in a copy of one of the modules that they import."""
    for name in ("metrics", "curvature", "spec"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(suite.__file__).parent / name, tmp_path / "suite" / name, ignore=ignored)

    def edit(name: str, old: str, new: str) -> set[str]:
        path = tmp_path / "suite" / name
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
        fingerprint._entire.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(fingerprint, "_SUITE", tmp_path / "suite")
            patch.setattr(fingerprint.inspect, "getsourcefile", lambda f: str(tmp_path / moved(f)))
            return {name for name, one in METRICS.items() if fingerprint_of(one.measure) != one.fingerprint}

    return edit


def moved(function: Callable[..., object]) -> str:
    return f"{function.__module__.replace('.', '/')}.py"


WORST = {"adaptive_worst_case_l2", "adaptive_worst_case_linf", "keskar_sharpness", "magnitude_sharpness"}
WORST |= {"normalised_worst_case_linf", "worst_case_l2", "worst_case_linf"}


@pytest.mark.parametrize(
    ("name", "old", "new", "changed"),
    [
        ("neighbourhood.py", "INPUTS = 512", "INPUTS = 512  # a comment", set()),
        ("neighbourhood.py", '"""The inputs and targets that', '"""Which inputs and targets that', set()),
        ("neighbourhood.py", "SampleLoss = ", "UNUSED = 1\nSampleLoss = ", set()),
        ("ascent.py", "_MOMENTUM = ", "_MOMENTUM = 0.1 + ", WORST),
        (
            "neighbourhood.py",
            "def normalised_logits(run: Run)",
            "def normalised_logits(run: Run, more: int = 1)",
            {"normalised_average_sharpness", "normalised_worst_case_linf"},
        ),
    ],
)
def test_an_edit_of_a_helper_is_one_of_exactly_those_that_reach_it(
    edited: Callable[[str, str, str], set[str]], name: str, old: str, new: str, changed: set[str]
) -> None:
    assert edited(f"metrics/{name}", old, new) == changed


@pytest.mark.parametrize("name", ["metrics/run.py", "metrics/probed/exponents.py", "metrics/probed/gradients.py"])
def test_what_a_metric_is_given_is_in_every_hash(edited: Callable[[str, str, str], set[str]], name: str) -> None:
    assert edited(name, '"""', '"""More. ') == set()
    first = "from __future__ import annotations\n"
    assert edited(name, first, f"{first}\nMORE = 1\n") == {*METRICS}


def test_an_edit_of_the_library_is_one_of_those_that_use_it(edited: Callable[[str, str, str], set[str]]) -> None:
    assert edited("curvature/estimators.py", '"""', '"""More. ') == set()
    found = edited("curvature/estimators.py", "\nclass ", "\nMORE = 1\n\n\nclass ")
    by_probe = {"spectrum", "common", "whole", "optimizer"}
    direct = {name for name, one in METRICS.items() if one.measure.__module__ == "suite.metrics.dimension"}
    assert {name for name, one in METRICS.items() if by_probe & {*one.probes}} <= found
    assert found <= {name for name, one in METRICS.items() if one.probes} | direct
    assert not {"weight_norm", "training_loss", "gradient_norm"} & found


def test_the_packages_own_are_of_their_functions() -> None:
    found = find_metrics()
    assert len({one.fingerprint for one in found.values()}) == len(found)
