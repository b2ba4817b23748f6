"""How much a metric may take of memory and of the disk: more is its own failure, not the machine's."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_PART = 0.8
_FILE = 2**30
"""Bytes of a file: what a metric needs to put down for a while is a fraction of it."""


@dataclass(frozen=True)
class Memory:
    """Bytes beyond what there is (None: no limit).

    Attributes:
        metric: that a metric may take; it can raise that itself, as far as the worker's bound.
        worker: the worker's share of the machine.
    """

    metric: int | None = None
    worker: int | None = None


def memory_share(workers: int) -> int:
    """The bytes that each of so many workers may take: four fifths of the machine's or container's, shared out."""
    return int(_PART * _physical_memory()) // workers


def _physical_memory() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max": no limit of its own
        memory = min(memory, int(_CGROUP.read_text()))
    return memory


def bound(share: int | None) -> None:
    """Bound, for good, what this process may take, and each that it begins: nobody in it can have more again.

    Files are of 1 GiB at most, and who crashes leaves no image of its memory on the disk. Private memory is what there
    is now and a worker's whole part of the machine: `share`, which metrics may have, and the fifth that it leaves.

    Args:
        share: bytes, as `memory_share` tells them; None: memory stays as it is.
    """
    _lower(resource.RLIMIT_FSIZE, _FILE)
    _lower(resource.RLIMIT_CORE, 0)
    if share is not None and _STATUS.exists():
        _lower(resource.RLIMIT_DATA, _data_bytes() + int(share / _PART))


def _lower(what: int, most: int) -> None:
    soft, hard = (most if limit == resource.RLIM_INFINITY else min(limit, most) for limit in resource.getrlimit(what))
    resource.setrlimit(what, (soft, hard))


@contextlib.contextmanager
def memory_limit(share: int | None) -> Iterator[None]:
    """Let allocations fail inside the block once it has taken `share` bytes more (None: no limit).

    The kernel's limit on private memory (RLIMIT_DATA), which Linux alone enforces; elsewhere there is no limit. It is a
    soft one and is lifted after the block: a worker that goes on is no smaller than before. What the block can raise it
    to is for `bound`.
    """
    if share is None or not _STATUS.exists():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = _data_bytes() + share
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """Private memory this process has mapped by now."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024
