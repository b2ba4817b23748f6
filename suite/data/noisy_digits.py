"""The digits with some wrong training labels: a gap that learning rate and batch size have not made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from suite.data.base import Dataset
from suite.data.digits import Digits
from suite.data.folders import checksum
from suite.spec.seeds import seed_of


class NoisyDigits(Digits):
    """scikit-learn's digits with a part of the training labels replaced by another class; test labels stay right.

    Which images, and which of the nine other classes they get, is drawn once from `noise_seed`: all networks of a
    level of noise see the same wrong labels, and those of a lower level are among those of a higher one (Zhang et al.
    2017 randomise labels to vary generalization).
    """

    kind: Literal["noisy-digits"] = "noisy-digits"  # type: ignore[assignment]  # another kind than its base's
    label_noise: Annotated[float, Field(ge=0, le=1, description="part of the training labels that are wrong")]
    noise_seed: Annotated[int, Field(ge=0, lt=2**31, description="which labels, and which wrong classes")] = 0

    def load(self, folders: tuple[Path, ...], cache: Path) -> Dataset:
        """As `Digits.load`, with round(label_noise · n) wrong training labels."""
        data = super().load(folders, cache)
        targets = self._wrong(np.asarray(data.train_targets))
        arrays = (data.train_inputs, targets, data.test_inputs, data.test_targets)
        origin = f"{data.description.origin}, {self.label_noise:g} of the training labels wrong"
        description = replace(data.description, checksum=checksum(arrays), origin=origin)
        return replace(data, train_targets=targets, description=description)

    def _wrong(self, targets: NDArray[np.int64]) -> NDArray[np.int64]:
        generator = np.random.default_rng(seed_of("label noise", self.noise_seed))
        chosen = generator.permutation(len(targets))[: round(self.label_noise * len(targets))]
        steps = generator.integers(1, 10, len(targets))  # from one class to any other, each alike
        wrong = targets.copy()
        wrong[chosen] = (targets[chosen] + steps[chosen]) % 10
        return wrong
