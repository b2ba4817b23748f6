"""What holds of every metric of this package, whoever wrote it; each family has a test of its numbers beside this."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from suite.metrics import Metric, find_metrics

TESTS = Path(__file__).parent


@pytest.mark.parametrize("one", find_metrics().values(), ids=lambda one: one.name)
def test_a_metric_says_what_it_is(one: Metric) -> None:
    assert one.measure.__doc__, "a docstring that defines it"
    assert re.search(r"\d{4}", one.source) or one.trivial, "a source: authors, year, equation"
    assert one.title != one.name
    assert one.sign in (-1, 1)


@pytest.mark.parametrize("one", find_metrics().values(), ids=lambda one: one.name)
def test_a_metric_is_tested_by_name(one: Metric) -> None:
    texts = [path.read_text() for path in TESTS.glob("test_*.py") if path.name != Path(__file__).name]
    assert any(re.search(rf"\b{one.name}\b", text) for text in texts), f"no test in {TESTS} names {one.name}"
