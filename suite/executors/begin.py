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
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from suite.executors.plain import PlainForks, PlainSpawn

_KEPT = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TERM", "PWD", "OLDPWD", "TMPDIR", "TEMP", "TMP"),
    *("LD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "XDG_CACHE_HOME", "MPLCONFIGDIR"),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "SUITE_DATA_DIR", "SUITE_HOME"),
}
_KEPT_PREFIXES = (
    *("LC_", "PYTHON", "TORCH_", "PYTORCH_", "CUDA_", "CUBLAS_", "CUDNN_", "NCCL_"),
    *("OMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "GOMP_", "KMP_", "BLIS_", "VECLIB_"),
    *("COVERAGE_", "COV_CORE_", "PYTEST_"),
)
_OF_DOWNLOADS = ("SSL_CERT_", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_LOOK_SECONDS = 0.5


def computes(name: str) -> bool:
    """Whether this variable is one of those that computing needs: none of them is a token or a key."""
    return name in _KEPT or name.startswith(_KEPT_PREFIXES)


def kept() -> dict[str, str]:
    """The variables of this process that a worker is told: what computing needs, and how to reach a network for data.

    An address of a proxy that holds a password is the one secret that may be among them.
    """
    told = {name for name in os.environ if name.startswith(_OF_DOWNLOADS) or name.lower().endswith("_proxy")}
    return {name: value for name, value in os.environ.items() if name in told or computes(name)}


def context(preload: Sequence[str], environment: Mapping[str, str]) -> Any:
    """What processes are begun with: of which this process reads nothing but messages and data.

    Args:
        preload: modules that one process imports, of which the others are then forks, on Linux. It is begun at the
            first call, in the background, is there for all executors of this process, and ends with it.
        environment: in which that one imports them: libraries read there how many threads they may have.
    """
    if not preload or sys.platform != "linux":  # elsewhere a fork of a process that has loaded libraries may not live
        return PlainSpawn()
    made = PlainForks()
    made.set_forkserver_preload(list(preload))
    # where this process finds its modules, and not in the folder that it happens to be in
    found = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    with _environment({**{n: v for n, v in os.environ.items() if computes(n)}, **environment, **found}):
        forkserver.ensure_running()
    return made


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
    os.setsid()
    threading.Thread(target=_die_with_driver, daemon=True).start()


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


def _die_with_driver() -> None:
    driver = multiprocessing.parent_process()
    assert driver is not None
    while not wait([driver.sentinel], _LOOK_SECONDS) and _is_there(driver.pid):
        pass
    os._exit(1)


def _is_there(process: int | None) -> bool:
    try:
        os.kill(process or 0, 0)
    except ProcessLookupError:
        return False
    return True
