"""What Python has no words for: prctl(2) and other system calls of Linux, by their numbers."""

from __future__ import annotations

import ctypes
from functools import lru_cache

DEATH_SIGNAL, SUBREAPER, NO_NEW_PRIVILEGES = 1, 36, 38  # of prctl(2)


@lru_cache(maxsize=1)
def libc() -> ctypes.CDLL:
    """The C library of this process, loaded once; `ctypes.get_errno` says why a call of it failed."""
    return ctypes.CDLL(None, use_errno=True)


def prctl(what: int, value: int) -> bool:
    """Set something of this process; whether that could be had."""
    done: int = libc().prctl(*map(ctypes.c_long, (what, value, 0, 0, 0)))
    return done == 0


def call(number: int, *words: int | bytes | None) -> int:
    """A system call by its number; below 0: it failed, and `ctypes.get_errno` says why."""
    done: int = libc().syscall(
        ctypes.c_long(number), *(ctypes.c_long(w) if isinstance(w, int) else ctypes.c_char_p(w) for w in words)
    )
    return done
