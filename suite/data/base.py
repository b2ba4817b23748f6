"""What every data source returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Description:
    """What the data are: for provenance and for people.

    Attributes:
        n_train, n_test: number of inputs.
        d: numbers (or tokens) per input.
        classes: number of distinct answers.
        checksum: sha256 (hex) of the arrays, train then test.
        origin: where they came from, e.g. "scikit-learn 1.9 load_digits" or a file's path name and known version.
        entropy: nats per target of the best possible predictor, where it is known (markov), else None.
    """

    n_train: int
    n_test: int
    d: int
    classes: int
    checksum: str
    origin: str
    entropy: float | None = None


@dataclass(frozen=True)
class Dataset:
    """Train and test arrays.

    Attributes:
        train_inputs: float32 `n × d` (vectors) or int64 `n × t` (tokens).
        train_targets: int64 `n`, or `n × t` where every position has a target.
        test_inputs: as `train_inputs`.
        test_targets: as `train_targets`; or float32 with a last axis of `classes`: exact target probabilities.
        test_weights: float32 `n_test` summing to 1, the probability of each test input; None if all count alike.
        description: what they are.
    """

    train_inputs: NDArray[np.float32] | NDArray[np.int64]
    train_targets: NDArray[np.int64]
    test_inputs: NDArray[np.float32] | NDArray[np.int64]
    test_targets: NDArray[np.int64] | NDArray[np.float32]
    test_weights: NDArray[np.float32] | None
    description: Description
