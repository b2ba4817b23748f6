"""Distances between iterates of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Distances:
    """Pairwise distances of `k` iterates of training, oldest first, `every` steps apart.

    Attributes:
        euclidean: `‖w_i − w_j‖`, float64 `[k, k]`.
        losses: mean over the samples of `|ℓ(w_i) − ℓ(w_j)|`, float64 `[k, k]` (Dupuis et al. 2023, normalised).
        every: optimizer steps from one iterate to the next.
    """

    euclidean: NDArray[np.float64]
    losses: NDArray[np.float64]
    every: int

    @classmethod
    def from_arrays(cls, arrays: dict[str, Tensor]) -> Distances:
        """From what is stored: the upper triangles, row by row, and `every`."""
        return cls(_square(arrays["euclidean"]), _square(arrays["losses"]), int(arrays["every"]))


def _square(condensed: Tensor) -> NDArray[np.float64]:
    """The symmetric matrix with this upper triangle `[k (k − 1) / 2]`."""
    count = (1 + round((1 + 8 * len(condensed)) ** 0.5)) // 2
    full = np.zeros((count, count))
    full[np.triu_indices(count, 1)] = condensed.numpy()
    return full + full.T
