from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from suite.data.base import Dataset
from suite.data.modular import Modular
from suite.spec.base import Shape

NOWHERE = Path("/nonexistent")


def spec(**fields: Any) -> Modular:
    defaults = {"modulus": 7, "operation": "add", "encoding": "tokens", "train_fraction": 0.4}
    return Modular.model_validate(defaults | fields)


def table(data: Dataset) -> dict[tuple[int, int], int]:
    inputs = np.concatenate([data.train_inputs, data.test_inputs])
    answers = np.concatenate([data.train_targets, data.test_targets])
    return {(int(x[0]), int(x[1])): int(c) for x, c in zip(inputs, answers, strict=True)}


@pytest.mark.parametrize(
    ("operation", "holds"),
    [
        ("add", lambda a, b, c, p: c == (a + b) % p),
        ("subtract", lambda a, b, c, p: (c + b) % p == a),
        ("multiply", lambda a, b, c, p: c == a * b % p),
        ("divide", lambda a, b, c, p: b != 0 and c * b % p == a),
        ("sum_of_squares", lambda a, b, c, p: c == (a**2 + b**2) % p),
    ],
)
@pytest.mark.parametrize("modulus", [3, 13])
def test_every_pair_once_with_the_right_answer(operation: str, holds: Any, modulus: int) -> None:
    data = spec(operation=operation, modulus=modulus).load((), NOWHERE)
    pairs = table(data)
    count = modulus * (modulus - 1 if operation == "divide" else modulus)
    assert len(pairs) == len(data.train_inputs) + len(data.test_inputs) == count
    assert all(0 <= c < modulus and holds(a, b, c, modulus) for (a, b), c in pairs.items())


def test_by_hand() -> None:
    assert table(spec(operation="divide", modulus=7).load((), NOWHERE))[3, 5] == 2  # 2 · 5 = 10 = 3
    assert table(spec(operation="subtract", modulus=7).load((), NOWHERE))[2, 6] == 3
    assert table(spec(operation="sum_of_squares", modulus=7).load((), NOWHERE))[3, 5] == 6  # 9 + 25 = 34


def test_one_hot_is_the_tokens_written_out() -> None:
    tokens, one_hot = spec().load((), NOWHERE), spec(encoding="one_hot").load((), NOWHERE)
    assert one_hot.train_inputs.dtype == np.float32
    assert np.array_equal(one_hot.train_inputs[:, :7].argmax(1), tokens.train_inputs[:, 0])
    assert np.array_equal(one_hot.train_inputs[:, 7:].argmax(1), tokens.train_inputs[:, 1])
    assert np.array_equal(one_hot.train_inputs.sum(1), np.full(20, 2))
    assert np.array_equal(one_hot.test_targets, tokens.test_targets)


def test_tokens_end_with_the_equals_sign() -> None:
    data = spec().load((), NOWHERE)
    assert data.train_inputs.dtype == data.train_targets.dtype == np.int64
    assert data.train_inputs.shape == (20, 3)
    assert (data.train_inputs[:, 2] == 7).all()


def test_shapes() -> None:
    assert spec().shape() == Shape("tokens", features=3, outputs=7, vocabulary=8, every_position=False)
    assert spec(encoding="one_hot").shape() == Shape("vectors", features=14, outputs=7)


@pytest.mark.parametrize(("operation", "expected"), [("add", 3764), ("divide", 3725)])
def test_train_size_is_exact(operation: str, expected: int) -> None:
    grokking = spec(modulus=97, operation=operation)  # 0.4 · 97² = 3763.6, 0.4 · 97 · 96 = 3724.8
    data = grokking.load((), NOWHERE)
    assert grokking.train_size() == len(data.train_inputs) == data.description.n_train == expected
    assert data.description.classes == 97


def test_the_split_is_a_function_of_its_seed() -> None:
    sums = [spec(split_seed=s).load((), NOWHERE).description.checksum for s in (0, 0, 1)]
    assert sums[0] == sums[1] != sums[2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"modulus": 2}, "greater than or equal to 3"),
        ({"modulus": 15, "operation": "divide"}, "prime modulus, 15 = 3 · 5"),
        ({"train_fraction": 0.001}, "gives 0 of 49 pairs"),
        ({"train_fraction": 0.999}, "gives 49 of 49 pairs"),
        ({"train_fraction": 1.0}, "less than 1"),
        ({"operation": "power"}, "'add'"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**fields)


def test_a_composite_modulus_is_fine_where_nothing_is_divided() -> None:
    assert table(spec(modulus=15, operation="multiply").load((), NOWHERE))[4, 14] == 11
