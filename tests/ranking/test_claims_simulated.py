"""How often verdicts are wrong, and how often they are given, on simulated tasks of known truth.

A simulated task has many metrics and a claim about each, or about each few of them: given the gap they are independent.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from suite.ranking.claims import Verdict, judge
from suite.ranking.correlation import Vector
from suite.ranking.findings import settings_needed
from suite.ranking.tables import TaskResults
from suite.spec.claims import Claim
from tests.ranking.claimed import STEPS, claim, grid, trajectory, untried

RESAMPLES = 200
CLAIMS = 40
"""Claims about one simulated task."""


def simulated(
    shape: tuple[int, int, int], links: list[float], random: np.random.Generator, seed_noise: float = 0.5
) -> TaskResults:
    """Metrics m0, m1, …, each correlated with the gap by its link over settings; what seeds add is independent."""
    settings, seeds = shape[0] * shape[1], shape[2]
    gap = random.normal(size=settings)
    columns: dict[str, Vector] = {}
    for i, link in enumerate(links):
        level = link * gap + np.sqrt(1 - link**2) * random.normal(size=settings)
        columns[f"m{i}"] = np.repeat(level, seeds) + seed_noise * random.normal(size=settings * seeds)
    return grid(columns, np.repeat(gap, seeds) + seed_noise * random.normal(size=settings * seeds), shape)


def above(number: int) -> dict[str, Any]:
    return {"metric": f"m{number}", "statistic": "tau", "above": 0}


SHAPES: list[tuple[str, dict[str, Any], tuple[int, int, int], bool]] = [
    ("partial", {"hyperparameter": "eta"}, (4, 2, 1), True),
    ("partial", {"hyperparameter": "eta"}, (6, 2, 1), False),
    ("psi", {"hyperparameter": "b"}, (4, 2, 1), True),
    ("psi", {"hyperparameter": "b"}, (5, 2, 2), True),
    ("psi", {"hyperparameter": "b"}, (6, 2, 1), False),
    ("Psi", {}, (3, 2, 1), True),
    ("Psi", {}, (3, 3, 1), False),
    ("worst_psi", {}, (4, 2, 1), False),
]
"""Statistics of which only pairs within a level count, grids where these are few, and whether too few."""


def verdicts(
    claims: list[Claim], tasks: int, shape: tuple[int, int, int], links: list[float], seed_noise: float = 0.5
) -> list[Verdict]:
    """Of claims on each of some tasks."""
    random, made = np.random.default_rng(0), []
    for _ in range(tasks):
        made += judge(claims, [simulated(shape, links, random, seed_noise)], RESAMPLES)
    return made


def counted(made: list[Verdict]) -> Counter[str]:
    return Counter(verdict.of.verdict for verdict in made)


def most(count: int, rate: float) -> int:
    """As many errors as a rate gives, but for one time in ten thousand."""
    return int(binom.isf(1e-4, count, rate))


@pytest.mark.parametrize("shape", [(3, 1, 1), (2, 2, 1), (3, 2, 2), (5, 5, 1), (5, 5, 2)])
def test_of_a_metric_that_has_nothing_to_do_with_the_gap_nothing_is_certain(shape: tuple[int, int, int]) -> None:
    made = verdicts([claim(above(i)) for i in range(CLAIMS)], 10, shape, [0.0] * CLAIMS)
    found = counted(made)
    assert sum(found.values()) == 400
    assert max(found["supported"], found["refuted"]) <= most(400, 0.025)


@pytest.mark.parametrize(("statistic", "fields", "shape", "few"), SHAPES)
def test_nor_where_only_settings_of_one_level_are_compared(
    statistic: str, fields: dict[str, Any], shape: tuple[int, int, int], few: bool
) -> None:
    """By Student's t alone it was up to 7 % a side of the first, third and sixth."""
    claims = [claim({"metric": f"m{i}", "statistic": statistic, "above": 0} | fields) for i in range(CLAIMS)]
    tasks = 2 if few else 6
    found = counted(verdicts(claims, tasks, shape, [0.0] * CLAIMS, 0.3))
    assert sum(found.values()) == tasks * CLAIMS
    assert max(found["supported"], found["refuted"]) <= (0 if few else most(tasks * CLAIMS, 0.025))


def test_nor_of_a_metric_with_few_values() -> None:
    """Values at 4, 5 or 6 of 25 settings, and never tried elsewhere: four of these decide nothing."""
    random, found = np.random.default_rng(0), Counter[tuple[int, str]]()
    for _ in range(10):
        gap, columns = random.normal(size=25), {}
        for i in range(CLAIMS):
            columns[f"m{i}"] = random.normal(size=25)
            columns[f"m{i}"][random.permutation(25)[4 + i % 3 :]] = np.nan
        made = judge([claim(above(i)) for i in range(CLAIMS)], [untried(grid(columns, gap, (5, 5, 1)))], RESAMPLES)
        found.update((4 + i % 3, one.of.verdict) for i, one in enumerate(made))
    assert sum(found.values()) == 400
    for size in (5, 6):
        count = sum(found[size, word] for word in ("supported", "refuted", "undecided"))
        assert max(found[size, "supported"], found[size, "refuted"]) <= most(count, 0.025)
    assert found[4, "supported"] == found[4, "refuted"] == 0


