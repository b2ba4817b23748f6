"""Topology of trajectories: lifetimes against gudhi and single linkage, sums and magnitudes in closed form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import gudhi
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist, squareform
from scipy.stats import linregress

from suite.metrics import Run, find_metrics
from suite.metrics.probed.distances import Distances
from suite.metrics.topology import (
    BIRDAL,
    DUPUIS,
    lifetime_sum,
    lifetimes,
    magnitude,
    ph_dimension,
    positive_magnitude,
    weighting,
)
from suite.spec.seeds import seed_of
from tests.metrics.made import made_run, value_of

Matrix = NDArray[np.float64]


def between(points: Matrix) -> Matrix:
    return squareform(pdist(points))


def uniform(count: int, dimension: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).random((count, dimension))


def by_gudhi(distances: Matrix) -> Matrix:
    """Deaths in degree 0 of the Rips filtration."""
    tree = gudhi.RipsComplex(distance_matrix=distances).create_simplex_tree(max_dimension=1)
    # gudhi leaves out pairs that live for no time unless it is told otherwise
    tree.compute_persistence(min_persistence=-1.0)
    deaths = tree.persistence_intervals_in_dimension(0)[:, 1]
    return np.sort(deaths[np.isfinite(deaths)])


def dimension_by_gudhi(distances: Matrix, sizes: tuple[int, ...], alpha: float = 1.0) -> tuple[float, float]:
    """PH dimension and its error by the authors' procedure, with gudhi and scipy's regression."""
    count = len(distances)
    generator = torch.Generator().manual_seed(seed_of("persistent homology", count))
    x, y = [], []
    for size in sizes:
        n = round(size * count / 1000)
        at = torch.randperm(count, generator=generator)[:n].numpy()
        x.append(np.log(n))
        y.append(np.log((by_gudhi(distances[at][:, at]) ** alpha).sum()))
    fit = linregress(x, y)
    return alpha / (1 - fit.slope), alpha * fit.stderr / (1 - fit.slope) ** 2


@pytest.mark.parametrize(("count", "dimension"), [(2, 1), (40, 2), (150, 7)])
def test_lifetimes_are_those_of_a_persistent_homology_library(count: int, dimension: int) -> None:
    distances = between(uniform(count, dimension))
    found = np.sort(lifetimes(distances))
    np.testing.assert_allclose(found, by_gudhi(distances), rtol=1e-12)
    np.testing.assert_allclose(found, linkage(squareform(distances), "single")[:, 2], rtol=1e-12)


def test_repeated_points_have_lifetime_zero() -> None:
    """Sparse graphs take a zero for a missing edge: the tree then has holes, or goes around."""
    points = uniform(30, 2)
    twice = between(points[[*range(30), 3, 3, 7, 29]])
    found = np.sort(lifetimes(twice))
    np.testing.assert_allclose(found, by_gudhi(twice), rtol=1e-12)
    assert (found[:4] == 0).all()
    np.testing.assert_allclose(found[4:], np.sort(lifetimes(between(points))), rtol=1e-12)


def test_the_lifetimes_of_points_on_a_line_sum_to_their_range() -> None:
    points = uniform(200, 1)
    assert lifetime_sum(between(points)) == pytest.approx(float(np.ptp(points)), rel=1e-12)


def test_the_lifetime_sum_of_equidistant_points_and_its_scale() -> None:
    distances = 0.3 * (1 - np.eye(12))
    assert lifetime_sum(distances) == pytest.approx(11 * 0.3)
    assert lifetime_sum(distances, alpha=2.0) == pytest.approx(11 * 0.09)
    cloud = between(uniform(50, 3))
    assert lifetime_sum(7 * cloud) == pytest.approx(7 * lifetime_sum(cloud))
    assert lifetime_sum(np.zeros((5, 5))) == 0


@pytest.mark.parametrize("sizes", [BIRDAL, DUPUIS])
@pytest.mark.parametrize(("dimension", "tolerance"), [(1, 0.02), (2, 0.15)])
def test_the_dimension_of_a_segment_and_of_a_square(sizes: tuple[int, ...], dimension: int, tolerance: float) -> None:
    """Uniform points: E_1(n) ~ n^(1 − 1/dim). Six draws' largest deviation is within the tolerance."""
    for seed in range(6):
        found = ph_dimension(between(uniform(1000, dimension, seed)), sizes)
        assert found.value == pytest.approx(dimension, abs=tolerance)


