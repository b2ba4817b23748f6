"""Steps as maps: against PyTorch's optimizers, and their Jacobians against closed forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, jvp

from suite.curvature.hessian import Loss, dense_hessian
from suite.curvature.jacobian import AdamStep, Step, log_singular_values, preconditioner
from suite.curvature.maps import adamw_map, initial_state, sgd_map, simulate

SIZE = 3 * 4 + 4 * 2


def losses(count: int, seed: int = 0) -> list[Loss]:
    """A small tanh network on another minibatch each."""
    generator = torch.Generator().manual_seed(seed)

    def one() -> Loss:
        x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
        y = torch.randn(6, 2, generator=generator, dtype=torch.float64)
        return lambda w: ((torch.tanh(x @ w[:12].view(3, 4)) @ w[12:].view(4, 2) - y) ** 2).mean()

    return [one() for _ in range(count)]


def start(size: int = SIZE) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def train(
    make: Callable[[list[Tensor]], torch.optim.Optimizer], batches: list[Loss]
) -> tuple[Tensor, dict[str, Tensor]]:
    w = start().requires_grad_()
    optimizer = make([w])
    for loss in batches:
        optimizer.zero_grad()
        loss(w).backward()
        optimizer.step()
    return w.detach(), optimizer.state[w]


@pytest.mark.parametrize(
    "step",
    [Step(0.1), Step(0.1, weight_decay=0.02), Step(0.1, 0.9), Step(0.2, 0.5, 0.02), Step(0.1, 0.9, 0.02, True)],
)
def test_sgd_is_torch_sgd(step: Step) -> None:
    def make(params: list[Tensor]) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            params, step.learning_rate, step.momentum, weight_decay=step.weight_decay, nesterov=step.nesterov
        )

    batches = losses(20)
    w, state = train(make, batches)
    final = simulate([sgd_map(b, step) for b in batches], initial_state(start(), step.state_factor - 1))[-1]
    torch.testing.assert_close(final[:SIZE], w, rtol=0, atol=1e-12)
    if step.momentum:
        torch.testing.assert_close(final[SIZE:], state["momentum_buffer"], rtol=0, atol=1e-12)
    assert not torch.allclose(w, start(), atol=1e-2)


@pytest.mark.parametrize(("betas", "epsilon", "decay"), [((0.9, 0.999), 1e-8, 0.0), ((0.8, 0.95), 1e-3, 0.1)])
def test_adamw_is_torch_adamw(betas: tuple[float, float], epsilon: float, decay: float) -> None:
    batches = losses(20)
    w, state = train(lambda p: torch.optim.AdamW(p, 0.03, betas, epsilon, weight_decay=decay), batches)
    maps = [adamw_map(b, 0.03, *betas, epsilon, decay, t) for t, b in enumerate(batches, 1)]
    final = simulate(maps, initial_state(start(), 2))[-1]
    expected = torch.cat([w, state["exp_avg"], state["exp_avg_sq"]])
    torch.testing.assert_close(final, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(w, start(), atol=1e-2)


@pytest.mark.parametrize("step", [Step(0.3, 0.0, 0.1), Step(0.3, 0.9, 0.1), Step(0.3, 0.9, 0.1, True)])
def test_sgd_jacobian_has_the_closed_forms_singular_values(step: Step) -> None:
    (loss,) = losses(1, seed=3)
    state = torch.cat([start(), torch.randn((step.state_factor - 1) * SIZE).double()])
    jacobian = jacrev(sgd_map(loss, step))(state)
    found = torch.linalg.svdvals(jacobian)
    spectrum = torch.linalg.eigvalsh(dense_hessian(loss, start()))
    expected = log_singular_values(spectrum, step).exp().sort(descending=True).values
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_adamw_jacobian_where_the_momentum_vanishes_is_the_frozen_one() -> None:
    """At m' = 0 no change of s moves w: the w, m part of the whole Jacobian is that of AdamStep in P's metric."""
    (loss,) = losses(1, seed=4)
    w, s = start(), 0.1 + torch.rand(SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    g = torch.func.grad(loss)(w)
    beta1, beta2, epsilon, t = 0.9, 0.99, 1e-2, 5
    state = torch.cat([w, -(1 - beta1) / beta1 * g, s])
    jacobian = jacrev(adamw_map(loss, 0.2, beta1, beta2, epsilon, 0.3, t))(state)
    torch.testing.assert_close(
        jacobian[: 2 * SIZE, 2 * SIZE :], torch.zeros(2 * SIZE, SIZE).double(), rtol=0, atol=1e-15
    )
    p = preconditioner(beta2 * s + (1 - beta2) * g**2, epsilon, beta2, t)
    metric = torch.cat([p.sqrt(), 1 / p.sqrt()])
    found = torch.linalg.svdvals(metric[:, None] * jacobian[: 2 * SIZE, : 2 * SIZE] / metric)
    spectrum = torch.linalg.eigvalsh(dense_hessian(loss, w) / torch.outer(p.sqrt(), p.sqrt()))
    expected = log_singular_values(spectrum, AdamStep(0.2, beta1, 0.3, 1 / (1 - beta1**t))).exp().sort(descending=True)
    torch.testing.assert_close(found, expected.values, rtol=0, atol=1e-12)
    assert float(spectrum.abs().max()) > 0.1


def test_adamw_derivative_is_the_difference_quotient() -> None:
    (loss,) = losses(1, seed=5)
    move = adamw_map(loss, 0.1, 0.9, 0.99, 1e-3, 0.1, 3)
    state = torch.cat([start(), torch.randn(SIZE).double(), 0.1 + torch.rand(SIZE).double()])
    direction = torch.randn(3 * SIZE).double()
    exact = jvp(move, (state,), (direction,))[1]
    h = 1e-6
    quotient = (move(state + h * direction) - move(state - h * direction)) / (2 * h)
    torch.testing.assert_close(exact, quotient, rtol=1e-7, atol=1e-8)


def test_adamw_is_differentiable_where_a_parameter_has_never_had_a_gradient() -> None:
    move = adamw_map(lambda w: w[0] ** 2, 0.1, epsilon=1e-3, t=2)
    state = initial_state(torch.tensor([1.0, 2.0]).double(), 2)
    exact = jvp(move, (state,), (torch.ones(6).double(),))[1]
    h = 1e-10
    quotient = (move(state + h * torch.ones(6).double()) - move(state)) / h
    # one-sided, as s cannot be negative; √h is what is left of the second moment's root
    assert exact.isfinite().all()
    assert exact[1] == pytest.approx(float(quotient[1]), rel=0.4)
    assert exact[1] == pytest.approx(1 - 0.1 * 0.9 / (1 - 0.9**2) / 1e-3, rel=1e-12)
    assert torch.equal(jacrev(move)(state).isfinite(), torch.ones(6, 6).bool())


def test_snapshots() -> None:
    move = sgd_map(lambda w: 0.5 * (w**2).sum(), Step(0.5))
    found = simulate([move] * 7, torch.tensor([128.0]).double(), keep_every=3)
    assert found.flatten().tolist() == [128.0, 16.0, 2.0]
    assert simulate([], torch.tensor([1.0])).tolist() == [[1.0]]


def test_divergence_names_the_step() -> None:
    move = sgd_map(lambda w: (w**4).sum(), Step(1e100))
    with pytest.raises(ValueError, match="not finite after step 2"):
        simulate([move] * 5, torch.ones(1).double())


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="keep_every"):
        simulate([], torch.ones(1), 0)
    with pytest.raises(ValueError, match="2 equal parts"):
        sgd_map(losses(1)[0], Step(0.1, 0.9))(torch.ones(3))
    with pytest.raises(ValueError, match="t ≥ 1"):
        adamw_map(losses(1)[0], 0.1, t=0)
    with pytest.raises(ValueError, match="flat"):
        initial_state(torch.ones(2, 2), 1)
