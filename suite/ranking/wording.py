"""A claim's test in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from suite.spec.claims import ClaimTest


NAMED = 3
"""Rivals that are named where a test is told in few words."""


def words(test: ClaimTest, brief: bool = False) -> str:
    """A test in words: what is compared with what; `brief`: many rivals are counted, not named."""
    quantity = {
        "psi": f"ψ over {test.hyperparameter}",
        "Psi": "Ψ",
        "worst_psi": "least sign × ψ",
        "partial": f"τ at fixed {test.hyperparameter}",
        "tau": "τ",
        "agreement": f"τ with {test.other}",
        "instability": "standard deviation over settings of τ",
        "score": "score",
        "rank": "rank",
    }
    if test.statistic == "transition":
        return f"share of grokking settings with a {test.change} of {_who(test)} at the jump {_compared(test)}"
    if test.statistic == "cells" and test.where is not None:
        condition = f"{test.where.metric} {_side(test.where.above, test.where.below)}"
        return f"{_who(test)} {_compared(test)} wherever {condition}"
    return f"{quantity[test.statistic]} of {_who(test)} {_compared(test, brief)}"


def _who(test: ClaimTest) -> str:
    which = "every one of " if test.every is not None else "some of " if test.some is not None else ""
    return f"{which}{listed(test.subject)}"


def _compared(test: ClaimTest, brief: bool = False) -> str:
    if test.beats is not None:
        many = brief and isinstance(test.beats, list) and len(test.beats) > NAMED
        rivals = f"its {len(test.beats)} rivals" if many else listed(test.beats)
        worst = " on the worst of the tasks" if test.over == "minimum" else ""
        return f"{'exceeds' if test.statistic == 'instability' else 'beats'} {rivals}{worst}"
    if test.between is not None:
        return f"between {_number(test.between[0])} and {_number(test.between[1])}"
    return _side(test.above, test.below)


def _side(above: float | None, below: float | None) -> str:
    return f"above {_number(above)}" if above is not None else f"below {_number(below or 0.0)}"


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def listed(names: str | list[str]) -> str:
    """A metric, a set of metrics, or a list of them."""
    return (
        ", ".join(names)
        if isinstance(names, list)
        else {"all": "all metrics", "trivial": "all trivial"}.get(names, names)
    )
