"""Counts, causality, seeding, and second derivatives against autograd's own."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch.func import grad, jvp, vmap

from suite.models.flat import flat_model, initial_weights
from suite.models.gpt2 import GPT2
from suite.models.mlp import MLP
from suite.models.transformer import Transformer
from suite.models.uniform_mlp import UniformMLP
from suite.spec.base import ModelSpec, Shape
from suite.training.objective import mean_loss

IMAGE = Shape("vectors", 784, 10)
TEXT = Shape("tokens", 5, 7, 7, every_position=True)
SUM = Shape("tokens", 3, 5, 6)
SMALL = [
    (MLP(widths=[4], activation="gelu"), Shape("vectors", 3, 5)),
    (UniformMLP(width=3, scale=2.0, activation="tanh"), Shape("vectors", 3, 5)),
    (Transformer(layers=1, width=4, heads=2), SUM),
    (Transformer(layers=2, width=4, heads=1, normalisation="none"), TEXT),
    (GPT2(layers=1, width=4, heads=2), TEXT),
]
IDS = ["mlp", "uniform-mlp", "transformer-last", "transformer-all", "gpt2"]


def batch(shape: Shape, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if shape.encoding == "vectors":
        inputs = torch.randn(count, shape.features, generator=generator, dtype=torch.float64)
    else:
        inputs = torch.randint(0, shape.vocabulary, (count, shape.features), generator=generator)
    size = (count, shape.features) if shape.every_position else (count,)
    return inputs, torch.randint(0, shape.outputs, size, generator=generator)


def test_the_papers_counts() -> None:
    assert flat_model(MLP(widths=[16, 16], bias=False), IMAGE).size == 12_960
    assert flat_model(MLP(widths=[200, 200, 200, 200], bias=False), IMAGE).size == 278_800


def test_a_uniform_mlp_is_an_mlp_with_scaled_weights() -> None:
    plain, uniform = MLP(widths=[6, 6, 6]), UniformMLP(width=6, depth=3, scale=4.0)
    assert flat_model(uniform, IMAGE).shapes == flat_model(plain, IMAGE).shapes
    assert torch.equal(initial_weights(uniform, IMAGE, 5), 4 * initial_weights(plain, IMAGE, 5))
    assert uniform.misfit(SUM)


def test_gpt2_small_has_124_million_parameters_on_the_meta_device() -> None:
    model = flat_model(GPT2(), Shape("tokens", 1024, 50_257, 50_257, every_position=True))
    assert model.size == 124_439_808


@pytest.mark.parametrize(("spec", "shape"), SMALL, ids=IDS)
def test_second_derivatives_under_vmap(spec: ModelSpec, shape: Shape) -> None:
    model, weights = flat_model(spec, shape), initial_weights(spec, shape, 0).double() * 3
    inputs, targets = batch(shape)

    def loss(flat: torch.Tensor) -> torch.Tensor:
        return mean_loss("cross_entropy", model(flat, inputs), targets)

    vectors = torch.randn(3, model.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = vmap(lambda v: jvp(grad(loss), (weights,), (v,))[1])(vectors)
    expected = vectors @ torch.autograd.functional.hessian(loss, weights)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10 * float(expected.abs().max()))
    assert float(expected.abs().max()) > 1e-3


@pytest.mark.parametrize(("spec", "shape"), SMALL, ids=IDS)
def test_flat_model_is_the_module(spec: ModelSpec, shape: Shape) -> None:
    model, weights = flat_model(spec, shape), initial_weights(spec, shape, 3)
    module = spec.build(shape).eval()
    torch.nn.utils.vector_to_parameters(weights, module.parameters())
    inputs, _ = batch(shape)
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    assert torch.equal(model(weights, inputs), module(inputs))
    assert sum(s.stop - s.start for s in model.slices().values()) == model.size == len(weights)


@pytest.mark.parametrize(("spec", "shape"), SMALL, ids=IDS)
def test_initial_weights_are_a_function_of_the_seed_alone(spec: ModelSpec, shape: Shape) -> None:
    torch.manual_seed(1)
    first, state = initial_weights(spec, shape, 5), torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(initial_weights(spec, shape, 5), first)
    assert not torch.equal(initial_weights(spec, shape, 6), first)
    torch.manual_seed(1)
    initial_weights(spec, shape, 6)
    assert torch.equal(torch.random.get_rng_state(), state), "the global generator was used"


@pytest.mark.parametrize(("spec", "shape"), SMALL[3:], ids=IDS[3:])
def test_later_tokens_do_not_change_earlier_logits(spec: ModelSpec, shape: Shape) -> None:
    model, weights = flat_model(spec, shape), initial_weights(spec, shape, 0)
    inputs, _ = batch(shape)
    changed = inputs.clone()
    changed[:, 3] = (changed[:, 3] + 1) % shape.vocabulary
    before, after = model(weights, inputs), model(weights, changed)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert not torch.allclose(before[:, 3:], after[:, 3:], atol=1e-6)


def test_tied_weights_count_once() -> None:
    model = flat_model(GPT2(layers=1, width=4, heads=1), TEXT)
    assert sum("wte" in name or "lm_head" in name for name in model.names) == 1


def test_misfits_are_explained() -> None:
    assert "takes vectors" in (MLP(widths=[2]).misfit(SUM) or "")
    assert "takes tokens" in (Transformer(layers=1, width=4, heads=2).misfit(IMAGE) or "")
    assert "every position" in (GPT2().misfit(SUM) or "")


@pytest.mark.parametrize("spec", [Transformer, GPT2])
def test_heads_divide_the_width(spec: type[Transformer] | type[GPT2]) -> None:
    with pytest.raises(ValidationError, match="width 5 is not a multiple of heads 2"):
        spec(layers=1, width=5, heads=2)
