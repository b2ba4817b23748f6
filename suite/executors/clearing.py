"""Folders that strangers' code wrote into are removed, however deep they are."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path


def clear(folder: str | Path) -> None:
    """Remove a folder and all that is in it; what cannot be removed stays, and nothing is raised.

    `shutil.rmtree` calls itself for each level and gives up at some hundred: what it leaves is made flat first.
    """
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        with contextlib.suppress(OSError):
            _flatten(Path(folder))
        shutil.rmtree(folder, ignore_errors=True)


def _flatten(top: Path) -> None:
    """Let no folder in `top` hold another: those are moved to the top, a level at a time."""
    left = _folders(top)
    while left:
        for inner in _folders(left.pop()):
            left.append(top / secrets.token_hex(8))  # a name that nobody could take before
            inner.rename(left[-1])


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as found:
        return [Path(entry.path) for entry in found if entry.is_dir(follow_symlinks=False)]
