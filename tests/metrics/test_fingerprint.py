"""A metric's fingerprint changes with whatever its value may depend on in its file, and with nothing else of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.metrics import find_metrics

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


def test_a_file_with_a_module_beside_it_is_taken_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside.py").write_text("THREE = 3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = TEXT.replace("import math, os", "import math, os\nfrom beside import THREE")
    before, after = fingerprints(tmp_path, text), fingerprints(tmp_path, text.replace("UNUSED = 3", "UNUSED = 4"))
    assert after["mine"] != before["mine"]


def test_the_packages_own_are_of_their_functions() -> None:
    found = find_metrics()
    assert len({one.fingerprint for one in found.values()}) == len(found)
