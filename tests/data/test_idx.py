from __future__ import annotations

import dataclasses
import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from suite.data import idx
from suite.data.fashion_mnist import FashionMnist
from suite.data.idx import FASHION_MNIST, MNIST, IdxFile, ImageSet, load_images, read_idx
from suite.data.images import Images
from suite.data.mnist import Mnist
from suite.errors import BadInput
from suite.spec.base import Shape

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
NOWHERE = "http://127.0.0.1:9/"


def packed_idx(array: NDArray[np.uint8], magic: int | None = None) -> bytes:
    header = struct.pack(f">{1 + array.ndim}I", magic or 2048 + array.ndim, *array.shape)
    return header + array.tobytes()


def small_arrays(seed: int) -> list[NDArray[np.uint8]]:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (12, 3, 2), dtype=np.uint8)
    labels = np.arange(seed, seed + 12, dtype=np.uint8) % 4
    return [images[:8], labels[:8], images[8:], labels[8:]]


def small_set(name: str, seed: int) -> ImageSet:
    """A set whose published files are `small_arrays(seed)`."""
    files = []
    for file, array in zip(NAMES, small_arrays(seed), strict=True):
        data = packed_idx(array)
        sums = (hashlib.sha256(d).hexdigest() for d in (gzip.compress(data, mtime=0), data))
        files.append(IdxFile(file, array.shape, *sums))
    return ImageSet(name, NOWHERE, tuple(files), mean=0.5, deviation=0.25)  # type: ignore[arg-type]


