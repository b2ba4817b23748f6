"""What can be seen of a metric without measuring anything: what its file imports, what it says of itself, its test."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from suite.metrics import Metric
from suite.submission.findings import Finding, judged
from suite.submission.new import COLUMNS
from suite.submission.subject import PACKAGE
from suite.submission.words import SEEN, strange_words

CONTROLS = frozenset(
    ("batch_size", "distance_from_initialisation", "learning_rate", "learning_rate_over_batch_size", "random_number",
     "steps", "training_loss", "weight_decay")
)  # fmt: skip
"""The trivial predictors: part of what every metric is measured by, and so a decision about the suite."""
_MISSING = "FILL IN"
_LEAST_DOCSTRING = 20
_TEST_LIMIT = 300.0


def static_findings(one: Metric, home: Path) -> Iterator[Finding]:
    """What is to be seen of a metric and its file."""
    yield judged("imports", strange_words(home), SEEN)
    yield judged("documentation", _lacks(one), f"title, docstring, source ({one.source})")
    grows = "grows" if one.sign == 1 else "shrinks"
    yield Finding("sign", "told", f"{one.sign:+d}: its authors expect that the gap {grows} with it")
    if one.trivial and one.name not in CONTROLS:
        yield Finding("trivial", "wrong", "trivial=True is for the suite's own controls, which others must beat")
    yield _test(one, home)


def _lacks(one: Metric) -> Iterator[str]:
    documentation = (one.measure.__doc__ or "").strip()
    if len(documentation) < _LEAST_DOCSTRING:
        yield "a docstring that defines it, with its formula"
    for what, text in (("title", one.title), ("source", one.source), ("docstring", documentation)):
        if _MISSING in text:
            yield f"the {what} is still to be filled in"
    if not one.trivial and not re.search(r"\b(1[89]|20)\d\d\b", one.source):
        yield f"a source with a year, this is {one.source!r}"
    if one.title == one.name:
        yield "a title in words, this is its name"
    if one.name in COLUMNS:
        yield f"another name: {one.name} is a column of the results"


def _test(one: Metric, home: Path) -> Finding:
    """That a test names it; a test of its own beside a file outside of the package is run."""
    inside = home.is_relative_to(PACKAGE)
    folder = PACKAGE.parents[1] / "tests" / "metrics" if inside else home.parent
    if inside and not folder.is_dir():
        return Finding("test", "told", "not checked: this installation of the suite has no tests")
    pattern = "test_*.py" if inside else f"test_{home.stem}.py"
    tests = [path for path in sorted(folder.glob(pattern)) if path.name != "test_every_metric.py"]
    try:
        naming = [path for path in tests if re.search(rf"\b{one.name}\b", path.read_text(encoding="utf-8"))]
    except (OSError, UnicodeDecodeError) as error:
        return Finding("test", "wrong", f"a test in {folder} cannot be read as UTF-8: {error}")
    if not naming:
        return Finding("test", "wrong", f"no {folder / pattern} names {one.name}")
    if inside:
        return Finding("test", "good", f"named in {', '.join(p.name for p in naming)}, which `make test` runs")
    return _ran(naming[0])


def _ran(test: Path) -> Finding:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", test.name]
    try:
        done = subprocess.run(  # noqa: S603 - this Python; a file's name is a word of its own: no shell reads it
            words, cwd=test.parent, capture_output=True, text=True, check=False, timeout=_TEST_LIMIT
        )
    except subprocess.TimeoutExpired:
        return Finding("test", "wrong", f"{test.name} takes longer than {_TEST_LIMIT:g} s")
    if "No module named pytest" in done.stderr:
        return Finding("test", "told", f"{test.name} not run: pytest is not installed here")
    last = (done.stdout.strip().splitlines() or ["pytest says nothing"])[-1]
    passed = not done.returncode and re.search(r"\b[1-9]\d* passed\b", last)  # one that skips all shows nothing
    return Finding("test", "good" if passed else "wrong", f"{test.name}: {last.strip('= ')}; at least one has to pass")
