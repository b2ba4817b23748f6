from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.datasets import load_digits

from suite.data.base import Dataset
from suite.data.digits import Digits
from suite.spec.base import Shape

NOWHERE = Path("/nonexistent")


def load(**fields: float) -> Dataset:
    return Digits.model_validate(fields).load((), NOWHERE)


def test_sizes_and_types() -> None:
    spec, data = Digits(), load()
    assert spec.shape() == Shape("vectors", features=64, outputs=10)
    assert spec.train_size() == 1797 - 359  # round(359.4)
    assert data.train_inputs.shape == (1438, 64)
    assert data.test_inputs.shape == (359, 64)
    assert data.train_inputs.dtype == data.test_inputs.dtype == np.float32
    assert data.train_targets.dtype == data.test_targets.dtype == np.int64
    assert data.test_weights is None
    assert (data.description.n_train, data.description.n_test) == (1438, 359)
    assert (data.description.d, data.description.classes) == (64, 10)
    assert "scikit-learn" in data.description.origin


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5, 0.95])
def test_train_size_is_known_without_loading(fraction: float) -> None:
    assert len(load(test_fraction=fraction).train_inputs) == Digits(test_fraction=fraction).train_size()


def test_training_pixels_are_standardised_by_two_scalars() -> None:
    inputs = load().train_inputs.astype(np.float64)
    assert inputs.mean() == pytest.approx(0, abs=1e-6)
    assert inputs.std() == pytest.approx(1, abs=1e-6)
    assert not np.allclose(inputs.std(0), 1)  # not per pixel: the corners are always blank
    assert np.allclose(np.diff(np.unique(inputs)), np.diff(np.unique(inputs))[0], rtol=1e-4)  # 17 even grey levels


def test_every_image_is_in_one_split_with_its_class() -> None:
    data = load(split_seed=3)
    pixels, classes = load_digits(return_X_y=True)
    inputs = np.concatenate([data.train_inputs, data.test_inputs]).astype(np.float64)
    levels = (inputs - inputs.min()) / (inputs.max() - inputs.min()) * 16
    mine = np.column_stack([np.rint(levels), np.concatenate([data.train_targets, data.test_targets])])
    theirs = np.column_stack([pixels, classes])
    assert np.abs(levels - np.rint(levels)).max() < 1e-4
    assert np.array_equal(mine[np.lexsort(mine.T)], theirs[np.lexsort(theirs.T)])


def test_the_split_is_a_function_of_its_seed() -> None:
    same, again, other = load(split_seed=1), load(split_seed=1), load(split_seed=2)
    assert same.description.checksum == again.description.checksum != other.description.checksum
    assert np.array_equal(same.train_inputs, again.train_inputs)


@pytest.mark.parametrize("fields", [{"test_fraction": 0.0}, {"test_fraction": 1.0}, {"split_seed": -1}, {"noise": 1}])
def test_fields_are_checked(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Digits.model_validate(fields)
