"""Conditional mutual information, by hand and pair by pair."""

from __future__ import annotations

from collections import Counter
from math import log

import numpy as np
import pandas as pd
import pytest

from suite.ranking.information import cells, conditional_information, null_information, pgdl_score, subsets


def _entropy(counter: Counter[object]) -> float:
    total = sum(counter.values())
    return -sum(n / total * log(n / total) for n in counter.values())


def _pair_by_pair(x: np.ndarray, y: np.ndarray, codes: np.ndarray) -> float:
    """I(V_g; V_μ | U) / H(V_g | U) = 1 − H(V_g | V_μ, U) / H(V_g | U)."""
    pairs = [
        (np.sign(y[i] - y[j]), np.sign(x[i] - x[j]), (codes[i], codes[j]))
        for i in range(len(x))
        for j in range(len(x))
        if i != j and y[i] != y[j] and np.isfinite(x[i]) and np.isfinite(x[j])
    ]
    given_u = _entropy(Counter((g, u) for g, _, u in pairs)) - _entropy(Counter(u for _, _, u in pairs))
    given_both = _entropy(Counter(pairs)) - _entropy(Counter((m, u) for _, m, u in pairs))
    return 1 - given_both / given_u


@pytest.mark.parametrize("levels", [3, 1000])
def test_it_is_the_entropies_of_pairs_counted_one_by_one(levels: int) -> None:
    random = np.random.default_rng(levels)
    frame = pd.DataFrame([(a, b, s) for a in range(3) for b in "xy" for s in (0, 1, 2)], columns=["a", "b", "seed"])
    x = random.integers(0, levels, (4, 18)).astype(float)
    x[1, [2, 7]] = np.nan
    y = random.integers(0, 8, 18) + 3.0 * frame["a"].to_numpy()
    sets = cells(frame, ["a", "b"])
    assert [int(codes.max()) + 1 for codes in sets] == [1, 3, 2]
    made = conditional_information(x, y, sets)
    for m in range(4):
        assert made[m] == pytest.approx(min(_pair_by_pair(x[m], y, codes) for codes in sets), abs=1e-9)


def test_toys() -> None:
    y, one = np.array([1.0, 2.0, 3.0, 4.0]), [np.zeros(4, dtype=int)]
    up, down, flat = y, -y, np.ones(4)
    assert conditional_information(np.array([up, down, flat]), y, one) == pytest.approx([1, 1, 0])
    # of the six pairs one is tied and says nothing, five are right: 1 − (2/12 · ln 2) / ln 2
    assert conditional_information(np.array([[1.0, 1, 2, 3]]), y, one)[0] == pytest.approx(5 / 6)
    # one pair of six is wrong: 1 − H(1/6) / ln 2
    wrong = 1 + (1 / 6 * log(1 / 6) + 5 / 6 * log(5 / 6)) / log(2)
    assert conditional_information(np.array([[2.0, 1, 3, 4]]), y, one)[0] == pytest.approx(wrong)
    assert np.isnan(conditional_information(np.array([up]), np.ones(4), one)).all()


def test_an_echo_of_a_hyperparameter_has_none() -> None:
    frame = pd.DataFrame([(a, b) for a in range(4) for b in range(4)], columns=["a", "b"])
    y = (10 * frame["a"] + frame["b"]).to_numpy(float)
    echo, own = frame["a"].to_numpy(float), y + 0.0
    made = conditional_information(np.array([echo, own]), y, cells(frame, ["a", "b"]))
    assert made == pytest.approx([0, 1])
    assert conditional_information(np.array([echo]), y, cells(frame, []))[0] > 0.7


def test_no_set_holds_everything_fixed() -> None:
    assert subsets(["a"]) == [()]
    assert subsets(["a", "b"]) == [(), ("a",), ("b",)]
    assert len(subsets(["a", "b", "c", "d"])) == 1 + 4 + 6


def test_what_chance_scores_shrinks_with_the_sample() -> None:
    random = np.random.default_rng(0)
    null = []
    for levels in (3, 9):
        frame = pd.DataFrame([(a, b) for a in range(levels) for b in range(levels)], columns=["a", "b"])
        n = len(frame)
        orders = np.array([random.permutation(n) for _ in range(20)])
        made = null_information(random.normal(size=(3, n)), random.normal(size=n), cells(frame, ["a", "b"]), orders)
        null.append(made.mean())
    assert null[0] > 4 * null[1] > 0


def test_the_competitions_score_pair_by_pair() -> None:
    random = np.random.default_rng(5)
    x, y = random.integers(0, 5, 10).astype(float), random.integers(0, 5, 10).astype(float)
    codes = np.repeat([0, 1, 2], [3, 3, 4])
    information, entropy = [], []
    for u in range(3):
        for v in range(3):
            pairs = [(y[i] > y[j], x[i] > x[j]) for i in np.flatnonzero(codes == u) for j in np.flatnonzero(codes == v)]
            h = _entropy(Counter(g for g, _ in pairs))
            information.append(h + _entropy(Counter(m for _, m in pairs)) - _entropy(Counter(pairs)))
            entropy.append(h)
    assert pgdl_score(x[None], y, [codes])[0] == pytest.approx(100 * np.mean(information) / np.mean(entropy))
