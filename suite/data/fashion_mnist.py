"""Fashion-MNIST: 70,000 images of clothing, 28 × 28 pixels."""

from __future__ import annotations

from typing import ClassVar, Literal

from suite.data.idx import FASHION_MNIST, ImageSet
from suite.data.images import Images


class FashionMnist(Images):
    """Fashion-MNIST (Xiao, Rasul and Vollgraf 2017): 60,000 training and 10,000 test images of clothing.

    Pixels are scaled to 0…1 and standardised by the published mean and standard deviation of all training pixels.
    """

    source: ClassVar[ImageSet] = FASHION_MNIST
    kind: Literal["fashion-mnist"] = "fashion-mnist"
