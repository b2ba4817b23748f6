"""Exponents against dense Jacobians and against logarithms in many digits."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from suite.curvature.dimension import sharpness_dimension
from suite.curvature.jacobian import (
    AdamStep,
    OptimizerStep,
    Step,
    log_singular_values,
    preconditioner,
    supremum_over_points,
)

PLAIN = [Step(0.1), Step(0.3, weight_decay=0.05), Step(3.0)]
HEAVY = [Step(0.1, 0.9), Step(0.3, 0.5, 0.05), Step(3.0, 0.99, 1e-3), Step(1e-4, 0.9, 1e-4)]
NESTEROV = [Step(0.1, 0.9, nesterov=True), Step(0.3, 0.5, 0.05, True), Step(3.0, 0.99, 1e-3, True)]
ADAM = [AdamStep(0.1), AdamStep(1e-3, 0.9, 0.1, 5.26), AdamStep(0.5, 0.95, 0.01), AdamStep(0.25, 0.0, 0.3)]
STEPS = [*PLAIN, *HEAVY, *NESTEROV, *ADAM]


def symmetric(size: int, seed: int) -> torch.Tensor:
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return matrix + matrix.T


def with_spectrum(values: list[float], seed: int) -> np.ndarray:
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    matrix = q @ np.diag(values) @ q.T
    return (matrix + matrix.T) / 2


def dense(hessian: np.ndarray, step: OptimizerStep, scales: np.ndarray) -> np.ndarray:
    """The Jacobian of the update rule in plain coordinates; for AdamW then in the metric of P = diag(scales)."""
    one, eta = np.eye(len(hessian)), step.learning_rate
    if isinstance(step, AdamStep):
        b1, rate = step.beta1, eta * step.correction * np.diag(1 / scales)
        moved = (1 - b1) * hessian
        top = (1 - eta * step.weight_decay) * one - rate @ moved
        if not b1:
            return np.diag(scales**0.5) @ top @ np.diag(scales**-0.5)
        metric = np.concatenate([scales**0.5, scales**-0.5])
        return metric[:, None] * np.block([[top, -b1 * rate], [moved, b1 * one]]) / metric
    force, mu = hessian + step.weight_decay * one, step.momentum
    if not mu:
        return one - eta * force
    if step.nesterov:
        return np.block([[one - eta * (force + mu * force), -eta * mu * mu * one], [force, mu * one]])
    return np.block([[one - eta * force, -eta * mu * one], [force, mu * one]])


def spectrum_seen_by(step: OptimizerStep, hessian: np.ndarray, scales: np.ndarray) -> torch.Tensor:
    if isinstance(step, AdamStep):
        hessian = hessian / np.sqrt(np.outer(scales, scales))
    return torch.linalg.eigvalsh(torch.from_numpy(hessian))


def descending(step: OptimizerStep, eigenvalues: torch.Tensor) -> np.ndarray:
    return log_singular_values(eigenvalues, step).sort(descending=True).values.numpy()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", range(5))
def test_logarithms_of_the_dense_jacobian(step: OptimizerStep, seed: int) -> None:
    hessian = symmetric(10, seed).numpy()
    scales = np.exp(np.random.default_rng(seed).normal(size=10))
    found = descending(step, spectrum_seen_by(step, hessian, scales))
    assert found.shape == (step.state_factor * 10,)
    sigma = np.linalg.svd(dense(hessian, step, scales), compute_uv=False)
    # what the dense decomposition can know: it is off by the rounding of its largest value in every value
    tolerance = 1e-12 + 1e-14 * sigma[0] / sigma
    assert (np.abs(found - np.log(sigma)) <= tolerance).all()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", range(3))
def test_wide_spectra_with_zeros_and_the_edges(step: OptimizerStep, seed: int) -> None:
    edge = 1 / step.learning_rate
    rng = np.random.default_rng(seed)
    values = [
        0.0,
        0.0,
        edge,
        2 * edge,
        -edge,
        30 * edge,
        -10 * edge,
        1e-8 * edge,
        *(edge * 10 ** rng.uniform(-6, 1, 6)),
    ]
    hessian, scales = with_spectrum(values, seed), 10 ** rng.uniform(-2, 2, len(values))
    found = np.exp(descending(step, spectrum_seen_by(step, hessian, scales)))
    sigma = np.linalg.svd(dense(hessian, step, scales), compute_uv=False)
    np.testing.assert_allclose(found, sigma, rtol=0, atol=1e-12 * max(1.0, sigma[0]))


def exact_logs(alpha: float, step: OptimizerStep) -> tuple[mpmath.mpf, mpmath.mpf]:
    """Both exponents of one block in sixty digits, from the eigenvalues of JᵀJ of the update rule's own Jacobian."""
    f = mpmath.mpf
    eta, decay = f(step.learning_rate), f(step.weight_decay)
    if isinstance(step, AdamStep):
        b1, c = f(step.beta1), f(step.correction)
        rows = [1 - eta * decay - eta * c * (1 - b1) * f(alpha), -eta * c * b1, (1 - b1) * f(alpha), b1]
    else:
        mu, beta = f(step.momentum), f(alpha) + decay
        v = (beta, mu)  # v' as a combination of w and v
        rows = [1 - eta * v[0], -eta * v[1], *v]
        if step.nesterov:
            rows = [1 - eta * (beta + mu * v[0]), -eta * mu * v[1], *v]
    a, b, c, d = rows
    total, det = a * a + b * b + c * c + d * d, abs(a * d - b * c)
    largest = mpmath.sqrt((total + mpmath.sqrt(total**2 - 4 * det**2)) / 2)
    return mpmath.log(largest), mpmath.log(det / largest) if det else -mpmath.inf


