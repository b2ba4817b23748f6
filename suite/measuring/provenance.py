"""What training notes of itself: the machine, the versions and the commit of the code that ran."""

from __future__ import annotations

import platform
import subprocess
from functools import cache, lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from suite import __version__

_PACKAGES = ("torch", "numpy", "pandas", "scipy", "scikit-learn", "pydantic", "safetensors")


@cache
def device_name(device: torch.device) -> str:
    """What people call the device, such as "NVIDIA H200" or "AMD EPYC"; looked up once a process, as `software` is.

    It is never blank, whatever a virtual machine says of its processor: it is to be read in tables.
    """
    if device.type != "cpu":
        return torch.cuda.get_device_name(device).strip() or device.type
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    known = (*names, platform.processor().strip(), platform.machine().strip())
    return next(filter(None, known), device.type)


@lru_cache(maxsize=1)
def software() -> dict[str, Any]:
    """Versions, and the commit where the code lies in a git checkout: `versions`, `commit`, `dirty`.

    Looked up once a process: an edit after the code was imported changes nothing that runs.
    """
    packages = {name: version(name) for name in _PACKAGES}
    return {"versions": {"suite": __version__, "python": platform.python_version(), **packages}, **_commit()}


def _commit() -> dict[str, Any]:
    here = Path(__file__).parents[1]

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(  # noqa: S603 - words of this file, and where it lies: no shell reads them
                ["git", "-C", str(here), *words],  # noqa: S607 - the user's own git, wherever it lies
                capture_output=True, text=True, check=True,
            )  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    commit = git("rev-parse", "HEAD")
    changes = git("status", "--porcelain", "--", str(here)) if commit else None
    return {"commit": commit, "dirty": bool(changes)}
