"""Profiles of spectra, against sorting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from suite.curvature.measure import SpectralMeasure
from suite.curvature.spectrum import DenseSpectra, QuadratureSpectrum
from suite.measuring.profiles import spectral_profile

ETA = 0.3


def _dense(draws: int, count: int, size: int) -> DenseSpectra:
    torch.manual_seed(0)
    rows = [torch.randn(count, dtype=torch.float64) * 5 for _ in range(draws)]
    return DenseSpectra.of(rows, size, [False] * draws)


def test_exact_spectra_are_sorted_in_each_draw_then_averaged() -> None:
    spectrum = _dense(3, 40, 50)
    full = np.hstack([spectrum.eigenvalues.numpy(), np.zeros((3, 10))])
    values = np.sort(full, 1)[:, ::-1].mean(0)
    exponents = np.sort(np.log(np.abs(1 - ETA * full)), 1)[:, ::-1].mean(0)
    rows = np.array(spectral_profile(spectrum, ETA))
    places = np.rint(rows[:, 0] * 50).astype(int)
    assert places[0] == 1
    assert places[-1] == 50
    assert (np.diff(places) > 0).all()
    assert rows[:, 1] == pytest.approx(values[places - 1], rel=1e-12)
    assert rows[:, 2] == pytest.approx(exponents[places - 1], rel=1e-12)


def test_quadrature_that_knows_all_eigenvalues_gives_the_same_from_one_draw() -> None:
    dense = _dense(1, 50, 50)
    measure = SpectralMeasure.of_eigenvalues(dense.eigenvalues, 50)
    mine = np.array(spectral_profile(QuadratureSpectrum(measure), ETA))
    assert mine == pytest.approx(np.array(spectral_profile(dense, ETA)), rel=1e-12)


def test_few_positions_of_many_eigenvalues_and_all_of_few() -> None:
    assert 36 <= len(spectral_profile(_dense(2, 3000, 3000), ETA)) <= 48
    assert [row[0] for row in spectral_profile(_dense(2, 3, 3), ETA)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert [row[0] for row in spectral_profile(_dense(1, 1, 1), ETA)] == [1.0]


@pytest.mark.parametrize("kind", ["exact", "quadrature"])
def test_an_exponent_of_minus_infinity_is_left_out(kind: str) -> None:
    eigenvalues = torch.tensor([[4.0, 2.0, 1.0]], dtype=torch.float64)
    dense = DenseSpectra.of([eigenvalues[0]], 3, [False])
    spectrum = dense if kind == "exact" else QuadratureSpectrum(SpectralMeasure.of_eigenvalues(eigenvalues, 3))
    rows = spectral_profile(spectrum, 0.5)  # |1 − η α| = 1, 0, ½: sorted 0, ln ½, −∞
    assert [row[1] for row in rows] == [4.0, 2.0]
    assert [row[2] for row in rows] == pytest.approx([0.0, math.log(0.5)])
