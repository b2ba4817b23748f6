"""Norms against diagonal matrices worked out by hand, numpy on random ones, and the invariances they claim."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from suite.metrics import Estimate, Run, find_metrics
from tests.metrics.made import made_run, value_of

MINE = ("norms", "margins", "representations", "heavy_tails")
INPUTS, MARGIN = 20, 12.0


def diagonal(rows: int, columns: int, *entries: float) -> Tensor:
    matrix = torch.zeros(rows, columns, dtype=torch.float64)
    matrix[range(len(entries)), range(len(entries))] = torch.tensor(entries, dtype=torch.float64)
    return matrix.flatten()


def by_hand(dtype: torch.dtype = torch.float64) -> Run:
    """Digits' 64-4-10 with diagonal weights: input i is i times the first unit vector, its class 0, its margin 6 i.

    s = 4, 9; f = 4 + 1 + 1 + ¼, 9 + 1 + 1 + 1; differences from initialisation of rank one: s⁰ = f⁰ = 1, 4. γ is the
    second smallest of 20 margins.
    """
    one = bare()
    inputs = torch.zeros(INPUTS, 64, dtype=dtype)
    inputs[:, 0] = torch.arange(1, INPUTS + 1)
    return replace(
        one,
        weights=torch.cat([diagonal(4, 64, 2, 1, 1, 0.5), diagonal(10, 4, 3, 1, 1, 1)]).to(dtype),
        initial=torch.cat([diagonal(4, 64, 1, 1, 1, 0.5), diagonal(10, 4, 1, 1, 1, 1)]).to(dtype),
        inputs=inputs,
        targets=torch.zeros(INPUTS, dtype=torch.int64),
    )


@cache
def bare() -> Run:
    return made_run(training={"steps": 1})


@cache
def fitted(bias: bool = False) -> Run:
    """Digits' 64-12-12-10, fitted to more than nine tenths."""
    model = {"kind": "mlp", "widths": [12, 12], "bias": bias}
    one = made_run(model=model, training={"steps": 600, "optimizer": {"kind": "sgd", "learning_rate": 0.2}})
    assert one.training_accuracy() > 0.95
    return one


@cache
def tokens() -> Run:
    return made_run(
        data={"kind": "modular", "modulus": 11, "operation": "add", "encoding": "tokens", "train_fraction": 0.6},
        model={"kind": "transformer", "layers": 1, "width": 12, "heads": 2},
    )


def logarithm(value: float) -> float:
    return 0.5 * (value - math.log(INPUTS))


LN_S, LN_F, LN_MARGIN = math.log(4 * 9), math.log(6.25 * 12), 2 * math.log(MARGIN)
PATH = 4 * 9 + 1 + 1 + 0.25  # each input reaches one hidden unit, each of those one output
ROWS = [2 + 1 + 1 + 0.5, 3 + 1 + 1 + 1]
BARTLETT = 2 * 3 * sum((rows / norm) ** (2 / 3) for rows, norm in zip(ROWS, [2, 3], strict=True)) ** 1.5
DATA = math.sqrt(sum(i * i for i in range(1, INPUTS + 1)))

