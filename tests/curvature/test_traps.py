"""Traps that other libraries for curvature fell into, each as a test that this one does not.

What was seen where is told in the issue trackers of PyHessian, hessian-eigenthings and curvlinops, and by our own
measurements of them. References are dense float64 Hessians by plain double backward, independent of the library.
"""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from suite.curvature.combined import MicroBatchedOperator
from suite.curvature.eigenpairs import krylov_spectrum, top_eigenpairs
from suite.curvature.hessian import HessianOperator, StackedHessian, dense_hessian
from suite.curvature.lanczos import lanczos, lanczos_quadrature, rademacher
from suite.curvature.network import Network
from suite.curvature.quadrature import spectral_measure
from tests.curvature.modules import ATTENTION, NORMALISED, Mixed, classes, dense, flat_loss, normal, perceptron, seeded

CPU = torch.device("cpu")


# --- flat networks: an absolute constant in a normalisation (PyHessian: 21 % off at 9e-6, 89 % at 9e-7) -------------


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_flat_networks_have_the_right_top_eigenvalue(scale: float, dtype: torch.dtype) -> None:
    module, x, y = seeded(lambda: perceptron(6, 8, 3)), normal(20, 6), classes(20, 3)
    exact = torch.linalg.eigvalsh(scale * dense(module, lambda out: F.cross_entropy(out, y), x))
    network = Network(module.to(dtype))
    loss = network.loss(lambda out, target: scale * F.cross_entropy(out, target), x.to(dtype), y)
    operator = HessianOperator(loss, network.params)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-5  # float32 rounds the network's outputs, too
    pairs = top_eigenpairs(operator, 1, tolerance=1e-9 if dtype == torch.float64 else 1e-5)
    assert float(pairs.values[0]) == pytest.approx(float(exact[-1]), rel=tolerance)
    nodes, _ = lanczos_quadrature(operator, rademacher(3, operator.size, 0, dtype, CPU), 60)
    assert float(nodes.max()) == pytest.approx(float(exact[-1]), rel=tolerance)
    assert float(exact[-1]) < scale


def test_flat_directions_beside_steep_ones_are_resolved_to_rounding() -> None:
    values = torch.cat([torch.tensor([1.0, 1e-4, 1e-9]), torch.zeros(5)]).double()
    operator = HessianOperator(lambda w: 0.5 * (values * w * w).sum(), torch.ones(8, dtype=torch.float64))
    found = krylov_spectrum(operator)
    assert found.tolist() == pytest.approx([1e-9, 1e-4, 1.0], rel=1e-6)


# --- the trace: no early stop on a small change (PyHessian stops after 3 to 40 of 100 draws, 2 to 5 % off) -----------


def test_every_run_that_is_asked_for_is_made() -> None:
    asked: list[int] = []

    class Counting(HessianOperator):
        def _product(self, block: Tensor) -> Tensor:
            asked.append(len(block))
            return super()._product(block)

    # each probe gives the trace itself: an estimator that watches its changes would stop at once
    operator = Counting(lambda w: (w * w).sum(), torch.ones(40, dtype=torch.float64), rows=8)
    asked.clear()
    measure = spectral_measure(operator, runs=100, steps=3)
    assert sum(asked) == 300
    assert measure.runs == 100
    assert measure.trace().value == pytest.approx(80, rel=1e-12)


def test_the_trace_from_many_probes_is_within_its_error() -> None:
    module, x, y = seeded(lambda: perceptron(6, 10, 10, 3)), normal(30, 6), classes(30, 3)
    hessian = dense(module, lambda out: F.cross_entropy(out, y), x)
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    trace = spectral_measure(operator, runs=400, steps=2).trace()
    # Hutchinson (1990): the variance of one probe of signs is twice the squares off the diagonal
    variance = 2 * float(hessian.square().sum() - hessian.diagonal().square().sum())
    assert trace.standard_error == pytest.approx((variance / 400) ** 0.5, rel=0.2)
    assert abs(trace.value - float(hessian.trace())) < 4 * trace.standard_error


