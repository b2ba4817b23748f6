"""A job with the names of the files that it reads, so that it can be done where those files are not."""

from __future__ import annotations

import contextlib
import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
        """Keep it in `cache`, whole or not at all: of a file that is named by its checksum, half would be taken for it.

        Raises:
            OSError: there is no room for it.
        """
        target = self.kept_in(cache)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".part-{target.name}")
        try:
            part.write_bytes(content)
            part.replace(target)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()  # there is little room as it is
            raise


@dataclass(frozen=True)
class Missing:
    """Files that a job reads and that are not on the machine where it is to be done."""

    files: tuple[NamedFile, ...]


@dataclass(frozen=True)
class Parcel:
    """A job in which every path to a file stands for that file, wherever it is unpacked.

    Attributes:
        content: what it does, packed.
        files: those that it names. Who does it is sent these and no others, whatever it may ask for.
        held: how it is to be held: the job, but for what it does.
    """

    content: bytes
    files: tuple[NamedFile, ...]
    held: Job

    @classmethod
    def of(cls, job: Job) -> Parcel:
        """Pack a job.

        Raises:
            OSError: a file that it names cannot be read.
            Exception: it cannot be pickled.
        """
        into = io.BytesIO()
        packer = _Packer(into)
        packer.dump((job.function, job.arguments))
        return cls(into.getvalue(), tuple(packer.files.values()), replace(job, function=unpack_and_do, arguments=()))

    def unpacked(self, cache: Path) -> Job | Missing:
        """The job that does it here, with the files that are at their place or in `cache`; or those that are not.

        Nothing of it is unpickled: that is for its worker, which imports what it needs, and whose word on what is
        missing would be a stranger's.
        """
        places = {file: file.find(cache) for file in self.files}
        missing = tuple(file for file, place in places.items() if place is None)
        return Missing(missing) if missing else replace(self.held, arguments=(self.content, places))


def unpack_and_do(content: bytes, places: Mapping[NamedFile, Path], progress: Progress) -> Any:
    """In the worker: the job's result, its files being where it is said."""
    function, arguments = _Unpickler(io.BytesIO(content), places).load()
    return function(*arguments, progress)


class _Packer(pickle.Pickler):
    def __init__(self, into: io.BytesIO) -> None:
        super().__init__(into)
        self.files: dict[Path, NamedFile] = {}

    def persistent_id(self, obj: Any) -> tuple[str, str, str] | None:
        if not isinstance(obj, Path) or (obj not in self.files and not obj.is_file()):
            return None
        file = self.files[obj] if obj in self.files else self.files.setdefault(obj, NamedFile.of(obj.absolute()))
        return _FILE, file.path, file.checksum


class _Unpickler(pickle.Unpickler):
    def __init__(self, parcel: io.BytesIO, places: Mapping[NamedFile, Path]) -> None:
        super().__init__(parcel)
        self._places = places

    def persistent_load(self, pid: Any) -> Path:
        return self._places[NamedFile(*pid[1:])]
