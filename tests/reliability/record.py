"""The figures of a section as a file of its own, with what they were taken on."""

from __future__ import annotations

import datetime
import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from suite.reporting.build import write_file

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "reports" / "reliability"
_PACKAGES = ("torch", "numpy", "pandas", "scipy", "pebble", "ray", "submitit")
_CODE = ("suite", "tests")


def taken(section: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The figures of a section, and where and when they were taken; its seconds are of the clock and of processors."""
    before, begun, used = os.getloadavg(), time.monotonic(), _processor_seconds()
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    figures = measure()
    provenance = {
        "date": date,
        **_commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": [round(before[0], 2), round(os.getloadavg()[0], 2)],
        "seconds": round(time.monotonic() - begun, 1),
        "processor_seconds": round(_processor_seconds() - used, 1),
    }
    return {"section": section, "provenance": provenance, "figures": figures}


def written(content: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write a section's file."""
    path = folder / f"{content['section']}.json"
    write_file(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def read(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """All sections that there are, by name."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def _processor_seconds() -> float:
    """Of this process and of those that it waited for."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> dict[str, Any]:
    """Of the code that was measured; `uncommitted_changes` are those of the suite and its tests."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return {
        "commit": git("rev-parse", "HEAD") or None,
        "uncommitted_changes": bool(git("status", "--porcelain", "--", *_CODE)),
    }