@pytest.mark.parametrize("step", [*HEAVY, *NESTEROV, *ADAM[:3], Step(1e-9, 0.9), AdamStep(1e-9, 0.9, 0.1)])
@given(alpha=st.one_of(st.floats(-1e3, 1e3), st.floats(-1e30, 1e30), st.sampled_from([0.0, 1e-20, -1e-20])))
def test_blocks_against_sixty_digits(step: OptimizerStep, alpha: float) -> None:
    with mpmath.workdps(60):
        first, second = exact_logs(alpha, step)
        found = log_singular_values(torch.tensor([alpha], dtype=torch.float64), step)
        assert abs(found[0].item() - first) <= 1e-15 * (1 + abs(first))
        # σ₂ is lost where a determinant is that of an annihilated direction: there 1 − ηβ is all rounding
        gap = 1.0
        if isinstance(step, Step) and step.nesterov:
            gap = min(1.0, abs(1 - step.learning_rate * (alpha + step.weight_decay)))
        assert gap == 0 or abs(found[1].item() - second) <= 1e-15 * (1 + abs(second)) / gap


@pytest.mark.parametrize(
    ("step", "alpha"),
    [
        (Step(1e-9, 0.9), 0.0),
        (Step(1e-3, 0.9), 1e-9),
        (Step(1e-6, 0.5, nesterov=True), 0.0),
        (AdamStep(1e-6, 0.9), 1e-12),
        (AdamStep(1e-5, 0.9, 1e-3), 0.0),
        (Step(1e-4, 0.9), 1e-4),
    ],
)
def test_tiny_exponents_of_blocks_keep_their_digits(step: OptimizerStep, alpha: float) -> None:
    with mpmath.workdps(60):
        expected = exact_logs(alpha, step)[0]
        found = log_singular_values(torch.tensor([alpha], dtype=torch.float64), step)[0].item()
        assert abs(expected) < 1e-5
        assert abs(found - expected) <= 1e-14 * abs(expected)


@given(
    st.floats(-1e4, 1e4),
    st.floats(1e-6, 10),
    st.floats(1e-3, 0.999),
    st.floats(0, 0.1),
    st.sampled_from(["heavy", "nesterov", "adam"]),
)
def test_block_exponents_are_ordered_and_sum_to_the_determinant(
    alpha: float, eta: float, mu: float, decay: float, kind: str
) -> None:
    step = AdamStep(eta, mu, decay) if kind == "adam" else Step(eta, mu, decay, kind == "nesterov")
    first, second = log_singular_values(torch.tensor([alpha], dtype=torch.float64), step).tolist()
    assert first >= second - 1e-15
    factor = {"heavy": 1.0, "nesterov": abs(1 - eta * (alpha + decay)), "adam": abs(1 - eta * decay)}[kind]
    if factor > 1e-3:
        assert first + second == pytest.approx(math.log(mu * factor), abs=1e-12)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8), st.floats(1e-3, 1.0))
def test_adam_without_averaging_is_preconditioned_sgd(eigenvalues: list[float], eta: float) -> None:
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    assert torch.equal(log_singular_values(values, AdamStep(eta, 0.0)), log_singular_values(values, Step(eta)))


def test_heavy_ball_matches_the_step_as_autograd_sees_it() -> None:
    hessian, step = symmetric(5, 2), Step(0.2, 0.9, 0.01)

    def move(state: torch.Tensor) -> torch.Tensor:
        w, v = state[:5], state[5:]
        v = step.momentum * v + hessian @ w + step.weight_decay * w
        return torch.cat([w - step.learning_rate * v, v])

    jacobian = torch.autograd.functional.jacobian(move, torch.zeros(10).double())
    found = log_singular_values(torch.linalg.eigvalsh(hessian), step).sort(descending=True).values
    assert torch.allclose(found, torch.linalg.svdvals(jacobian).log(), atol=1e-12)