def test_the_dimension_does_not_change_with_scale_or_embedding() -> None:
    points = uniform(300, 2)
    turned = points @ np.linalg.qr(np.random.default_rng(1).standard_normal((40, 2)))[0].T
    plain = ph_dimension(between(points), BIRDAL).value
    assert ph_dimension(1e-6 * between(turned), BIRDAL).value == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("count", [60, 1000])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_the_dimension_and_its_error_are_those_of_the_authors_procedure(count: int, alpha: float) -> None:
    distances = between(uniform(count, 3))
    sizes = BIRDAL if count < 1000 else (200, 400, 600)  # all of them take gudhi half a minute
    value, error = dimension_by_gudhi(distances, sizes, alpha)
    found = ph_dimension(distances, sizes, alpha)
    assert found.value == pytest.approx(value, rel=1e-9)
    assert found.standard_error == pytest.approx(error, rel=1e-6)


def test_subset_sizes_are_the_authors() -> None:
    assert BIRDAL == (200, 250, 300, 350, 400, 450, 500, 550, 600, 650, 700, 750, 800, 850, 900, 950)
    assert (DUPUIS[0], DUPUIS[1], DUPUIS[-1], len(DUPUIS)) == (200, 240, 960, 20)


def test_of_more_iterates_the_last_thousand_count() -> None:
    points = uniform(1050, 2)
    points[:50] += 100
    found = ph_dimension(between(points), BIRDAL)
    assert found == ph_dimension(between(points[50:]), BIRDAL)


