"""The sharpness dimension family against Def. 4.2 written out plainly, on dense Hessians and Jacobians by torch."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr
from torch import Tensor

from suite.curvature.measure import SpectralMeasure
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum
from suite.measuring.probes.spectrum import minibatch
from suite.metrics import Estimate, Run, find_metrics
from suite.metrics.probed.attractor import Attractor
from tests.metrics.made import dense_hessian_of, made_run, value_of

Numbers = NDArray[np.float64]
DENSE = {"kind": "dense", "minibatches": 3}
RATE = 0.6
"""Far enough for negative eigenvalues and for some beyond 2 / η."""


def plainly(exponents: Numbers, weights: Numbers | None = None) -> float:
    """Def. 4.2, one exponent after another."""
    order = np.argsort(-exponents)
    sizes = np.ones(len(exponents)) if weights is None else weights
    total, dimension = 0.0, 0.0
    for exponent, size in zip(exponents[order], sizes[order], strict=True):
        if total + exponent * size < 0:
            return dimension + total / abs(exponent)
        total, dimension = total + exponent * size, dimension + size
    return dimension


@cache
def trained(batch: int = 16, **optimizer: float) -> Run:
    training = {
        "optimizer": {"kind": "sgd", "learning_rate": RATE, **optimizer},
        "batch_size": batch,
        "steps": 30,
    }
    probes = {
        "spectrum": DENSE,
        "common": DENSE | {"batch_size": 24},
        "whole": {"kind": "dense", "minibatches": 1, "batch_size": "full"},
    }
    return made_run("spectrum", "common", "whole", training=training, probes=probes)


@cache
def eigenvalues(batch: int, **optimizer: float) -> Numbers:
    """Of three minibatches' Hessians, `[3, d]`, of the network and not of a reduced one."""
    run = trained(**optimizer)
    rows = []
    for draw in range(3):
        at = minibatch(draw, batch, len(run.inputs))
        rows.append(torch.linalg.eigvalsh(dense_hessian_of(run, run.inputs[at], run.targets[at])))
    return torch.stack(rows).numpy()


def one_step(values: Numbers, rate: float = RATE) -> Numbers:
    """ln |1 − ηα|, descending in each row."""
    return -np.sort(-np.log(np.abs(1 - rate * values)), -1)


def with_spectrum(values: Tensor, size: int, **probes: object) -> Run:
    return replace(trained(), probes={"spectrum": DenseSpectra.of(list(values), size, [False] * len(values)), **probes})


def test_dimension_is_def_4_2_at_every_batch() -> None:
    run, size = trained(), 296
    training = ("sharpness_dimension", "codimension", 16)
    for dimension, codimension, batch in (training, ("common_sharpness_dimension", "common_codimension", 24)):
        wanted = plainly(one_step(eigenvalues(batch)).mean(0))
        assert 10 < wanted < size - 1
        assert value_of(dimension, run) == pytest.approx(wanted, rel=1e-8)
        assert value_of(codimension, run) == pytest.approx(size - wanted, rel=1e-6)
    whole = torch.linalg.eigvalsh(dense_hessian_of(run, run.inputs, run.targets)).numpy()
    # directions that no input of the whole set moves are noise of either sign: exact zeros in the probe
    whole[np.abs(whole) < 1e-12] = 0
    wanted = plainly(one_step(whole))
    assert value_of("whole_sharpness_dimension", run) == pytest.approx(wanted, rel=1e-8)
    assert value_of("whole_codimension", run) == pytest.approx(size - wanted, rel=1e-6)
    assert value_of("rds_sharpness", run) == pytest.approx(one_step(eigenvalues(16))[:, 0].mean(), rel=1e-8)


def test_averaged_and_pooled_and_which_is_larger() -> None:
    found = one_step(eigenvalues(16))
    averaged, pooled = plainly(found.mean(0)), plainly(found.reshape(-1), np.full(found.size, 1 / 3))
    assert value_of("averaged_sharpness_dimension", trained()) == pytest.approx(averaged, rel=1e-8)
    assert value_of("pooled_sharpness_dimension", trained()) == pytest.approx(pooled, rel=1e-8)
    assert pooled > averaged + 1e-3  # by far more than the solver's rounding