@pytest.mark.parametrize("statistic", ["tau", "partial", "psi", "Psi", "worst_psi", "agreement"])
def test_failing_where_it_is_wrong_gains_nothing(statistic: str) -> None:
    """Null metrics of which every value is lost at the networks that count most against the claim."""
    random, found = np.random.default_rng(0), Counter[str]()
    fields = {"psi": {"hyperparameter": "b"}, "partial": {"hyperparameter": "b"}, "agreement": {"other": "gap"}}
    test = {"statistic": statistic, "above": 0} | fields.get(statistic, {})
    for _ in range(3):
        gap = random.normal(size=25)
        columns = {"gap": gap}
        for i in range(CLAIMS):
            values = random.normal(size=25)
            against = (np.sign(values[:, None] - values) * np.sign(gap[:, None] - gap)).sum(1)
            columns[f"m{i}"] = np.where(against < np.median(against), np.nan, values)
        claims = [claim(test | {"metric": f"m{i}"}) for i in range(CLAIMS)]
        found += counted(judge(claims, [grid(columns, gap, (5, 5, 1))], RESAMPLES))
    assert sum(found.values()) == 120
    assert max(found["supported"], found["refuted"]) <= most(120, 0.025)


def test_nor_within_runs_where_neighbouring_checkpoints_are_alike() -> None:
    random, found = np.random.default_rng(0), Counter[str]()
    claims = [claim(above(i), tasks=("b/trajectory",)) for i in range(CLAIMS)]
    for _ in range(5):
        walks = random.normal(size=(CLAIMS + 1, 12, len(STEPS))).cumsum(axis=2)
        results = trajectory({f"m{i}": walk for i, walk in enumerate(walks[1:])}, walks[0])
        found += counted(judge(claims, [results], RESAMPLES))
    assert sum(found.values()) == 200
    assert max(found["supported"], found["refuted"]) <= most(200, 0.025)


def test_several_comparisons_are_not_several_chances_of_refutation() -> None:
    """Of six metrics alike: none is above 0, and none is below another."""
    sixes = [[f"m{6 * i + j}" for j in range(6)] for i in range(CLAIMS)]
    zero = [claim({"every": six, "statistic": "tau", "above": 0}) for six in sixes]
    found = counted(verdicts(zero, 3, (4, 4, 1), [0.0] * 6 * CLAIMS))
    assert found["refuted"] <= most(3 * CLAIMS, 0.025)
    assert found["supported"] <= most(3 * CLAIMS, 0.001)
    best = [claim({"metric": six[0], "statistic": "score", "beats": six[1:]}) for six in sixes]
    found = counted(verdicts(best, 3, (4, 4, 1), [0.5] * 6 * CLAIMS))
    assert max(found["supported"], found["refuted"]) <= most(3 * CLAIMS, 0.025)
    several = [claim(*({"metric": name, "statistic": "tau", "above": 0} for name in six)) for six in sixes]
    assert counted(verdicts(several, 3, (4, 4, 1), [0.0] * 6 * CLAIMS))["refuted"] <= most(3 * CLAIMS, 0.025)


def test_some_of_many_is_not_supported_by_chance() -> None:
    sixes = [[f"m{6 * i + j}" for j in range(6)] for i in range(CLAIMS)]
    claims = [claim({"some": six, "statistic": "tau", "above": 0}) for six in sixes]
    assert counted(verdicts(claims, 5, (4, 4, 1), [0.0] * 6 * CLAIMS))["supported"] <= most(5 * CLAIMS, 0.025)


def test_what_is_strong_is_found() -> None:
    links = [0.95] * 20 + [0.0] * 20
    beats = {"statistic": "score", "beats": [f"m{i}" for i in range(20, 23)]}
    supported = [claim(above(i)) for i in range(20)] + [claim(beats | {"metric": f"m{i}"}) for i in range(20)]
    refuted = [claim({"metric": f"m{i}", "statistic": "tau", "below": 0}) for i in range(20)]
    assert counted(verdicts(supported, 5, (5, 5, 2), links, 0.2))["supported"] >= 0.97 * 200
    assert counted(verdicts(refuted, 5, (5, 5, 2), links, 0.2))["refuted"] >= 0.97 * 100


def test_as_many_settings_as_are_said_decide_it_more_often_than_not() -> None:
    """Where the effect is what it seems: of findings that are open, with a τ near the true one."""
    link, truth = 0.5, 2 / np.pi * np.arcsin(0.5 / 1.25)  # Greiner's relation; noise weakens the correlation
    claims = [claim(above(i)) for i in range(CLAIMS)]
    findings = [verdict.of.ruled.findings[0] for verdict in verdicts(claims, 5, (3, 3, 1), [link] * CLAIMS)]
    near = [f for f in findings if f.outcome == "open" and f.shown and abs(f.shown.value - truth) < 0.06]
    assert len(near) > 15
    said = int(np.median([settings_needed(finding, 1) for finding in near]))
    found = counted(verdicts(claims, 5, (said, 1, 1), [link] * CLAIMS))
    third = counted(verdicts(claims, 5, (said // 3, 1, 1), [link] * CLAIMS))
    assert third["supported"] < 100 < found["supported"]  # of 200: not many more are said than are needed, either
    assert found["refuted"] == 0
