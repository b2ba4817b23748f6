"""Kendall's τ-b with one hyperparameter held fixed: is a metric more than an echo of it?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from suite.ranking.correlation import Numbers, Pairs, Vector, draw_kendall


def same_level(pairs: Pairs, numbers: Numbers, values: pd.Series) -> NDArray[np.bool_]:
    """Which pairs of clusters share a hyperparameter's value (`none` is a value), `P`.

    Args:
        pairs: of clusters within which the hyperparameter does not vary.
        numbers: cluster of each row.
        values: the hyperparameter, one per row.
    """
    codes = pd.factorize(values, use_na_sentinel=False)[0]
    level = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=int)
    level[numbers] = codes
    chosen: NDArray[np.bool_] = level[pairs.first] == level[pairs.second]
    return chosen


def draw_partial(pairs: Pairs, counts: Vector, chosen: NDArray[np.bool_]) -> Vector:
    """τ-b over pairs of networks that share the hyperparameter's value, in each resample.

    τ = Σ sign(Δx) sign(Δy) / √(Σ |sign Δx| · Σ |sign Δy|), the sums over these pairs alone, ties left out as in τ-b. A
    metric that is a function of the hyperparameter orders none of them: 0. NaN where the gap orders none. This is the
    partial correlation in the sense of Tan et al. 2024: what is left once the hyperparameter is held fixed; it is not
    Kendall's partial τ of three variables, which takes the hyperparameter's effect for monotone.

    Returns:
        `M × T × R`.
    """
    return draw_kendall(pairs, counts, chosen).tau
