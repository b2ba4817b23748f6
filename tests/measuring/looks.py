"""Jobs that look around in the worker that they run in. Without torch: a worker is quick to start."""

from __future__ import annotations

import contextlib
import os
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


def leads_before_and_in_a_metric(progress: Progress) -> list[list[str]]:
    """All that is open as a worker begins, and inside of a metric; each time something is printed."""
    from torch import device

    from suite.measuring.confinement import confine
    from suite.measuring.isolation import isolated

    for number in (1, 2):
        os.write(number, b"before")
    before = _leads()
    confine(device("cpu"))
    with isolated(1, device("cpu")):
        after = _leads()
        for number in (1, 2):
            os.write(number, b"after")
    for number in (1, 2):
        os.write(number, b"after")
    return [before, after + _leads()]


def _leads() -> list[str]:
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # of the listing itself
            found.append(str(one.readlink()))
    return found
