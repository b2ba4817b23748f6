"""500 Lanczos runs against exact spectra on a 3 × 3 grid of trained networks."""

from __future__ import annotations

import pytest

from tests.bench.pooling import BATCHES, RATES, cells


@pytest.mark.slow
def test_codimension_of_every_cell_is_within_three_per_cent_of_exact() -> None:
    found = list(cells())
    assert {(c.learning_rate, c.batch) for c in found} == {(eta, b) for eta in RATES for b in BATCHES}
    for cell in found:
        assert cell.quadrature_averaged == pytest.approx(cell.averaged, rel=0.03)
        assert cell.quadrature_pooled == pytest.approx(cell.pooled, rel=0.03)
        assert cell.pooled <= cell.averaged + 1e-9, "pooling cannot lower SD"
