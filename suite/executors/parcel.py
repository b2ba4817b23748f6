"""A job with the names of the files that it reads, so that it can be done where those files are not."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.executors.job import Job, Progress

_CHECKSUM = re.compile("[0-9a-f]{64}")
_FILE = "file"


@dataclass(frozen=True)
class NamedFile:
    """A file of the driver's machine: its path there, and the sha256 of its content."""

    path: str
    checksum: str

    @classmethod
    def of(cls, path: Path) -> NamedFile:
        """Files that are named by their checksum are not read for it: who reads them holds it against their content."""
        checksum = path.stem if _CHECKSUM.fullmatch(path.stem) else hashlib.sha256(path.read_bytes()).hexdigest()
        return cls(str(path), checksum)

    def find(self, cache: Path) -> Path | None:
        """Where it is on this machine: at its own path (a shared file system), in `cache`, or nowhere (None)."""
        for path in (Path(self.path), self.kept_in(cache)):
            try:
                if path.is_file() and NamedFile.of(path).checksum == self.checksum:
                    return path
            except OSError:  # there, but not to be read by us
                continue
        return None

    def kept_in(self, cache: Path) -> Path:
        """Where it is kept in `cache`, under its own name."""
        return cache / self.checksum / Path(self.path).name

    def keep(self, content: bytes, cache: Path) -> None:
        """Keep it in `cache`."""
        target = self.kept_in(cache)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


@dataclass(frozen=True)
class Missing:
    """Files that a job reads and that are not on the machine where it is to be done."""

    files: tuple[NamedFile, ...]


@dataclass(frozen=True)
class Parcel:
    """A job in which every path to a file stands for that file, wherever it is unpacked; and how it is to be held."""

    content: bytes
    limit: float | None
    grace: float
    retries: int

    @classmethod
    def of(cls, job: Job) -> Parcel:
        """Pack a job.

        Raises:
            OSError: a file that it names cannot be read.
        """
        into = io.BytesIO()
        _Packer(into).dump((job.function, job.arguments))
        return cls(into.getvalue(), job.limit, job.grace, job.retries)


def unpack_and_do(content: bytes, cache: Path, progress: Progress) -> Any:
    """In the worker: the job's result, or `Missing` with all files that are neither here nor in `cache`."""
    unpacker = _Unpacker(io.BytesIO(content), cache)
    function, arguments = unpacker.load()
    if unpacker.missing:
        return Missing(tuple(unpacker.missing))
    return function(*arguments, progress)


class _Packer(pickle.Pickler):
    def __init__(self, into: io.BytesIO) -> None:
        super().__init__(into)
        self._seen: dict[Path, NamedFile] = {}

    def persistent_id(self, obj: Any) -> tuple[str, str, str] | None:
        if not isinstance(obj, Path) or (obj not in self._seen and not obj.is_file()):
            return None
        file = self._seen[obj] if obj in self._seen else self._seen.setdefault(obj, NamedFile.of(obj.absolute()))
        return _FILE, file.path, file.checksum


class _Unpacker(pickle.Unpickler):
    def __init__(self, parcel: io.BytesIO, cache: Path) -> None:
        super().__init__(parcel)
        self._cache = cache
        self._found: dict[NamedFile, Path] = {}
        self.missing: dict[NamedFile, None] = {}

    def persistent_load(self, pid: Any) -> Path:
        file = NamedFile(*pid[1:])
        if file not in self._found and (path := file.find(self._cache)) is not None:
            self._found[file] = path
        if file not in self._found:
            self.missing[file] = None
        return self._found.get(file, Path(file.path))