# --- precision of the small things (PyHessian: float32 tridiagonals, complex weights) --------------------------------


@pytest.mark.parametrize("form", ["none", "partial", "full"])
def test_coefficients_are_float64_and_weights_real(form: str) -> None:
    operator = HessianOperator(lambda w: (torch.arange(50.0) * w * w).sum(), torch.ones(50))
    run = lanczos(operator, rademacher(2, 50, 0, torch.float32, CPU), 12, form)  # type: ignore[arg-type]
    nodes, weights = run.quadrature()
    for tensor in (run.diagonal, run.off, run.matrices(), nodes, weights):
        assert tensor.dtype == torch.float64
    assert bool((weights >= 0).all())
    assert torch.allclose(weights.sum(1), torch.ones(2, dtype=torch.float64), atol=1e-13)


# --- the caller's model is left as it was (PyHessian: eval(), graph-holding .grad) -----------------------------------


def test_the_callers_model_is_left_as_it_was() -> None:
    module, x, y = seeded(Mixed), normal(7, 5), classes(7, 3)
    module.train()
    module.drop.eval()
    before = {n: t.clone() for n, t in module.state_dict().items()}
    training = {n: m.training for n, m in module.named_modules()}
    wanted = {n: p.requires_grad for n, p in module.named_parameters()}
    places = {n: t.data_ptr() for n, t in module.state_dict().items()}
    attributes, random = sorted(vars(module)), torch.random.get_rng_state()
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    spectral_measure(operator, runs=3, steps=4, deflate=1)
    assert all(torch.equal(t, before[n]) for n, t in module.state_dict().items())
    assert {n: m.training for n, m in module.named_modules()} == training
    assert {n: p.requires_grad for n, p in module.named_parameters()} == wanted
    assert {n: t.data_ptr() for n, t in module.state_dict().items()} == places
    assert all(p.grad is None and p.is_leaf for p in module.parameters())
    assert sorted(vars(module)) == attributes
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.cuda.flash_sdp_enabled()


def test_a_gradient_that_the_caller_holds_is_not_touched() -> None:
    module, x, y = seeded(lambda: perceptron(5, 4, 3)), normal(7, 5), classes(7, 3)
    F.cross_entropy(module(x), y).backward()
    held = {n: p.grad.clone() for n, p in module.named_parameters()}
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    operator @ normal(2, operator.size)
    for name, parameter in module.named_parameters():
        assert torch.equal(parameter.grad, held[name])
        assert not parameter.grad.requires_grad


def test_training_on_does_not_move_an_operator() -> None:
    module, x, y = seeded(lambda: perceptron(5, 4, 3)), normal(7, 5), classes(7, 3)
    network = Network(module)
    operator, vector = HessianOperator(network.loss(F.cross_entropy, x, y), network.params, rows=1), normal(5 * 4 + 19)
    before = operator @ vector
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(2)
    assert torch.equal(operator @ vector, before)


# --- minibatches that are not of one size (hessian-eigenthings: 15 % off for 100/100/56, 29 % for 120/120/16) --------


@pytest.mark.parametrize("micro", [100, 120])
@pytest.mark.parametrize("keep", [True, False])
def test_unequal_micro_batches_weigh_by_their_samples(micro: int, keep: bool) -> None:
    module, x, y = seeded(lambda: perceptron(6, 8, 3)), normal(256, 6), classes(256, 3)
    x[2 * micro :] *= 4  # the rest is unlike the others: a plain mean of three would show
    network = Network(module)

    def part(start: int, stop: int) -> HessianOperator:
        loss = network.loss(F.cross_entropy, x[start:stop], y[start:stop])
        return HessianOperator(loss, network.params, rows=4)

    block = normal(5, len(network.params))
    whole = part(0, 256) @ block
    found = MicroBatchedOperator(part, 256, micro, keep) @ block
    assert float((found - whole).abs().max()) < 1e-12 * float(whole.abs().max())
    sizes = [(0, micro), (micro, 2 * micro), (2 * micro, 256)]
    plain = sum(part(*bounds) @ block for bounds in sizes) / 3
    assert float((plain - whole).norm()) > 0.1 * float(whole.norm()), "the parts are alike: the test tests nothing"