def test_standard_errors_are_jackknives_over_minibatches() -> None:
    found = one_step(eigenvalues(16))
    left = np.array([plainly(found[[j for j in range(3) if j != k]].mean(0)) for k in range(3)])
    for name in ("sharpness_dimension", "averaged_sharpness_dimension", "codimension"):
        value = find_metrics()[name].measure(trained())
        assert isinstance(value, Estimate)
        assert value.standard_error == pytest.approx(math.sqrt(2 / 3 * ((left - left.mean()) ** 2).sum()), rel=1e-6)


SMALL = torch.tensor(np.random.default_rng(3).normal(0.3, 1.2, (2, 40)))
"""Two minibatches' spectra with all of their eigenvalues apart."""


def of_gaussians(centres: Numbers, width: float) -> float:
    """SD of the density Σ ½ N(centre, width²): the mass above the level above which the mean is zero."""

    def mean_above(level: float) -> float:
        z = (centres - level) / width
        return float((centres * ndtr(z) + width * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)).sum() / 2)

    level = brentq(mean_above, -30, 0, xtol=1e-12)
    return float(ndtr((centres - level) / width).sum() / 2)


def scott(values: Numbers) -> float:
    return float(1.06 * values.std() * values.size ** (-0.2))


def test_kde_is_the_dimension_of_a_sum_of_gaussians() -> None:
    centres = np.log(np.abs(1 - RATE * SMALL.numpy().reshape(-1)))
    run = with_spectrum(SMALL, 40)
    assert value_of("kde_sharpness_dimension", run) == pytest.approx(of_gaussians(centres, scott(centres)), abs=0.02)
    assert value_of("kde_sharpness_dimension", run) > value_of("pooled_sharpness_dimension", run)


def test_slq_is_the_pooled_dimension_up_to_its_bins() -> None:
    found = one_step(SMALL.numpy()).reshape(-1)
    exact = plainly(found, np.full(80, 0.5))
    width = (found.max() - found.min()) / 10_000
    crossing = np.sort(-found)[math.ceil(2 * exact)]  # |λ| there
    bound = 2 * width * 40 / crossing
    assert bound < 0.2
    assert abs(value_of("slq_sharpness_dimension", with_spectrum(SMALL, 40)) - exact) < bound


def test_pseudo_spectrum_is_of_quantiles_of_the_smoothed_density() -> None:
    nodes = SMALL.numpy().reshape(-1)
    width = scott(nodes)
    grid = np.linspace(nodes.min() - 9 * width, nodes.max() + 9 * width, 40_001)
    cdf = ndtr((grid[:, None] - nodes) / width).mean(1)
    quantiles = np.interp((np.arange(10_000) + 0.5) / 10_000, cdf, grid)
    wanted = plainly(np.log(np.abs(1 - RATE * quantiles)), np.full(10_000, 40 / 10_000))
    found = value_of("pseudo_spectrum_sharpness_dimension", with_spectrum(SMALL, 40))
    assert found == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize("name", ["slq", "kde", "pseudo_spectrum", "pooled", "averaged"])
def test_zeros_that_were_left_out_are_eigenvalues_like_others(name: str) -> None:
    padded = torch.nn.functional.pad(SMALL, (0, 30))
    found = value_of(f"{name}_sharpness_dimension", with_spectrum(SMALL, 70))
    assert found == pytest.approx(value_of(f"{name}_sharpness_dimension", with_spectrum(padded, 70)), rel=1e-12)


def test_there_is_no_bandwidth_for_a_dead_network() -> None:
    run = with_spectrum(torch.zeros(2, 5, dtype=torch.float64), 40)
    for name in ("kde_sharpness_dimension", "pseudo_spectrum_sharpness_dimension"):
        with pytest.raises(ValueError, match="all mass is at one node"):
            find_metrics()[name].measure(run)
    assert value_of("pooled_sharpness_dimension", run) == 40


def quadrature(shift: float = 0.0) -> QuadratureSpectrum:
    """Two minibatches of two runs each, d = 6, masses whole numbers."""
    nodes = torch.tensor([[4.0, 1.0, 0.0], [3.9, 0.8, -0.2], [5.0, 2.0, 0.1], [4.8, 1.9, 0.0]], dtype=torch.float64)
    masses = torch.tensor([[1, 2, 3], [2, 1, 3], [1, 3, 2], [1, 1, 4]], dtype=torch.float64)
    return QuadratureSpectrum(SpectralMeasure(nodes + shift, masses, torch.tensor([0, 0, 1, 1])))


