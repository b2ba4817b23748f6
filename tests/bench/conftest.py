"""What the benchmarks of minutes share: they run when asked for, not in the ordinary test run."""

from __future__ import annotations

import pytest


@pytest.fixture
def asked_for(request: pytest.FixtureRequest) -> None:
    """Skip unless benchmarks alone are run."""
    if not request.config.getoption("benchmark_only"):
        pytest.skip("takes minutes and wants a quiet machine: pytest tests/bench --benchmark-only")
