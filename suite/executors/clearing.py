"""Temporary folders that are removed whatever is in them and whatever became of the process that made them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from pathlib import Path

_CLAIM = ".in-use"


def temporary_folder(prefix: str) -> tuple[str, int]:
    """A new temporary folder, and an open file that claims it for as long as this process has it open.

    Those of the same prefix that were left by processes which were killed, and which nobody claims now, are removed.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_CLAIM}"):
        with contextlib.suppress(OSError):
            _clear_if_left(left)
    folder = tempfile.mkdtemp(prefix=prefix)
    claim = os.open(Path(folder) / _CLAIM, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(claim, fcntl.LOCK_EX)
    return folder, claim


def _clear_if_left(claimed: Path) -> None:
    folder = claimed.parent
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        return
    claim = os.open(claimed, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        clear(folder)
    finally:
        os.close(claim)


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