# --- five eigenpairs are five (hessian-eigenthings: one eigenvalue five times, all "converged") ----------------------


@pytest.mark.parametrize("size", [60, 400])
def test_top_five_eigenpairs_are_five_with_true_residuals(size: int) -> None:
    # one steep direction far from the bulk is what makes a Krylov space repeat itself
    values = torch.cat([torch.tensor([1e4, 30.0, -25.0, 20.0, 15.0]), torch.linspace(-1, 1, size - 5)]).double()
    basis = torch.linalg.qr(normal(size, size, seed=5)).Q
    matrix = (basis * values) @ basis.T
    operator = HessianOperator(lambda w: 0.5 * w @ (matrix @ w), normal(size, seed=6))
    pairs = top_eigenpairs(operator, 5, tolerance=1e-10)
    assert pairs.values.tolist() == pytest.approx([1e4, 30.0, -25.0, 20.0, 15.0], rel=1e-9)
    assert torch.allclose(pairs.vectors @ pairs.vectors.T, torch.eye(5, dtype=torch.float64), atol=1e-9)
    left = (pairs.vectors @ matrix - pairs.values[:, None] * pairs.vectors).norm(dim=1)
    assert float(left.max()) < 1e-6  # 1e-10 of the largest
    assert torch.allclose(pairs.residuals, left, atol=1e-8)


def test_top_eigenpairs_that_cannot_converge_say_so() -> None:
    values = torch.linspace(0.999, 1.0, 400, dtype=torch.float64)
    operator = HessianOperator(lambda w: 0.5 * (values * w * w).sum(), torch.ones(400, dtype=torch.float64))
    with pytest.raises(ValueError, match="not converged"):
        top_eigenpairs(operator, 5, tolerance=1e-12, most_steps=40)


# --- ReLU in float32 (hessian-eigenthings' finite differences: the trace 9 times off) --------------------------------


def test_relu_networks_in_float32_have_the_right_trace() -> None:
    module = seeded(lambda: perceptron(20, 16, 16, 5, activation=nn.ReLU))
    x, y = normal(64, 20), classes(64, 5)
    hessian = dense(module, lambda out: F.cross_entropy(out, y), x)
    network = Network(module.float())
    operator = HessianOperator(network.loss(F.cross_entropy, x.float(), y), network.params)
    units = torch.eye(operator.size)
    assert float((operator @ units).diagonal().double().sum()) == pytest.approx(float(hessian.trace()), rel=1e-5)
    trace = spectral_measure(operator, runs=100, steps=20).trace()
    assert trace.standard_error is not None
    assert abs(trace.value - float(hessian.trace())) < 4 * trace.standard_error + 1e-4 * float(hessian.trace())


# --- dropout (hessian-eigenthings: two products of one vector differ by 72 %, no warning) ----------------------------


def test_dropout_is_off_in_a_network() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))

    module, x, y = seeded(make).train(), normal(9, 6), classes(9, 3)
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    found = operator @ torch.eye(operator.size, dtype=torch.float64)
    assert torch.allclose(found, dense(module, lambda out: F.cross_entropy(out, y), x), atol=1e-13)
    vector = normal(operator.size)
    assert torch.equal(operator @ vector, operator @ vector)
    assert module.training


