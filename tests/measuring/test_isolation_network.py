"""The filter that forbids the network: what it answers to every call, and what a process under it can do."""

from __future__ import annotations

import errno
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from suite.measuring import network

ALLOWED, REFUSED, NOT_ITS_OWN = 0x7FFF0000, 0x00050000 | errno.EACCES, 0x00050000 | errno.EPERM
UNIX, INTERNET, NETLINK, STREAM, DATAGRAM, CLOEXEC = 1, 2, 16, 1, 2, 0o2000000
NAMES = (
    "socket",
    "connect",
    "bind",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "io_uring_setup",
)
OF_ONE = (
    *("prlimit64", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr"),
    *("migrate_pages", "move_pages", "ioprio_set"),
)


def answer(program: bytes, machine: int, number: int, *arguments: int) -> int:
    """What a filter says of a call, by the rules of classic BPF as far as it is used."""
    data = struct.pack("<IIQ6Q", number, machine, 0, *arguments, *[0] * (6 - len(arguments)))
    steps, at, held = [*struct.iter_unpack("<HBBI", program)], 0, 0
    while True:
        code, yes, no, value = steps[at]
        at += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            (held,) = struct.unpack_from("<I", data, value)
        elif code == 0x54:
            held &= value
        else:
            at += yes if {0x15: held == value, 0x35: held >= value}[code] else no


@pytest.mark.parametrize("machine", network._KNOWN)
def test_sockets_and_the_ways_to_those_of_others_are_refused_and_nothing_else(machine: str) -> None:
    calls = network._KNOWN[machine]
    program = network._program(calls)
    refused = {number for number in range(1024) if answer(program, calls.machine, number) == REFUSED}
    assert refused == {*calls.refused, calls.socketpair}  # a pair of no family is refused too
    assert (len(calls.refused), len(calls.of_one)) == (len(NAMES), len(OF_ONE))
    assert {answer(program, calls.machine, number) for number in range(1024)} == {ALLOWED, REFUSED}


@pytest.mark.parametrize("machine", network._KNOWN)
def test_pairs_are_for_those_who_speak_with_each_other_alone(machine: str) -> None:
    calls = network._KNOWN[machine]
    program = network._program(calls)

    def pair(family: int, kind: int) -> int:
        return answer(program, calls.machine, calls.socketpair, family, kind)

    assert pair(UNIX, STREAM) == pair(UNIX, STREAM | CLOEXEC) == ALLOWED
    assert pair(UNIX, DATAGRAM) == pair(INTERNET, STREAM) == pair(NETLINK, STREAM) == pair(UNIX, 5) == REFUSED


@pytest.mark.parametrize("machine", network._KNOWN)
def test_of_limits_and_priorities_a_thread_may_change_its_own_alone(machine: str) -> None:
    calls = network._KNOWN[machine]
    program = network._program(calls)
    for whom in (1, 7, 2**22, 2**32 - 1):  # the last one is -1
        changed = {number for number in range(1024) if answer(program, calls.machine, number, whom) == NOT_ITS_OWN}
        assert changed - {calls.setpriority} == {*calls.of_one}
    mine = {(which, who) for which in range(4) for who in (0, 7) if allowed(program, calls, which, who)}
    assert mine == {(0, 0), (1, 0)}, "this process and its own group, and never a user"


def allowed(program: bytes, calls: network._Calls, which: int, who: int) -> bool:
    return answer(program, calls.machine, calls.setpriority, which, who) == ALLOWED


@pytest.mark.parametrize("machine", network._KNOWN)
def test_whoever_calls_by_other_numbers_is_refused_everything(machine: str) -> None:
    calls = network._KNOWN[machine]
    program = network._program(calls)
    for other in {known.machine for known in network._KNOWN.values()} | {0x40000003, 0x40000028} - {calls.machine}:
        if other != calls.machine:
            assert {answer(program, other, number) for number in range(512)} == {REFUSED}
    x32 = {answer(program, calls.machine, 0x40000000 + number) for number in range(512)}
    assert x32 == ({REFUSED} if calls.x32 else {ALLOWED})


HEADERS = {
    "x86_64": ["x86_64-linux-gnu/asm/unistd_64.h", "asm/unistd_64.h"],
    "aarch64": ["asm-generic/unistd.h", "aarch64-linux-gnu/asm/unistd_64.h"],
}


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    found = [Path("/usr/include", name) for name in HEADERS[machine] if Path("/usr/include", name).is_file()]
    if not found:
        pytest.skip(f"no headers of a {machine} kernel here")
    # numbers of calls that came after the last header's release are in none
    named = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", found[0].read_text()))
    calls = network._KNOWN[machine]
    names = (*NAMES, *OF_ONE, "socketpair", "seccomp", "setpriority")
    numbers = (*calls.refused, *calls.of_one, calls.socketpair, calls.seccomp, calls.setpriority)
    expected = dict(zip(names, numbers, strict=True))
    assert {name: int(named[name]) for name in expected if name in named} == {
        n: expected[n] for n in expected if n in named
    }
    assert {"socket", "connect", "seccomp"} <= set(named)


UNDER = """
import ctypes, errno, mmap, os, socket, subprocess, sys, threading
from suite.measuring import network

port = int(sys.argv[1])
begun, said = threading.Event(), []


def one_that_was_there_before():
    begun.wait()
    told("another thread", lambda: socket.create_connection(("127.0.0.1", port), 5))


def told(name, function):
    try:
        function()
    except OSError as error:
        network.explain(error)
        said.append((name, f"{type(error).__name__}: {error}"))
    except subprocess.CalledProcessError:
        said.append((name, "ended"))
    else:
        said.append((name, "open"))


def call(number, *words):
    if ctypes.CDLL(None, use_errno=True).syscall(*map(ctypes.c_long, (number, *words))) < 0:
        raise OSError(ctypes.get_errno(), "no")


def by_32_bits():
    # mov eax, 20 (getpid); int 0x80; ret: a call as 32-bit programs make it, which have sockets of their own
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(bytes.fromhex("53b814000000cd805bc3"))
    done = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    if done < 0:
        raise OSError(-done, "no")


thread = threading.Thread(target=one_that_was_there_before)
thread.start()
if sys.argv[2] == "forbidden":
    assert network.forbid_network() and network.forbid_network()
begun.set()
thread.join()
child = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
told("connection", lambda: socket.create_connection(("127.0.0.1", port), 5))
told("local socket", lambda: socket.socket(socket.AF_UNIX))
told("datagrams", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
told("pair", socket.socketpair)
told("child", lambda: subprocess.run([sys.executable, "-SEc", child, str(port)], check=True, stderr=-3))
if os.uname().machine == "x86_64":
    told("rings", lambda: call(425, 1, ctypes.addressof(ctypes.create_string_buffer(120))))
    told("x32", lambda: call(0x40000000 + 39))
    told("32 bits", by_32_bits)
for line in said:
    print(*line, sep="; ")
"""


@pytest.mark.skipif(network.unfit() is not None, reason=f"it cannot be forbidden here: {network.unfit()}")
def test_what_a_process_under_it_can_do() -> None:
    from socket import create_server

    with create_server(("127.0.0.1", 0)) as server:
        under, free = (said(server.getsockname()[1], how) for how in ("forbidden", "open"))
    refused = "PermissionError: [Errno 13] Permission denied: metrics are measured without a network"
    sockets = ("another thread", "connection", "local socket", "datagrams")
    assert {name: under[name] for name in sockets} == dict.fromkeys(sockets, refused)
    assert {name: free[name] for name in sockets} == dict.fromkeys(sockets, "open")
    assert (under["child"], free["child"]) == ("ended", "open")
    assert (under["pair"], free["pair"]) == ("open", "open")
    for name in under.keys() & {"rings", "x32", "32 bits"}:
        # a kernel may have none of these; what it says of that is another error
        assert under[name].startswith("PermissionError: [Errno 13]")
        assert not free[name].startswith("PermissionError: [Errno 13]")


def said(port: int, how: str) -> dict[str, str]:
    done = subprocess.run([sys.executable, "-c", UNDER, str(port), how], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split("; ", 1) for line in done.stdout.splitlines()]
    return dict(lines)


def test_where_it_cannot_be_had_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.platform, "machine", lambda: "riscv64")
    assert "x86_64 and aarch64" in str(network.unfit())
    assert network.forbid_network.__wrapped__() is False
    monkeypatch.undo()
    monkeypatch.setattr(network.sys, "platform", "darwin")
    assert "Linux" in str(network.unfit())
    assert network.forbid_network.__wrapped__() is False


def test_only_where_it_is_forbidden_errors_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def explained(error: OSError) -> str:
        network.explain(error)
        network.explain(error)  # once is enough
        return str(error)

    assert explained(PermissionError(13, "Permission denied")) == "[Errno 13] Permission denied"
    monkeypatch.setattr(network, "_forbidden", True)
    said = "[Errno 13] Permission denied: metrics are measured without a network"
    assert explained(PermissionError(13, "Permission denied")) == said
    assert explained(PermissionError(13, "Permission denied", "/a/file")) == "[Errno 13] Permission denied: '/a/file'"
    assert explained(PermissionError(1, "Operation not permitted")) == "[Errno 1] Operation not permitted"
