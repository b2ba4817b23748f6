"""MNIST: 70,000 images of handwritten digits, 28 × 28 pixels."""

from __future__ import annotations

from typing import ClassVar, Literal

from suite.data.idx import MNIST, ImageSet
from suite.data.images import Images


class Mnist(Images):
    """MNIST (LeCun, Cortes and Burges): 60,000 training and 10,000 test images of handwritten digits.

    Pixels are scaled to 0…1 and standardised by the published mean and standard deviation of all training pixels.
    """

    source: ClassVar[ImageSet] = MNIST
    kind: Literal["mnist"] = "mnist"
