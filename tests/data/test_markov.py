from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from suite.data.base import Dataset
from suite.data.markov import Markov, population, stationary
from suite.spec.base import Shape

NOWHERE = Path("/nonexistent")


def spec(**fields: Any) -> Markov:
    defaults = {"vocabulary": 3, "order": 2, "length": 5, "sequences": 40, "concentration": 0.7}
    return Markov.model_validate(defaults | fields)


def load(**fields: Any) -> Dataset:
    return spec(**fields).load((), NOWHERE)


def dense(transitions: NDArray[np.float64]) -> NDArray[np.float64]:
    """The V^k × V^k matrix of the chain of contexts, built entry by entry."""
    vocabulary, order = transitions.shape[0], transitions.ndim - 1
    contexts = list(itertools.product(range(vocabulary), repeat=order))
    matrix = np.zeros((len(contexts), len(contexts)))
    for (i, old), token in itertools.product(enumerate(contexts), range(vocabulary)):
        matrix[i, contexts.index((*old[1:], token))] += transitions[(*old, token)]
    return matrix


@pytest.mark.parametrize(("p", "q"), [(0.3, 0.05), (2e-9, 1e-9), (1 - 1e-9, 1 - 3e-9), (1e-9, 0.5)])
def test_stationary_two_tokens_closed_form(p: float, q: float) -> None:
    """p: 0 → 1, q: 1 → 0; also where the chain hardly ever moves, or all but alternates."""
    assert stationary(np.array([[1 - p, p], [q, 1 - q]])) == pytest.approx([q / (p + q), p / (p + q)], rel=1e-14)


@pytest.mark.parametrize(("vocabulary", "order"), [(2, 1), (5, 1), (3, 2), (2, 4)])
def test_stationary_is_the_left_eigenvector(vocabulary: int, order: int) -> None:
    transitions = spec(vocabulary=vocabulary, order=order).transitions()
    matrix = dense(transitions)
    values, vectors = np.linalg.eig(matrix.T)
    expected = np.real(vectors[:, np.argmin(np.abs(values - 1))])
    found = stationary(transitions)
    assert found.shape == (vocabulary,) * order
    assert found.ravel() == pytest.approx(expected / expected.sum(), abs=1e-12)
    assert found.ravel() @ matrix == pytest.approx(found.ravel(), abs=1e-13)


def test_stationary_of_a_language_that_all_but_alternates() -> None:
    p, q = 1 - 1e-9, 1 - 3e-9
    assert stationary(np.array([[1 - p, p], [q, 1 - q]])) == pytest.approx([q / (p + q), p / (p + q)], abs=1e-13)


def test_stationary_of_a_predictable_language() -> None:
    transitions = spec(vocabulary=2, order=8, length=8, concentration=0.02).transitions()
    found = stationary(transitions).ravel()
    assert found @ dense(transitions) == pytest.approx(found, abs=1e-15)
    assert found.sum() == pytest.approx(1, abs=1e-15)
    assert found.min() > 0


def test_transitions_are_positive_distributions_and_depend_on_their_seed() -> None:
    transitions = spec(concentration=0.01).transitions()
    assert transitions.shape == (3, 3, 3)
    assert transitions.min() > 9e-10
    assert transitions.sum(-1) == pytest.approx(np.ones((3, 3)), abs=1e-12)
    assert np.array_equal(transitions, spec(concentration=0.01, sample_seed=5).transitions())
    assert not np.array_equal(transitions, spec(concentration=0.01, language_seed=5).transitions())


@pytest.mark.parametrize(("vocabulary", "order", "length"), [(3, 1, 4), (3, 2, 5), (2, 3, 3), (2, 4, 6), (4, 1, 1)])
def test_population_against_brute_force(vocabulary: int, order: int, length: int) -> None:
    """All sequences of length + 1 tokens weighed one by one; every conditional is a ratio of sums of theirs."""
    transitions = spec(vocabulary=vocabulary, order=order, length=length).transitions()
    contexts = stationary(transitions)
    longer = list(itertools.product(range(vocabulary), repeat=length + 1))
    weight = {}
    for text in longer:
        steps = [transitions[text[i : i + order + 1]] for i in range(length + 1 - order)]
        weight[text] = contexts[text[:order]] * np.prod(steps)

    def mass(prefix: tuple[int, ...]) -> float:
        return sum(w for text, w in weight.items() if text[: len(prefix)] == prefix)

    inputs, weights, targets = population(transitions, contexts, length)
    assert inputs.tolist() == [list(t) for t in itertools.product(range(vocabulary), repeat=length)]
    assert weights == pytest.approx([mass(tuple(row)) for row in inputs], abs=1e-14)
    for row, target in zip(inputs.tolist(), targets, strict=True):
        for t in range(length):
            seen = tuple(row[: t + 1])
            expected = [mass((*seen, token)) / mass(seen) for token in range(vocabulary)]
            assert target[t] == pytest.approx(expected, abs=1e-12)


