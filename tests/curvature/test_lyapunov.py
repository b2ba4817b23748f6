"""Lyapunov exponents against systems whose exponents are known, and D_s ≤ SD where they are not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma
from torch import Tensor

from suite.curvature.dimension import sharpness_dimension
from suite.curvature.hessian import Loss
from suite.curvature.jacobian import Step
from suite.curvature.lyapunov import lyapunov_exponents, multi_step_dimension, one_step_exponents
from suite.curvature.maps import StateMap, adamw_map, initial_state, sgd_map, simulate


def linear(matrix: Tensor) -> StateMap:
    return lambda x: matrix @ x


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def henon(x: Tensor) -> Tensor:
    return torch.stack([1 - 1.4 * x[0] ** 2 + x[1], 0.3 * x[0]])


def test_henon() -> None:
    found = lyapunov_exponents([henon] * 2000, torch.tensor([0.1, 0.1]).double(), warmup=200, interval=5)
    expected = torch.tensor([0.41922, -1.62319]).double()
    assert found.steps == 1800
    assert float(found.exponents.sum()) == pytest.approx(math.log(0.3), abs=1e-12)
    assert (found.standard_error < 0.015).all()
    assert ((found.exponents - expected).abs() < 4 * found.standard_error).all()
    assert multi_step_dimension(found.exponents, 2) == pytest.approx(1.2583, abs=0.015)


def test_gaussian_matrices() -> None:
    n, steps = 5, 1500
    maps = [linear(torch.randn(n, n, generator=generator(t), dtype=torch.float64)) for t in range(steps)]
    found = lyapunov_exponents(maps, torch.zeros(n).double(), warmup=100, seed=1)
    expected = torch.tensor([(math.log(2) + digamma((n - i) / 2)) / 2 for i in range(n)])
    assert ((found.exponents - expected).abs() < 4 * found.standard_error).all()
    assert (found.standard_error < 0.05).all()
    # a chi variable's logarithm has a known variance, and the logs of different steps are independent
    exact = torch.tensor([trigamma((n - i) / 2) for i in range(n)]).sqrt() / 2 / found.steps**0.5
    assert ((found.standard_error / exact - 1).abs() < 0.5).all()


def trigamma(x: float) -> float:
    return float(torch.special.polygamma(1, torch.tensor(x, dtype=torch.float64)))


def test_rotated_singular_values_have_the_top_exponent_of_their_law() -> None:
    """A = U diag(s) Vᵀ with Haar V: the sum is Σ ln s exactly, the first E ln |diag(s) u| for u on the sphere."""
    s, n = torch.tensor([3.0, 1.0, 0.2]).double(), 3

    def haar(seed: int) -> Tensor:
        q, r = torch.linalg.qr(torch.randn(n, n, generator=generator(seed), dtype=torch.float64))
        return q * r.diagonal().sign()

    maps = [linear(haar(2 * t) @ torch.diag(s) @ haar(2 * t + 1).T) for t in range(1000)]
    found = lyapunov_exponents(maps, torch.zeros(n).double())
    u = torch.nn.functional.normalize(torch.randn(400_000, n, generator=generator(7), dtype=torch.float64), dim=1)
    expected = float((u * s).norm(dim=1).log().mean())
    assert float(found.exponents.sum()) == pytest.approx(float(s.log().sum()), abs=1e-12)
    assert abs(float(found.exponents[0]) - expected) < 4 * float(found.standard_error[0])
    # the inverse's first exponent is minus the last
    inverse = -float((u / s).norm(dim=1).log().mean())
    assert abs(float(found.exponents[2]) - inverse) < 4 * float(found.standard_error[2])


def test_diagonal_maps() -> None:
    rates = torch.tensor([0.5, 2.0, 1e-20, 1.0, -0.9]).double()
    found = lyapunov_exponents([lambda x: rates * x] * 460, torch.zeros(5).double(), warmup=400)
    expected = rates.abs().log().sort(descending=True).values
    torch.testing.assert_close(found.exponents, expected, rtol=0, atol=1e-13)
    assert found.standard_error.max() < 1e-13


def test_leading_exponents_are_those_of_all() -> None:
    maps = [linear(torch.randn(6, 6, generator=generator(t), dtype=torch.float64)) for t in range(60)]
    state = torch.zeros(6).double()
    leading = lyapunov_exponents(maps, state, count=2, warmup=30).exponents
    every = lyapunov_exponents(maps, state, warmup=30).exponents
    assert leading.shape == (2,)
    torch.testing.assert_close(leading, every[:2], rtol=0, atol=1e-13)


@pytest.mark.parametrize("interval", [2, 7, 40, 100])
def test_the_interval_does_not_matter(interval: int) -> None:
    # at 100 steps the directions collapse to rounding (a ratio of e^-500): the interval has to be halved
    rates = torch.tensor([2.0, 1.0, 0.02]).double()
    maps = [
        linear(torch.diag(rates) + 0.1 * torch.randn(3, 3, generator=generator(t), dtype=torch.float64))
        for t in range(100)
    ]
    state = torch.zeros(3).double()
    one = lyapunov_exponents(maps, state).exponents
    torch.testing.assert_close(lyapunov_exponents(maps, state, interval=interval).exponents, one, rtol=0, atol=1e-3)
    assert lyapunov_exponents(maps, state, interval=interval).exponents.isfinite().all()


def test_annihilated_directions_leave_the_others_alone() -> None:
    """Rank 3 in 5 dimensions: three exponents are those of the product's restriction, two are −inf."""
    maps, blocks = [], []
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator(0), dtype=torch.float64)).Q
    for t in range(300):
        block = torch.randn(3, 3, generator=generator(t), dtype=torch.float64)
        blocks.append(linear(block))
        maps.append(linear(turn @ torch.block_diag(block, torch.zeros(2, 2).double()) @ turn.T))
    found = lyapunov_exponents(maps, torch.zeros(5).double())
    assert found.exponents[3:].tolist() == [-math.inf, -math.inf]
    assert found.standard_error[3:].isnan().all()
    inner = lyapunov_exponents(blocks, torch.zeros(3).double())
    # the sum is the determinants' growth but for the first frame's angle; the first frames differ
    assert float(found.exponents[:3].sum()) == pytest.approx(float(inner.exponents.sum()), abs=0.02)
    torch.testing.assert_close(found.exponents[:3], inner.exponents, rtol=0, atol=0.03)
    assert sharpness_dimension(found.exponents) == pytest.approx(sharpness_dimension(inner.exponents), abs=0.1)