def test_dropout_in_a_raw_loss_is_refused() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))

    x, y = normal(9, 6), classes(9, 3)
    loss, params = flat_loss(seeded(make).train(), lambda out: F.cross_entropy(out, y), x)
    with pytest.raises(ValueError, match=r"not deterministic.*evaluation mode"):
        HessianOperator(loss, params)


# --- batch normalisation in the wrong mode ---------------------------------------------------------------------------


def test_batch_norm_is_in_evaluation_mode() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))

    module, x, y = seeded(make).train(), normal(9, 6), classes(9, 3)
    module(3 * normal(50, 6, seed=8) + 1)  # running statistics unlike the batch's
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params)
    found = operator @ torch.eye(operator.size, dtype=torch.float64)
    assert torch.allclose(found, dense(module, lambda out: F.cross_entropy(out, y), x), atol=1e-13)


def test_batch_norm_without_running_statistics_is_refused_by_name() -> None:
    module = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Linear(8, 3))
    with pytest.raises(ValueError, match=r"^1: .*track_running_stats"):
        Network(module)


# --- ghosts (curvlinops: 3 to 8 copies of the largest eigenvalue at 80 steps) ----------------------------------------


def steep_and_bulk() -> tuple[HessianOperator, Tensor]:
    values = torch.cat([torch.tensor([50.0, 20.0]), torch.linspace(-0.5, 1.0, 398)]).double()
    basis = torch.linalg.qr(normal(400, 400, seed=3)).Q
    matrix = (basis * values) @ basis.T
    return HessianOperator(lambda w: 0.5 * w @ (matrix @ w), normal(400, seed=4)), matrix


@pytest.mark.parametrize(("form", "ghosts"), [("none", True), ("partial", False), ("full", False)])
def test_ghosts_are_in_no_count_and_harm_no_measure(form: str, ghosts: bool) -> None:
    operator, matrix = steep_and_bulk()
    probe = rademacher(1, 400, 1, torch.float64, CPU)
    nodes, weights = lanczos_quadrature(operator, probe, 80, form)  # type: ignore[arg-type]
    for steep in (50.0, 20.0):
        copies = int(((nodes - steep).abs() < 1e-6).sum())
        assert copies > 1 if ghosts else copies == 1
    for power in range(1, 7):
        exact = float(probe[0] @ torch.linalg.matrix_power(matrix, power) @ probe[0]) / 400
        assert float((weights * nodes**power).sum()) == pytest.approx(exact, rel=1e-9)
    value, vectors = torch.linalg.eigh(matrix)
    share = float((vectors[:, -1] @ probe[0]) ** 2) / 400
    assert float(value[-1]) == pytest.approx(50.0)
    assert float(weights[(nodes - 50).abs() < 1e-6].sum()) == pytest.approx(share, rel=1e-9)


# --- fused attention has no second derivative (all three) ------------------------------------------------------------


@pytest.mark.parametrize("name", ATTENTION)
@pytest.mark.parametrize("rows", [1, 16])
def test_fused_attention_is_differentiated_twice(name: str, rows: int) -> None:
    module, x, y = seeded(ATTENTION[name]), normal(4, 5, 6), classes(4, 3)
    hessian = dense(module, lambda out: F.cross_entropy(out, y), x)
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params, rows=rows)
    found = operator @ torch.eye(operator.size, dtype=torch.float64)
    assert float((found - hessian).abs().max()) < 1e-12 * float(hessian.abs().max())
    # and it is the function the caller has: differences of the gradient of the module itself, its kernels as they are
    loss, params = flat_loss(copy.deepcopy(module).eval(), lambda out: F.cross_entropy(out, y), x)
    vector, gradient = normal(operator.size), torch.func.grad(loss)
    difference = (gradient(params + 1e-5 * vector) - gradient(params - 1e-5 * vector)) / 2e-5
    assert float((operator @ vector - difference).norm()) < 1e-6 * float(difference.norm())


