"""What the tests of the command line rest on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forked import Forks

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "COLUMNS": "150"}


@pytest.mark.parametrize("name", ["KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR", "SUITE_COST"])
def test_what_a_library_sets_when_it_is_imported_leaves_commands_forks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sklearn and torch set such variables in whoever imports them: each command would be seconds of imports again."""
    forks = Forks()
    monkeypatch.setattr(forks, "_begun_with", dict(ENVIRONMENT))
    assert forks.fits(ENVIRONMENT | {name: "set later"})
    assert not forks.fits(ENVIRONMENT | {"PYTHONPATH": str(Path("elsewhere"))})
