"""How much memory a metric may take: more is its own failure, not the machine's."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CGROUP = Path("/sys/fs/cgroup/memory.max")
_PART = 0.8


def memory_share(workers: int) -> int:
    """The bytes that each of so many workers may take: four fifths of the machine's or container's, shared out."""
    return int(_PART * _physical_memory()) // workers


def _physical_memory() -> int:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or "max": no limit of its own
        memory = min(memory, int(_CGROUP.read_text()))
    return memory


@contextlib.contextmanager
def memory_limit(share: int | None) -> Iterator[None]:
    """Let allocations fail inside the block once it has taken `share` bytes more (None: no limit).

    The kernel's limit on private memory (RLIMIT_DATA), which Linux alone enforces; elsewhere there is no limit. It is a
    soft one and is lifted after the block: a worker that goes on is no smaller than before.
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
