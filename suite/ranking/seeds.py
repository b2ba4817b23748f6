"""Seeds against signal: how much of a quantity's variance is between the seeds of one setting."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from suite.ranking.correlation import Numbers, Vector


def seed_noise(values: Vector, numbers: Numbers) -> float:
    """The share of variance within settings, σ²_w / (σ²_w + σ²_b), of a one-way random-effects analysis of variance.

    1 − ICC(1) of Shrout and Fleiss 1979 with unequal group sizes (n₀ of Searle 1971): MSW / (MSW + (MSB − MSW) / n₀),
    of ranks, so that a metric and its logarithm have the same. 0: seeds agree; 1: settings differ no more than seeds do
    (a negative estimate of σ²_b counts as 0).

    Args:
        values: `n`; those not finite are left out.
        numbers: setting of each value.

    Returns:
        NaN where no setting has two values, there is one setting, or the values are all the same.
    """
    kept = np.isfinite(values)
    ranks, groups = rankdata(values[kept]), np.unique(numbers[kept], return_inverse=True)[1]
    sizes = np.bincount(groups) if len(groups) else np.zeros(0)
    k, n = len(sizes), len(ranks)
    if k < 2 or n == k or np.ptp(ranks) == 0:
        return float("nan")
    means = np.bincount(groups, ranks) / sizes
    within = float(((ranks - means[groups]) ** 2).sum()) / (n - k)
    between = float((sizes * (means - ranks.mean()) ** 2).sum()) / (k - 1)
    typical = (n - float((sizes**2).sum()) / n) / (k - 1)
    signal = max(0.0, (between - within) / typical)
    return within / (within + signal)