def spread_out(spectrum: QuadratureSpectrum) -> Numbers:
    """Sorted exponents `[2, 12]` of its minibatches: every node as often as its mass says, each of them ½."""
    m = spectrum.measure
    values = [m.nodes[r].repeat_interleave(m.masses[r].long()) for r in range(4)]
    return one_step(torch.stack([torch.cat(values[:2]), torch.cat(values[2:])]).numpy())


def test_averaging_pools_the_runs_of_a_minibatch_first() -> None:
    run = replace(trained(), probes={"spectrum": quadrature()})
    half = np.full(12, 0.5)
    wanted = plainly(spread_out(quadrature()).mean(0), half)
    assert value_of("averaged_sharpness_dimension", run) == pytest.approx(wanted, rel=1e-12)
    pooled = plainly(spread_out(quadrature()).reshape(-1), np.full(24, 0.25))
    assert value_of("pooled_sharpness_dimension", run) == pytest.approx(pooled, rel=1e-12)
    assert value_of("sharpness_dimension", run) == pytest.approx(pooled, rel=1e-12)


@pytest.mark.parametrize("name", ["averaged_sharpness_dimension", "attractor_sharpness_dimension"])
def test_one_probe_does_not_tell_a_minibatch(name: str) -> None:
    measure = quadrature().measure
    alone = QuadratureSpectrum(SpectralMeasure(measure.nodes, measure.masses, torch.arange(4)))
    run = replace(trained(), probes={"spectrum": alone, "attractor": Attractor((alone, alone))})
    with pytest.raises(ValueError, match="share: 2"):
        find_metrics()[name].measure(run)


def test_supremum_over_dense_spectra() -> None:
    first, second = SMALL, SMALL.flip(0) * 1.3 - 0.1
    points = Attractor(tuple(DenseSpectra.of(list(rows), 50, [False, False]) for rows in (first, second)))
    run = replace(trained(), probes={"attractor": points})
    found = np.stack([one_step(np.pad(rows.numpy(), ((0, 0), (0, 10)))) for rows in (first, second)])
    largest = found.max(0)
    assert value_of("attractor_sharpness_dimension", run) == pytest.approx(plainly(largest.mean(0)), rel=1e-9)
    assert value_of("attractor_rds_sharpness", run) == pytest.approx(largest[:, 0].mean(), rel=1e-12)
    value = find_metrics()["attractor_sharpness_dimension"].measure(run)
    assert isinstance(value, Estimate)
    left = [plainly(row) for row in largest]
    assert value.standard_error == pytest.approx(abs(left[0] - left[1]) / 2, rel=1e-6)


def test_supremum_over_quadratures() -> None:
    points = (quadrature(), quadrature(0.3))
    run = replace(trained(), probes={"attractor": Attractor(points)})
    largest = np.stack([spread_out(point) for point in points]).max(0)
    wanted = plainly(largest.mean(0), np.full(12, 0.5))
    assert value_of("attractor_sharpness_dimension", run) == pytest.approx(wanted, rel=1e-9)


def test_supremum_is_taken_over_the_checkpoint_too() -> None:
    attractor = {"snapshots": 3, "every": 7, "spectrum": DENSE}
    run = made_run("spectrum", "attractor", training={"steps": 30}, probes={"spectrum": DENSE, "attractor": attractor})
    assert value_of("attractor_sharpness_dimension", run) > value_of("averaged_sharpness_dimension", run) + 0.1
    assert value_of("attractor_rds_sharpness", run) >= value_of("rds_sharpness", run)


@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.0), (0.9, 0.02), (0.0, 0.02)])
def test_the_optimizers_own_map_is_that_of_its_dense_jacobian(momentum: float, decay: float) -> None:
    run, rows = trained(momentum=momentum, weight_decay=decay), []
    for draw in range(3):
        at = minibatch(draw, 16, len(run.inputs))
        inputs, targets = run.inputs[at], run.targets[at]

        def step(state: Tensor, inputs: Tensor = inputs, targets: Tensor = targets) -> Tensor:
            w, v = state.chunk(2)
            v = momentum * v + torch.func.grad(run.batch_loss)(w, inputs, targets) + decay * w
            return torch.cat([w - RATE * v, v])

        jacobian = torch.func.jacfwd(step)(torch.cat([run.weights, torch.zeros_like(run.weights)]))
        if not momentum:
            jacobian = jacobian[:296, :296]  # v keeps nothing: the state is w
        rows.append(torch.linalg.svdvals(jacobian).log())
    wanted = plainly(torch.stack(rows).mean(0).numpy())
    assert value_of("optimizer_sharpness_dimension", run) == pytest.approx(wanted, rel=1e-7)
    assert abs(wanted - value_of("sharpness_dimension", run)) > 0.1