@given(st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-18))
def test_relative_accuracy_against_forty_digits(alpha: float) -> None:
    getcontext().prec = 40
    distance = abs(1 - Decimal(alpha))
    if distance == 0:
        return
    expected = float(distance.ln())
    found = float(log_singular_values(torch.tensor([alpha], dtype=torch.float64), Step(1.0)))
    # near x = 1 the rounding of x − 1 is all there is; elsewhere the relative accuracy is full
    assert found == pytest.approx(expected, rel=1e-14, abs=5e-324)


@pytest.mark.parametrize("alpha", [1e-20, -1e-20, 1e-300, 2 + 4e-16])
def test_tiny_exponents_are_not_lost(alpha: float) -> None:
    found = float(log_singular_values(torch.tensor([alpha], dtype=torch.float64), Step(1.0)))
    assert found == pytest.approx(-alpha if abs(alpha) < 1 else 4.440892098500626e-16, rel=1e-12)


def test_annihilated_directions() -> None:
    assert float(log_singular_values(torch.tensor([2.0]), Step(0.5))) == -math.inf
    first, second = log_singular_values(torch.tensor([2.0]), Step(0.5, 0.5, nesterov=True)).tolist()
    # [[1 − 1.5, −0.125], [2, 0.5]] has rank one: its σ is its Frobenius norm
    assert first == pytest.approx(0.5 * math.log(0.25 + 0.125**2 + 4 + 0.25), abs=1e-15)
    assert second == -math.inf
    assert log_singular_values(torch.tensor([1.0]), AdamStep(0.5, 0.9, 2.0))[1] == -math.inf


def test_shapes_and_dtypes() -> None:
    values = torch.zeros(3, 4)
    assert log_singular_values(values, Step(0.1)).shape == (3, 4)
    for step in (*HEAVY, *NESTEROV, *ADAM[:3]):
        assert log_singular_values(values, step).shape == (3, 8)
        assert log_singular_values(values, step).dtype == torch.float64


def test_bad_steps_and_eigenvalues() -> None:
    with pytest.raises(ValueError, match="NaN"):
        log_singular_values(torch.tensor([float("nan")]), Step(0.5))
    with pytest.raises(ValueError, match="momentum above 0"):
        Step(0.1, nesterov=True)
    with pytest.raises(ValueError, match="negative"):
        Step(0.1, -0.9)
    with pytest.raises(ValueError, match="finite"):
        Step(math.nan)
    with pytest.raises(ValueError, match="beta1 < 1"):
        AdamStep(0.1, 1.0)
    with pytest.raises(ValueError, match="at least 1"):
        AdamStep(0.1, correction=0.5)


def test_preconditioner_is_what_adamw_divides_by() -> None:
    torch.manual_seed(0)
    w = torch.randn(6, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.AdamW([w], lr=0.01, betas=(0.9, 0.99), eps=1e-3, weight_decay=0.1)
    for _ in range(7):
        before = w.detach().clone()
        adam.zero_grad()
        (w**4).sum().backward()
        adam.step()
    state = adam.state[w]
    found = preconditioner(state["exp_avg_sq"], 1e-3, 0.99, 7)
    moved = (1 - 0.01 * 0.1) * before - 0.01 / (1 - 0.9**7) * state["exp_avg"] / found
    torch.testing.assert_close(moved, w.detach(), rtol=0, atol=1e-15)


def test_preconditioner_refuses_what_is_no_metric() -> None:
    with pytest.raises(ValueError, match="positive"):
        preconditioner(torch.zeros(3), 0.0, 0.99, 1)
    with pytest.raises(ValueError, match="positive"):
        preconditioner(torch.tensor([-1.0]), 1e-8, 0.99, 1)
    with pytest.raises(ValueError, match="step ≥ 1"):
        preconditioner(torch.ones(3), 1e-8, 0.99, 0)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.integers(0, 1000))
def test_supremum_is_never_below_any_point(points: int, draws: int, size: int, seed: int) -> None:
    sample = torch.randn(points, draws, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = supremum_over_points(sample)
    assert (found.diff() <= 0).all()
    for point in sample:
        alone = point.sort(-1, descending=True).values.mean(0)
        assert (found >= alone).all()
        assert sharpness_dimension(found) >= sharpness_dimension(alone) - 1e-12
    by_hand = [
        np.mean([max(sorted(sample[p, w].tolist(), reverse=True)[k] for p in range(points)) for w in range(draws)])
        for k in range(size)
    ]
    np.testing.assert_allclose(found.numpy(), by_hand, rtol=0, atol=1e-14)


def test_supremum_of_annihilated_and_bad_samples() -> None:
    low = torch.tensor([[[0.5, -math.inf]], [[0.25, -math.inf]]])
    assert supremum_over_points(low).tolist() == [0.5, -math.inf]
    with pytest.raises(ValueError, match="points, draws, d"):
        supremum_over_points(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="NaN"):
        supremum_over_points(torch.full((1, 1, 1), math.nan))
