"""What the tests of the command line rest on."""

from __future__ import annotations

import pytest

from tests.forked import Forks

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "COLUMNS": "150"}


@pytest.mark.parametrize("name", ["KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR", "SUITE_COST"])
def test_what_a_library_sets_when_it_is_imported_leaves_commands_forks(name: str) -> None:
    """sklearn and torch set such variables in whoever imports them: each command would be seconds of imports again."""
    assert Forks(ENVIRONMENT).fits(ENVIRONMENT | {name: "set later"})


def test_a_command_with_other_modules_is_no_fork_not_even_the_first() -> None:
    assert not Forks(ENVIRONMENT).fits(ENVIRONMENT | {"PYTHONPATH": "elsewhere"})
