"""What the specs of MNIST and of its successors have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from suite.data.base import Dataset
from suite.data.idx import ImageSet, found_images, load_images, place_of, verify_idx
from suite.spec.base import DataSpec, Shape


class Images(DataSpec):
    """A published set of 60,000 training and 10,000 test images of 28 × 28 pixels in ten classes.

    Pixels are scaled to 0…1 and standardised by the published mean and standard deviation of all training pixels.
    A base of data sources, not one itself: it has no kind. Subclasses say which set is theirs.
    """

    source: ClassVar[ImageSet]
    train_limit: Annotated[int, Field(ge=1, le=60_000)] | None = Field(
        default=None, description="train on the first images only, that many; all 60,000 if left out"
    )

    def shape(self) -> Shape:
        """Vectors of 784 numbers, 10 classes."""
        return Shape("vectors", features=784, outputs=10)

    def train_size(self) -> int:
        """60,000, or the limit."""
        return self.train_limit or 60_000

    @classmethod
    def files(cls, folders: tuple[Path, ...], cache: Path) -> dict[str, Path | None]:
        """The four idx files of the set."""
        return found_images(cls.source, folders, cache)

    @classmethod
    def verify(cls, place: str, path: Path) -> None:
        """A file is the published one if its sha256 is."""
        for file in cls.source.files:
            if place == place_of(cls.source, file):
                verify_idx(path, file)

    def load(self, folders: tuple[Path, ...], cache: Path) -> Dataset:
        """Images float32 `n × 784`, classes int64 `n`; see `suite.data.idx.load_images` for where files are sought.

        Raises:
            BadInput: a file is damaged or another file, or is nowhere and cannot be downloaded.
        """
        return load_images(self.source, self.train_limit, folders, cache)
