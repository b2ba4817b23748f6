"""The granulated Kendall coefficient (Jiang et al. 2019)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from suite.ranking.bootstrap import setting_numbers
from suite.ranking.correlation import Numbers, Vector, tau_b


def other_settings(frame: pd.DataFrame, factors: list[str], vary: str) -> list[Numbers]:
    """Positions of the rows of each setting of the other factors (seeds among them), where there are at least two."""
    numbers = setting_numbers(frame, [name for name in factors if name != vary])
    groups = [np.flatnonzero(numbers == number) for number in range(int(numbers.max(initial=-1)) + 1)]
    return [group for group in groups if len(group) > 1]


def draw_granulated(x: Vector, y: Vector, groups: list[Numbers], counts: Vector) -> tuple[Vector, Vector]:
    """ψ of one hyperparameter: the mean over groups, in which it alone varies, of τ-b.

    A group counts where it has at least two values and a gap that is not constant; a constant metric counts as 0.

    Args:
        x: metrics, `M × n`; NaN where missing.
        y: gaps, `T × n`.
        groups: `other_settings`.
        counts: `R × n`, how often each row occurs in each resample; a row of ones is the data themselves.

    Returns:
        ψ, `M × T × R` (NaN where no group counts), and the number of groups it is the mean of.
    """
    shape = (len(x), len(y), len(counts))
    total, settings = np.zeros(shape), np.zeros(shape)
    for rows in groups:
        taus = _taus(x[:, rows], y[:, rows], counts[:, rows])
        defined = ~np.isnan(taus)
        total += np.where(defined, taus, 0.0)
        settings += defined
    with np.errstate(invalid="ignore"):
        return total / settings, settings


def _taus(x: Vector, y: Vector, counts: Vector) -> Vector:
    """τ-b of one group in each resample, `M × T × R`, or `M × T × R` by broadcasting."""
    i, j = np.triu_indices(x.shape[1], 1)
    weights = (counts[:, i] * counts[:, j]).T
    x_signs, y_signs = np.sign(x[:, i] - x[:, j]), np.sign(y[:, i] - y[:, j])
    known = np.isfinite(x_signs)
    x_signs = np.nan_to_num(x_signs)
    agree = (x_signs[:, None] * y_signs) @ weights
    ordered = np.abs(y_signs)[None] if known.all() else np.abs(y_signs) * known[:, None]
    return tau_b(agree, (np.abs(x_signs) @ weights)[:, None], ordered @ weights)
