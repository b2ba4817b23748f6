"""The probe of gradients against dense Jacobians and Hessians by torch alone, and against curvlinops."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacrev

from suite.curvature import gauss_newton, true_fisher
from suite.measuring import isolation
from suite.measuring.place import WORKER_VARIABLES, Place
from suite.measuring.probes import Subject, find_probes, gradients
from suite.measuring.probes.spectrum import minibatch
from suite.metrics.probed.gradients import Gradients
from suite.models.flat import initial_weights
from suite.spec.probes import Gradients as Budget
from suite.spec.task import TaskSpec
from suite.training.objective import sample_losses
from suite.training.problem import load_problem

MLP = {"kind": "mlp", "widths": [4], "bias": False, "activation": "gelu"}
DECODER = {"kind": "transformer", "layers": 1, "width": 4, "heads": 2, "hidden_factor": 1}
MODULAR = {"kind": "modular", "modulus": 7, "operation": "add", "encoding": "tokens", "train_fraction": 0.9}
MARKOV = {"kind": "markov", "vocabulary": 4, "order": 1, "length": 3, "sequences": 45, "concentration": 0.5}

CASES = {
    "vectors": ({"kind": "digits"}, MLP, "cross_entropy"),
    "squared errors": ({"kind": "digits"}, MLP, "mse"),
    "probabilities": ({"kind": "digits"}, MLP, "cross_entropy"),
    "tokens": (MODULAR, DECODER, "cross_entropy"),
    "a target a position": (MARKOV, DECODER, "cross_entropy"),
}
BUDGET = Budget(samples=40, minibatches=3)
BATCH = 16


def subject(case: str, device: str = "cpu", dtype: torch.dtype = torch.float64, factor: float = 1.0) -> Subject:
    data, model, loss = CASES[case]
    training = {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "batch_size": BATCH, "steps": 1, "loss": loss}
    task = TaskSpec.model_validate(
        {"name": "t", "title": "t", "kind": "grid", "data": data, "model": model, "training": training}
    )
    problem = load_problem(task, torch.device(device), dtype)
    if case == "probabilities":
        soft = torch.rand(len(problem.train), 10, generator=torch.Generator().manual_seed(1), dtype=dtype)
        problem = replace(problem, train=replace(problem.train, targets=soft / soft.sum(1, keepdim=True)))
    weights = factor * initial_weights(task.model, task.data.shape(), 3).to(device, dtype)
    return Subject(problem, task, 1, weights, weights, ())


def tensors_of(one: Subject, budget: Budget = BUDGET) -> dict[str, Tensor]:
    return find_probes()["gradients"].measure(one, budget)


def probed(one: Subject, budget: Budget = BUDGET) -> Gradients:
    return Gradients.from_arrays(tensors_of(one, budget))


def losses(one: Subject, weights: Tensor) -> Tensor:
    """The loss of each training input `[n]`."""
    train = one.problem.train
    each = sample_losses(one.problem.objective, one.problem.model(weights, train.inputs), train.targets)
    return each.reshape(len(each), -1).mean(1)


def rows_of(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The Jacobian of `[d] → [n]`, a row at a time: batched, torch differentiates layer normalisation wrongly."""
    jacobian: Tensor = jacrev(function, chunk_size=1)(at)
    return jacobian


