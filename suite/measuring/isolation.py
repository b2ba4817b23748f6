"""What a metric does to its process ends with it: settings, generators, output, working folder, child processes.

A Python process cannot contain everything. What a metric does on purpose to objects that others use (patching torch, a
thread that stays) lives as long as the process does: that is why metrics from outside this package never share one with
those of this package (`suite.measuring.measure`). Ways out of the process are closed by `suite.measuring.confinement`
as far as the system can.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import random
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from suite.executors import UNUSABLE_PROCESS, children, kernel
from suite.executors.begin import computing
from suite.executors.clearing import clear
from suite.measuring import network
from suite.measuring.limits import memory_limit

_PROCESS = Path("/proc/self")
_OPEN = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
_HIDDEN = ("SUITE_DATA_DIR", "SUITE_HOME", "OLDPWD")


@dataclass
class Taken:
    """What a metric took.

    Attributes:
        memory: bytes beyond what was there at its start, at its peak (resident on a CPU, allocated on CUDA); None where
            the system does not tell.
    """

    memory: int | None = None


@contextlib.contextmanager
def isolated(seed: int, device: torch.device, memory: int | None = None) -> Iterator[Taken]:
    """Run the block as if in a process of its own, with global random generators that begin at `seed`.

    Inside, the working folder is an empty temporary one, output goes nowhere, and the environment (`os.environ`, what
    child processes inherit) does not say where data and store are. Afterwards everything is as before; files in the
    folder and child processes are gone. Where that cannot be had, this process ends: what comes next must not be
    blamed.

    Args:
        seed: of torch, numpy and Python.
        device: that it computes on.
        memory: bytes that it may take; None: as many as it likes.
    """
    around = contextlib.ExitStack()
    for part in (_settings(), warnings.catch_warnings(), _seeded(seed, device), _elsewhere(), _silenced()):
        around.enter_context(part)
    taken = around.enter_context(_metered(device))
    around.enter_context(_childless())
    around.enter_context(memory_limit(memory))
    around.enter_context(_limits())
    try:
        yield taken
    except OSError as error:
        network.explain(error)
        raise
    finally:
        try:
            around.close()
        except BaseException:  # noqa: BLE001 - whatever it is
            os._exit(UNUSABLE_PROCESS)


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _let_deterministic(flags: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])


def _attribute(owner: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return lambda: getattr(owner, name), lambda value: setattr(owner, name, value)


def _mask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _collect(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()


_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_num_threads, torch.set_num_threads),
    # none was set in a worker; to set the same one again would slow every call
    (torch.get_default_device, lambda _: torch.set_default_device(None)),
    (_deterministic, _let_deterministic),
    _attribute(torch.utils.deterministic, "fill_uninitialized_memory"),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _attribute(torch.backends.cuda.matmul, "allow_tf32"),
    *(_attribute(torch.backends.cudnn, name) for name in ("allow_tf32", "benchmark", "deterministic", "enabled")),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on)),
    (lambda: torch.is_autocast_enabled("cuda"), lambda on: torch.set_autocast_enabled("cuda", on)),
    (np.geterr, lambda errors: np.seterr(**errors)),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (lambda: list(sys.path), lambda path: sys.path.__setitem__(slice(None), path)),
    (gc.isenabled, _collect),
    (_mask, os.umask),
    (lambda: signal.getitimer(signal.ITIMER_REAL), lambda timer: signal.setitimer(signal.ITIMER_REAL, *timer)),
    *(
        (lambda number=number: signal.getsignal(number), lambda old, number=number: signal.signal(number, old))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD)
    ),
)
"""How to read and how to set what a metric may change of its process."""


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    before, flushed = [read() for read, _ in _SETTINGS], _flushes()
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        for (read, let), value in zip(_SETTINGS, before, strict=True):
            if read() != value:
                let(value)


def _flushes() -> bool:
    """Whether numbers below 1e-38 count as zero in this thread: torch does not say, its results do."""
    return not float(torch.tensor([1e-40], dtype=torch.float32, device="cpu") * 1)


_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    """The kernel's limits on this process; the first to be as before, since to put back the rest takes files."""
    before = [resource.getrlimit(what) for what in _LIMITS]
    try:
        yield
    finally:
        for what, limits in zip(_LIMITS, before, strict=True):
            if resource.getrlimit(what) != limits:
                resource.setrlimit(what, limits)


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators of torch, numpy and Python."""
    cuda = device.type == "cuda"
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002 - it is there to be used
    on_device = torch.cuda.get_rng_state(device) if cuda else None
    try:
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        random.seed(seed)
        if cuda:
            torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])
        if on_device is not None:
            torch.cuda.set_rng_state(on_device, device)


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """An empty folder to work in, and an environment that leads nowhere."""
    environment, temporary = dict(os.environ), tempfile.tempdir
    here = os.open(".", os.O_RDONLY)
    Path(tempfile.gettempdir()).mkdir(parents=True, exist_ok=True)  # an earlier metric may have removed it
    folder = tempfile.mkdtemp(prefix="suite-metric-")
    try:
        for name in _HIDDEN:
            os.environ.pop(name, None)
        os.environ.update(TMPDIR=folder, PWD=folder)
        tempfile.tempdir = folder
        os.chdir(folder)
        yield
    finally:
        os.fchdir(here)
        os.close(here)
        tempfile.tempdir = temporary
        os.environ.clear()
        os.environ.update(environment)
        clear(folder)


@lru_cache(maxsize=1)
def mute() -> None:
    """Let this process's output go nowhere, for good: nothing that is open in it leads there any more.

    That is output and errors, every copy of them, and every terminal.
    """
    _flush()
    outputs = {_file(1), _file(2)} - {None}
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in {1, 2, *(int(one.name) for one in _OPEN.iterdir())}:
        if number < 3 or os.isatty(number) or _file(number) in outputs:
            os.dup2(nowhere, number, inheritable=number < 3)
    os.close(nowhere)


def _file(number: int) -> tuple[int, int] | None:
    """Which file is open by this number; None: none."""
    try:
        found = os.fstat(number)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Output goes nowhere, whether Python or C writes it, and who closes it has closed nobody else's.

    Who looks for the process's own finds it; in a worker, which is `mute`, that leads nowhere either.
    """
    _flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    try:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            for number in kept:
                os.dup2(nowhere.fileno(), number)
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
    finally:
        _flush()
        for number, old in kept.items():
            os.dup2(old, number)
            os.close(old)


