"""Estimators of SD against closed forms, dense spectra and each other; their errors against populations."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.curvature.bootstrap import Bootstrap, Method, adaptive, bootstrap
from suite.curvature.estimators import (
    AveragedQuantiles,
    Histogram,
    Kernel,
    PseudoSpectrum,
    Quadrature,
    sd_kde,
    sd_ps,
    sd_quadrature,
    sd_quantile,
    sd_slq,
)
from suite.curvature.jacobian import Step, log_singular_values
from suite.curvature.measure import SpectralMeasure
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum
from tests.curvature.populations import FixedMatrix, Minibatches

STEPS = [Step(0.4), Step(0.4, 0.9), Step(0.7, 0.0, 0.05), Step(0.2, 0.5, 0.01)]


def random_measure(seed: int, runs: int = 6, width: int = 9, size: int = 40, draws: int = 3) -> SpectralMeasure:
    generator = torch.Generator().manual_seed(seed)
    nodes = 2 * torch.randn(runs, width, generator=generator, dtype=torch.float64)
    weights = torch.rand(runs, width, generator=generator, dtype=torch.float64) ** 3
    labels = torch.randint(0, draws, (runs,), generator=generator)
    return SpectralMeasure.of_quadrature(nodes, weights / weights.sum(1, keepdim=True), size, labels)


POPULATION = FixedMatrix()


def test_closed_forms() -> None:
    # η = 1: exponents ln 3, ln 2, 0 and ln ½, ln ¼, of masses 1, 2, 3, 1.5, 2.5
    nodes = torch.tensor([[4.0, -1.0, 0.0, 0.5, 0.75]], dtype=torch.float64)
    masses = torch.tensor([[1.0, 2.0, 3.0, 1.5, 2.5]], dtype=torch.float64)
    measure = SpectralMeasure(nodes, masses, torch.tensor([0]))
    rest = math.log(3) + 2 * math.log(2) - 1.5 * math.log(2)
    expected = 7.5 + rest / math.log(4)
    assert sd_quadrature(measure, Step(1.0)) == pytest.approx(expected, rel=1e-14)
    assert sd_quantile(measure, Step(1.0)) == pytest.approx(expected, rel=1e-14)


def test_closed_forms_of_two_draws() -> None:
    # exponents ln(e − 1), 0 and 0, −1: averages ln(e − 1) / 2 and −½; pooled, half of each of the four
    two = SpectralMeasure.of_eigenvalues(
        torch.tensor([[2 - math.e, 0.0], [0.0, 1 - 1 / math.e]], dtype=torch.float64), 2
    )
    leading = math.log(math.e - 1)
    assert sd_quantile(two, Step(1.0)) == pytest.approx(1 + leading, rel=1e-14)
    assert sd_quadrature(two, Step(1.0)) == pytest.approx(1.5 + leading / 2, rel=1e-14)


def test_annihilated_directions_and_dead_networks() -> None:
    measure = SpectralMeasure.of_eigenvalues(torch.tensor([[2.0, 6.0, 0.0], [2.0, 2.0, 6.0]]), 3)
    for function in (sd_quadrature, sd_quantile):
        assert function(measure, Step(0.5)) == pytest.approx(1.5 if function is sd_quadrature else 1.0)
    result = bootstrap(measure, Quadrature(Step(0.5)))
    assert bool(result.replicates.isfinite().all())
    assert result.errors is not None
    assert bool(result.errors.isfinite().all())
    dead = SpectralMeasure.of_eigenvalues(torch.zeros(2, 3), 50)
    for value in (sd_quadrature(dead, Step(0.5)), sd_quantile(dead, Step(0.5)), sd_slq(dead, Step(0.5))):
        assert value == pytest.approx(50)
    assert bootstrap(dead, Quadrature(Step(0.5))).estimate.standard_error == 0
    with pytest.raises(ValueError, match="SD = d"):
        bootstrap(dead, Quadrature(Step(0.5))).interval(method="studentised")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", range(5))
def test_quantile_average_is_the_dense_definition(step: Step, seed: int) -> None:
    rows = torch.randn(5, 30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    dense = DenseSpectra(rows, 37, torch.zeros(5, dtype=torch.bool)).sharpness_dimension(step)
    measure = SpectralMeasure.of_eigenvalues(rows, 37)
    assert sd_quantile(measure, step) == pytest.approx(dense.value, rel=0, abs=1e-10)
    assert bootstrap(measure, AveragedQuantiles(step), 2).jackknife_error == pytest.approx(
        dense.standard_error, rel=1e-8, abs=1e-10
    )


@pytest.mark.parametrize("step", STEPS)
def test_quadrature_is_the_pooled_measure_of_before(step: Step) -> None:
    measure = random_measure(3, draws=1000)
    before = QuadratureSpectrum(measure).sharpness_dimension(step)
    assert sd_quadrature(measure, step) == pytest.approx(before.value, rel=1e-12)
    result = bootstrap(measure, Quadrature(step))
    assert result.jackknife_error == pytest.approx(before.standard_error, rel=1e-6)


def test_runs_of_one_draw_are_pooled_before_sorting() -> None:
    measure, step = random_measure(1, draws=1), STEPS[0]
    assert sd_quantile(measure, step) == pytest.approx(sd_quadrature(measure, step), rel=1e-12)
    # splitting runs into halves of the same draw changes nothing
    again = SpectralMeasure.concatenate([random_measure(2), random_measure(2)])
    assert sd_quantile(again, step) == pytest.approx(sd_quantile(random_measure(2), step), rel=1e-12)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(STEPS), st.integers(1, 6))
def test_pooling_is_never_below_averaging(seed: int, step: Step, draws: int) -> None:
    measure = random_measure(seed, draws=draws)
    averaged, pooled = sd_quantile(measure, step), sd_quadrature(measure, step)
    assert 0 <= averaged <= pooled + 1e-9
    assert pooled <= 40 * step.state_factor + 1e-9


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(STEPS))
def test_sd_is_an_infimum_of_integrals(seed: int, step: Step) -> None:
    """SD = inf over s of ∫ (1 + s λ)₊: on a grid of s never below SD, and close to it."""
    measure = random_measure(seed)
    exponents = log_singular_values(measure.nodes, step)
    masses = (measure.masses * measure.run_weights[:, None]).repeat(1, step.state_factor)
    s = torch.cat([torch.zeros(1), torch.logspace(-3, 3, 4001)]).double()
    integrals = ((1 + s[:, None, None] * exponents).clamp(min=0) * masses).sum((1, 2))
    value = sd_quadrature(measure, step)
    assert float(integrals.min()) >= value - 1e-9
    assert float(integrals.min()) == pytest.approx(value, abs=0.05)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(STEPS), st.sampled_from([0.01, 0.1, 0.4]))
def test_smoothing_never_lowers_sd(seed: int, step: Step, bandwidth: float) -> None:
    measure = random_measure(seed)
    assert sd_kde(measure, step, bandwidth) >= sd_quadrature(measure, step) - 1e-6


@pytest.mark.parametrize("step", STEPS)
def test_bins_bandwidth_and_count_have_quadrature_as_their_limit(step: Step) -> None:
    measure = random_measure(8)
    exact = sd_quadrature(measure, step)
    exponents = log_singular_values(measure.nodes, step)
    spread = float(exponents.max() - exponents.min())
    slope = float(measure.size * step.state_factor / _crossing_exponent(measure, step))
    for bins in (1_000, 30_000, 1_000_000):
        # a node moves by half a bin, and trapezoids spread it over one bin on either side
        assert abs(sd_slq(measure, step, bins) - exact) <= 1.5 * slope * spread / bins
    assert sd_kde(measure, step, 1e-4) == pytest.approx(exact, abs=1e-2)
    assert sd_ps(measure, step, 200_000, 1e-4) == pytest.approx(exact, abs=1e-2)


def _crossing_exponent(measure: SpectralMeasure, step: Step) -> float:
    """|λ| at the crossing of the pooled measure, read off plainly."""
    exponents = log_singular_values(measure.nodes, step).reshape(-1).numpy()
    masses = (measure.masses * measure.run_weights[:, None]).repeat(1, step.state_factor).reshape(-1).numpy()
    order = np.argsort(-exponents)
    sums = np.cumsum(exponents[order] * masses[order])
    return abs(float(exponents[order][np.flatnonzero(sums < 0)[0]]))


def test_epsilon_bins_and_bandwidths_are_checked() -> None:
    measure, step = random_measure(0), STEPS[0]
    with pytest.raises(ValueError, match="at least one bin"):
        sd_slq(measure, step, 0)
    with pytest.raises(ValueError, match="positive"):
        sd_slq(measure, step, 10, 0.0)
    with pytest.raises(ValueError, match="more than the bandwidth"):
        sd_kde(measure, step, 0.01, points=50)
    assert sd_kde(measure, step, 0.1, points=5000) == pytest.approx(sd_kde(measure, step, 0.1), abs=2e-3)
    # every zero eigenvalue has the exponent ln(1 + ε) = 0.01 / 99 in place of 0; ln ½ ≈ −0.69 crosses
    zeros = SpectralMeasure.of_eigenvalues(torch.tensor([[0.5, 0.5]]), 101)
    gained = 99 * math.log1p(0.01) / -math.log(0.51)
    assert sd_slq(zeros, Step(1.0), 1_000_000, 0.01) == pytest.approx(99 + gained, abs=1e-3)


@pytest.mark.parametrize("estimator", [Quadrature(STEPS[1]), AveragedQuantiles(STEPS[1])])
def test_reweighting_is_resampling(estimator: Quadrature | AveragedQuantiles) -> None:
    measure = random_measure(5, runs=12, draws=5)
    fast = bootstrap(measure, estimator, 40, seed=3)
    slow = bootstrap(measure, estimator.__call__, 40, seed=3)
    assert torch.allclose(fast.replicates, slow.replicates, rtol=0, atol=1e-9)
    assert torch.allclose(fast.left_out, slow.left_out, rtol=0, atol=1e-9)
    assert fast.value == slow.value
    assert float(fast.replicates.std()) > 0.1
    for level in ("runs", "two-level"):
        fast = bootstrap(measure, estimator, 20, level=level)
        slow = bootstrap(measure, estimator.__call__, 20, level=level)
        assert torch.allclose(fast.replicates, slow.replicates, rtol=0, atol=1e-9)


@pytest.mark.parametrize("estimator", [Histogram(STEPS[0]), Kernel(STEPS[0], 0.05), PseudoSpectrum(STEPS[0])])
def test_every_estimator_has_an_error(estimator: Histogram | Kernel | PseudoSpectrum) -> None:
    measure = random_measure(5, runs=20, draws=1000)
    own, quadrature = (bootstrap(measure, each).estimate for each in (estimator, Quadrature(STEPS[0])))
    assert own.value == estimator(measure)
    assert own.standard_error == pytest.approx(quadrature.standard_error, rel=0.3)


def test_weights_within_a_draw_are_refused_for_quantile_functions() -> None:
    measure = random_measure(5, runs=12, draws=2)
    with pytest.raises(ValueError, match="one weight per draw"):
        AveragedQuantiles(STEPS[0]).replicates(measure, torch.eye(12, dtype=torch.float64)[:1])


def test_levels_of_resampling_have_the_variances_of_theory() -> None:
    generator = torch.Generator().manual_seed(1)
    draws, runs = 6, 5
    traces = torch.randn(draws, 1, generator=generator) + torch.randn(draws, runs, generator=generator)
    measure = SpectralMeasure.of_quadrature(
        traces.reshape(-1, 1), torch.ones(draws * runs, 1), 1, torch.arange(draws).repeat_interleave(runs)
    )
    between = float(traces.double().mean(1).var(correction=0)) / draws
    within = float(traces.double().var(1, correction=0).mean()) / runs / draws
    expected = {"draws": between, "runs": within, "two-level": between + within}
    for level, variance in expected.items():
        result = bootstrap(measure, lambda each: each.trace().value, 2000, level=level)
        assert float(result.replicates.var()) == pytest.approx(variance, rel=0.12)


def test_influence_error_is_the_jackknifes_and_the_bootstraps() -> None:
    measure = POPULATION.runs(200, 0)
    for step in (Step(0.2), Step(0.2, 0.9)):
        result = bootstrap(measure, Quadrature(step), 300)
        assert result.error == pytest.approx(result.jackknife_error, rel=0.02)
        assert result.error == pytest.approx(result.estimate.standard_error, rel=0.15)


def test_intervals_of_known_replicates() -> None:
    replicates = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    even = Bootstrap(0.0, replicates, torch.tensor([-1.0, 1.0]), 2.0, torch.full((2001,), 1.0))
    assert even.interval(0.9) == pytest.approx((-0.9, 0.9))
    assert even.interval(0.9, "bca") == pytest.approx((-0.9, 0.9), abs=1e-3)
    assert even.interval(0.9, "studentised") == pytest.approx((-1.8, 1.8))
    assert even.interval(0.95, "normal") == pytest.approx((-1.96 * 0.57764, 1.96 * 0.57764), rel=1e-3)
    # a median bias of one normal deviation moves both levels by two
    biased = Bootstrap(float(replicates[1683]), replicates, torch.tensor([-1.0, 1.0]))
    low, high = biased.interval(0.6827, "bca")
    assert (low, high) == pytest.approx((2 * 0.8413 - 1, 2 * 0.99865 - 1), abs=2e-3)
    with pytest.raises(ValueError, match="no standard error"):
        biased.interval(method="studentised")
    with pytest.raises(ValueError, match="confidence"):
        biased.interval(1.0)


def test_bootstrap_refuses() -> None:
    measure = random_measure(0)
    with pytest.raises(ValueError, match="single run"):
        bootstrap(measure.select([0]), Quadrature(STEPS[0]))
    with pytest.raises(ValueError, match="2 repetitions"):
        bootstrap(measure, Quadrature(STEPS[0]), 1)
    with pytest.raises(ValueError, match="no level"):
        bootstrap(measure, Quadrature(STEPS[0]), level="minibatch")  # type: ignore[arg-type]


def test_same_seed_same_replicates() -> None:
    measure, estimator = random_measure(0), Quadrature(STEPS[0])
    first, again, other = (bootstrap(measure, estimator, 20, seed).replicates for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_five_hundred_runs_take_less_than_two_seconds() -> None:
    measure = random_measure(0, runs=500, width=100, size=278_800, draws=10**9)
    start = time.process_time()
    bootstrap(measure, Quadrature(Step(0.1)), 200)
    assert time.process_time() - start < 2


def test_more_runs_until_the_error_is_small() -> None:
    asked: list[tuple[int, int]] = []

    def draw(first: int, count: int) -> SpectralMeasure:
        asked.append((first, count))
        labelled = POPULATION.runs(count, first)
        return SpectralMeasure(labelled.nodes, labelled.masses, labelled.draws + first)

    estimator = Quadrature(Step(0.2))
    result = adaptive(draw, estimator, 0.3, 2000)
    assert result.reached
    assert result.estimate.standard_error is not None
    assert result.estimate.standard_error <= 0.3
    assert result.measure.runs == sum(count for _, count in asked) < 1000
    assert [first for first, _ in asked] == list(np.cumsum([0] + [count for _, count in asked[:-1]]))
    assert len(result.measure.runs_per_draw) == result.measure.runs
    assert result.estimate.value == sd_quadrature(result.measure, Step(0.2))
    short = adaptive(draw, estimator, 0.01, 40)
    assert (short.reached, short.measure.runs) == (False, 40)
    with pytest.raises(ValueError, match="tolerance"):
        adaptive(draw, estimator, 0.0, 40)
    with pytest.raises(ValueError, match="16 runs were asked for, 2 given"):
        adaptive(lambda first, count: POPULATION.runs(2, first), estimator, 0.1, 40)


def coverage(
    population: FixedMatrix | Minibatches, step: Step, runs: int, repetitions: int, methods: tuple[Method, ...]
) -> dict[str, float]:
    """How often nominal 95 % intervals contain the population's SD."""
    truth, hits = population.sharpness_dimension(step), dict.fromkeys(methods, 0)
    for seed, measure in enumerate(population.samples(runs, repetitions)):
        result = bootstrap(measure, Quadrature(step), 300, seed)
        for method in methods:
            low, high = result.interval(0.95, method)
            hits[method] += low <= truth <= high
    return {method: count / repetitions for method, count in hits.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("population", "step"),
    [
        pytest.param(FixedMatrix, Step(0.2), id="matrix"),
        pytest.param(Minibatches, Step(0.2), id="network"),
        pytest.param(Minibatches, Step(0.1, 0.9), id="network-momentum"),
    ],
)
def test_intervals_cover(population: type[FixedMatrix | Minibatches], step: Step) -> None:
    covered = coverage(population(), step, 60, 200, ("percentile", "bca", "studentised", "normal"))
    assert all(0.90 <= share <= 0.99 for share in covered.values()), covered
