"""Where data files are looked for, how they are read, and how they are fetched when they are nowhere."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from suite.data.network import TIMEOUT, in_words, no_answer
from suite.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Attributes:
        name: its file name.
        url: where it is.
        sha256: of the file as it lies there (hex).
    """

    name: str
    url: str
    sha256: str


def data_folders() -> tuple[tuple[Path, ...], Path]:
    """The folders of `SUITE_DATA_DIR` (separated as in `PATH`) and the cache, `$SUITE_HOME/data`.

    The folders are only read. The cache (by default `.suite/data`) is written to and need not exist yet.

    Raises:
        BadInput: a folder of `SUITE_DATA_DIR` does not exist.
    """
    named = [Path(name).expanduser() for name in os.environ.get("SUITE_DATA_DIR", "").split(os.pathsep) if name]
    for folder in named:
        if not folder.is_dir():
            raise BadInput(f"SUITE_DATA_DIR names {folder}, which is not a folder: create it or correct the variable")
    return tuple(named), Path(os.environ.get("SUITE_HOME") or ".suite").expanduser() / "data"


def checksum(arrays: Iterable[NDArray[Any]]) -> str:
    """The sha256 (hex) of arrays in their order: dtype, shape and content of each.

    The bytes are hashed in little-endian C order, so that the checksum is the same on every machine.
    """
    digest = hashlib.sha256()
    for array in arrays:
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        digest.update(f"{little.dtype.str}{little.shape}".encode())
        digest.update(little.tobytes())
    return digest.hexdigest()


def first_file(places: Iterable[Path]) -> Path | None:
    """The first of the places where there is a file, or None."""
    return next((place for place in places if place.is_file()), None)


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked if its name ends with `.gz`.

    Raises:
        BadInput: it cannot be read, is not gzip, is cut short, or fails gzip's own check.
    """
    try:
        packed = path.read_bytes()
        return gzip.decompress(packed) if path.suffix == ".gz" else packed
    except EOFError:
        raise damaged(path, "is truncated", "a whole gzip file", f"{len(packed)} bytes that end too early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise damaged(path, "is damaged or not gzip", "a gzip file", str(error)) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): correct its permissions or remove it") from None


def damaged(path: Path, problem: str, expected: str, found: str) -> BadInput:
    """The error for a file that is not what it should be, naming the file to delete."""
    return BadInput(
        f"{path} {problem}: expected {expected}, found {found}; delete {path} and put the original there, "
        "or run again with a network to download it"
    )


def fetch(remote: Remote, folder: Path, place: str) -> Path:
    """Download a file into a folder of the cache with pooch, its checksum verified, unless it is there already.

    pooch writes to a temporary file and renames it, so a killed download leaves no half file behind. Where there is no
    network that is said within seconds.

    Args:
        remote: the file.
        folder: where to put it.
        place: where a user would put it, relative to a folder of `SUITE_DATA_DIR`, for the message.

    Raises:
        BadInput: it cannot be downloaded, or what comes is not the known file.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    known, reason = f"sha256:{remote.sha256}", no_answer(remote.url)
    if reason is None:
        try:
            return Path(pooch.retrieve(remote.url, known, remote.name, folder, downloader=_downloader(remote.url)))
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            reason = in_words(error)
    # the address is long and comes last: what is to be done is not cut off where a line is
    host = urlsplit(remote.url).netloc
    raise BadInput(
        f"{remote.name} is in no data folder and could not be downloaded from {host} ({reason}): "
        f"put it as {place} into a folder that SUITE_DATA_DIR names; it is {remote.url}"
    )


def _downloader(url: str) -> Any:
    import pooch

    return pooch.HTTPDownloader(timeout=TIMEOUT) if url.startswith("http") else None