def _flush() -> None:
    """Write what Python and C still hold of the process's own output."""
    for stream in (sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(OSError, ValueError):  # closed: nothing is held
            if stream is not None:
                stream.flush()
    kernel.libc().fflush(None)


@contextlib.contextmanager
def _metered(device: torch.device) -> Iterator[Taken]:
    """Tell afterwards what the block took at its peak."""
    taken = Taken()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        start: int | None = torch.cuda.memory_allocated(device)
    else:
        start = _resident("VmRSS") if forget_peak() else None
    try:
        yield taken
    finally:
        if start is not None:
            peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident("VmHWM")
            taken.memory = max(0, peak - start)


def forget_peak() -> bool:
    """Let the kernel's high-water mark of resident memory begin anew; False where it has none."""
    try:
        os.pwrite(_peak_of(_PROCESS), b"5", 0)
    except OSError:
        return False
    return True


@lru_cache(maxsize=1)
def _peak_of(process: Path) -> int:
    """Opened once: a process that is confined may open nothing of /proc to write to it."""
    return os.open(process / "clear_refs", os.O_WRONLY | os.O_CLOEXEC)


def _resident(name: str) -> int:
    """Bytes of the kernel's count of that name."""
    lines = (_PROCESS / "status").read_text(encoding="utf-8").splitlines()
    (line,) = (one for one in lines if one.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


@lru_cache(maxsize=1)
def forget_environment() -> None:
    """Take from this process, for good, all variables but those that computing needs: no tokens, no keys.

    They go from `os.environ`, from what Python and C keep of it, and on Linux from what /proc/self/environ shows.
    """
    kept = computing()
    os.environ.clear()
    os.environ.update(kept)
    for name in [one for one in _environ_at_start() if os.fsdecode(one) not in kept]:
        del _environ_at_start()[name]
    if sys.platform == "linux":
        _blank({os.fsencode(name) for name in kept} - {os.fsencode(name) for name in _HIDDEN})


def _environ_at_start() -> dict[Any, Any]:
    """The copy that Python makes of the environment as it starts, which `os.environ` leaves as it is."""
    module = sys.modules.get("posix")
    return {} if module is None else module.environ


def _blank(kept: set[bytes]) -> None:
    """Overwrite the variables not kept in the memory that the kernel gave this process its first environment in.

    Nothing is written where that memory does not hold what the kernel shows. What is no longer in the environment is
    pointed to by nothing there; what is, was copied elsewhere as it was set anew.
    """
    try:
        shown = (_PROCESS / "environ").read_bytes()
        start, end = (int(n) for n in (_PROCESS / "stat").read_text().rpartition(")")[2].split()[47:49])
    except (OSError, ValueError):
        return
    if not start or ctypes.string_at(start, end - start) != shown:
        return
    for part in shown.split(b"\0"):
        if part.partition(b"=")[0] not in kept:
            ctypes.memset(start, 0, len(part))
        start += len(part) + 1


@lru_cache(maxsize=1)
def adopt() -> None:
    """Let what this process's descendants leave behind be its own children, and no fork of Python's outlive it.

    Linux alone can; elsewhere a metric's lingering grandchildren are init's. What else outlives this process (begun by
    `subprocess`, by C code) is ended by the driver, `suite.executors.LocalExecutor`.
    """
    if sys.platform == "linux":
        kernel.prctl(kernel.SUBREAPER, 1)
        os.register_at_fork(after_in_child=lambda: kernel.prctl(kernel.DEATH_SIGNAL, signal.SIGKILL))


@contextlib.contextmanager
def _childless() -> Iterator[None]:
    """End the processes that the block began; a copy of this process that comes out of the block ends there."""
    own, before = os.getpid(), children()
    try:
        yield
    finally:
        if os.getpid() != own:
            os._exit(0)
        while new := children() - before:
            for child in new:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):  # ended, and reaped by nobody's wish
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
