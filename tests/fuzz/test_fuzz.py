"""Damaged files end in work or in one clear error: a sample of them always, all where there is time."""

from __future__ import annotations

import pytest

from tests.fuzz import calling, campaign, metric_files, published, specs
from tests.fuzz.campaign import COUNTS, Case, Done

_AT_ONCE = ("bits flipped", "cut short", "nearly nothing", "junk", "decorators", "names", "syntax", "raises", "no file")
"""Damage to files of metrics that no other process is started for."""


@pytest.mark.parametrize(
    ("subject", "kinds", "count"),
    [("specs", [*specs.SPECS], 36), ("results", published.KINDS, 12), ("metrics", _AT_ONCE, 12)],
)
def test_a_sample_of_damaged_files(subject: str, kinds: list[str], count: int) -> None:
    calling.ready()
    assert wrong([campaign.tried(case) for case in campaign.sample(subject, kinds, count)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("subject", list(COUNTS))
def test_all_kinds_of_damage_many_times(subject: str) -> None:
    found = campaign.campaign(0, {subject: COUNTS[subject]})
    assert found[subject]["failures"] == []
    assert found[subject]["cases"] == COUNTS[subject]
    assert found[subject]["refused"] > COUNTS[subject] / 3  # the damage is damage
    assert found[subject]["accepted"] > COUNTS[subject] / 50  # and does not all end in the first line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("subject", "damage"),
    [
        ("specs", "keys alike"),
        ("specs", "depths"),
        ("results", "runs.csv: cut short"),
        ("results", "provenance.json: other values"),
        ("metrics", "decorators"),
        ("metrics", "ends the process"),
    ],
)
def test_a_process_of_its_own_answers_as_a_fork_does(subject: str, damage: str) -> None:
    calling.ready()
    case = Case(subject, damage, "fresh/1")
    forked, fresh = campaign.tried(case), campaign.tried(case, calling.started)
    assert wrong([forked, fresh]) == []
    assert [ended.status for ended, _ in forked.calls] == [ended.status for ended, _ in fresh.calls]


def wrong(done: list[Done]) -> list[str]:
    return [f"{one.case.damage} {one.case.seed}: {line}" for one in done for line in one.wrong]


def test_kinds_that_are_sampled_are_there() -> None:
    assert {*_AT_ONCE} < {*metric_files.KINDS}