def test_sizes_types_and_sums() -> None:
    data = load()
    assert spec().shape() == Shape("tokens", features=5, outputs=3, vocabulary=3, every_position=True)
    assert data.train_inputs.shape == data.train_targets.shape == (40, 5)
    assert spec().train_size() == data.description.n_train == 40
    assert data.test_inputs.shape == (243, 5)
    assert data.test_targets.shape == (243, 5, 3)
    assert data.test_weights is not None
    assert data.train_inputs.dtype == data.train_targets.dtype == data.test_inputs.dtype == np.int64
    assert data.test_targets.dtype == data.test_weights.dtype == np.float32
    assert data.test_weights.sum(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert data.test_targets.sum(-1, dtype=np.float64) == pytest.approx(np.ones((243, 5)), abs=1e-6)
    assert np.array_equal(data.train_inputs[:, 1:], data.train_targets[:, :-1])


@pytest.mark.parametrize("concentration", [0.01, 0.2, 1.0, 50.0])
def test_entropy_is_the_loss_of_the_exact_predictor(concentration: float) -> None:
    data = load(concentration=concentration)
    targets, weights = data.test_targets.astype(np.float64), data.test_weights
    assert weights is not None
    losses = -(targets * np.log(targets)).sum(-1).mean(-1)
    assert data.description.entropy == pytest.approx(float(losses @ weights), rel=1e-5, abs=1e-7)


def test_entropy_of_order_one_in_closed_form() -> None:
    p, q = 0.3, 0.05
    transitions = np.array([[1 - p, p], [q, 1 - q]])

    def h(x: float) -> float:
        return -x * np.log(x) - (1 - x) * np.log(1 - x)

    _, weights, targets = population(transitions, stationary(transitions), 4)
    entropy = weights @ -(targets * np.log(targets)).sum(-1).mean(-1)
    assert entropy == pytest.approx((q * h(p) + p * h(q)) / (p + q), abs=1e-13)


def test_more_context_never_hurts_the_best_predictor() -> None:
    """Conditional entropy falls with position up to the order, then stays: the chain is stationary."""
    language = spec(order=3, length=6).transitions()
    _, weights, targets = population(language, stationary(language), 6)
    by_position = weights @ -(targets * np.log(targets)).sum(-1)
    assert (np.diff(by_position)[:2] < 0).all()
    assert by_position[2:] == pytest.approx(np.full(4, by_position[2]), abs=1e-12)


def test_training_frequencies_converge_to_the_population() -> None:
    count = 200_000
    data = load(length=3, sequences=count)
    assert data.test_weights is not None
    places = data.train_inputs @ (3 ** np.arange(3)[::-1])
    seen = np.bincount(places, minlength=27)
    expected = data.test_weights.astype(np.float64) * count
    # Pearson's χ² has mean 26 and deviation √52 ≈ 7.2 if the sampling is right
    assert ((seen - expected) ** 2 / expected).sum() < 26 + 5 * 7.2
    last = np.zeros((27, 3))
    np.add.at(last, (places, data.train_targets[:, -1]), 1)
    probability = data.test_targets[:, -1].astype(np.float64)
    deviation = np.sqrt(probability * (1 - probability) / seen[:, None])
    assert (np.abs(last / seen[:, None] - probability) < 5 * deviation).all()


def test_seeds_choose_language_and_sample() -> None:
    base, sample, language = load(), load(sample_seed=1), load(language_seed=1)
    assert base.description.checksum == load().description.checksum
    assert np.array_equal(base.test_targets, sample.test_targets)
    assert not np.array_equal(base.train_inputs, sample.train_inputs)
    assert not np.array_equal(base.test_targets, language.test_targets)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocabulary": 10, "length": 6}, r"10 \*\* 6, more than the 100,000 .* lower length to 5"),
        ({"vocabulary": 3, "length": 10**9}, "lower length to 10"),
        ({"order": 6}, "order 6 is more than length 5"),
        ({"vocabulary": 40, "length": 2}, r"40 \*\* 2, more than 1024 contexts: lower order"),
        ({"vocabulary": 1}, "greater than or equal to 2"),
        ({"vocabulary": 257, "length": 2, "order": 1}, "less than or equal to 256"),
        ({"concentration": 0.0}, "greater than or equal to 0.001"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**fields)


@pytest.mark.parametrize("concentration", [0.001, 1000.0])
def test_extreme_languages_are_sound(concentration: float) -> None:
    data = load(concentration=concentration, vocabulary=2, order=1)
    assert np.isfinite(data.test_targets).all()
    assert data.description.entropy is not None
    assert 0 < data.description.entropy < np.log(2)


def test_exactly_a_hundred_thousand_sequences_are_allowed() -> None:
    assert spec(vocabulary=10, length=5, order=1).shape().features == 5
