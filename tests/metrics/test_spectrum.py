"""Metrics of spectra: closed forms, all eigenvalues of dense Hessians by torch, Lanczos beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.curvature import SpectralMeasure, preconditioner
from suite.curvature.estimate import Estimate, mean_of
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum
from suite.measuring.probes.spectrum import minibatch
from suite.metrics import Run, find_metrics
from suite.metrics.spectrum import _sum
from suite.spec.training import Constant, WarmupCosine
from suite.training.optimizers import schedule_factors
from tests.metrics.made import dense_hessian_of, made_run, small_task, value_of

Array = NDArray[np.float64]
N = small_task().data.train_size()
"""Training inputs of the digits."""


def entropy(weights: Array) -> float:
    p = weights[weights > 0] / weights.sum()
    return float(-(p * np.log(p)).sum())


DEFINITIONS: dict[str, Callable[[Array], float]] = {
    "hessian_trace": lambda a: float(a.sum()),
    "hessian_frobenius": lambda a: float(np.linalg.norm(a)),
    "largest_eigenvalue": lambda a: float(np.abs(a).max()),
    "max_eigenvalue": lambda a: float(a.max()),
    "min_eigenvalue": lambda a: float(a.min()),
    "log_determinant": lambda a: float(np.linalg.slogdet(np.diag(1 + N * np.maximum(a, 0)))[1]),
    "effective_dimensionality": lambda a: float(sum(N * x / (N * x + 1) for x in a if x > 0)),
    "effective_rank": lambda a: math.exp(entropy(np.abs(a))),
    "spectral_entropy": lambda a: entropy(a * a) / math.log(len(a)),
    "stable_rank": lambda a: float((a * a).sum() / np.abs(a).max() ** 2),
    "outlier_eigenvalues": lambda a: float((a > a.max() / 10).sum()),
    "negative_curvature": lambda a: float(-a[a < 0].sum() / np.abs(a).sum()),
}
"""On all d eigenvalues of one Hessian."""

TURN_AT_ZERO = {"log_determinant", "effective_dimensionality"}
"""Functions that turn within 1/n of zero, where most eigenvalues lie: few Lanczos steps do not resolve them."""


@cache
def digits_run() -> Run:
    one = {"kind": "dense", "minibatches": 1, "batch_size": "full"}
    return made_run(
        "spectrum", "common", "whole", probes={"spectrum": one, "common": one | {"batch_size": 50}, "whole": one}
    )


def with_spectrum(spectrum: DenseSpectra | QuadratureSpectrum, name: str = "spectrum", run: Run | None = None) -> Run:
    return replace(run or digits_run(), probes={name: spectrum})


def dense(*rows: list[float], size: int) -> DenseSpectra:
    return DenseSpectra.of([torch.tensor(row, dtype=torch.float64) for row in rows], size, [False] * len(rows))


@cache
def eigenvalues() -> Array:
    run = digits_run()
    values: Array = torch.linalg.eigvalsh(dense_hessian_of(run, run.inputs, run.targets)).numpy()
    return values


@pytest.mark.parametrize("name", DEFINITIONS)
def test_metrics_are_those_of_all_eigenvalues_of_the_dense_hessian(name: str) -> None:
    wanted = DEFINITIONS[name](np.where(np.abs(eigenvalues()) < 1e-13, 0, eigenvalues()))
    assert value_of(name, digits_run()) == pytest.approx(wanted, rel=1e-8)


def test_the_whole_set_and_the_common_batch_are_read_where_they_are_named() -> None:
    run = digits_run()
    at = minibatch(0, 50, len(run.inputs))
    common = torch.linalg.eigvalsh(dense_hessian_of(run, run.inputs[at], run.targets[at]))
    assert value_of("whole_trace", run) == pytest.approx(eigenvalues().sum(), rel=1e-9)
    assert value_of("whole_max_eigenvalue", run) == pytest.approx(eigenvalues().max(), rel=1e-9)
    assert value_of("common_trace", run) == pytest.approx(float(common.sum()), rel=1e-9)
    assert value_of("common_max_eigenvalue", run) == pytest.approx(float(common.max()), rel=1e-9)


@pytest.mark.parametrize(("steps", "resolved"), [(40, False), (160, True)])
def test_lanczos_agrees_with_all_eigenvalues(steps: int, resolved: bool) -> None:
    lanczos = {"kind": "lanczos", "runs": 30, "steps": steps, "batch_size": "full", "dtype": "float64"}
    run = made_run("spectrum", probes={"spectrum": lanczos})
    for name in DEFINITIONS if resolved else DEFINITIONS.keys() - TURN_AT_ZERO:
        value = find_metrics()[name].measure(run)
        assert isinstance(value, Estimate)
        assert value.standard_error is not None
        wanted = DEFINITIONS[name](eigenvalues())
        assert abs(value.value - wanted) < 4 * value.standard_error + 1e-4 * abs(wanted), name
        assert value.standard_error < 0.25 * abs(wanted) + 1e-12, name


@pytest.mark.parametrize("name", DEFINITIONS)
def test_equal_minibatches_make_no_difference_and_no_error(name: str) -> None:
    row = [3.0, 2.5, 0.5, 0.1, -0.4]
    value = find_metrics()[name].measure(with_spectrum(dense(row, row, row, size=9)))
    assert isinstance(value, Estimate)
    assert value.value == pytest.approx(DEFINITIONS[name](np.array([*row, 0, 0, 0, 0])), rel=1e-12)
    assert value.standard_error == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1e6])
@pytest.mark.parametrize(
    "name", ["effective_rank", "spectral_entropy", "stable_rank", "outlier_eigenvalues", "negative_curvature"]
)
def test_no_absolute_constant_ruins_flat_networks(name: str, factor: float) -> None:
    row = [3.0, 2.5, 0.5, 0.1, -0.4]
    plain = value_of(name, with_spectrum(dense(row, size=9)))
    scaled = value_of(name, with_spectrum(dense([factor * a for a in row], size=9)))
    assert scaled == pytest.approx(plain, rel=1e-9)


def test_k_equal_eigenvalues_have_rank_k() -> None:
    run = with_spectrum(dense([0.7] * 6, size=100))
    assert value_of("effective_rank", run) == pytest.approx(6)
    assert value_of("stable_rank", run) == pytest.approx(6)
    assert value_of("outlier_eigenvalues", run) == 6
    assert value_of("spectral_entropy", run) == pytest.approx(math.log(6) / math.log(100))


def test_expectations_are_taken_before_ratios() -> None:
    run = with_spectrum(dense([4.0, -1.0], [1.0, 0.0], size=2))
    assert value_of("negative_curvature", run) == pytest.approx(1 / 6)
    assert value_of("stable_rank", run) == pytest.approx(((17 + 1) / 2) / 2.5**2)
    assert value_of("outlier_eigenvalues", run) == 1


def test_outliers_are_counted_by_mass_not_by_ritz_values() -> None:
    # a ghost: 3.0 twice, sharing the mass of one eigenvalue
    nodes = torch.tensor([[3.0, 3.0, 0.1, 0.0]], dtype=torch.float64)
    masses = torch.tensor([[0.6, 0.4, 2.0, 7.0]], dtype=torch.float64)
    ghosts = QuadratureSpectrum(SpectralMeasure(nodes, masses, torch.tensor([0])))
    assert value_of("outlier_eigenvalues", with_spectrum(ghosts)) == pytest.approx(1)


def test_the_least_eigenvalue_is_zero_where_zeros_were_left_out() -> None:
    assert value_of("min_eigenvalue", with_spectrum(dense([3.0, 0.5], size=5))) == 0
    assert value_of("min_eigenvalue", with_spectrum(dense([3.0, 0.5], size=2))) == 0.5
    assert value_of("max_eigenvalue", with_spectrum(dense([-3.0, -0.5], size=5))) == 0
    assert value_of("largest_eigenvalue", with_spectrum(dense([-3.0, -0.5], size=5))) == 3


@pytest.mark.parametrize(
    "name", ["effective_rank", "spectral_entropy", "stable_rank", "outlier_eigenvalues", "negative_curvature"]
)
def test_a_hessian_that_is_zero_has_no_value(name: str) -> None:
    with pytest.raises(ValueError, match=r"Hessian (is zero|has no positive eigenvalue)"):
        value_of(name, with_spectrum(dense([0.0, 0.0], size=5)))


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    draws = torch.rand(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spectrum = DenseSpectra.of(list(draws), 6, [False] * 7)
    plain, jackknifed = mean_of(draws.square().sum(1)), spectrum.statistic(float, _sum(torch.square))
    assert jackknifed.value == pytest.approx(plain.value)
    assert jackknifed.standard_error == pytest.approx(plain.standard_error)


def test_runs_of_one_minibatch_are_averaged_before_minibatches() -> None:
    nodes = torch.tensor([[1.0, 3.0], [2.0, 0.0], [8.0, -1.0]], dtype=torch.float64)
    spectrum = QuadratureSpectrum(SpectralMeasure(nodes, torch.ones_like(nodes), torch.tensor([4, 4, 7])))
    found = spectrum.statistic(lambda s, t: s / t, _sum(torch.abs), _sum(torch.square))
    means = [((4 + 2) / 2, (10 + 4) / 2), (9, 65)]
    assert found.value == pytest.approx((3 + 9) / (7 + 65))
    assert found.standard_error == pytest.approx(abs(means[0][0] / means[0][1] - means[1][0] / means[1][1]) / 2)
    plain = spectrum.integral(torch.abs)
    assert (plain.value, plain.standard_error) == pytest.approx((6, 3))


@pytest.mark.parametrize("name", ["effective_rank", "stable_rank"])
def test_standard_errors_are_the_spread_over_samples(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    measure = find_metrics()[name].measure
    values, errors = [], []
    for _ in range(300):
        draws = torch.rand(30, 5, generator=generator, dtype=torch.float64) ** 2
        value = measure(with_spectrum(DenseSpectra.of(list(draws), 9, [False] * 30)))
        assert isinstance(value, Estimate)
        values.append(value.value)
        errors.append(value.standard_error)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.12)


ADAMW = {"optimizer": {"kind": "adamw", "learning_rate": 0.02, "beta1": 0.8, "weight_decay": 0.5}}


@pytest.mark.parametrize(("beta", "decay"), [(0.0, 0.0), (0.9, 0.0), (0.9, 0.7)])
def test_preconditioned_edge_ratio_is_one_where_adamw_stops_converging(beta: float, decay: float) -> None:
    rate, top = 0.05, 4.0
    optimizer = {"kind": "adamw", "learning_rate": rate, "beta1": beta, "weight_decay": decay}
    run = replace(with_spectrum(dense([top], size=1), "optimizer"), task=small_task(training={"optimizer": optimizer}))
    edge = top / value_of("preconditioned_edge_ratio", run)
    if not decay:  # Cohen et al. 2022
        assert edge == pytest.approx((2 + 2 * beta) / ((1 - beta) * rate))
    for factor, stable in [(0.999, True), (1.001, False)]:
        a = factor * edge
        m = [(1 - beta) * a, beta]  # the momentum after the step, of (w, m); the preconditioner held fixed
        jacobian = torch.tensor([[1 - rate * decay - rate * m[0], -rate * m[1]], m], dtype=torch.float64)
        assert (float(torch.linalg.eigvals(jacobian).abs().max()) <= 1) == stable


def test_preconditioned_edge_ratio_is_that_of_the_dense_matrix() -> None:
    lanczos = {"kind": "lanczos", "runs": 2, "steps": 60, "batch_size": "full", "dtype": "float64"}
    run = made_run("optimizer", training=ADAMW, probes={"optimizer": lanczos})
    root = preconditioner(run.state[1], 1e-8, 0.999, run.step).rsqrt()
    matrix: Tensor = root[:, None] * dense_hessian_of(run, run.inputs, run.targets) * root
    wanted = 0.02 * 0.2 / (1.8 * (2 - 0.02 * 0.5)) * float(torch.linalg.eigvalsh(matrix)[-1])
    assert value_of("preconditioned_edge_ratio", run) == pytest.approx(wanted, rel=1e-6)


COSINE = {"kind": "warmup_cosine", "warmup_steps": 10, "final_fraction": 0.2}


@pytest.mark.parametrize(("step", "factor"), [
    (0, 0.1),  # a checkpoint before the first step: that step's
    (1, 0.1),
    (10, 1.0),
    (36, 0.2 + 0.8 * 0.5),  # half of the 50 steps of the cosine are behind its last step, the 35th from 0
    (60, 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * 49 / 50))),
])  # fmt: skip
def test_the_edge_is_that_of_the_learning_rate_at_the_checkpoint(step: int, factor: float) -> None:
    sgd = {"kind": "sgd", "learning_rate": 0.3, "momentum": 0.5, "weight_decay": 0.25}
    adamw = {"kind": "adamw", "learning_rate": 0.3, "beta1": 0.8, "weight_decay": 0.5}
    rate, length = 0.3 * factor, {"steps": 60, "schedule": COSINE}
    for name, probe, optimizer, wanted in [
        ("edge_ratio", "spectrum", sgd, rate * (7 + 0.25) / (2 * 1.5)),
        ("preconditioned_edge_ratio", "optimizer", adamw, rate * 0.2 * 7 / (1.8 * (2 - rate * 0.5))),
    ]:
        task = small_task(training={"optimizer": optimizer, **length})
        run = replace(with_spectrum(dense([7.0], size=1), probe), task=task, step=step)
        assert value_of(name, run) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("schedule", [Constant(), WarmupCosine(warmup_steps=7, final_fraction=0.1), WarmupCosine()])
def test_the_factor_of_a_schedule_is_that_of_training(schedule: Constant | WarmupCosine) -> None:
    for total in (1, 5, 7, 40):
        assert [schedule.factor(step, total) for step in range(total)] == schedule_factors(schedule, total)


def test_each_optimizer_has_its_own_edge() -> None:
    metrics = find_metrics()
    assert metrics["edge_ratio"].optimizers == ("sgd",)
    assert metrics["preconditioned_edge_ratio"].optimizers == ("adamw",)
    with pytest.raises(ValueError, match="sgd has no preconditioner"):
        value_of("preconditioned_edge_ratio", with_spectrum(dense([1.0], size=1), "optimizer"))