def test_plain_sgd_is_its_own_map() -> None:
    assert value_of("optimizer_sharpness_dimension", trained()) == value_of("sharpness_dimension", trained())


def adamw() -> Run:
    training = {"optimizer": {"kind": "adamw", "learning_rate": 0.05, "weight_decay": 0.1, "epsilon": 1e-4}}
    probes = {
        "optimizer": {"kind": "lanczos", "runs": 400, "share": 400, "steps": 80, "dtype": "float64"},
        "spectrum": DENSE,
    }
    return made_run("optimizer", "spectrum", training={"steps": 20, **training}, probes=probes)


def test_adamws_map_is_that_of_its_dense_jacobian_in_the_metric_of_p() -> None:
    run = adamw()
    beta1, beta2, steps = 0.9, 0.999, 20
    at = minibatch(0, 32, len(run.inputs))  # the one that all runs share
    inputs, targets = run.inputs[at], run.targets[at]
    root = ((run.state[1] / (1 - beta2**steps)).sqrt() + 1e-4).sqrt()

    def step(state: Tensor) -> Tensor:
        w, m = state[:296] / root, state[296:] * root
        m = beta1 * m + (1 - beta1) * torch.func.grad(run.batch_loss)(w, inputs, targets)
        w = (1 - 0.05 * 0.1) * w - 0.05 * m / (1 - beta1**steps) / root**2
        return torch.cat([w * root, m / root])

    jacobian = torch.func.jacfwd(step)(torch.cat([run.weights * root, torch.zeros_like(root)]))
    wanted = plainly(torch.linalg.svdvals(jacobian).log().numpy())
    value = find_metrics()["preconditioned_sharpness_dimension"].measure(run)
    assert isinstance(value, Estimate)
    assert value.standard_error is not None
    assert 0 < value.standard_error < 2
    assert abs(value.value - wanted) < 4 * value.standard_error
    with pytest.raises(ValueError, match="adamw"):
        find_metrics()["optimizer_sharpness_dimension"].measure(run)


def test_each_optimizer_has_its_own_map() -> None:
    metrics = find_metrics()
    assert metrics["optimizer_sharpness_dimension"].optimizers == ("sgd",)
    assert metrics["preconditioned_sharpness_dimension"].optimizers == ("adamw",)
    with pytest.raises(ValueError, match="sgd has no preconditioner"):
        metrics["preconditioned_sharpness_dimension"].measure(trained())


def test_counts_and_sums_of_one_step() -> None:
    exponents = one_step(eigenvalues(16))
    count, total = (exponents > 1e-3).sum(1).mean(), np.maximum(exponents, 0).sum(1).mean()
    assert 2 < count < 100
    assert value_of("expanding_directions", trained()) == pytest.approx(count)
    assert value_of("one_step_entropy", trained()) == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lanczos_counts_neither_the_null_space_nor_ghosts(dtype: str) -> None:
    spectrum = {"kind": "lanczos", "runs": 96, "share": 32, "steps": 60, "dtype": dtype}
    training = {"optimizer": {"kind": "sgd", "learning_rate": RATE}, "batch_size": 16, "steps": 30}
    run = made_run("spectrum", training=training, probes={"spectrum": spectrum})
    exponents = one_step(eigenvalues(16))
    assert (np.abs(exponents) < 1e-12).sum(1).mean() > 50  # a null space that would show
    for name, wanted in [
        ("expanding_directions", (exponents > 1e-3).sum(1)),
        ("one_step_entropy", np.maximum(exponents, 0).sum(1)),
    ]:
        value = find_metrics()[name].measure(run)
        assert isinstance(value, Estimate)
        # over the same minibatches: only the noise of 96 probes is left, less than that of three minibatches
        assert value.value == pytest.approx(wanted.mean(), rel=0.1), name
