"""The 8×8 handwritten digits that scikit-learn ships: the embedded data set, always there."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from suite.data.base import Dataset
from suite.spec.base import DataSpec, Shape


class Digits(DataSpec):
    """scikit-learn's digits (1,797 images of 8 × 8)."""

    kind: Literal["digits"] = "digits"