def test_gpt2_with_fused_attention() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0, use_cache=False
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = seeded(lambda: GPT2LMHeadModel._from_config(config, attn_implementation="sdpa"))
    model.train()  # its dropout of 0.1 is on
    tokens = torch.randint(0, 11, (3, 6), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": tokens, "labels": tokens}
    hessian = dense(model, lambda out: out.loss, **inputs)
    network = Network(model)
    operator = HessianOperator(network.loss(lambda out, _: out.loss, inputs, None), network.params)
    found = operator @ torch.eye(operator.size, dtype=torch.float64)
    assert float((found - hessian).abs().max()) < 1e-12 * float(hessian.abs().max())
    assert len(network.params) == sum(p.numel() for p in model.parameters()), "the tied embedding counts once"
    assert model.config._attn_implementation == "sdpa"
    assert model.training


# --- unused parameters raise (all three) -----------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 8])
def test_unused_parameters_have_zero_rows(rows: int) -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.spare, self.used, self.after = nn.Linear(3, 2), nn.Linear(4, 3), nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    module, x, y = seeded(Spare), normal(5, 4), classes(5, 3)
    network = Network(module)
    operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params, rows=rows)
    found = operator @ torch.eye(operator.size, dtype=torch.float64)
    used = torch.zeros(operator.size, dtype=torch.bool)
    for name, place in network.slices().items():
        used[place] = name.startswith("used")
    assert int(used.sum()) == 15
    assert torch.count_nonzero(found[~used]) == 0
    assert torch.count_nonzero(found[:, ~used]) == 0
    alone = dense(module.used, lambda out: F.cross_entropy(out, y), x)
    assert torch.allclose(found[used][:, used], alone, atol=1e-14)


# --- layer normalisation (curvlinops: products of a small transformer 4 to 9 % off, rows of the scales 20 to 30 %) ----


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize("form", ["one row", "a block", "dense", "stack"])
def test_normalisations_in_every_form_of_product(name: str, form: str) -> None:
    """Torch's gradient of a layer normalisation under vmap loses its second derivative: no form may rest on that."""
    module, x, y = seeded(NORMALISED[name]), normal(7, 6), classes(7, 3)
    network = Network(module)
    loss, params = network.loss(F.cross_entropy, x, y), network.params + 0.3 * normal(len(network.params), seed=9)
    gradient = torch.func.grad(loss)
    units = torch.eye(len(params), dtype=torch.float64)
    expected = torch.stack([(gradient(params + 1e-5 * u) - gradient(params - 1e-5 * u)) / 2e-5 for u in units])
    if form == "stack":
        batch = (params.expand(2, -1), x.expand(2, -1, -1), y.expand(2, -1))
        stack = StackedHessian(lambda w, a, b: F.cross_entropy(network(w, a), b), *batch)
        found = (stack @ units.repeat(2, 1))[len(params) :]
    elif form == "dense":
        found = dense_hessian(loss, params)
    else:
        found = HessianOperator(loss, params, rows=1 if form == "one row" else 16) @ units
    assert float((found - expected).norm()) < 1e-7 * float(expected.norm())


# --- runs that do not repeat (PyHessian: 159 to 1,587 over ten runs) -------------------------------------------------


def test_runs_repeat_to_the_bit() -> None:
    module, x, y = seeded(Mixed).train(), normal(7, 5), classes(7, 3)
    measures = []
    for disturbance in (0, 1):
        torch.manual_seed(disturbance)
        network = Network(module)
        operator = HessianOperator(network.loss(F.cross_entropy, x, y), network.params, rows=2)
        measures.append(spectral_measure(operator, runs=5, steps=8, deflate=1, seed=3))
    assert torch.equal(measures[0].nodes, measures[1].nodes)
    assert torch.equal(measures[0].masses, measures[1].masses)
    other = spectral_measure(operator, runs=5, steps=8, deflate=1, seed=4)
    assert not torch.equal(other.nodes, measures[0].nodes)
