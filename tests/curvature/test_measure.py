"""Spectral measures: what is refused, integrals, distribution functions, smoothing, ways to make and join them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from suite.curvature.measure import SpectralMeasure
from suite.curvature.smoothing import GaussianGrid, scott


def doubles(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def random_measure(seed: int, runs: int = 6, width: int = 9, size: int = 40) -> SpectralMeasure:
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.randn(runs, width, generator=generator, dtype=torch.float64)
    weights = torch.rand(runs, width, generator=generator, dtype=torch.float64)
    draws = torch.randint(0, 3, (runs,), generator=generator)
    return SpectralMeasure.of_quadrature(nodes, weights / weights.sum(1, keepdim=True), size, draws)


NODES, MASSES, DRAWS = doubles([1.0, 2.0]), doubles([1.0, 3.0]), torch.tensor([0])


@pytest.mark.parametrize(
    ("nodes", "masses", "draws", "said"),
    [
        (NODES[0], MASSES[0], DRAWS, r"\[R, M\]"),
        (NODES[:, :0], MASSES[:, :0], DRAWS, "at least 1"),
        (NODES, MASSES[:, :1], DRAWS, r"\[R, M\]"),
        (NODES, MASSES, torch.tensor([0, 1]), r"draws \[R\]"),
        (NODES.float(), MASSES, DRAWS, "float64"),
        (NODES, MASSES, DRAWS.int(), "int64"),
        (NODES * math.nan, MASSES, DRAWS, "not finite"),
        (NODES, MASSES * math.inf, DRAWS, "not finite"),
        (NODES, doubles([-1.0, 5.0]), DRAWS, "negative"),
        (NODES, doubles([1.0, 3.001]), DRAWS, "whole number"),
        (NODES, MASSES * 0, DRAWS, "positive"),
        (NODES.repeat(2, 1), doubles([1.0, 3.0], [1.0, 4.0]), torch.tensor([0, 1]), r"from 4\.0 to 5\.0"),
    ],
)
def test_refused(nodes: torch.Tensor, masses: torch.Tensor, draws: torch.Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SpectralMeasure(nodes, masses, draws)


def test_constructors_refuse() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        SpectralMeasure.of_quadrature(NODES, doubles([0.5, 0.4]), 4)
    with pytest.raises(ValueError, match="sum to 1"):
        SpectralMeasure.of_quadrature(NODES, doubles([0.5, math.nan]), 4)
    with pytest.raises(ValueError, match="between 0 and d = 4"):
        SpectralMeasure.of_quadrature(NODES, doubles([0.5, 0.5]), 4, zeros=5)
    with pytest.raises(ValueError, match="N at most d = 1"):
        SpectralMeasure.of_eigenvalues(NODES, 1)
    with pytest.raises(ValueError, match="one size"):
        SpectralMeasure.concatenate([random_measure(0), random_measure(0, size=41)])
    with pytest.raises(ValueError, match="one size"):
        SpectralMeasure.concatenate([])
    with pytest.raises(ValueError, match=r"\[R, n\]"):
        random_measure(0).with_exact(torch.zeros(2, 3))


def test_zeros_take_their_mass_from_the_probes() -> None:
    measure = SpectralMeasure.of_quadrature(
        doubles([1.0, 3.0], [2.0, 4.0]), doubles([0.75, 0.25], [0.5, 0.5]), 10, zeros=torch.tensor([2, 6])
    )
    assert measure.size == 10
    assert measure.nodes.tolist() == [[1, 3, 0], [2, 4, 0]]
    assert measure.masses.tolist() == [[6, 2, 2], [2, 2, 6]]
    assert measure.trace().value == (12 + 12) / 2


def test_eigenvalues_and_exact_ones() -> None:
    measure = SpectralMeasure.of_eigenvalues(torch.tensor([[1.0, -2.0], [4.0, 0.5]]), 5)
    assert (measure.size, measure.runs) == (5, 2)
    grown = measure.with_exact(torch.tensor([7.0]))
    assert (grown.size, grown.trace().value) == (6, pytest.approx((-1 + 4.5) / 2 + 7))
    own = measure.with_exact(torch.tensor([[7.0, 1.0], [9.0, 1.0]]))
    assert (own.size, own.trace().value) == (7, pytest.approx((7 + 14.5) / 2))
    assert own.frobenius().value == pytest.approx(math.sqrt((5 + 50 + 16.25 + 82) / 2))


def test_errors_are_over_draws_and_over_runs_of_a_single_draw() -> None:
    nodes = doubles([1.0], [3.0], [10.0])
    ones = torch.full((3, 1), 2.0, dtype=torch.float64)
    trace = SpectralMeasure(nodes, ones, torch.tensor([5, 5, 2])).trace()
    assert trace.value == 12  # draws 4 and 20, whatever the numbers of their runs
    assert trace.standard_error == pytest.approx(np.std([4, 20], ddof=1) / math.sqrt(2))
    single = SpectralMeasure(nodes, ones, torch.tensor([5, 5, 5])).trace()
    assert single.value == pytest.approx(28 / 3)
    assert single.standard_error == pytest.approx(np.std([2, 6, 20], ddof=1) / math.sqrt(3))
    assert SpectralMeasure(nodes[:1], ones[:1], torch.tensor([5])).trace().standard_error is None


def test_integrals_against_sums() -> None:
    measure = random_measure(1)
    by_draw = [
        float((measure.masses * torch.sin(measure.nodes)).sum(1)[measure.draws == k].mean())
        for k in measure.draws.unique()
    ]
    assert measure.integral(torch.sin).value == pytest.approx(np.mean(by_draw), rel=1e-13)
    assert measure.moment(0).value == pytest.approx(40)
    assert measure.moment(0).standard_error == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="as many values"):
        measure.integral(lambda nodes: nodes.sum(1))
    with pytest.raises(ValueError, match="not finite"):
        measure.integral(torch.log)


def test_nodes_without_mass_do_not_count() -> None:
    measure = SpectralMeasure(doubles([1.0, -5.0]), doubles([2.0, 0.0]), DRAWS)
    assert measure.integral(torch.log).value == 0
    assert measure.quantile(torch.tensor([0.0])).item() == 1
    assert measure.histogram(2)[0][0] > -5


@given(st.integers(0, 1000))
def test_quantile_is_the_inverse_of_the_cdf(seed: int) -> None:
    measure = random_measure(seed)
    nodes = measure.nodes.reshape(-1).sort().values
    assert torch.equal(measure.quantile(measure.cdf(nodes)), nodes)
    q = torch.linspace(0, 1, 37, dtype=torch.float64)
    assert bool((measure.cdf(measure.quantile(q)) >= q - 1e-12).all())
    assert bool((measure.cdf(measure.quantile(q[1:]) - 1e-9) < q[1:]).all())
    assert measure.cdf(torch.tensor([-1e9, 1e9])).tolist() == pytest.approx([0, 1])


def test_quantiles_of_equal_masses_do_not_suffer_from_rounding() -> None:
    eigenvalues = torch.arange(10.0)[None]
    measure = SpectralMeasure.of_eigenvalues(eigenvalues, 10)
    q = torch.arange(1, 11, dtype=torch.float64) / 10
    assert torch.equal(measure.quantile(q), eigenvalues[0].double())
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        measure.quantile(torch.tensor([1.1]))


def test_histogram_masses() -> None:
    measure = SpectralMeasure.of_eigenvalues(doubles([-1.0, 0.5, 2.0], [-1.0, 1.5, 3.0]), 4)
    edges, masses = measure.histogram(torch.tensor([-1.0, 0.0, 1.0, 3.0]))
    assert edges.tolist() == [-1, 0, 1, 3]
    assert masses.tolist() == [1, 1.5, 1.5]
    edges, masses = measure.histogram(7)
    assert float(masses.sum()) == pytest.approx(4)
    assert (float(edges[0]), float(edges[-1]), len(masses)) == (-1, 3, 7)


def test_kde_integrates_to_d_and_is_scipys() -> None:
    measure = random_measure(3)
    x = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    for bandwidth in (None, 0.05, 0.5):
        assert float(torch.trapezoid(measure.kde(x, bandwidth), x)) == pytest.approx(40, rel=1e-10)
    weights = (measure.masses * measure.run_weights[:, None]).reshape(-1).numpy()
    reference = stats.gaussian_kde(measure.nodes.reshape(-1).numpy(), 0.3, weights)
    bandwidth = math.sqrt(reference.covariance.item())
    assert measure.kde(x, bandwidth).numpy() == pytest.approx(40 * reference(x.numpy()), rel=1e-9, abs=1e-12)


def test_scotts_rule() -> None:
    nodes = torch.randn(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert scott(nodes, torch.ones(500)) == pytest.approx(1.06 * np.std(nodes.numpy()) * 500**-0.2, rel=1e-12)
    assert scott(nodes, torch.full((500,), 7.0)) == pytest.approx(scott(nodes, torch.ones(500)), rel=1e-12)
    with pytest.raises(ValueError, match="give a bandwidth"):
        SpectralMeasure.of_eigenvalues(torch.zeros(2, 3), 5).kde(torch.zeros(1))
    with pytest.raises(ValueError, match="positive"):
        random_measure(0).kde(torch.zeros(1), 0.0)


@pytest.mark.parametrize("spacing", [0.025, 0.1])
def test_gaussians_on_a_grid_are_the_gaussians(spacing: float) -> None:
    measure, width = random_measure(4), 0.1
    grid = GaussianGrid.over(measure.nodes, width, spacing)
    density = measure.run_weights @ grid.density(measure.nodes, measure.masses)
    assert torch.allclose(density, measure.kde(grid.points, width), rtol=0, atol=1e-11)
    assert float(torch.trapezoid(density, grid.points)) == pytest.approx(40, rel=1e-8)
    cdf = (measure.run_weights @ grid.cumulative(measure.nodes, measure.masses)).numpy()
    z = (grid.points[:, None] - measure.nodes.reshape(-1)) / width
    masses = (measure.masses * measure.run_weights[:, None]).reshape(-1).numpy()
    assert cdf == pytest.approx(stats.norm.cdf(z.numpy()) @ masses, abs=1e-11)


def test_pseudo_spectrum() -> None:
    eigenvalues = torch.tensor([[3.0, -1.0, 0.0, 2.0]])
    measure = SpectralMeasure.of_eigenvalues(eigenvalues, 4)
    assert measure.pseudo_spectrum(4).tolist() == [-1, 0, 2, 3]
    assert measure.pseudo_spectrum(8).tolist() == [-1, -1, 0, 0, 2, 2, 3, 3]
    # one Gaussian: its quantiles in closed form; each of the M values stands for d / M
    point = SpectralMeasure.of_eigenvalues(torch.full((1, 4), 2.0), 4)
    levels = (np.arange(200) + 0.5) / 200
    smoothed = point.pseudo_spectrum(200, 0.5).numpy()
    assert smoothed == pytest.approx(2 + 0.5 * stats.norm.ppf(levels), abs=0.5 / 50)
    measure = random_measure(5)
    values = measure.pseudo_spectrum(5000, 0.2)
    assert bool((values.diff() >= 0).all())
    assert float(values.sum()) * 40 / 5000 == pytest.approx(measure.trace().value, abs=0.02)
    with pytest.raises(ValueError, match="at least one"):
        measure.pseudo_spectrum(0)


def test_joined_selected_and_stored() -> None:
    first, second = random_measure(6, width=4), random_measure(7, width=9)
    joined = SpectralMeasure.concatenate([first, second])
    assert (joined.runs, joined.size, joined.nodes.shape[1]) == (12, 40, 9)
    assert joined.trace().value == pytest.approx(
        np.mean([float((joined.masses * joined.nodes).sum(1)[joined.draws == k].mean()) for k in joined.draws.unique()])
    )
    assert float(joined.nodes[:6].amin()) == float(first.nodes.amin())
    part = joined.select([3, 3, 8])
    assert torch.equal(part.nodes, joined.nodes[[3, 3, 8]])
    assert part.draws.tolist() == joined.draws[[3, 3, 8]].tolist()
    again = SpectralMeasure.from_arrays(part.to_arrays())
    assert all(torch.equal(getattr(again, name), getattr(part, name)) for name in ("nodes", "masses", "draws"))
