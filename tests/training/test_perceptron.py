"""Gradients of perceptrons written out by hand, against torch.func's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad_and_value, vmap

from suite.models.flat import FlatModel, flat_model
from suite.models.mlp import MLP
from suite.models.transformer import Transformer
from suite.spec.base import Shape
from suite.spec.training import SGD
from suite.training.descent import descent
from suite.training.objective import Loss, losses_and_slopes, mean_loss, sample_losses
from suite.training.optimizers import hyperparameters, stacked_optimizer
from suite.training.perceptron import Perceptrons

CELLS, BATCH, FEATURES, CLASSES = 3, 7, 5, 4
SHAPE = Shape(encoding="vectors", features=FEATURES, outputs=CLASSES)


def network(activation: str, bias: bool, widths: list[int]) -> FlatModel:
    return flat_model(MLP(kind="mlp", widths=widths, activation=activation, bias=bias), SHAPE)


def data(shared: bool, exact: bool) -> tuple[Tensor, Tensor]:
    lead = (BATCH,) if shared else (CELLS, BATCH)
    inputs = torch.randn(*lead, FEATURES, dtype=torch.float64)
    if exact:
        return inputs, torch.rand(*lead, CLASSES, dtype=torch.float64)  # weights that do not even sum to one
    return inputs, torch.randint(0, CLASSES, lead)


@pytest.mark.parametrize("exact", [False, True], ids=["classes", "probabilities"])
@pytest.mark.parametrize("shared", [False, True], ids=["minibatches", "full-batch"])
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize(("activation", "widths"), [("relu", [6, 3]), ("gelu", [6, 3]), ("tanh", [4]), ("relu", [])])
def test_gradients_are_those_of_autograd(
    activation: str, widths: list[int], bias: bool, loss: Loss, shared: bool, exact: bool
) -> None:
    torch.manual_seed(0)
    model = network(activation, bias, widths)
    flat = torch.randn(CELLS, model.size, dtype=torch.float64)
    inputs, targets = data(shared, exact)
    mine = Perceptrons.of(model, loss, inputs if shared else inputs[0])
    assert mine is not None

    def of_one(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return mean_loss(loss, model(w, x), y)

    gradient, value = vmap(grad_and_value(of_one), in_dims=(0, None, None) if shared else 0)(flat, inputs, targets)
    found, losses = mine.gradients(flat, inputs, targets)
    torch.testing.assert_close(losses, value, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_descent_in_place_is_the_step_from_the_gradient(bias: bool, shared: bool) -> None:
    torch.manual_seed(1)
    model = network("relu", bias, [6, 3])
    flat = torch.randn(CELLS, model.size, dtype=torch.float64)
    flat[1] *= 1e4  # a loss beyond the limit: frozen
    before, (inputs, targets) = torch.randn_like(flat), data(shared, False)
    mine = Perceptrons.of(model, "cross_entropy", inputs if shared else inputs[0])
    assert mine is not None
    optimizers = [SGD(kind="sgd", learning_rate=rate) for rate in (0.1, 0.2, 0.3)]
    hyper, factor = hyperparameters(optimizers, flat), torch.tensor(0.5, dtype=torch.float64)
    update, _ = stacked_optimizer(optimizers, flat)
    gradient, loss = mine.gradients(flat, inputs, targets)
    assert (loss < 1e3).tolist() == [True, False, True]
    moved, _ = update(flat, gradient, (), hyper, factor)
    start, old = flat.clone(), before.clone()
    alive, steps = torch.ones(CELLS, 1, dtype=torch.bool), torch.tensor([4, 5, 6])
    w, kept, state, alive, steps, losses = descent(mine, 1e3)(
        flat, before, (), alive, steps, torch.ones(CELLS, dtype=torch.float64), hyper, factor, inputs, targets
    )
    assert w is flat
    assert kept is before
    torch.testing.assert_close(w, moved, rtol=1e-12, atol=1e-13)
    assert torch.equal(kept, torch.stack([start[0], old[1], start[2]]))
    assert alive[:, 0].tolist() == [True, False, True]
    assert steps.tolist() == [5, 5, 7]
    torch.testing.assert_close(losses, 1 + loss)
    assert state == ()


def test_slopes_are_the_derivatives_of_the_losses() -> None:
    logits = torch.randn(3, 5, 4, dtype=torch.float64, requires_grad=True)
    for loss in ("cross_entropy", "mse"):
        for targets in (torch.randint(0, 4, (3, 5)), torch.rand(3, 5, 4, dtype=torch.float64)):
            losses, slopes = losses_and_slopes(loss, logits, targets)
            meant = sample_losses(loss, logits, targets)
            torch.testing.assert_close(losses, meant)
            torch.testing.assert_close(slopes, torch.autograd.grad(meant.sum(), logits)[0])


def test_other_networks_are_left_to_autograd() -> None:
    inputs = torch.randn(BATCH, FEATURES)
    assert Perceptrons.of(network("relu", True, [6]), "mse", inputs) is not None
    tokens = flat_model(
        Transformer(layers=1, heads=1, width=8), Shape(encoding="tokens", features=3, outputs=5, vocabulary=5)
    )
    assert Perceptrons.of(tokens, "cross_entropy", torch.zeros(2, 3, dtype=torch.int64)) is None
    for other in (
        nn.Sequential(nn.Linear(5, 5), nn.LayerNorm(5), nn.Linear(5, 4)),
        nn.Sequential(nn.Linear(5, 5), nn.GELU("tanh"), nn.Linear(5, 4)),
        nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 4)),
        nn.Sequential(nn.Linear(5, 5), nn.ReLU()),
        nn.Linear(5, 4),
    ):
        parameters = dict(other.named_parameters())
        shapes = tuple(tuple(p.shape) for p in parameters.values())
        assert Perceptrons.of(FlatModel(other, tuple(parameters), shapes, True), "cross_entropy", inputs) is None
