"""How a worker process begins: from what, with which variables of its environment, and that it ends with its driver."""

from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

_KEPT = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TERM", "PWD", "OLDPWD", "TMPDIR", "TEMP", "TMP"),
    *("LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "XDG_CACHE_HOME", "MPLCONFIGDIR"),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "SUITE_DATA_DIR", "SUITE_HOME", "JOBLIB_MULTIPROCESSING"),
}
_KEPT_PREFIXES = (
    *("LC_", "PYTHON", "TORCH_", "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NCCL_"),
    *("OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "GOMP_", "KMP_", "BLIS_", "VECLIB_"),
    *("COVERAGE_", "COV_CORE_", "PYTEST_"),
)
_OF_DOWNLOADS = ("SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def computes(name: str) -> bool:
    """Whether this variable is one of those that computing needs: none of them is a token or a key."""
    return name in _KEPT or name.startswith(_KEPT_PREFIXES)


def computing() -> dict[str, str]:
    """The variables of this process that computing needs."""
    return {name: value for name, value in os.environ.items() if computes(name)}


def kept() -> dict[str, str]:
    """The variables of this process that a worker is told: what computing needs, and how to reach a network for data.

    An address of a proxy that holds a password is the one secret that may be among them.
    """
    told = {name for name in os.environ if name.startswith(_OF_DOWNLOADS) or name.lower().endswith("_proxy")}
    return computing() | {name: os.environ[name] for name in told}


class Beginning:
    """What worker processes are begun with.

    Args:
        preload: modules that one process imports, of which the workers are then forks, on Linux. It begins to do so
            now, in the background, is there for all executors of this process, and ends with it.
        environment: in which that one imports them: libraries read there how many threads they may have.
    """

    def __init__(self, preload: Sequence[str], environment: Mapping[str, str]) -> None:
        # elsewhere a fork of a process that has loaded libraries may not live
        forks = bool(preload) and sys.platform == "linux"
        self.context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        self._forks, self._variables = forks, dict(environment)
        if forks:
            self.context.set_forkserver_preload(list(preload))
            self._let_it_run()

    def start(self, process: Any) -> None:
        """Start a process of `context`.

        Raises:
            OSError, EOFError: it could not be begun.
        """
        if self._forks:
            self._let_it_run()
        process.start()

    def _let_it_run(self) -> None:
        if _runs(getattr(forkserver._forkserver, "_forkserver_pid", None)):
            return
        # where this process finds its modules, and not in the folder that it happens to be in
        found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
        # it heeds no Ctrl-C from the start: that is for the driver
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with _environment({**computing(), **self._variables, **found}):
                forkserver.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    _let_environment(variables)
    try:
        yield
    finally:
        _let_environment(before)


def _let_environment(variables: Mapping[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def worker(environment: Mapping[str, str], seats: Sequence[str]) -> None:
    """In a new worker: leave Ctrl-C to the driver, do not outlive it, and begin a session that tells what it leaves.

    Slurm sends SIGUSR2 to every process of a job that it preempts: that is for the driver, too.

    Args:
        environment: all variables that it is to have.
        seats: as `LocalExecutor` deals them out.
    """
    _let_environment(environment)
    tempfile.tempdir = environment["TMPDIR"]  # said outright: where that is gone, Python would choose another
    if seats:
        os.environ["CUDA_VISIBLE_DEVICES"] = _seat(Path(environment["TMPDIR"]), seats)
    for number in (signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.setsid()
    _let_go()
    _watch()


def _let_go() -> None:
    """Lead nothing out of this process but its own pipes: not the terminal, nor what others depend on.

    Processes of Python's inherit a pipe to one that removes shared memory by name, and one that keeps all forks alive.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    tracker = getattr(resource_tracker._resource_tracker, "_fd", None)
    alive = getattr(forkserver._forkserver, "_forkserver_alive_fd", None)
    for inherited in (0, tracker, alive):
        if inherited is not None:
            os.dup2(nothing, inherited)
    os.close(nothing)


def _seat(folder: Path, seats: Sequence[str]) -> str:
    """Take the first free one: its lock is this process's until it ends, however it ends."""
    while True:
        for number, device in enumerate(seats):
            held = os.open(folder / f"seat-{number}", os.O_CREAT | os.O_RDWR, 0o600)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(held)
            else:
                return device
        time.sleep(0.05)  # the one before is still dying


_watcher: tuple[threading.Thread, int] | None = None
"""The thread that ends this process with its driver, and a pipe that ends the thread."""


def _watch() -> None:
    global _watcher  # noqa: PLW0603 - one a process
    wake, ended = os.pipe()
    thread = threading.Thread(target=_die_with_driver, args=(wake,), daemon=True)
    thread.start()
    _watcher = thread, ended


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """In a worker: have no thread of ours but the one that runs the block. What it closes to itself it closes to all.

    The thread that ends this process with its driver is begun anew afterwards.
    """
    if _watcher is None:
        yield
        return
    thread, ended = _watcher
    os.close(ended)
    thread.join()
    try:
        yield
    finally:
        _watch()


def _die_with_driver(wake: int) -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None
    if driver.sentinel in wait([driver.sentinel, wake]):
        os._exit(1)
    os.close(wake)


def _runs(child: int | None) -> bool:
    """Whether this child has not ended; one that has stays as it is for who waits for it."""
    if child is None:
        return False
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