@pytest.mark.parametrize(
    ("distances", "words"),
    [
        (np.zeros((30, 30)), "same point"),
        (1 - np.eye(30), r"grow like n\^"),  # E_1(n) = n − 1: its slope is above 1
        (between(uniform(19, 2)), "19 iterates"),
        (np.full((30, 30), np.nan), "not finite"),
        (np.zeros((1, 1)), "fewer than two"),
    ],
)
def test_no_dimension_where_there_is_none(distances: Matrix, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ph_dimension(distances, BIRDAL)


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_magnitude_in_closed_form(scale: float) -> None:
    two = between(np.array([[0.0], [0.7]]))
    assert magnitude(two, scale) == pytest.approx(2 / (1 + np.exp(-0.7 * scale)), rel=1e-10)
    equal = 0.3 * (1 - np.eye(9))
    assert magnitude(equal, scale) == pytest.approx(9 / (1 + 8 * np.exp(-0.3 * scale)), rel=1e-10)
    line = np.sort(uniform(40, 1), axis=0)
    gaps = np.diff(line[:, 0])
    assert magnitude(between(line), scale) == pytest.approx(1 + np.tanh(scale * gaps / 2).sum(), rel=1e-9)


def test_magnitude_counts_points_that_scale_tells_apart() -> None:
    cloud = between(uniform(25, 3))
    assert magnitude(cloud, 1e-6) == pytest.approx(1, abs=1e-5)
    assert magnitude(cloud, 1e4) == pytest.approx(25, rel=1e-9)
    assert magnitude(7 * cloud, 2.0) == pytest.approx(magnitude(cloud, 14.0), rel=1e-10)


def test_points_at_distance_zero_are_one_point() -> None:
    points = uniform(20, 2)
    again = between(points[[*range(20), 0, 0, 11]])
    assert magnitude(again, 3.0) == pytest.approx(magnitude(between(points), 3.0), rel=1e-10)
    assert magnitude(np.zeros((6, 6)), 3.0) == 1


def test_positive_magnitude_leaves_negative_weights_out() -> None:
    grid = np.stack(np.meshgrid(np.arange(4.0), np.arange(4.0)), -1).reshape(-1, 2)
    distances = between(grid)
    weights = np.linalg.solve(np.exp(-0.05 * distances), np.ones(16))
    assert weights.min() < -0.01
    np.testing.assert_allclose(weighting(distances, 0.05), weights, rtol=1e-8)
    assert positive_magnitude(distances, 0.05) == pytest.approx(weights[weights > 0].sum(), rel=1e-8)
    assert magnitude(distances, 0.05) == pytest.approx(weights.sum(), rel=1e-8)


def test_no_magnitude_where_the_similarities_are_not_positive_definite() -> None:
    """Leinster 2013, Ex. 2.2.8: the shortest paths of K_{3,2}, below scale ln √2."""
    three, two = np.zeros((5, 5), dtype=bool), np.zeros((5, 5), dtype=bool)
    three[:3, :3], two[3:, 3:] = True, True
    paths = np.where(three | two, 2.0, 1.0) * (1 - np.eye(5))
    assert magnitude(paths, 1.0) > 1
    with pytest.raises(ValueError, match="rounding decides"):
        magnitude(paths, 0.2)


@cache
def trained() -> Run:
    """Digits, 120 steps, 40 iterates before the end and 40 after it."""
    return made_run(
        "forward",
        "backward",
        training={"steps": 120, "trajectory": {"points": 40, "every": 2, "samples": 64}},
        probes={"forward": {"steps": 80, "points": 40, "samples": 64}},
    )


REFERENCES: dict[str, Callable[[Matrix, float], float]] = {
    "ph_dimension": lambda d, _: dimension_by_gudhi(d, BIRDAL)[0],
    "loss_ph_dimension": lambda d, _: dimension_by_gudhi(d, DUPUIS)[0],
    "lifetime_sum": lambda d, _: float(linkage(squareform(d), "single")[:, 2].sum()),
    "magnitude": lambda d, t: float(np.linalg.inv(np.exp(-t * d)).sum()),
    "positive_magnitude": lambda d, t: float(np.linalg.inv(np.exp(-t * d)).sum(1).clip(min=0).sum()),
}
NAMED = [
    ("ph_dimension_forward", "ph_dimension_backward", "ph_dimension", "euclidean"),
    ("loss_ph_dimension_forward", "loss_ph_dimension_backward", "loss_ph_dimension", "losses"),
    ("lifetime_sum_forward", "lifetime_sum_backward", "lifetime_sum", "euclidean"),
    ("loss_lifetime_sum_forward", "loss_lifetime_sum_backward", "lifetime_sum", "losses"),
    ("magnitude_forward", "magnitude_backward", "magnitude", "euclidean"),
    ("loss_magnitude_forward", "loss_magnitude_backward", "magnitude", "losses"),
    ("positive_magnitude_forward", "positive_magnitude_backward", "positive_magnitude", "euclidean"),
    ("loss_positive_magnitude_forward", "loss_positive_magnitude_backward", "positive_magnitude", "losses"),
]


@pytest.mark.parametrize(("forward", "backward", "reference", "kind"), NAMED)
def test_metrics_of_a_trained_network(forward: str, backward: str, reference: str, kind: str) -> None:
    run = trained()
    scale = 1438**0.5  # the digits that are trained on
    for name, distances in ((forward, run.forward), (backward, run.backward)):
        assert find_metrics()[name].probes == (name.rsplit("_", 1)[1],)
        meant = REFERENCES[reference](getattr(distances, kind), scale)
        assert value_of(name, run) == pytest.approx(meant, rel=1e-6)
    assert value_of(forward, run) != pytest.approx(value_of(backward, run), rel=1e-6)


def test_losses_that_are_not_finite_have_no_topology() -> None:
    distances = between(uniform(30, 2))
    run = replace(trained(), probes={"backward": Distances(distances, np.full_like(distances, np.nan), 1)})
    assert value_of("lifetime_sum_backward", run) > 0
    for name in ("loss_lifetime_sum_backward", "loss_magnitude_backward", "loss_ph_dimension_backward"):
        with pytest.raises(ValueError, match="not finite"):
            value_of(name, run)