def test_a_lost_direction_in_the_middle_of_the_frame() -> None:
    """The pushed frame (2, 0, 0), (0, 0, 0), (0, ½, 0): a QR in this order would lose the third with the second."""
    from suite.curvature.lyapunov import _orthonormalise

    pushed = torch.tensor([[2.0, 0, 0], [0, 0, 0], [0, 0.5, 0]]).double()
    assert float(torch.linalg.qr(pushed.T).R.diagonal().abs()[2]) == 0  # the trap is there
    frame, logs, order = _orthonormalise(pushed, 1e-15)
    assert logs.tolist() == [math.log(2), math.log(0.5), -math.inf]
    assert order.tolist() == [0, 2, 1]
    torch.testing.assert_close(frame @ frame.T, torch.eye(3).double(), rtol=0, atol=1e-15)


def test_the_rows_behind_a_lost_one_keep_their_own_growth() -> None:
    """The frame is along the axes after the warm-up; then the second axis is lost, in mid-frame, after five steps."""
    grow = linear(torch.diag(torch.tensor([8.0, 4.0, 2.0]).double()))
    lose = linear(torch.diag(torch.tensor([8.0, 0.0, 2.0]).double()))
    found = lyapunov_exponents([grow] * 65 + [lose] + [grow] * 4, torch.zeros(3).double(), warmup=60)
    assert found.exponents.tolist() == pytest.approx([math.log(8), math.log(2), -math.inf], abs=1e-12)
    assert found.standard_error[:2].max() < 1e-12


def test_one_annihilation_is_for_ever_and_not_in_the_warm_up() -> None:
    kill, keep = linear(torch.diag(torch.tensor([2.0, 0.0]).double())), linear(torch.eye(2).double())
    state = torch.zeros(2).double()
    once = lyapunov_exponents([keep, kill, keep, keep], state).exponents
    assert once[1] == -math.inf
    # the living one grows by 2 along the first axis, times the cosine its first direction had to it
    assert -2.0 < float(once[0]) * 4 - math.log(2) <= 1e-12
    assert lyapunov_exponents([keep, kill, keep, keep], state, warmup=2).exponents.tolist() == pytest.approx([0, 0])
    both = lyapunov_exponents([linear(torch.zeros(2, 2).double())] * 3, state, interval=2)
    assert both.exponents.tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("step", [Step(0.1, 0.9), Step(0.1, 0.9, 0.01, True), Step(0.5)])