BY_HAND = {
    "parameter_count": math.sqrt(296 / INPUTS),
    "vc_bound": 2 + 2 * 2 * math.log(22 * 2 * 64) * 296,
    "log_spectral_product": logarithm(LN_S),
    "log_spectral_product_over_margin": logarithm(LN_S - LN_MARGIN),
    "log_spectral_sum": logarithm(math.log(2) + LN_S / 2),
    "log_spectral_sum_over_margin": logarithm(math.log(2) + (LN_S - LN_MARGIN) / 2),
    "log_frobenius_product": logarithm(LN_F),
    "log_frobenius_product_over_margin": logarithm(LN_F - LN_MARGIN),
    "log_frobenius_sum": logarithm(math.log(2) + LN_F / 2),
    "log_frobenius_sum_over_margin": logarithm(math.log(2) + (LN_F - LN_MARGIN) / 2),
    "stable_rank_sum": math.sqrt((6.25 / 4 + 12 / 9) / INPUTS),
    "spectral_bound_from_initialisation": logarithm(LN_S - LN_MARGIN + math.log(1 / 4 + 4 / 9)),
    "spectral_bound_from_origin": logarithm(LN_S - LN_MARGIN + math.log(6.25 / 4 + 12 / 9)),
    "frobenius_distance": math.sqrt(5 / INPUTS),
    "spectral_distance": math.sqrt(5 / INPUTS),
    "parameter_norm": math.sqrt((6.25 + 12) / INPUTS),
    "path_norm": math.sqrt(PATH / INPUTS),
    "path_norm_over_margin": math.sqrt(PATH / MARGIN**2 / INPUTS),
    "spectral_margin_bound": DATA * BARTLETT * math.log(64) / (MARGIN * INPUTS),
    "weight_norm": math.sqrt(6.25 + 12),
    "distance_from_initialisation": math.sqrt(5),
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_diagonal_matrices(name: str, dtype: torch.dtype) -> None:
    assert value_of(name, by_hand(dtype)) == pytest.approx(BY_HAND[name], rel=1e-12 if dtype == torch.float64 else 1e-6)


def test_matrices_that_are_not_diagonal_against_numpy() -> None:
    one = fitted()
    layers = [matrix.numpy() for matrix in one.matrices().values()]
    moves = [layer - start.numpy() for layer, start in zip(layers, one.matrices(one.initial).values(), strict=True)]
    count, s = len(one.inputs), [np.linalg.norm(layer, 2) ** 2 for layer in layers]
    logs = np.log(s).sum()
    rows = sum((np.linalg.norm(a, axis=1).sum() / np.linalg.norm(a, 2)) ** (2 / 3) for a in layers) ** 1.5
    gamma = 1 / (value_of("inverse_squared_margin", one) * math.sqrt(count))  # margins have tests of their own
    bartlett = np.linalg.norm(one.inputs.numpy()) * math.sqrt(math.exp(logs)) * rows * math.log(64) / (gamma * count)
    expected = {
        "log_spectral_product": 0.5 * (logs - math.log(count)),
        "log_frobenius_product": 0.5 * (sum(2 * math.log(np.linalg.norm(a)) for a in layers) - math.log(count)),
        "stable_rank_sum": math.sqrt(sum(np.linalg.norm(a) ** 2 / q for a, q in zip(layers, s, strict=True)) / count),
        "spectral_distance": math.sqrt(sum(np.linalg.norm(a, 2) ** 2 for a in moves) / count),
        "frobenius_distance": math.sqrt(sum(np.linalg.norm(a) ** 2 for a in moves) / count),
        "spectral_margin_bound": bartlett,
    }
    for name, value in expected.items():
        assert value_of(name, one) == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("bias", [False, True])
def test_path_norm_is_the_squared_networks_output_on_ones(bias: bool) -> None:
    one = fitted(bias)
    outputs = one.network(one.weights.square(), torch.ones_like(one.inputs[:1]))
    assert value_of("path_norm", one) ** 2 * len(one.inputs) == pytest.approx(float(outputs.sum()), rel=1e-12)


def test_path_norm_is_the_sum_over_paths_whatever_the_activation() -> None:
    one = made_run(model={"kind": "mlp", "widths": [3, 2], "bias": False, "activation": "gelu"}, training={"steps": 5})
    layers = [matrix.square().tolist() for matrix in one.matrices().values()]
    paths = product(range(64), range(3), range(2), range(10))
    total = math.fsum(math.prod(w[j][i] for w, (i, j) in zip(layers, pairwise(p), strict=True)) for p in paths)
    assert value_of("path_norm", one) ** 2 * len(one.inputs) == pytest.approx(total, rel=1e-10)


def test_weight_norm_and_distance_count_biases_too() -> None:
    one = fitted(bias=True)
    moved = one.weights.clone()
    biases = torch.ones_like(moved, dtype=torch.bool)
    for name, matrix in one.matrices().items():
        assert matrix.ndim == 2
        biases[one.network.slices()[name]] = False
    assert int(biases.sum()) == 12 + 12 + 10
    moved[biases] += 1
    grown = replace(one, weights=moved)
    assert value_of("weight_norm", grown) == pytest.approx(math.dist(moved.tolist(), [0.0] * len(moved)), rel=1e-12)
    apart = math.dist(moved.tolist(), one.initial.tolist())
    assert value_of("distance_from_initialisation", grown) == pytest.approx(apart, rel=1e-12)
    assert value_of("frobenius_distance", grown) == value_of("frobenius_distance", one)


def changed(one: Run, *factors: float) -> Run:
    """The layers times these factors."""
    flat = torch.cat([f * w.flatten() for f, w in zip(factors, one.matrices().values(), strict=True)])
    return replace(one, weights=flat)


def claimed(invariance: str) -> list[str]:
    return [
        name
        for name, one in find_metrics().items()
        if one.measure.__module__.split(".")[-1] in MINE and invariance in one.invariances
    ]


@pytest.mark.parametrize("name", claimed("rescaling"))
def test_rescaling_of_relu_layers_leaves_what_says_so(name: str) -> None:
    one = fitted()
    assert value_of(name, changed(one, 3.0, 0.5, 1 / 1.5)) == pytest.approx(value_of(name, one), rel=1e-9)


@pytest.mark.parametrize("name", claimed("last layer"))
def test_a_factor_on_the_last_layer_leaves_what_says_so(name: str) -> None:
    one = fitted()
    assert value_of(name, changed(one, 1.0, 1.0, 7.0)) == pytest.approx(value_of(name, one), rel=1e-9)


def test_no_logarithm_and_no_quotient_of_a_layer_that_is_zero() -> None:
    one = by_hand()
    dead = replace(one, weights=torch.cat([torch.zeros(256), one.weights[256:]]))
    at_start = replace(one, initial=one.weights)
    for name in ("log_spectral_product", "log_frobenius_sum", "stable_rank_sum"):
        with pytest.raises(ValueError, match="zero"):
            value_of(name, dead)
    with pytest.raises(ValueError, match="has not moved"):
        value_of("spectral_bound_from_initialisation", at_start)
    assert value_of("frobenius_distance", at_start) == 0


def test_a_transformer_has_norms_but_no_paths() -> None:
    one = tokens()
    matrices = [matrix.numpy() for matrix in one.matrices().values()]
    ranks = sum((np.linalg.norm(a) / np.linalg.norm(a, 2)) ** 2 for a in matrices)
    assert value_of("stable_rank_sum", one) ** 2 * len(one.inputs) == pytest.approx(ranks, rel=1e-9)
    for name in ("path_norm", "path_norm_over_margin", "spectral_margin_bound", "vc_bound"):
        with pytest.raises(ValueError, match="not for tokens"):
            value_of(name, one)


def test_values_are_plain_numbers() -> None:
    one: Any = find_metrics()["path_norm"].measure(by_hand())
    assert isinstance(one, float)
    assert not isinstance(one, Estimate)
