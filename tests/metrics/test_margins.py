"""Margins and entropies against numbers worked out by hand or one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from suite.metrics import Run
from suite.metrics.margins import output_margins, percentile_margin
from tests.metrics.made import made_run, value_of
from tests.metrics.test_norms import by_hand, fitted, tokens

MARKOV = {"kind": "markov", "vocabulary": 4, "order": 1, "length": 3, "sequences": 40, "concentration": 0.5}


def every_position() -> Run:
    return made_run(
        data=MARKOV, model={"kind": "transformer", "layers": 1, "width": 8, "heads": 2}, training={"batch_size": 8}
    )


def one_by_one(run: Run) -> list[float]:
    """Margins in plain Python."""
    logits = run.logits().flatten(0, -2).tolist()
    pairs = zip(logits, run.targets.flatten().tolist(), strict=True)
    return [row[label] - max(z for c, z in enumerate(row) if c != label) for row, label in pairs]


@pytest.mark.parametrize("make", [fitted, tokens, every_position])
def test_margins_one_by_one(make: object) -> None:
    assert callable(make)
    run = make()
    expected = one_by_one(run)
    assert len(expected) == run.targets.numel()
    assert output_margins(run).tolist() == pytest.approx(expected, rel=1e-12)
    assert value_of("mean_margin", run) == pytest.approx(math.fsum(expected) / len(expected), rel=1e-9)
    assert percentile_margin(run) == pytest.approx(sorted(expected)[len(expected) // 10 - 1], rel=1e-12)


def test_the_inverse_squared_margin_by_hand() -> None:
    run = by_hand()  # margins 6, 12, …, 120: the second of twenty is 12
    assert value_of("inverse_squared_margin", run) == pytest.approx(math.sqrt(1 / 12**2 / 20), rel=1e-12)
    assert value_of("mean_margin", run) == pytest.approx(6 * 10.5, rel=1e-12)


def test_a_margin_that_is_not_positive_is_not_inverted() -> None:
    """|γ| of misfit data would grow with the errors: there is no value instead."""
    run = by_hand()
    wrong = replace(run, targets=torch.where(torch.arange(20) < 3, 1, 0))
    assert percentile_margin(wrong) == -12  # the second smallest of −18, −12, −6, 24, 30, …
    for name in ("inverse_squared_margin", "log_spectral_product_over_margin", "path_norm_over_margin"):
        with pytest.raises(ValueError, match="not positive"):
            value_of(name, wrong)


def test_output_entropy_by_hand() -> None:
    run = by_hand()
    expected = []
    for i in range(1, 21):  # logits (6 i, 0 × 9)
        p, q = 1 / (1 + 9 * math.exp(-6 * i)), 1 / (9 + math.exp(6 * i))
        expected.append(-p * math.log(p) - 9 * q * math.log(q))
    assert value_of("output_entropy", run) == pytest.approx(math.fsum(expected) / 20, rel=1e-12)
    blank = replace(run, weights=torch.zeros_like(run.weights))
    assert value_of("output_entropy", blank) == pytest.approx(math.log(10), rel=1e-12)
    certain = replace(run, weights=1e3 * run.weights)  # p ln p of a p that is zero
    assert value_of("output_entropy", certain) == 0


def test_output_entropy_of_every_position() -> None:
    run = every_position()
    p = torch.softmax(run.logits(), -1).numpy()
    assert value_of("output_entropy", run) == pytest.approx(float(-(p * np.log(p)).sum(-1).mean()), rel=1e-12)


def test_where_there_is_no_margin_and_no_entropy() -> None:
    run = by_hand()
    soft = replace(run, targets=torch.full((20, 10), 0.1, dtype=torch.float64))
    with pytest.raises(ValueError, match="probabilities"):
        value_of("mean_margin", soft)
    assert value_of("output_entropy", soft) == value_of("output_entropy", run)  # it asks for no targets
    squared = made_run(training={"loss": "mse", "steps": 1})
    with pytest.raises(ValueError, match="cross-entropy"):
        value_of("output_entropy", squared)
