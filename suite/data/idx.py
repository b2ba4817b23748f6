"""The idx format of MNIST and its successor Fashion-MNIST: found, checked against the published files, scaled."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from suite.data.base import Dataset, Description
from suite.data.folders import Remote, checksum, content, damaged, fetch, first_file

_MAGIC = {1: 2049, 3: 2051}
"""First word of the file by number of dimensions: two zero bytes, 8 for uint8, the number of dimensions."""


@dataclass(frozen=True)
class IdxFile:
    """A published file.

    Attributes:
        name: without `.gz`.
        shape: of its array.
        packed: sha256 (hex) of the published `.gz`.
        unpacked: sha256 (hex) of what is in it, so that a file unpacked or packed again is known as well.
    """

    name: str
    shape: tuple[int, ...]
    packed: str
    unpacked: str


@dataclass(frozen=True)
class ImageSet:
    """A published set of images in four idx files.

    Attributes:
        name: of its folder; also its kind in a spec.
        url: of the folder its `.gz` files lie in, with the last slash.
        files: train images, train labels, test images, test labels.
        mean, deviation: of the training pixels scaled to 0…1, as published.
    """

    name: str
    url: str
    files: tuple[IdxFile, IdxFile, IdxFile, IdxFile]
    mean: float
    deviation: float


MNIST = ImageSet(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",  # the mirror that PyTorch keeps of the authors' files
    (
        IdxFile(
            "train-images-idx3-ubyte",
            (60000, 28, 28),
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            (60000,),
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        IdxFile(
            "t10k-images-idx3-ubyte",
            (10000, 28, 28),
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            (10000,),
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    mean=0.1307,
    deviation=0.3081,
)
"""LeCun, Cortes and Burges's handwritten digits."""

FASHION_MNIST = ImageSet(
    "fashion-mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    (
        IdxFile(
            "train-images-idx3-ubyte",
            (60000, 28, 28),
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        IdxFile(
            "train-labels-idx1-ubyte",
            (60000,),
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        IdxFile(
            "t10k-images-idx3-ubyte",
            (10000, 28, 28),
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        IdxFile(
            "t10k-labels-idx1-ubyte",
            (10000,),
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    mean=0.2860,
    deviation=0.3530,
)
"""Xiao, Rasul and Vollgraf's clothing (2017, arXiv:1708.07747)."""

KNOWN = (MNIST, FASHION_MNIST)


def load_images(source: ImageSet, train_limit: int | None, folders: tuple[Path, ...], cache: Path) -> Dataset:
    """The images as float32 `n × pixels`, standardised by the published scalars; classes int64 `n`.

    Args:
        source: which set.
        train_limit: how many training images, from the first; None for all.
        folders: looked through in turn, `<folder>/<set>/<file>` before `<folder>/<file>`; never written to.
        cache: looked in next, and downloaded into.

    Raises:
        BadInput: a file is damaged or another file, or is nowhere and cannot be downloaded.
    """
    images, labels, test_images, test_labels = (
        read_idx(_locate(source, file, folders, cache), file) for file in source.files
    )
    arrays = (
        _standardised(images[:train_limit], source),
        labels[:train_limit].astype(np.int64),
        _standardised(test_images, source),
        test_labels.astype(np.int64),
    )
    n_train, width = arrays[0].shape
    classes = int(labels.max()) + 1
    origin = f"{source.name}: the four published idx files"
    description = Description(n_train, len(test_labels), width, classes, checksum(arrays), origin)
    return Dataset(*arrays, test_weights=None, description=description)


def found_images(source: ImageSet, folders: tuple[Path, ...], cache: Path) -> dict[str, Path | None]:
    """The four files by their place in a data folder, and where `load_images` would read each, None if nowhere."""
    return {place_of(source, file): first_file(_places(source, file, folders, cache)) for file in source.files}


def place_of(source: ImageSet, file: IdxFile) -> str:
    """Where a user puts a file, relative to a data folder."""
    return f"{source.name}/{file.name}.gz"


def verify_idx(path: Path, file: IdxFile) -> None:
    """Check that a file is the published one; it is unpacked only if it is not known as it lies, packed or not.

    Raises:
        BadInput: as `read_idx`.
    """
    try:
        known = hashlib.sha256(path.read_bytes()).hexdigest() in (file.packed, file.unpacked)
    except OSError:
        known = False
    if not known:
        read_idx(path, file)


def read_idx(path: Path, file: IdxFile) -> NDArray[np.uint8]:
    """The array of an idx file (plain, or gzip if its name ends with `.gz`), in the file's shape.

    Raises:
        BadInput: it cannot be read, is cut short, or is not the published file.
    """
    data, dimensions = content(path), len(file.shape)
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise damaged(path, "is truncated", f"a header of {start} bytes", f"{len(data)} bytes")
    magic, *counts = struct.unpack(f">{1 + dimensions}I", data[:start])
    if magic != _MAGIC[dimensions]:
        raise damaged(path, "is not this idx file", f"magic number {_MAGIC[dimensions]}", str(magic))
    if tuple(counts) != file.shape:
        raise damaged(path, "has other counts", _times(file.shape), _times(counts))
    size = start + math.prod(file.shape)
    if len(data) != size:
        problem = "is truncated" if len(data) < size else "is too long"
        raise damaged(path, problem, f"{size} bytes unpacked", f"{len(data)}")
    digest = hashlib.sha256(data).hexdigest()
    if digest != file.unpacked:
        raise damaged(path, "is not the published file", f"sha256 {file.unpacked} unpacked", digest)
    return np.frombuffer(data, np.uint8, offset=start).reshape(file.shape)


def _times(counts: list[int] | tuple[int, ...]) -> str:
    return " × ".join(map(str, counts))


def _locate(source: ImageSet, file: IdxFile, folders: tuple[Path, ...], cache: Path) -> Path:
    """Where the file lies; it is downloaded if it lies nowhere."""
    found = first_file(_places(source, file, folders, cache))
    if found is not None:
        return found
    remote = Remote(f"{file.name}.gz", f"{source.url}{file.name}.gz", file.packed)
    return fetch(remote, cache / source.name, place_of(source, file))


def _places(source: ImageSet, file: IdxFile, folders: tuple[Path, ...], cache: Path) -> Iterator[Path]:
    for folder in folders:
        for name in (f"{file.name}.gz", file.name):
            yield folder / source.name / name
        for name in (f"{file.name}.gz", file.name):
            if not _of_another_set(folder / name, source):
                yield folder / name
    for name in (f"{file.name}.gz", file.name):
        yield cache / source.name / name


def _of_another_set(path: Path, source: ImageSet) -> bool:
    """Whether it is a file of another known set: all sets use the same four names."""
    if not path.is_file():
        return False
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return any(digest in (f.packed, f.unpacked) for other in KNOWN if other.name != source.name for f in other.files)


def _standardised(images: NDArray[np.uint8], source: ImageSet) -> NDArray[np.float32]:
    """(x / 255 − mean) / deviation for each pixel, computed in float64 once per grey level."""
    levels = ((np.arange(256) / 255 - source.mean) / source.deviation).astype(np.float32)
    return levels[images.reshape(len(images), -1)]
