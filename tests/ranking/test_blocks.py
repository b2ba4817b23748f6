"""Pairs of networks are counted a block at a time: however large blocks are, counts are the same to the last bit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pandas as pd
import pytest

from suite.ranking import correlation, information, significance
from suite.ranking.correlation import Pairs, count_pairs, draw_kendall, tau_b
from suite.ranking.information import cells, conditional_information, pgdl_score
from suite.ranking.relatives import mutual_tau
from suite.ranking.significance import permuted_kendall


def some_metrics(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Metrics (with ties, with missing values, constant), gaps, and where the metrics were tried."""
    random = np.random.default_rng(n)
    x = random.normal(size=(6, n))
    x[0], x[1, random.random(n) < 0.2], x[2] = random.integers(0, 4, n), np.nan, 1.0
    tried = np.ones(x.shape, dtype=bool)
    tried[1] = np.isfinite(x[1]) | (random.random(n) < 0.5)
    return x, np.stack([random.integers(0, 5, n).astype(float), random.normal(size=n)]), tried


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_permuted_gaps(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, tried = some_metrics(n)
    orders = np.array([np.random.default_rng(one).permutation(n) for one in range(11)])
    expected = permuted_kendall(x, y, orders, tried)
    for pairs, count in ((1, 4), (7, 11), (30, 1), (5000, 3)):
        monkeypatch.setattr(significance, "_PAIRS", pairs)
        monkeypatch.setattr(significance, "_ORDERS", count)
        assert permuted_kendall(x, y, orders, tried).tobytes() == expected.tobytes()


@pytest.mark.parametrize(("n", "k"), [(1, 1), (9, 3), (50, 50), (60, 12)])
def test_pairs_of_clusters_and_their_resamples(n: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, tried = some_metrics(n)
    random = np.random.default_rng(1)
    numbers = random.permutation(np.append(np.arange(k), random.integers(0, k, n - k)))
    counts = np.vstack([np.ones((1, k)), random.multinomial(k, np.full(k, 1 / k), size=20)])
    whole = count_pairs(x, y, numbers, tried)
    drawn = draw_kendall(whole, counts, chosen := random.random(len(whole.first)) < 0.5)
    for size in (4, 4 * 70, 4 * 400):
        monkeypatch.setattr(correlation, "_CHUNK", size)
        monkeypatch.setattr(correlation, "_PAIRS", size // 4)
        made = count_pairs(x, y, numbers, tried)
        for field in fields(Pairs):
            assert np.array_equal(getattr(made, field.name), getattr(whole, field.name)), field.name
        again = draw_kendall(made, counts, chosen)
        assert (again.tau.tobytes(), again.scores.tobytes()) == (drawn.tau.tobytes(), drawn.scores.tobytes())


def test_pairs_of_clusters_are_those_of_all_networks() -> None:
    x, y, _ = some_metrics(40)
    numbers = np.random.default_rng(2).integers(0, 7, 40)
    signs, gaps = (np.sign(rows[:, :, None] - rows[:, None, :]) for rows in (x[[0, 3]], y))
    made = count_pairs(x[[0, 3]], y, numbers)
    for p, (a, b) in enumerate(zip(made.first, made.second, strict=True)):
        both = (numbers[:, None] == a) & (numbers == b)
        both |= both.T
        assert (made.agree[..., p] == (signs[:, None] * gaps * both).sum((-1, -2))).all()
        assert (made.metric[:, p] == (np.abs(signs) * both).sum((-1, -2))).all()
        assert (made.total[:, p] == (np.abs(gaps) * both).sum((-1, -2))).all()


def test_information_of_networks_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame([(a, b, s) for a in range(3) for b in range(4) for s in range(3)], columns=["a", "b", "seed"])
    x, y, _ = some_metrics(len(frame))
    order = np.random.default_rng(3).permutation(len(frame))[:-2]  # settings of three networks and of fewer
    frame, x, y = frame.iloc[np.sort(order)], x[:, np.sort(order)], y[:, np.sort(order)]
    mixed = np.random.default_rng(4).permutation(len(frame))
    sets, others = cells(frame, ["a", "b"]), [codes[mixed] for codes in cells(frame, ["a", "b"])]
    expected = conditional_information(x, y[1], sets)
    assert conditional_information(x[:, mixed], y[1, mixed], others).tobytes() == expected.tobytes()
    known = np.nan_to_num(x)
    assert pgdl_score(known[:, mixed], y[1, mixed], others).tobytes() == pgdl_score(known, y[1], sets).tobytes()
    monkeypatch.setattr(information, "_EXACT", 0)  # as of very many networks
    monkeypatch.setattr(information, "_CHUNK", 1)
    assert conditional_information(x, y[1], sets).tobytes() == expected.tobytes()


def test_metrics_with_one_another() -> None:
    x, _, _ = some_metrics(30)
    known = np.isfinite(x)
    signs = np.nan_to_num(np.sign(x[:, :, None] - x[:, None, :]))
    made = mutual_tau(x)
    for a, b in ((0, 1), (1, 3), (3, 4), (0, 5)):
        both = known[a] & known[b]
        pairs = both[:, None] & both
        sums = [(one * pairs).sum() for one in (signs[a] * signs[b], signs[a] ** 2, signs[b] ** 2)]
        assert made[a, b] == pytest.approx(float(tau_b(*map(np.array, sums))), abs=1e-12)
    assert np.isnan(made[2]).all()