def write(folder: Path, seed: int, plain: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in zip(NAMES, small_arrays(seed), strict=True):
        data = packed_idx(array)
        (folder / (file if plain else f"{file}.gz")).write_bytes(data if plain else gzip.compress(data, mtime=0))
    return folder


SMALL = small_set("small", 0)


def load(*folders: Path, cache: Path, limit: int | None = None) -> Any:
    return load_images(SMALL, limit, folders, cache)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("place", ["f/small", "f", "cache/small"])
def test_files_are_found_in_every_place(place: str, plain: bool, tmp_path: Path) -> None:
    write(tmp_path / place, 0, plain)
    (tmp_path / "f").mkdir(exist_ok=True)
    data = load(tmp_path / "f", cache=tmp_path / "cache")
    images, labels, test_images, test_labels = small_arrays(0)
    expected = (images.reshape(8, 6).astype(np.float64) / 255 - 0.5) / 0.25
    assert np.allclose(data.train_inputs, expected, rtol=1e-6, atol=1e-6)
    assert np.allclose(data.test_inputs, (test_images.reshape(4, 6) / 255.0 - 0.5) / 0.25, rtol=1e-6, atol=1e-6)
    assert data.train_inputs.dtype == np.float32
    assert data.train_targets.dtype == np.int64
    assert np.array_equal(data.train_targets, labels)
    assert np.array_equal(data.test_targets, test_labels)
    description = data.description
    assert (description.n_train, description.n_test, description.d, description.classes) == (8, 4, 6, 4)


def test_the_first_folder_wins_and_none_is_written_to(tmp_path: Path) -> None:
    good, bad = write(tmp_path / "a" / "small", 0), write(tmp_path / "b" / "small", 1)
    before = sorted(tmp_path.rglob("*"))
    load(good.parent, bad.parent, cache=tmp_path / "cache")
    with pytest.raises(BadInput, match=r"b/small/train-images-idx3-ubyte\.gz is not the published file"):
        load(bad.parent, good.parent, cache=tmp_path / "cache")
    assert sorted(tmp_path.rglob("*")) == before


def test_the_first_images_only(tmp_path: Path) -> None:
    folder = write(tmp_path, 0)
    data, whole = (load(folder, cache=tmp_path / "cache", limit=limit) for limit in (3, None))
    assert np.array_equal(data.train_inputs, whole.train_inputs[:3])
    assert np.array_equal(data.train_targets, whole.train_targets[:3])
    assert len(data.test_inputs) == 4
    assert data.description.checksum != whole.description.checksum


def test_a_bare_folder_of_another_set_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = small_set("other", 1)
    monkeypatch.setattr(idx, "KNOWN", (SMALL, other))
    mine, others = write(tmp_path / "mine", 0), write(tmp_path / "others", 1)
    data = load(others, mine, cache=tmp_path / "cache")
    assert data.description.checksum == load(mine, cache=tmp_path / "cache").description.checksum
    write(tmp_path / "unknown", 2)
    with pytest.raises(BadInput, match=r"unknown/train-images-idx3-ubyte\.gz is not the published file"):
        load(tmp_path / "unknown", mine, cache=tmp_path / "cache")


def test_absent_files_say_where_to_put_them(tmp_path: Path) -> None:
    expected = (
        r"train-images-idx3-ubyte\.gz is in no data folder and could not be downloaded from "
        r"127\.0\.0\.1:9 .* "
        r"put it as small/train-images-idx3-ubyte\.gz .* SUITE_DATA_DIR names; it is http://127\.0\.0\.1:9/train-images-idx3-ubyte\.gz"
    )
    with pytest.raises(BadInput, match=expected):
        load(tmp_path, cache=tmp_path / "cache")


IMAGES = small_arrays(0)[0]
DATA = packed_idx(IMAGES)
SUM = hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is truncated: expected a header of 16 bytes, found 0 bytes"),
        (DATA[:15], "is truncated: expected a header of 16 bytes, found 15 bytes"),
        (DATA[:-1], "is truncated: expected 64 bytes unpacked, found 63"),
        (DATA + b"x", "is too long: expected 64 bytes unpacked, found 65"),
        (packed_idx(IMAGES, magic=2049), "is not this idx file: expected magic number 2051, found 2049"),
        (packed_idx(IMAGES[:7]), "has other counts: expected 8 × 3 × 2, found 7 × 3 × 2"),
        (packed_idx(IMAGES ^ 1), f"is not the published file: expected sha256 {SUM} unpacked, found [0-9a-f]{{64}};"),
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_a_bad_file_is_named_with_what_is_wrong(data: bytes, message: str, plain: bool, tmp_path: Path) -> None:
    path = tmp_path / (NAMES[0] if plain else f"{NAMES[0]}.gz")
    path.write_bytes(data if plain else gzip.compress(data))
    with pytest.raises(BadInput, match=f"^{path} {message}.*delete {path}"):
        read_idx(path, SMALL.files[0])


def test_a_damaged_file_in_the_cache_is_named_too(tmp_path: Path) -> None:
    path = write(tmp_path / "small", 0) / f"{NAMES[2]}.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match=rf"{path} is truncated"):
        load(cache=tmp_path)


@pytest.mark.parametrize("spec", [Mnist, FashionMnist])
def test_specs(spec: type[Mnist] | type[FashionMnist]) -> None:
    assert spec().shape() == Shape("vectors", features=784, outputs=10)
    assert (spec().train_size(), spec(train_limit=500).train_size()) == (60_000, 500)
    for wrong in ({"train_limit": 0}, {"train_limit": 60_001}, {"limit": 1}):
        with pytest.raises(ValidationError):
            spec.model_validate(wrong)


@pytest.mark.parametrize(("spec", "source"), [(Mnist, MNIST), (FashionMnist, FASHION_MNIST)])
def test_a_spec_loads_its_own_set(
    spec: type[Images], source: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert spec.source is source
    assert spec(train_limit=2).kind == source.name
    monkeypatch.setattr(spec, "source", SMALL)
    assert len(spec(train_limit=2).load((write(tmp_path, 0),), tmp_path / "cache").train_inputs) == 2


def test_the_files_found_are_those_that_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mnist, "source", SMALL)
    folder, cache = write(tmp_path / "f" / "small", 0), tmp_path / "cache"
    (folder / f"{NAMES[1]}.gz").unlink()
    found = Mnist.files((tmp_path / "f",), cache)
    assert found == {f"small/{n}.gz": folder / f"{n}.gz" for n in NAMES} | {f"small/{NAMES[1]}.gz": None}
    write(cache / "small", 0, plain=True)
    assert Mnist.files((tmp_path / "f",), cache)[f"small/{NAMES[1]}.gz"] == cache / "small" / NAMES[1]


@pytest.mark.data
@pytest.mark.parametrize("source", [MNIST, FASHION_MNIST], ids=lambda source: source.name)
def test_the_published_files(source: ImageSet, data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / source.name
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    for file in source.files:
        assert hashlib.sha256((folder / f"{file.name}.gz").read_bytes()).hexdigest() == file.packed
    data = load_images(dataclasses.replace(source, url=NOWHERE), None, (data_dir,), tmp_path)
    assert data.train_inputs.shape == (60_000, 784)
    assert data.test_inputs.shape == (10_000, 784)
    assert data.train_inputs.mean(dtype=np.float64) == pytest.approx(0, abs=3e-4)  # 0.1307 and the like have 4 digits
    assert data.train_inputs.std(dtype=np.float64) == pytest.approx(1, abs=3e-4)
    counts = np.bincount(data.train_targets).tolist()
    digits = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert counts == (digits if source is MNIST else [6000] * 10)


@pytest.mark.data
def test_each_set_is_found_in_bare_folders_of_both(data_dir: Path, tmp_path: Path) -> None:
    bare = tuple(data_dir / source.name for source in (MNIST, FASHION_MNIST))
    if not all(folder.is_dir() for folder in bare):
        pytest.skip(f"not both of {bare}")
    for source in (MNIST, FASHION_MNIST):
        data = load_images(dataclasses.replace(source, url=NOWHERE), 10, bare, tmp_path)
        assert data.test_targets[:4].tolist() == ([7, 2, 1, 0] if source is MNIST else [9, 2, 1, 1])
