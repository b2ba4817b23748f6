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
Told = Callable[[str], object]
"""Hears how far a section is."""
Keep = Callable[[dict[str, Any]], object]
"""Writes the figures that there are before all are taken."""
_PACKAGES = ("torch", "numpy", "pandas", "scipy", "ray", "submitit")
_CODE = ("suite", "tests")


class Taking:
    """A section that is being taken, from its making on: when, on what, and what it used so far."""

    def __init__(self, section: str) -> None:
        self._section = section
        self._load, self._begun, self._used = os.getloadavg()[0], time.monotonic(), _processor_seconds()
        self._date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self._code = _commit()

    def content(self, figures: dict[str, Any], complete: bool = True) -> dict[str, Any]:
        """The section's file with these figures; seconds are of the clock and of processors, until now."""
        # here: torch in the processes that `scale` measures would be part of their memory
        import torch

        from suite.measuring.provenance import device_name

        provenance = {
            "date": self._date,
            **self._code,
            "versions": {"python": platform.python_version(), **_versions()},
            "processor": device_name(torch.device("cpu")),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "load_average": [round(self._load, 2), round(os.getloadavg()[0], 2)],
            "seconds": round(time.monotonic() - self._begun, 1),
            "processor_seconds": round(_processor_seconds() - self._used, 1),
        }
        return {"section": self._section, "complete": complete, "provenance": provenance, "figures": figures}


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


def _commit() -> dict[str, Any]:
    """Of the code that was measured; `uncommitted_changes` are those of the suite and its tests."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    return {
        "commit": git("rev-parse", "HEAD") or None,
        "uncommitted_changes": bool(git("status", "--porcelain", "--", *_CODE)),
    }
