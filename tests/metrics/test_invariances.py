"""The two scales that metrics claim not to see, each by its own definition, over every metric that claims one."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest

from suite.metrics import Run, find_metrics
from tests.metrics.landscapes import louder
from tests.metrics.made import made_run, value_of

FACTOR = 8.0
"""A power of two, so that no rounding differs."""


@cache
def fitted(bias: bool) -> Run:
    """Digits' 64-12-12-10, fitted to more than nine tenths."""
    model = {"kind": "mlp", "widths": [12, 12], "bias": bias}
    run = made_run(model=model, training={"steps": 600, "optimizer": {"kind": "sgd", "learning_rate": 0.2}})
    assert run.training_accuracy() > 0.95
    return run


def taller(run: Run, factor: float) -> Run:
    """The run with the weights and biases of its last layer times `factor`: so its logits are, exactly."""
    matrix = [name for name, shape in zip(run.network.names, run.network.shapes, strict=True) if len(shape) > 1][-1]
    weights = run.weights.clone()
    weights[run.network.slices()[matrix].start :] *= factor
    return dataclasses.replace(run, weights=weights)


CHANGES = {"logit scale": louder, "last layer": taller}
CLAIMS = [(name, word) for name, one in find_metrics().items() for word in CHANGES if word in one.invariances]


def unchanged(name: str, word: str, run: Run) -> bool:
    return value_of(name, CHANGES[word](run, FACTOR)) == pytest.approx(value_of(name, run), rel=1e-9)


@pytest.mark.parametrize("word", CHANGES)
@pytest.mark.parametrize("bias", [False, True])
def test_both_scales_are_a_factor_on_the_logits(word: str, bias: bool) -> None:
    run = fitted(bias)
    assert (CHANGES[word](run, FACTOR).logits() == FACTOR * run.logits()).all()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("name", "word"), CLAIMS)
def test_what_claims_a_scale_does_not_see_it(name: str, word: str, bias: bool) -> None:
    assert unchanged(name, word, fitted(bias))


@pytest.mark.parametrize(("name", "seen", "unseen"), [
    ("spectral_margin_bound", "logit scale", "last layer"),
    ("path_norm_over_margin", "logit scale", "last layer"),
    ("pac_bayes_flatness", "last layer", "logit scale"),
    ("pac_bayes_origin", "last layer", "logit scale"),
])  # fmt: skip
def test_the_two_scales_are_not_one(name: str, seen: str, unseen: str) -> None:
    assert (name, unseen) in CLAIMS
    assert (name, seen) not in CLAIMS
    assert not unchanged(name, seen, fitted(False))
