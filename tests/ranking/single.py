"""One metric and one gap through the code that takes all of them at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.ranking.correlation import Vector, count_pairs, draw_kendall
from suite.ranking.granulated import draw_granulated, other_settings


def kendall(x: Vector, y: Vector) -> float:
    return float(weighted_kendall(x, y, np.ones((1, len(x))))[0])


def weighted_kendall(x: Vector, y: Vector, counts: Vector) -> Vector:
    """τ-b where point i occurs `counts[r, i]` times."""
    return draw_kendall(count_pairs(x[None], y[None], np.arange(len(x))), counts).tau[0, 0]


def scored(x: Vector, y: Vector, counts: Vector, tried: NDArray[np.bool_] | None = None) -> Vector:
    """The scores read with + and with −, `2 × R`."""
    asked = None if tried is None else tried[None]
    return draw_kendall(count_pairs(x[None], y[None], np.arange(len(x)), asked), counts).scores[:, 0, 0]


def granulated(
    frame: pd.DataFrame, factors: list[str], vary: str, counts: Vector | None = None
) -> tuple[Vector, list[int]]:
    """ψ of the columns `metric` and `gap`, and how many settings it is the mean of, in each resample."""
    counts = np.ones((1, len(frame))) if counts is None else counts
    x, y = frame[["metric"]].to_numpy(float).T, frame[["gap"]].to_numpy(float).T
    psi, settings = draw_granulated(x, y, other_settings(frame, factors, vary), counts)
    return psi[0, 0], settings[0, 0].astype(int).tolist()
