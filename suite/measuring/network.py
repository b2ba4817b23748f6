"""A process without a network: from then on it makes no socket, whoever it asks (Linux's seccomp).

A filter in the kernel, for all threads and for every program that the process begins, for good. It refuses more than
the network's own sockets. Local ones lead to daemons that do what they are told with a network and with rights of their
own (containers, desktop, keys), io_uring makes sockets by another door, and who may trace another process, or take its
open files, has that one's sockets. What is left are pairs of connected sockets, which lead nowhere but to each other.

Nor does it reach other processes' limits, which end them (one second of the processor for the command), their priority,
or where they and their memory lie. A thread may change its own, named by 0, and none by number: of another's and of its
own process's threads the filter sees the same.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys
from dataclasses import dataclass
from functools import lru_cache

from suite.executors import kernel

_SET_FILTER, _ALL_THREADS = 1, 1  # of seccomp(2)
_ALLOW, _REFUSE, _NOT_ITS_OWN = 0x7FFF0000, 0x00050000 | errno.EACCES, 0x00050000 | errno.EPERM
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # instructions of classic BPF
_NUMBER, _ARCHITECTURE, _FIRST, _SECOND = 0, 4, 16, 24  # where a call has its number, its machine, two arguments
_X32 = 0x40000000
"""From this number on a call is of x32, another way of calling the same kernel with numbers of its own."""
_USER = 2
"""From this `which` on setpriority(2) is of a user and all that he runs."""
_SAID = "metrics are measured without a network"
_forbidden = False


@dataclass(frozen=True)
class _Calls:
    """A machine's numbers of system calls.

    Attributes:
        machine: as the kernel's audit names it; calls of any other (32-bit programs) are refused, all of them.
        seccomp, socketpair, setpriority: these calls.
        refused: socket, connect, bind, ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, io_uring_setup.
        of_one: prlimit64, sched_setparam, sched_setscheduler, sched_setaffinity, sched_setattr, migrate_pages,
            move_pages, which are told first whom to change, and ioprio_set, which is told first a kind that is never 0.
        x32: whether it has that.
    """

    machine: int
    seccomp: int
    socketpair: int
    setpriority: int
    refused: tuple[int, ...]
    of_one: tuple[int, ...]
    x32: bool = False


_KNOWN = {
    "x86_64": _Calls(
        *(0xC000003E, 317, 53, 141),
        refused=(41, 42, 49, 101, 310, 311, 438, 425),
        of_one=(302, 142, 144, 203, 314, 256, 279, 251),
        x32=True,
    ),
    "aarch64": _Calls(
        *(0xC00000B7, 277, 199, 140),
        refused=(198, 203, 200, 117, 270, 271, 438, 425),
        of_one=(261, 118, 119, 122, 274, 238, 239, 30),
    ),
}


def unfit() -> str | None:
    """Why the network cannot be forbidden here, or None where it can; changes nothing."""
    if (calls := _calls()) is None:
        return f"seccomp filters are Linux's, and known here for {' and '.join(_KNOWN)} alone"
    # no filter is given: a kernel that takes filters says that it is at no address
    if kernel.call(calls.seccomp, _SET_FILTER, _ALL_THREADS, None) == 0:
        raise AssertionError("a filter was set that is none")
    number = ctypes.get_errno()
    return None if number == errno.EFAULT else f"the kernel takes no seccomp filter ({os.strerror(number)})"


@lru_cache(maxsize=1)
def forbid_network() -> bool:
    """Let this process make no socket from now on; whether that could be had."""
    global _forbidden  # noqa: PLW0603 - once, for good, like the filter itself
    if (calls := _calls()) is None:
        return False
    program = _program(calls)
    held = ctypes.create_string_buffer(program, len(program))
    described = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(held))  # struct sock_fprog
    if not kernel.prctl(kernel.NO_NEW_PRIVILEGES, 1):  # without it only root may set a filter
        return False
    _forbidden = not kernel.call(calls.seccomp, _SET_FILTER, _ALL_THREADS, described)
    return _forbidden


def explain(error: BaseException) -> None:
    """Let an error that the filter caused say so."""
    if not _forbidden:
        return
    looked_up = isinstance(error, socket.gaierror)
    refused = isinstance(error, PermissionError) and error.errno == errno.EACCES and error.filename is None
    if isinstance(error, OSError) and (looked_up or refused) and _SAID not in str(error):
        error.strerror = f"{error.strerror}: {_SAID}"


def _calls() -> _Calls | None:
    # a 32-bit Python on a 64-bit kernel calls by other numbers
    fits = sys.platform == "linux" and sys.maxsize > 2**32
    return _KNOWN.get(platform.machine()) if fits else None


def _program(calls: _Calls) -> bytes:
    """The filter: refuse what is named; of pairs of sockets all but connected local ones; of changes all but its own.

    Each step is an instruction with its value and where to go on if it holds and if it does not: at a label, or next.
    """
    other = [("", _AT_LEAST, _X32, "refuse", "")] if calls.x32 else []
    steps: list[tuple[str, int, int, str, str]] = [
        ("", _LOAD, _ARCHITECTURE, "", ""),
        ("", _EQUAL, calls.machine, "", "refuse"),
        ("", _LOAD, _NUMBER, "", ""),
        *other,
        *(("", _EQUAL, number, "refuse", "") for number in calls.refused),
        *(("", _EQUAL, number, "one", "") for number in calls.of_one),
        ("", _EQUAL, calls.setpriority, "several", ""),
        ("", _EQUAL, calls.socketpair, "pair", "allow"),
        ("pair", _LOAD, _FIRST, "", ""),
        ("", _EQUAL, socket.AF_UNIX, "", "refuse"),
        ("", _LOAD, _SECOND, "", ""),
        ("", _AND, 0xF, "", ""),  # the kind, without flags; datagrams could be sent to a named socket all the same
        ("", _EQUAL, socket.SOCK_STREAM, "allow", "refuse"),
        ("several", _LOAD, _FIRST, "", ""),
        ("", _AT_LEAST, _USER, "not its own", ""),
        ("", _LOAD, _SECOND, "", ""),
        ("", _EQUAL, 0, "allow", "not its own"),
        ("one", _LOAD, _FIRST, "", ""),
        ("", _EQUAL, 0, "allow", "not its own"),
        ("allow", _RETURN, _ALLOW, "", ""),
        ("refuse", _RETURN, _REFUSE, "", ""),
        ("not its own", _RETURN, _NOT_ITS_OWN, "", ""),
    ]
    places = {label: at for at, (label, *_) in enumerate(steps) if label}

    def jump(at: int, to: str) -> int:
        return places[to] - at - 1 if to else 0

    return b"".join(
        struct.pack("HBBI", code, jump(at, yes), jump(at, no), value)
        for at, (_, code, value, yes, no) in enumerate(steps)
    )