def hessian_of(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return rows_of(grad(function), at)


def close(value: Tensor | float, wanted: Tensor | float, rel: float = 1e-10) -> bool:
    value, wanted = torch.as_tensor(value), torch.as_tensor(wanted)
    return bool((value - wanted).abs().max() <= rel * wanted.abs().max())


@pytest.mark.parametrize("case", CASES)
def test_norms_and_products_are_those_of_dense_derivatives(case: str) -> None:
    one = subject(case)
    found, count = probed(one), len(one.problem.train)
    every = rows_of(partial(losses, one), one.weights)
    g, h = every.mean(0), hessian_of(lambda w: losses(one, w).mean(), one.weights)
    assert close(found.norm, g.norm())
    assert close(found.curvature, g @ h @ g)
    assert close(found.turned, (h @ g).norm())
    assert close(found.weights_curvature, one.weights @ h @ one.weights)
    kept = every[gradients._drawn(40, count)]
    assert close(found.samples, kept.square().sum(1))
    assert close(found.inner, kept @ g)
    for k in range(3):
        at = minibatch(k, BATCH, count)  # the minibatches of the spectral probe
        here = every[at].mean(0)
        hb = hessian_of(lambda w, at=at: losses(one, w)[at].mean(), one.weights)
        assert close(found.batches[k], here @ here)
        assert close(found.batch_curvatures[k], here @ hb @ here)
        assert close(found.batch_inner[k], here @ g)
    assert (found.size, len(found.samples), len(found.batches)) == (count, 40, 3)


@pytest.mark.parametrize("case", CASES)
def test_gauss_newton_traces_are_those_of_dense_jacobians(case: str) -> None:
    one = subject(case)
    found, train = probed(one), one.problem.train
    assert found.exact
    for i, value in zip(gradients._drawn(5, len(train)), found.gauss_newton, strict=False):
        x, y = train.inputs[i : i + 1], train.targets[i : i + 1]

        def criterion(z: Tensor, y: Tensor = y) -> Tensor:
            return sample_losses(one.problem.objective, z, y).mean()

        outputs = one.problem.model(one.weights, x)
        jacobian = rows_of(lambda w, x=x: one.problem.model(w, x).flatten(), one.weights)
        middle = hessian(criterion)(outputs).reshape(outputs.numel(), outputs.numel())
        assert close(value, (jacobian.T @ middle @ jacobian).trace())


@pytest.mark.parametrize("case", CASES)
def test_the_mean_is_the_trace_of_gauss_newton_and_of_the_true_fisher(case: str) -> None:
    one = subject(case)
    train, objective = one.problem.train, one.problem.objective
    whole = probed(one, Budget(samples=len(train), minibatches=1)).gauss_newton_trace()
    assert whole.standard_error == 0  # all inputs are taken
    units = torch.eye(len(one.weights), dtype=torch.float64)

    def predict(w: Tensor) -> Tensor:
        return one.problem.model(w, train.inputs)

    ggn = gauss_newton(predict, lambda z: sample_losses(objective, z, train.targets).mean(), one.weights, rows=64)
    fisher = true_fisher(predict, "gaussian" if objective == "mse" else "categorical", one.weights, rows=64)
    assert whole.value == pytest.approx(float((ggn @ units).trace()), rel=1e-10)
    assert whole.value == pytest.approx(float((fisher @ units).trace()), rel=1e-10)


def test_the_true_fisher_is_the_mean_over_labels_of_the_networks_own() -> None:
    one = subject("vectors")
    found, train = probed(one), one.problem.train
    for i, value in zip(gradients._drawn(5, len(train)), found.gauss_newton, strict=False):

        def log_probabilities(w: Tensor, i: Tensor = i) -> Tensor:
            return one.problem.model(w, train.inputs[i : i + 1])[0].log_softmax(-1)

        scores = rows_of(log_probabilities, one.weights)
        p = log_probabilities(one.weights).exp()
        assert close(value, (p * scores.square().sum(1)).sum())


@pytest.mark.parametrize("case", ["squared errors", "tokens", "a target a position"])
def test_random_vectors_give_the_exact_traces_on_average(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = subject(case)
    exact = probed(one)
    monkeypatch.setattr(gradients, "_OUTPUTS", 0)
    monkeypatch.setattr(gradients, "_VECTORS", 400)
    found = probed(one)
    assert not found.exact
    assert not torch.equal(found.gauss_newton, exact.gauss_newton)
    # the variance of a Rademacher trace estimate is at most 2 tr(A²) ≤ 2 tr(A)²
    bound = exact.gauss_newton * (2 / 400) ** 0.5
    assert bool(((found.gauss_newton - exact.gauss_newton).abs() < 4.5 * bound).all())
    total = float((found.gauss_newton - exact.gauss_newton).sum())
    assert abs(total) < 4 * float(bound.square().sum().sqrt())


@pytest.mark.parametrize("case", CASES)
def test_pieces_of_unequal_size_change_nothing(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one = subject(case)
    at_once = tensors_of(one)
    # 7 inputs a piece of the whole set, the last one smaller; one input at a time where gradients are kept
    monkeypatch.setattr(gradients, "_NUMBERS", 7 * gradients._activation(one.problem))
    in_pieces = tensors_of(one)
    for name, tensor in at_once.items():
        assert close(in_pieces[name].double(), tensor.double(), 1e-12), name


def test_a_full_batch_is_one_minibatch() -> None:
    one = subject("tokens")
    full = replace(one, task=one.task.model_copy(update={"training": one.task.training.model_copy()}))
    full.task.training.__dict__["batch_size"] = "full"
    found = probed(full)
    assert close(found.batches, found.norm.square()[None])
    assert close(found.batch_curvatures, found.curvature[None])
    assert close(found.batch_inner, found.norm.square()[None])


def test_gradients_of_inputs_that_are_fitted_survive_float32_training() -> None:
    wanted = probed(subject("vectors", factor=12.0)).samples
    found = probed(subject("vectors", dtype=torch.float32, factor=12.0)).samples
    one = subject("vectors", dtype=torch.float32, factor=12.0)
    single = rows_of(partial(losses, one), one.weights).square().sum(1)[gradients._drawn(40, len(one.problem.train))]
    assert bool((wanted > 0).all())
    assert bool(((found / wanted - 1).abs() < 1e-3).all())  # weights themselves are rounded to float32
    assert bool(((single.double() / wanted - 1).abs() > 0.1).any())  # which float32 throughout does not manage


def test_covariance_is_that_of_all_gradients_and_its_error_is_of_drawing_without_replacement() -> None:
    one = subject("tokens")
    every = rows_of(partial(losses, one), one.weights)
    count = len(every)
    whole = probed(one, Budget(samples=count, minibatches=1))
    assert whole.covariance_trace().value == pytest.approx(float(every.var(0, correction=0).sum()), rel=1e-10)
    assert whole.second_moment_trace().value == pytest.approx(float(every.square().sum(1).mean()), rel=1e-10)
    assert whole.covariance_trace().standard_error == 0
    some = probed(one, Budget(samples=10, minibatches=1)).second_moment_trace()
    squares = every.square().sum(1)
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([squares[torch.randperm(count, generator=generator)[:10]].mean() for _ in range(4000)])
    assert some.standard_error == pytest.approx(float(draws.std()), rel=0.6)  # known from ten values
    assert abs(some.value - float(squares.mean())) < 4 * float(draws.std())
    average = sum(
        float(whole.mean(squares[torch.randperm(count, generator=generator)[:10]]).standard_error or 0) ** 2
        for _ in range(4000)
    )
    assert average / 4000 == pytest.approx(float(draws.var()), rel=0.1)


def test_weights_without_a_finite_gradient_are_an_error() -> None:
    one = subject("vectors")
    with pytest.raises(ValueError, match="not finite"):
        tensors_of(replace(one, weights=one.weights * float("inf")))


def peak() -> int | None:
    """Bytes that the probe takes at its peak, of 51,466 parameters; None where the system does not tell."""
    CASES["wide"] = ({"kind": "digits"}, {"kind": "mlp", "widths": [192, 192]}, "cross_entropy")
    torch.set_num_threads(1)
    one = subject("wide")
    with isolation._metered(torch.device("cpu")) as taken:
        tensors_of(one, Budget(samples=512, minibatches=4))
    return taken.memory


@pytest.mark.slow
def test_small_results_pin_no_heap_of_large_ones() -> None:
    """Kept in a list, each where a large block was freed, they made it 432 MiB here (136 without), and 20 GB once."""
    program = f"from {__name__} import peak; print(peak())"
    words = [sys.executable, "-c", program]  # a heap of its own
    told = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout
    if told == "None\n":
        pytest.skip("the system does not tell what a process took at its peak")
    assert int(told) < 32 * 8 * gradients._NUMBERS, "as many blocks as are held at once at most, of float64"


def test_traces_are_curvlinops() -> None:
    curvlinops = pytest.importorskip("curvlinops", reason="the extra `peers` is not installed")
    one = subject("vectors")
    model, train = one.problem.model, one.problem.train
    module = model.module.to_empty(device="cpu").double()
    parameters = {n: p.detach().clone().requires_grad_() for n, p in model.unflatten(one.weights).items()}
    module.load_state_dict(parameters)
    logits = functional_call(module, parameters, (train.inputs,))
    assert close(logits, model(one.weights, train.inputs))
    named = list(module.parameters())
    words = (module, torch.nn.CrossEntropyLoss(), named, [(train.inputs, train.targets)])
    units = torch.eye(len(one.weights), dtype=torch.float64)
    found = probed(one, Budget(samples=len(train), minibatches=1))
    ggn = curvlinops.GGNLinearOperator(*words) @ units
    empirical = curvlinops.EFLinearOperator(*words) @ units
    assert found.gauss_newton_trace().value == pytest.approx(float(ggn.trace()), rel=1e-9)
    assert found.second_moment_trace().value == pytest.approx(float(empirical.trace()), rel=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("case", CASES)
def test_the_probe_on_cuda_is_that_of_the_cpu(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in WORKER_VARIABLES.items():
        monkeypatch.setenv(variable, value)
    expected = tensors_of(subject(case))
    try:
        Place.of("cuda:0", "float64").prepare()
        first, second = (tensors_of(subject(case, "cuda:0")) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    for name, tensor in expected.items():
        assert torch.equal(first[name], second[name]), name
        assert close(first[name].cpu().double(), tensor.double(), 1e-8), name
