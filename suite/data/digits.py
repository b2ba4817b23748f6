"""The 8×8 handwritten digits that scikit-learn ships: the embedded data set, always there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from suite.data.base import Dataset, Description
from suite.data.folders import checksum
from suite.spec.base import DataSpec, Shape
from suite.spec.seeds import seed_of

_IMAGES = 1797


class Digits(DataSpec):
    """scikit-learn's digits: 1,797 images of 8 × 8 pixels, classes 0 to 9.

    Pixels (0 to 16) are divided by 16, then standardised globally: minus the mean and divided by the standard
    deviation of all pixels of all training images, two scalars. Not per pixel: many border pixels never change.
    The split is random and not stratified.
    """

    kind: Literal["digits"] = "digits"
    # any fraction within the bounds leaves more than 80 images on either side
    test_fraction: Annotated[
        float, Field(ge=0.05, le=0.95, description="part of the 1,797 images kept for testing")
    ] = 0.2
    split_seed: Annotated[int, Field(ge=0, lt=2**31, description="which images are the test images")] = 0

    def shape(self) -> Shape:
        """Vectors of 64 numbers, 10 classes."""
        return Shape("vectors", features=64, outputs=10)

    def train_size(self) -> int:
        """1,797 − round(1,797 · test_fraction)."""
        return _IMAGES - round(_IMAGES * self.test_fraction)

    def load(self, folders: tuple[Path, ...], cache: Path) -> Dataset:
        """The images, float32 `n × 64`, and their classes, int64 `n`. Neither folders nor cache are looked at."""
        import sklearn
        from sklearn.datasets import load_digits

        pixels, classes = load_digits(return_X_y=True)
        order = np.random.default_rng(seed_of("digits", self.split_seed)).permutation(_IMAGES)
        train, test = order[: self.train_size()], order[self.train_size() :]
        scaled = np.asarray(pixels, np.float64) / 16
        mean, deviation = scaled[train].mean(), scaled[train].std()
        inputs = ((scaled - mean) / deviation).astype(np.float32)
        targets = np.asarray(classes, np.int64)
        arrays = (inputs[train], targets[train], inputs[test], targets[test])
        origin = f"scikit-learn {sklearn.__version__} load_digits"
        description = Description(len(train), len(test), 64, 10, checksum(arrays), origin)
        return Dataset(*arrays, test_weights=None, description=description)