def test_a_quadratic_has_the_eigenvalues_moduli(step: Step) -> None:
    """One matrix for ever: ln |eigenvalue| of it (the block's own, complex ones included), not its singular values."""
    curvatures = torch.tensor([0.0, 0.3, 2.0, 30.0, 45.0]).double()
    move = sgd_map(lambda w: 0.5 * (curvatures * w**2).sum(), step)
    state = torch.zeros(5 * step.state_factor).double()
    found = lyapunov_exponents([move] * 350, state, warmup=100)
    matrix = torch.func.jacrev(move)(state)
    expected = torch.linalg.eigvals(matrix).abs().log().sort(descending=True).values
    torch.testing.assert_close(found.exponents, expected, rtol=0, atol=1e-2)


def test_exponents_do_not_depend_on_the_metric_but_one_step_values_do() -> None:
    scale = torch.tensor([1.0, 10.0, 0.1]).double()
    maps = [linear(torch.randn(3, 3, generator=generator(t), dtype=torch.float64)) for t in range(150)]
    scaled = [lambda x, a=a: scale * a(x / scale) for a in maps]
    state = torch.zeros(3).double()
    one, two = (lyapunov_exponents(m, state, warmup=50).exponents for m in (maps, scaled))
    torch.testing.assert_close(one, two, rtol=0, atol=0.05)
    points = [state] * 150
    assert float((one_step_exponents(maps, points) - one_step_exponents(scaled, points)).abs().max()) > 0.5


@settings(max_examples=60)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 4), st.floats(-1.5, 1.0), st.integers(0, 10**6))
def test_multi_step_is_never_above_one_step(n: int, steps: int, interval: int, scale: float, seed: int) -> None:
    """Random non-linear maps x ↦ e^scale · M tanh(x) + shift: the same steps, any interval, any number of them."""
    rng = generator(seed)

    def one() -> StateMap:
        matrix = torch.randn(n, n, generator=rng, dtype=torch.float64) * math.exp(scale) / n**0.5
        shift = torch.randn(n, generator=rng, dtype=torch.float64)
        return lambda x: matrix @ torch.tanh(x) + shift

    maps = [one() for _ in range(steps)]
    state = torch.zeros(n).double()
    many = lyapunov_exponents(maps, state, interval=interval, seed=seed).exponents
    single = one_step_exponents(maps, simulate(maps, state)[:-1])
    assert (many.cumsum(0) <= single.cumsum(0) + 1e-10).all()
    # all n of them: both are ln |det|
    assert float(many.sum()) == pytest.approx(float(single.sum()), abs=1e-9)
    assert multi_step_dimension(many) <= sharpness_dimension(single) + 1e-9
    assert sharpness_dimension(single) <= n


def test_one_step_exponents_are_the_dense_jacobians() -> None:
    maps = [linear(torch.randn(4, 4, generator=generator(t), dtype=torch.float64)) for t in range(3)]
    dense = [torch.linalg.svdvals(torch.func.jacrev(m)(torch.zeros(4).double())).log() for m in maps]
    found = one_step_exponents(maps, torch.zeros(3, 4).double())
    torch.testing.assert_close(found, torch.stack(dense).mean(0), rtol=0, atol=1e-13)


