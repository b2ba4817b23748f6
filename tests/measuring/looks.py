"""Jobs that look around in the worker that they run in. Without torch: a worker is quick to start."""

from __future__ import annotations

import contextlib
from pathlib import Path

from suite.executors import Progress


def open_files(progress: Progress) -> list[str]:
    """What is open here, as /proc names it; input and output, which workers share with the command, are left out."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # of the listing itself
            if int(one.name) > 2:
                found.append(str(one.readlink()))
    return found
