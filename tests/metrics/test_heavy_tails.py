"""Power laws against samples of known exponent, a slow scan in plain Python, and spectra known in advance."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from suite.metrics import Run
from suite.metrics.heavy_tails import Values, eigenvalues, power_law
from tests.metrics.made import made_run, value_of
from tests.metrics.test_norms import fitted


def pareto(alpha: float, count: int, seed: int = 0) -> Values:
    """Sorted draws of density ∝ x^−α on x ≥ 1."""
    return np.sort((1 - np.random.default_rng(seed).random(count)) ** (-1 / (alpha - 1)))


@pytest.mark.parametrize("alpha", [1.5, 2.5, 4.0])
def test_the_exponent_of_a_power_law(alpha: float) -> None:
    found, start = power_law(pareto(alpha, 4000))
    tail = int((pareto(alpha, 4000) >= start).sum())
    assert abs(found - alpha) < 4 * (alpha - 1) / math.sqrt(tail)  # Clauset et al., Eq. 3.2


def test_the_tail_is_found_above_a_body_that_is_none() -> None:
    body = np.random.default_rng(1).uniform(0.01, 1, 2000)
    found, start = power_law(np.sort(np.concatenate([body, pareto(3.0, 2000)])))
    assert 0.8 < start < 1.5
    assert found == pytest.approx(3.0, abs=0.25)


def slow(values: Values) -> tuple[float, float]:
    """Every candidate in turn, in plain Python."""
    results = []
    for first in range(len(values) - 1):
        tail = [float(x) / float(values[first]) for x in values[first:]]
        alpha = 1 + len(tail) / math.fsum(math.log(x) for x in tail)
        distance = max(abs(1 - x ** (1 - alpha) - i / len(tail)) for i, x in enumerate(tail))
        results.append((distance, alpha, float(values[first])))
    return min(results)[1:]


@pytest.mark.parametrize("seed", range(5))
def test_against_a_slow_scan(seed: int) -> None:
    values = np.sort(np.random.default_rng(seed).lognormal(size=40))
    assert power_law(values) == pytest.approx(slow(values), rel=1e-12)


def test_scale_does_not_change_an_exponent_and_equal_values_have_none() -> None:
    values = pareto(2.2, 50)
    assert power_law(1e-6 * values)[0] == pytest.approx(power_law(values)[0], rel=1e-9)
    with pytest.raises(ValueError, match="alike"):
        power_law(np.ones(20))


def test_eigenvalues_are_those_of_the_gram_matrix_without_the_zeros_of_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(30, 12, generator=generator, dtype=torch.float64)
    matrix[:, 0] = matrix[:, 1]  # rank 11
    expected = np.linalg.eigvalsh((matrix.T @ matrix).numpy())[1:]
    assert eigenvalues(matrix) == pytest.approx(expected, rel=1e-9)
    assert len(eigenvalues(matrix.float())) == 11
    assert len(eigenvalues(torch.zeros(5, 5))) == 0


def planted() -> tuple[Run, list[Values]]:
    """Digits' 64-12-12-10 with layers of chosen singular values, between random rotations."""
    run, spectra, parts = fitted(), [], []
    for seed, matrix in enumerate(run.matrices().values()):
        rows, columns = matrix.shape
        small = min(rows, columns)
        values = pareto(2.5, small, seed)
        left = torch.linalg.qr(torch.randn(rows, small, dtype=torch.float64, generator=seeded(seed)))[0]
        right = torch.linalg.qr(torch.randn(columns, small, dtype=torch.float64, generator=seeded(seed + 9)))[0]
        parts.append((left * torch.as_tensor(values).sqrt() @ right.T).flatten())
        spectra.append(values)
    return replace(run, weights=torch.cat(parts)), spectra


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_layers_of_known_spectra() -> None:
    run, spectra = planted()
    alphas = [slow(values)[0] for values in spectra]
    expected = {
        "power_law_alpha": alphas,
        "weighted_alpha": [a * math.log10(max(v)) for a, v in zip(alphas, spectra, strict=True)],
        "log_alpha_norm": [math.log10(sum(x**a for x in v)) for a, v in zip(alphas, spectra, strict=True)],
    }
    for name, layers in expected.items():
        assert value_of(name, run) == pytest.approx(sum(layers) / 3, rel=1e-8), name
        single = replace(run, weights=run.weights.float())
        assert value_of(name, single) == pytest.approx(sum(layers) / 3, rel=1e-3), name


def test_small_layers_do_not_count() -> None:
    run, spectra = planted()
    cut = run.weights.clone()
    cut[: 64 * 12] = 0
    cut[: 3 * 64] = torch.randn(3 * 64, generator=seeded(1), dtype=torch.float64)  # rank 3
    expected = [slow(values)[0] for values in spectra[1:]]
    assert value_of("power_law_alpha", replace(run, weights=cut)) == pytest.approx(sum(expected) / 2, rel=1e-8)
    for name in ("power_law_alpha", "weighted_alpha", "log_alpha_norm"):
        with pytest.raises(ValueError, match="rank 10"):
            value_of(name, made_run(training={"steps": 1}))  # 64-4-10


def test_a_large_exponent_does_not_overflow() -> None:
    """Spectra that are almost flat have huge exponents: log₁₀ Σ λ^α stays finite."""
    run, _ = planted()
    sizes = [1e3 * (1 + 1e-4 * torch.arange(min(m.shape), dtype=torch.float64)) for m in run.matrices().values()]
    parts = []
    for size, matrix in zip(sizes, run.matrices().values(), strict=True):
        full = torch.zeros_like(matrix)
        full[range(len(size)), range(len(size))] = size
        parts.append(full.flatten())
    value = value_of("log_alpha_norm", replace(run, weights=torch.cat(parts)))
    alphas = [slow(np.asarray(size.square()))[0] for size in sizes]
    assert min(alphas) > 100
    bounds = [(a * math.log10(float(s[-1] ** 2)), math.log10(len(s))) for a, s in zip(alphas, sizes, strict=True)]
    assert sum(low for low, _ in bounds) / 3 <= value <= sum(low + more for low, more in bounds) / 3
