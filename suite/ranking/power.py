"""How many settings and seeds it takes to show that one metric predicts better than another."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from suite.ranking.bootstrap import LEVEL, generator
from suite.ranking.correlation import Vector

SETTINGS = (9, 25, 49, 100)
SEEDS = (1, 2, 5)
DIFFERENCES = (0.1, 0.2, 0.3, 0.4)
SIMULATIONS = 400
GAP_NOISE = 0.3
"""Share of the gap's variance between seeds of one setting, unless told otherwise."""
BASE = 0.4
"""τ midway between the two metrics."""


def power_table(gap_noise: float = GAP_NOISE) -> pd.DataFrame:
    """The chance that a paired comparison of two metrics on one grid tells them apart, by simulation.

    Of every setting the gap is a normal number, with normal noise between its seeds. Two metrics, the same for all
    seeds of a setting, read it through noise of their own, so that over settings their τ with the gap, the mean over
    seeds, is 0.4 ± half the difference (τ = (2/π) arcsin r of normal numbers). Both are compared by the difference of
    their τ against its standard deviation over the simulated grids and Student's t of (settings − 1) degrees.

    Args:
        gap_noise: the share of the gap's variance that is between seeds: `gap_seed_noise` of a task.

    Returns:
        settings, seeds, difference, power.
    """
    return _simulated(gap_noise).copy()


@cache
def _simulated(gap_noise: float) -> pd.DataFrame:
    rows = []
    for settings in SETTINGS:
        for seeds in SEEDS:
            for difference in DIFFERENCES:
                made = _differences(settings, seeds, difference, gap_noise)
                bar = stdtrit(settings - 1, (1 + LEVEL) / 2) * made.std(ddof=1)
                rows.append((settings, seeds, difference, float((np.abs(made) > bar).mean())))
    return pd.DataFrame(rows, columns=["settings", "seeds", "difference", "power"])


def settings_needed(difference: float, seeds: int, power: float = 0.8, gap_noise: float = GAP_NOISE) -> int | None:
    """The least number of settings in `power_table` with which such a difference is found with such a chance.

    Returns:
        None where not even the largest suffices, or the table has no such difference or number of seeds.
    """
    table = power_table(gap_noise)
    rows = table[(table["difference"] == difference) & (table["seeds"] == seeds) & (table["power"] >= power)]
    return int(rows["settings"].min()) if len(rows) else None


def _differences(settings: int, seeds: int, difference: float, gap_noise: float) -> Vector:
    """τ of the better metric minus τ of the other on simulated grids, `SIMULATIONS`."""
    random = generator("power", str(settings), str(seeds), str(difference), str(gap_noise))
    signal, noise = np.sqrt(1 - gap_noise), np.sqrt(gap_noise)
    shape = (SIMULATIONS, settings)
    gap = signal * random.standard_normal(shape)
    seen = gap[..., None] + noise * random.standard_normal((*shape, seeds))
    above, taus = _compared(seen), []
    for tau in (BASE + difference / 2, BASE - difference / 2):
        r = np.sin(np.pi / 2 * tau)
        metric = r * gap / signal + np.sqrt(1 - r**2) * random.standard_normal(shape)
        taus.append(_tau(metric, above, seeds))
    return taus[0] - taus[1]


def _compared(y: Vector) -> list[NDArray[np.float32]]:
    """Of settings d = 1, 2, … apart, how many pairs of their seeds rise minus fall: `settings − d × simulations` each.

    Args:
        y: `simulations × settings × seeds`, no two alike.
    """
    b = np.ascontiguousarray(np.moveaxis(y, 0, -1), np.float32)
    made = []
    for d in range(1, len(b)):
        later, earlier = b[d:], b[:-d]
        rises = sum(np.sign(later[:, i] - earlier[:, j]) for i in range(b.shape[1]) for j in range(b.shape[1]))
        made.append(np.asarray(rises, np.float32))
    return made


def _tau(x: Vector, above: list[NDArray[np.float32]], seeds: int) -> Vector:
    """τ-b of each row of x, `simulations × settings`, the same for all seeds of a setting, with what is compared."""
    a, n = np.ascontiguousarray(x.T, np.float32), x.shape[1] * seeds
    agree = np.zeros(len(x))
    for d, rises in enumerate(above, start=1):
        agree += (np.sign(a[d:] - a[:-d]) * rises).sum(0)
    pairs = n * (n - 1) / 2
    tau: Vector = agree / np.sqrt((pairs - n * (seeds - 1) / 2) * pairs)
    return tau
