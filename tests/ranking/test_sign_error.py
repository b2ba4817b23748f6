"""The robust sign error, environment by environment."""

from __future__ import annotations

from math import exp

import numpy as np
import pandas as pd
import pytest

from suite.ranking.sign_error import couple, sign_errors, weights


def _grid(seeds: int) -> pd.DataFrame:
    rows = [(e, b, s) for e in (0.1, 0.2, np.nan) for b in (8, 16) for s in range(seeds)]
    return pd.DataFrame(rows, columns=["eta", "b", "seed"])


def test_weights_are_hoeffdings() -> None:
    # 10,000 test images: a difference of 0.04 is sure to 1 − 2e^{−8}, one of 0.01 not even to one half
    assert weights(np.array([0.04, -0.04, 0.01]), 10_000) == pytest.approx([(1 - 2 * exp(-8)) ** 2 - 0.5] * 2 + [0.0])
    assert weights(np.array([0.001, 0.0]), None).tolist() == [0.5, 0.0]


def test_pairs_differ_in_exactly_one_hyperparameter() -> None:
    coupled = couple(_grid(2), ["eta", "b"])
    # 3 pairs of rates at each of 2 batch sizes, and one pair of batch sizes at each of 3 rates
    assert np.bincount(coupled.hyperparameter).tolist() == [6, 3]
    assert np.bincount(coupled.environment).tolist() == [4] * 9
    assert len(couple(_grid(2), []).first) == 0


@pytest.mark.parametrize("size", [None, 400])
def test_it_is_the_definition_pair_by_pair(size: int | None) -> None:
    random = np.random.default_rng(0)
    frame = _grid(5)
    y = random.random(30)
    x = np.array([y + 0.3 * random.normal(size=30), random.integers(0, 3, 30).astype(float)])
    x[0, 4] = np.nan
    made = sign_errors(x, y, couple(frame, ["eta", "b"]), size)
    keys = [tuple(row) for row in frame[["eta", "b"]].fillna(-1).to_numpy()]
    errors = []
    for m in range(2):
        kept = []
        for a in sorted(set(keys)):
            for b in sorted(set(keys)):
                if a < b and sum(p != q for p, q in zip(a, b, strict=True)) == 1:
                    pairs = [(i, j) for i in range(30) for j in range(30) if (keys[i], keys[j]) == (a, b)]
                    w = np.array([weights(np.array([y[i] - y[j]]), size)[0] for i, j in pairs])
                    loss = [
                        (1 - np.nan_to_num(np.sign(x[m, i] - x[m, j])) * np.sign(y[i] - y[j])) / 2 for i, j in pairs
                    ]
                    if w.sum() ** 2 >= 12 * (w**2).sum() > 0:
                        kept.append(float((w * loss).sum() / w.sum()))
        errors.append(kept)
    assert made.environments == len(errors[0]) > 3
    assert made.mean == pytest.approx([np.mean(kept) for kept in errors])
    assert made.p90 == pytest.approx([np.quantile(kept, 0.9) for kept in errors])
    assert made.largest == pytest.approx([np.max(kept) for kept in errors])


def test_a_perfect_metric_errs_never_a_reversed_one_always_a_constant_one_half_the_time() -> None:
    y = np.random.default_rng(1).random(30)
    made = sign_errors(np.array([y, -y, np.ones(30)]), y, couple(_grid(5), ["eta", "b"]), None)
    assert made.environments == 9
    for figures in (made.mean, made.p90, made.largest, made.pooled[:, 0], made.pooled[:, 1]):
        assert figures == pytest.approx([0, 1, 0.5])


def test_the_worst_environment_shows_what_the_mean_hides() -> None:
    frame = _grid(4)
    y = frame["eta"].fillna(0.3).to_numpy() * 10 + frame["b"].to_numpy() / 16 + 0.001 * np.arange(24)
    x = frame["eta"].fillna(0.3).to_numpy() * 10 - frame["b"].to_numpy() / 160
    made = sign_errors(x[None], y, couple(frame, ["eta", "b"]), None)
    assert made.pooled[0].tolist() == [0.0, 1.0]
    assert made.mean[0] == pytest.approx(3 / 9)
    assert made.largest[0] == 1


def test_two_seeds_make_no_environment_but_say_something_of_each_hyperparameter() -> None:
    y = np.random.default_rng(2).random(12)
    made = sign_errors(y[None], y, couple(_grid(2), ["eta", "b"]), None)
    assert made.environments == 0
    assert np.isnan([made.mean[0], made.p90[0], made.largest[0]]).all()
    assert made.pooled[0].tolist() == [0.0, 0.0]
    one = sign_errors(y[None, :6], y[:6], couple(_grid(1), ["eta", "b"]), None)
    assert np.isnan(one.pooled).all()
