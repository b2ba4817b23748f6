"""Digits with wrong training labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from suite.data.base import Dataset
from suite.data.digits import Digits
from suite.data.noisy_digits import NoisyDigits

NOWHERE = Path("/nonexistent")


def load(noise: float, seed: int = 0) -> Dataset:
    return NoisyDigits(label_noise=noise, noise_seed=seed).load((), NOWHERE)


def wrong(data: Dataset) -> np.ndarray:
    right = Digits().load((), NOWHERE)
    assert np.array_equal(data.train_inputs, right.train_inputs)
    assert np.array_equal(data.test_targets, right.test_targets), "test labels stay right"
    return np.flatnonzero(data.train_targets != right.train_targets)


def test_just_that_many_training_labels_are_wrong_and_still_classes() -> None:
    for noise in (0.0, 0.25, 1.0):
        data = load(noise)
        assert len(wrong(data)) == round(noise * 1438)
        assert set(data.train_targets) <= set(range(10))
        assert data.train_targets.dtype == np.int64


def test_wrong_classes_are_drawn_evenly() -> None:
    steps = (load(1.0).train_targets - Digits().load((), NOWHERE).train_targets) % 10
    counts = np.bincount(steps, minlength=10)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1438 / 9).max() < 5 * np.sqrt(1438 / 9)


def test_less_noise_is_a_part_of_more_noise() -> None:
    little, much = load(0.1), load(0.4)
    assert set(wrong(little)) < set(wrong(much))
    assert np.array_equal(little.train_targets[wrong(little)], much.train_targets[wrong(little)])


def test_the_noise_is_a_function_of_its_seed_and_tells_data_apart() -> None:
    one, again, other = load(0.3, 1), load(0.3, 1), load(0.3, 2)
    assert np.array_equal(one.train_targets, again.train_targets)
    assert not np.array_equal(one.train_targets, other.train_targets)
    assert len({one.description.checksum, other.description.checksum, load(0.0).description.checksum}) == 3
    assert "0.3 of the training labels wrong" in one.description.origin


def test_noise_is_a_part() -> None:
    with pytest.raises(ValidationError):
        NoisyDigits(label_noise=1.5)