def digits_losses(count: int, batch: int) -> tuple[list[Loss], Tensor]:
    """Minibatches of the digits at 4 × 4 pixels, for a tanh network 16-6-10 without bias: 156 parameters."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = images.reshape(-1, 4, 2, 4, 2).mean((2, 4)).reshape(-1, 16) / 16
    x, y = torch.from_numpy(pixels).double(), torch.from_numpy(labels).long()
    rng = generator(0)

    def one() -> Loss:
        rows = torch.randint(len(x), (batch,), generator=rng)
        inputs, targets = x[rows], y[rows]
        return lambda w: torch.nn.functional.cross_entropy(
            torch.tanh(inputs @ w[:96].view(16, 6)) @ w[96:].view(6, 10), targets
        )

    return [one() for _ in range(count)], torch.randn(156, generator=rng, dtype=torch.float64) * 0.5


@pytest.mark.parametrize("step", [Step(2.0), Step(0.5, 0.9, 1e-3)])
def test_a_network_on_real_minibatches(step: Step) -> None:
    batches, params = digits_losses(40, 32)
    maps = [sgd_map(loss, step) for loss in batches]
    state = initial_state(params, step.state_factor - 1)
    start = simulate(maps[:20], state)[-1]
    states = simulate(maps[20:], start)
    found = lyapunov_exponents(maps[20:], start)
    single = one_step_exponents(maps[20:], states[:-1])
    n = len(start)
    assert torch.equal(found.state, states[-1])
    assert (found.exponents.cumsum(0) <= single.cumsum(0) + 1e-9).all()
    assert 0 < multi_step_dimension(found.exponents, n) < sharpness_dimension(single) <= n
    assert float(found.exponents.sum()) == pytest.approx(float(single.sum()), abs=1e-9)


def test_the_whole_of_adamw_on_real_minibatches() -> None:
    """All 3d dimensions, with pixels that are black in every image (s = 0 there, where √s has no derivative)."""
    batches, params = digits_losses(12, 64)

    def blind(loss: Loss) -> Loss:
        return lambda w: loss(torch.cat([torch.zeros(6, dtype=w.dtype), w[6:]]))

    maps = [adamw_map(blind(loss), 0.01, t=t, epsilon=1e-3) for t, loss in enumerate(batches, 1)]
    state = initial_state(params, 2)
    start = simulate(maps[:4], state)[-1]
    assert (start[2 * 156 : 2 * 156 + 6] == 0).all()
    found = lyapunov_exponents(maps[4:], start)
    single = one_step_exponents(maps[4:], simulate(maps[4:], start)[:-1])
    assert (found.exponents.cumsum(0) <= single.cumsum(0) + 1e-8).all()
    assert multi_step_dimension(found.exponents) <= sharpness_dimension(single)


def test_standard_errors_need_two_stretches() -> None:
    maps = [linear(torch.randn(2, 2, generator=generator(t), dtype=torch.float64)) for t in range(4)]
    assert lyapunov_exponents(maps, torch.zeros(2).double(), interval=4).standard_error.isnan().all()
    assert lyapunov_exponents(maps, torch.zeros(2).double(), interval=3).standard_error.isfinite().all()


def test_seed_and_dtype() -> None:
    maps = [linear(torch.randn(3, 3, generator=generator(t), dtype=torch.float64)) for t in range(5)]
    state = torch.zeros(3).double()
    one, again, other = (lyapunov_exponents(maps, state, seed=seed).exponents for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, atol=1e-6)
    single = [linear(torch.randn(3, 3, generator=generator(t), dtype=torch.float64).float()) for t in range(5)]
    found = lyapunov_exponents(single, state.float())
    assert found.exponents.dtype == torch.float64
    torch.testing.assert_close(found.exponents, one, rtol=0, atol=1e-4)


def test_multi_step_dimension_edges() -> None:
    assert multi_step_dimension([-0.1, -1.0]) == 0
    assert multi_step_dimension([0.1, 0.0]) == 2
    assert multi_step_dimension([0.5, -math.inf], 7) == 1
    values = np.array([0.4, 0.1, -0.2, -0.9])
    partial = np.cumsum(values)
    assert multi_step_dimension(values) == pytest.approx(3 + partial[2] / (partial[2] - partial[3]), rel=1e-15)
    with pytest.raises(ValueError, match="follow more of the 5"):
        multi_step_dimension([0.5, -0.1], 5)
    with pytest.raises(ValueError, match="2 dimensions"):
        multi_step_dimension([0.5, -0.1, -1.0], 2)


def test_bad_arguments() -> None:
    state, keep = torch.zeros(3).double(), linear(torch.eye(3).double())
    with pytest.raises(ValueError, match="from 1 to 3"):
        lyapunov_exponents([keep], state, count=4)
    with pytest.raises(ValueError, match="give count"):
        lyapunov_exponents([keep], torch.zeros(4097).double())
    with pytest.raises(ValueError, match="warm-up of 1"):
        lyapunov_exponents([keep], state, warmup=1)
    with pytest.raises(ValueError, match="interval ≥ 1"):
        lyapunov_exponents([keep], state, interval=0)
    with pytest.raises(ValueError, match="flat state"):
        lyapunov_exponents([keep], torch.zeros(3, 3))
    with pytest.raises(ValueError, match="no steps"):
        one_step_exponents([], [])
    with pytest.raises(ValueError, match=r"zip|argument"):
        one_step_exponents([keep], [state, state])


def test_divergence_names_the_step() -> None:
    maps = [lambda x: x**2] * 20
    with pytest.raises(ValueError, match="not finite after step 9"):
        lyapunov_exponents(maps, torch.full((2,), 10.0).double(), warmup=3)
    with pytest.raises(ValueError, match="derivative of step 1 "):
        lyapunov_exponents([torch.sqrt], torch.zeros(2).double())
