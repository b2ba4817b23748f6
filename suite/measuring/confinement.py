"""A process from which little leads out: no secrets, no network, no files but its temporary ones, no other processes.

What the environment held, the network and the output are closed to every thread of it, and limits are all threads'. The
rest is Linux's Landlock: a rule for the thread that asks, and for all that it begins, threads and programs, for good.
Threads that were there before stay free: of the suite's own there is none then; libraries may have some, and a metric
which takes pains to run in one of those is not held by it.

Files stay readable, and their modes and times can be changed: those Landlock does not know. A container is what
closes them (docs/security.md).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch

from suite.executors import kernel
from suite.executors.begin import unwatched
from suite.measuring import isolation, limits, network

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # Landlock's system calls, the same on every machine
_ASK_VERSION, _BENEATH = 1, 1
_WRITE_FILE, _TRUNCATE = 1 << 1, 1 << 14
_CONTROL = 1 << 15  # devices, once they are open: a terminal's settings for one, for which it is opened to be read
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 13))
"""Remove folders and files; make folders, files, links, sockets, pipes and devices."""
_MOVE = 1 << 13
_ELSEWHERE = 0b11  # abstract sockets and signals, of and to other processes
_FILES_OF_OTHERS = 1 << 1 | 1 << 2
"""What root keeps of its capabilities: to read (and, where it may write at all, to write) files of other users."""
_SINCE = {_MOVE: 2, _TRUNCATE: 3, _CONTROL: 5, _ELSEWHERE: 6}
"""Versions of Landlock before which there is no such rule."""


@lru_cache(maxsize=1)
def confine(device: torch.device, share: int | None = None) -> None:
    """Close to this process, for good, all that can be closed here; `open_here` says what cannot.

    This comes before any code of a stranger's, in every process in which such code measures anything.

    Args:
        device: that metrics are measured on.
        share: bytes of memory, of the machine's, that a worker may take; None: as many as it likes.
    """
    isolation.adopt()
    isolation.mute()
    isolation.forget_environment()
    isolation.forget_peak()  # opens the file of /proc that it writes to
    network.forbid_network()
    with unwatched():
        if sys.platform == "linux":
            _drop_capabilities()
        limits.bound(share)  # after that: root could raise them again
        devices = [Path("/dev")] if device.type != "cpu" else []
        _forbid_files({Path(tempfile.gettempdir()), Path(os.devnull), *devices})


def open_here() -> Mapping[str, str]:
    """What a process that measures metrics is not kept from on this machine, and why; changes nothing."""
    version = _landlock_version()
    none = "Landlock is Linux's" if sys.platform != "linux" else f"the kernel has no Landlock ({_reason()})"
    found = {
        "network": network.unfit(),
        "writing files": none if version < 1 else None,
        "truncating files": none if version < 1 else _older(version, _TRUNCATE),
        "settings of terminals": none if version < 1 else _older(version, _CONTROL),
        "memory and environment of other processes": none if version < 1 else None,
        "signals to other processes": none if version < 1 else _older(version, _ELSEWHERE),
    }
    return {what: why for what, why in found.items() if why is not None}


def _older(version: int, right: int) -> str | None:
    return None if version >= _SINCE[right] else f"Landlock is of version {version}, {_SINCE[right]} is needed"


def _drop_capabilities() -> None:
    """Let root be a user that reads all files: root may look into any process, whatever Landlock says of it.

    Of this thread, and for good: no program that it begins has more, since `forbid_network` or Landlock said so.
    """
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    held = ctypes.create_string_buffer(24)  # twice: effective, permitted, inheritable; 32 bits of each
    if kernel.libc().capget(header, held):
        return
    low = struct.unpack("=6I", held.raw)
    held.raw = struct.pack("=6I", low[0] & _FILES_OF_OTHERS, low[1] & _FILES_OF_OTHERS, 0, 0, 0, 0)
    kernel.libc().capset(header, held)


def _forbid_files(writable: set[Path]) -> bool:
    """Let this thread, and all that it begins, change no file but in these places; whether that could be had."""
    if (version := _landlock_version()) < 1:
        return False
    known = {right: right if version >= since else 0 for right, since in _SINCE.items()}
    to_files = _WRITE_FILE | known[_TRUNCATE] | known[_CONTROL]
    to_all = to_files | _CHANGE_FOLDER | known[_MOVE]
    words = struct.pack("QQQ", to_all, 0, known[_ELSEWHERE])
    rules = kernel.call(_CREATE, words, 24 if version >= _SINCE[_ELSEWHERE] else 8, 0)
    if rules < 0:
        return False
    try:
        for place in writable:
            _allow(rules, place, to_all if place.is_dir() else to_files)
        return kernel.prctl(kernel.NO_NEW_PRIVILEGES, 1) and not kernel.call(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, place: Path, rights: int) -> None:
    held = os.open(place, os.O_PATH | os.O_CLOEXEC)
    try:
        if kernel.call(_ADD, rules, _BENEATH, struct.pack("=Qi", rights, held), 0):
            raise OSError(ctypes.get_errno(), "no rule could be made", str(place))
    finally:
        os.close(held)


def _landlock_version() -> int:
    """0 or less where there is none."""
    return kernel.call(_CREATE, None, 0, _ASK_VERSION) if sys.platform == "linux" else 0


def _reason() -> str:
    number = ctypes.get_errno()
    return "it is switched off" if number == errno.EOPNOTSUPP else os.strerror(number)
