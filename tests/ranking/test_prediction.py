"""Prediction of values that were not seen, against regressions made one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from suite.ranking.prediction import folds, r2_over_trivial


def _grid() -> pd.DataFrame:
    return pd.DataFrame([(a, b, s) for a in range(4) for b in range(3) for s in range(2)], columns=["a", "b", "seed"])


def _data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    frame, hidden = _grid(), random.permutation(24).astype(float)
    y = frame["a"].to_numpy() + 0.3 * hidden
    x = np.array([frame["a"].to_numpy(float), np.ones(24), hidden, random.normal(size=24), -(hidden**3)])
    return x, y, np.array([True, True, False, False, False])


def test_it_is_two_regressions() -> None:
    x, y, trivial = _data()
    frame = _grid()
    made = r2_over_trivial(x, y, trivial, folds(frame, ["a", "b"]))
    for m in (2, 3):
        alone = together = 0.0
        for name in ("a", "b"):
            for value in frame[name].unique():
                out = (frame[name] == value).to_numpy()
                for columns in ([0], [0, m]):
                    design = np.column_stack([np.ones(24), *(rankdata(x[c]) for c in columns)])
                    coefficients = np.linalg.lstsq(design[~out], y[~out], rcond=None)[0]
                    error = float(((y[out] - design[out] @ coefficients) ** 2).sum())
                    alone, together = (alone + error, together) if len(columns) == 1 else (alone, together + error)
        assert made[m] == pytest.approx(1 - together / alone, rel=1e-6)


def test_who_knows_the_rest_gets_nearly_all_and_noise_and_trivial_predictors_nothing() -> None:
    x, y, trivial = _data()
    made = r2_over_trivial(x, y, trivial, folds(_grid(), ["a", "b"]))
    assert made[:2].tolist() == [0, 0]
    assert made[2] > 0.95
    assert made[4] == pytest.approx(made[2])  # ranks do not mind a monotone function, nor its direction
    assert -0.5 < made[3] < 0.2


def test_a_copy_of_a_trivial_predictor_adds_nothing() -> None:
    x, y, trivial = _data()
    x[3] = np.exp(x[0])
    assert r2_over_trivial(x, y, trivial, folds(_grid(), ["a", "b"]))[3] == pytest.approx(0, abs=1e-9)


def test_missing_values_do_not_pay() -> None:
    x, y, trivial = _data()
    lacking = x.copy()
    lacking[2, ::3] = np.nan
    whole, some = (r2_over_trivial(values, y, trivial, folds(_grid(), ["a", "b"]))[2] for values in (x, lacking))
    assert 0 < some < whole - 0.1


def test_nothing_to_predict() -> None:
    x, y, trivial = _data()
    assert np.isnan(r2_over_trivial(x, np.ones(24), trivial, folds(_grid(), ["a", "b"]))).all()
    assert np.isnan(r2_over_trivial(x, y, trivial, folds(_grid(), []))).all()
    assert folds(_grid().assign(a=1), ["a"]) == []
