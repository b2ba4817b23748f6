"""Probes of the sharpness dimension family, against torch's dense derivatives and the plain training loop."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum
from suite.measuring.probes import Subject, find_probes
from suite.measuring.probes.exponents import optimizer_maps, optimizer_state
from suite.measuring.probes.spectrum import minibatch
from suite.metrics.probed.attractor import Attractor as Points
from suite.metrics.probed.exponents import Exponents as Found
from suite.spec.cells import Cell, stacks
from suite.spec.probes import Attractor, DenseSpectrum, Exponents, LanczosSpectrum
from suite.spec.task import TaskSpec
from suite.training.order import epoch_order
from suite.training.problem import Problem, load_problem, load_test_split
from suite.training.reference import train_cell
from suite.training.stacked import train_stack
from tests.metrics.made import small_task

CPU = torch.device("cpu")
SGD = {"kind": "sgd", "learning_rate": 0.3}
HEAVY = SGD | {"momentum": 0.8, "weight_decay": 0.05}
ADAMW = {"kind": "adamw", "learning_rate": 0.02, "weight_decay": 0.1, "epsilon": 1e-3, "beta2": 0.97}
MODULAR = {
    "data": {"kind": "modular", "modulus": 5, "operation": "add", "encoding": "tokens", "train_fraction": 0.6},
    "model": {"kind": "transformer", "layers": 1, "width": 4, "heads": 2},
}


def subject(steps: int = 40, which: int = 0, **changes: Any) -> tuple[Subject, Cell]:
    """A checkpoint of the small task: halfway through `steps`, or (which = 1) at the end."""
    training = {"steps": steps, "checkpoints": {"kind": "even", "count": 2}, **changes.pop("training", {})}
    stack = stacks(small_task(training=training, **changes))[0]
    cell = stack.cells[0]
    problem = load_problem(cell.task, CPU, torch.float64)
    record = train_stack(stack, problem, load_test_split(cell.task, CPU, torch.float64))[0]
    at = record.checkpoints[which]
    return Subject(problem, cell.task, at.step, at.weights, record.initial, at.state), cell


def measured(name: str, of: Subject, spec: Any) -> Any:
    probe = find_probes()[name]
    return probe.load(spec, probe.measure(of, spec))


def dense(problem: Problem, weights: Tensor, at: Tensor) -> Tensor:
    inputs, targets = problem.train.inputs[at], problem.train.targets[at]
    # not torch.func.hessian: under its vmap the second derivative of layer normalisation is lost
    hessian: Tensor = torch.autograd.functional.hessian(lambda w: problem.loss(w, inputs, targets), weights)
    return hessian


def extremes(spectrum: QuadratureSpectrum, run: int) -> tuple[float, float]:
    nodes = spectrum.measure.nodes[run]
    return float(nodes.min()), float(nodes.max())


def test_as_many_runs_as_share_says_meet_one_minibatch() -> None:
    of, _ = subject()
    budget = {"steps": 60, "batch_size": 8, "dtype": "float64"}
    shared = measured("spectrum", of, LanczosSpectrum(runs=5, share=2, **budget))
    assert shared.measure.draws.tolist() == [0, 0, 1, 1, 2]
    assert measured("spectrum", of, LanczosSpectrum(runs=2, **budget)).measure.draws.tolist() == [0, 1]
    for run, draw in enumerate([0, 0, 1, 1, 2]):
        values = torch.linalg.eigvalsh(dense(of.problem, of.weights, minibatch(draw, 8, len(of.problem.train))))
        assert extremes(shared, run) == pytest.approx((float(values.min()), float(values.max())), rel=1e-9)


def test_the_first_run_of_a_minibatch_is_what_it_is_alone() -> None:
    of, _ = subject()
    budget = {"steps": 8, "batch_size": 8, "dtype": "float64"}  # before rounding makes ghosts
    alone = measured("spectrum", of, LanczosSpectrum(runs=2, **budget)).measure
    shared = measured("spectrum", of, LanczosSpectrum(runs=4, share=2, **budget)).measure
    torch.testing.assert_close(shared.nodes[[0, 2]], alone.nodes, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(shared.masses[[0, 2]], alone.masses, rtol=1e-9, atol=1e-9)
    assert float((shared.nodes[0] - shared.nodes[1]).abs().max()) > 0.01


def test_all_runs_share_a_full_batch() -> None:
    of, _ = subject()
    found = measured("whole", of, LanczosSpectrum(runs=3, share=2, steps=5, batch_size="full"))
    assert found.measure.draws.tolist() == [0, 0, 0]


@pytest.mark.parametrize("changes", [{}, MODULAR], ids=["mlp", "transformer"])
def test_the_preconditioner_is_that_of_the_last_step(changes: dict[str, Any]) -> None:
    of, _ = subject(which=1, training={"optimizer": ADAMW, "batch_size": 8}, **changes)
    found = measured("optimizer", of, LanczosSpectrum(runs=2, steps=300, dtype="float64"))
    root = ((of.state[1] / (1 - 0.97**40)).sqrt() + 1e-3).rsqrt()
    for draw in range(2):
        hessian = dense(of.problem, of.weights, minibatch(draw, 8, len(of.problem.train)))
        values = torch.linalg.eigvalsh(root[:, None] * hessian * root)
        assert extremes(found, draw) == pytest.approx((float(values.min()), float(values.max())), rel=1e-7)
    assert found.size == len(of.weights)


def test_who_has_no_preconditioner_is_told_so() -> None:
    spec = LanczosSpectrum(runs=1, steps=5)
    of, _ = subject()
    with pytest.raises(ValueError, match="sgd does not precondition"):
        measured("optimizer", of, spec)
    adam, _ = subject(training={"optimizer": ADAMW})
    diverged = Subject(adam.problem, adam.task, adam.step, adam.weights, adam.initial, ())
    zeros = (torch.zeros_like(adam.weights), torch.zeros_like(adam.weights), torch.ones(1), torch.ones(1))
    for state, step in [((), adam.step), (zeros, 0)]:
        diverged = Subject(adam.problem, adam.task, step, adam.weights, adam.initial, state)
        with pytest.raises(ValueError, match="no second moment"):
            measured("optimizer", diverged, spec)


@pytest.mark.parametrize("optimizer", [SGD, HEAVY, ADAMW], ids=["sgd", "heavy ball", "adamw"])
@pytest.mark.parametrize("changes", [{}, MODULAR], ids=["mlp", "transformer"])
def test_the_maps_are_trainings_own(optimizer: dict[str, Any], changes: dict[str, Any]) -> None:
    schedule = {"kind": "warmup_cosine", "warmup_steps": 5, "final_fraction": 0.2}
    training = {"optimizer": optimizer, "batch_size": 12, "schedule": schedule}
    of, cell = subject(steps=30, training=training, **changes)
    assert of.step == 15
    state = optimizer_state(of, torch.float64)
    for move in optimizer_maps(of, 15, torch.float64):
        state = move(state)
    wanted = train_cell(cell, of.problem)  # torch.optim, from the first step on
    torch.testing.assert_close(state[: len(wanted)], wanted, rtol=1e-9, atol=1e-10)


def linear(task: dict[str, Any]) -> Subject:
    """A linear network with squared error on all data: its Hessian is the same everywhere."""
    model = {"kind": "mlp", "widths": [], "bias": False}
    training = {"loss": "mse", "batch_size": "full", "optimizer": task}
    return subject(steps=2, which=1, model=model, training=training)[0]


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_exponents_of_a_linear_network_are_those_of_its_hessian(momentum: float) -> None:
    # the top eigenvalue (ten times, once a class) beyond the edge, the next far below it
    of = linear({"kind": "sgd", "learning_rate": 0.1, "momentum": momentum, "weight_decay": 0.01})
    inputs = of.problem.train.inputs
    alpha = torch.linalg.eigvalsh(inputs.T @ inputs / len(inputs)).numpy()[::-1] + 0.01  # of each class
    rate = 4 * (1 + momentum) / alpha[0]
    optimizer = {"kind": "sgd", "learning_rate": rate, "momentum": momentum, "weight_decay": 0.01}
    of = linear(optimizer)
    found = measured("exponents", of, Exponents(steps=60, leading=10))
    assert isinstance(found, Found)
    if momentum:
        blocks = [np.array([[1 - rate * a, -rate * momentum], [a, momentum]]) for a in alpha]
        logs = sorted((math.log(abs(z)) for block in blocks for z in np.linalg.eigvals(block)), reverse=True)
    else:
        logs = sorted(np.log(np.abs(1 - rate * alpha)), reverse=True)
    assert logs[0] > 0.05
    assert found.exponents.tolist() == pytest.approx([logs[0]] * 10, rel=1e-6)
    assert found.size == (1280 if momentum else 640)
    assert found.steps == 60


@pytest.mark.parametrize("changes", [{}, MODULAR], ids=["mlp", "transformer"])
def test_exponents_add_up_to_the_volume_of_the_trajectory(changes: dict[str, Any]) -> None:
    of, _ = subject(steps=2, training={"optimizer": SGD | {"weight_decay": 0.01}, "batch_size": 5}, **changes)
    found = measured("exponents", of, Exponents(steps=2, leading="all"))
    weights, total = of.weights, 0.0
    for step in range(1, 4):
        epoch, place = divmod(step, len(of.problem.train) // 5)
        at = epoch_order(of.task.seed, epoch, len(of.problem.train))[place * 5 : place * 5 + 5]
        hessian = dense(of.problem, weights, at)
        if step > 1:  # the first of three is the warm-up
            shrunk = (1 - 0.3 * 0.01) * torch.eye(len(weights), dtype=torch.float64)
            total += float(torch.linalg.slogdet(shrunk - 0.3 * hessian)[1])
        inputs, targets = of.problem.train.inputs[at], of.problem.train.targets[at]
        slope = torch.func.grad(of.problem.loss)(weights, inputs, targets)
        weights = weights - 0.3 * (slope + 0.01 * weights)
    assert float(found.exponents.sum()) * 2 == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize(
    ("optimizer", "buffers", "rate"),
    # the determinants of the whole maps: μ for each (w, v), (1 − ηω) β₁ β₂ for each (w, m, s), whatever the loss
    [(HEAVY, 1, math.log(0.8)), (ADAMW, 2, math.log((1 - 0.02 * 0.1) * 0.9 * 0.97))],
    ids=["heavy ball", "adamw"],
)
def test_the_whole_state_contracts_as_the_optimizer_does(optimizer: dict[str, Any], buffers: int, rate: float) -> None:
    of, _ = subject(steps=20, training={"optimizer": optimizer})
    found = measured("exponents", of, Exponents(steps=3, leading="all"))
    assert found.size == (1 + buffers) * len(of.weights)
    assert float(found.exponents.sum()) == pytest.approx(len(of.weights) * rate, rel=1e-6)


def test_exponents_in_float32_are_those_in_float64() -> None:
    of, _ = subject(training={"optimizer": HEAVY})
    single = measured("exponents", of, Exponents(steps=20, leading=3, dtype="float32"))
    double = measured("exponents", of, Exponents(steps=20, leading=3))
    assert float(double.exponents.abs().max()) > 0.01
    torch.testing.assert_close(single.exponents, double.exponents, rtol=0, atol=1e-4)


def test_no_exponents_of_a_diverged_run() -> None:
    of, _ = subject(training={"optimizer": HEAVY})
    lost = Subject(of.problem, of.task, of.step, of.weights, of.initial, ())
    with pytest.raises(ValueError, match="the run diverged"):
        measured("exponents", lost, Exponents(steps=5, leading=2))


def test_points_of_the_attractor_are_the_checkpoint_and_its_future() -> None:
    of, cell = subject(steps=30)
    spec = Attractor(snapshots=2, every=15, spectrum=DenseSpectrum(minibatches=2, batch_size=20))
    points = measured("attractor", of, spec)
    assert isinstance(points, Points)
    assert len(points.spectra) == 2
    for spectrum, weights in zip(points.spectra, [of.weights, train_cell(cell, of.problem)], strict=True):
        assert isinstance(spectrum, DenseSpectra)
        for draw in range(2):
            at = minibatch(draw, 20, len(of.problem.train))
            values = torch.linalg.eigvalsh(dense(of.problem, weights, at))
            found = spectrum.eigenvalues[draw]
            full = torch.cat([found, torch.zeros(296 - len(found))]).sort().values
            torch.testing.assert_close(full, values, rtol=1e-7, atol=1e-9)


def test_a_task_can_ask_for_all_of_them() -> None:
    probes = {
        "exponents": {"steps": 5, "leading": 2},
        "attractor": {"snapshots": 2, "every": 3, "spectrum": {"kind": "lanczos", "runs": 4, "share": 2, "steps": 10}},
    }
    of, _ = subject(which=1, probes=probes)
    assert isinstance(of.task, TaskSpec)
    lanczos = measured("attractor", of, of.task.probes.attractor)
    assert [spectrum.measure.draws.tolist() for spectrum in lanczos.spectra] == [[0, 0, 1, 1]] * 2
    assert measured("exponents", of, of.task.probes.exponents).exponents.shape == (2,)
