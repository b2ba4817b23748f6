"""Whatever a metric changes of its process is as before once it ends."""

# ruff: noqa: NPY002 - the global generator of numpy is what is meant

from __future__ import annotations

import contextlib
import gc
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from suite.measuring.isolation import isolated

CPU = torch.device("cpu")

CHANGES: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "default dtype": (torch.get_default_dtype, lambda: torch.set_default_dtype(torch.float64)),
    "default device": (torch.get_default_device, lambda: torch.set_default_device("meta")),
    "grad mode": (torch.is_grad_enabled, lambda: torch.set_grad_enabled(False)),
    "threads": (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    "deterministic": (
        torch.are_deterministic_algorithms_enabled,
        lambda: torch.use_deterministic_algorithms(not torch.are_deterministic_algorithms_enabled()),
    ),
    "precision": (torch.get_float32_matmul_precision, lambda: torch.set_float32_matmul_precision("medium")),
    "benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda: setattr(torch.backends.cudnn, "benchmark", not torch.backends.cudnn.benchmark),
    ),
    "anomalies": (torch.is_anomaly_enabled, lambda: torch.autograd.set_detect_anomaly(True)),
    "autocast": (
        lambda: torch.is_autocast_enabled("cpu"),
        lambda: torch.autocast("cpu", torch.bfloat16).__enter__(),
    ),
    "denormals": (lambda: float(torch.tensor([1e-40]) * 1), lambda: torch.set_flush_denormal(True)),
    "numpy's errors": (np.geterr, lambda: np.seterr(all="raise")),
    "warnings": (lambda: list(warnings.filters), lambda: warnings.simplefilter("error")),
    "environment": (lambda: dict(os.environ), lambda: (os.environ.clear(), os.environ.update(LEFT="1"))),
    "folder": (Path.cwd, lambda: os.chdir("/")),
    "temporary files": (tempfile.gettempdir, lambda: setattr(tempfile, "tempdir", "/nowhere")),
    "path": (lambda: list(sys.path), sys.path.clear),
    "recursion": (sys.getrecursionlimit, lambda: sys.setrecursionlimit(sys.getrecursionlimit() + 1)),
    "garbage": (gc.isenabled, gc.disable),
    "mask": (lambda: (mask := os.umask(0), os.umask(mask))[0], lambda: os.umask(0o777)),
    "alarm": (lambda: signal.getitimer(signal.ITIMER_REAL), lambda: signal.setitimer(signal.ITIMER_REAL, 100.0)),
    "signals": (lambda: signal.getsignal(signal.SIGTERM), lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)),
    "limits": (
        lambda: resource.getrlimit(resource.RLIMIT_NOFILE),
        lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1])),
    ),
    "output": (lambda: (sys.stdout, sys.stderr), lambda: setattr(sys, "stdout", None)),
    "closed output": (lambda: (id(sys.stdout), sys.stdout.closed), lambda: sys.stdout.close()),  # noqa: PLW0108 - that of then
    "closed descriptor": (lambda: Path("/dev/fd/1").exists(), lambda: os.close(1)),
    "torch's generator": (lambda: torch.get_rng_state().tolist(), lambda: torch.rand(3)),
    "numpy's generator": (lambda: list(np.random.get_state()[1]), lambda: np.random.seed(1)),  # type: ignore[union-attr]
    "Python's generator": (random.getstate, random.random),
}


@pytest.mark.parametrize("change", [*CHANGES])
def test_it_is_as_before_afterwards(change: str) -> None:
    read, do = CHANGES[change]
    before = read()
    with isolated(1, CPU):
        do()
        inside = read()
    assert inside != before, "it was changed"
    assert read() == before
    with contextlib.suppress(KeyboardInterrupt), isolated(1, CPU):
        do()
        raise KeyboardInterrupt
    assert read() == before


def test_every_metric_of_a_job_counts_small_numbers_alike() -> None:
    """Workers let numbers below 1e-38 be zero (`Place.prepare`), for the second metric of a job as for the first."""
    found = []
    torch.set_flush_denormal(True)
    try:
        for change in (True, False, True):
            with isolated(1, CPU):
                found.append(float(torch.tensor([1e-40]) * 1))
                torch.set_flush_denormal(change)
    finally:
        torch.set_flush_denormal(False)
    assert found == [0.0, 0.0, 0.0]


def test_global_draws_are_those_of_the_seed() -> None:
    def draws(seed: int) -> list[float]:
        with isolated(seed, CPU):
            return [float(torch.rand(())), float(np.random.rand()), random.random()]

    torch.manual_seed(5)
    assert draws(3) == draws(3)
    assert all(a != b for a, b in zip(draws(3), draws(4), strict=True))
    assert draws(2**63 - 1)


def test_inside_there_is_nothing_of_the_suite(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SUITE_HOME", "/home/of/suite")
    monkeypatch.setenv("SUITE_DATA_DIR", "/data")
    print("before")
    with isolated(1, CPU):
        folder = Path.cwd()
        assert not {"SUITE_HOME", "SUITE_DATA_DIR"} & set(os.environ)
        assert (list(folder.iterdir()), tempfile.gettempdir()) == ([], str(folder))
        print("inside")
        os.write(1, b"inside")
        sys.__stderr__.write("inside")  # type: ignore[union-attr]
        Path("left").write_text("x")
        Path(tempfile.mkdtemp(), "left").write_text("x")
    print("after")
    assert not folder.exists()
    assert capfd.readouterr() == ("before\nafter\n", "")


FORGETS = """
import ctypes, os, posix, subprocess, sys
from pathlib import Path
from suite.measuring.isolation import forget_environment
forget_environment()
c = ctypes.CDLL(None)
c.getenv.restype = ctypes.c_char_p
child = subprocess.run(["env"], capture_output=True, check=True).stdout
shown = Path("/proc/self/environ").read_bytes() if sys.platform == "linux" else b""
for name in sys.argv[1:]:
    key = name.encode()
    print(name, name in os.environ, key in posix.environ, c.getenv(key) is not None, key in child, key in shown)
"""


def test_a_worker_forgets_what_computing_does_not_need() -> None:
    secret = ("A_TOKEN", "AWS_SECRET_ACCESS_KEY", "NVIDIA_API_KEY", "SSH_AUTH_SOCK", "HTTPS_PROXY")
    needed = ("PATH", "HOME", "LC_ALL", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "PYTHONHASHSEED")
    hidden = ("SUITE_DATA_DIR", "SUITE_HOME")  # to load training sets; `isolated` hides them
    environment = {**os.environ, **dict.fromkeys((*secret, *needed[2:5], *hidden), "1"), "PYTHONHASHSEED": "1"}
    environment["LD_LIBRARY_PATH"] = "/nowhere"
    command = [sys.executable, "-c", FORGETS, *secret, *needed, *hidden]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {line.split()[0]: {*line.split()[1:5]} for line in lines}
    assert all(found[name] == {"False"} for name in secret)
    assert all(found[name] == {"True"} for name in (*needed, *hidden))
    if sys.platform == "linux":
        shown = {line.split()[0] for line in lines if line.endswith("True")}
        assert shown == {*needed}


def test_memory_is_none_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("suite.measuring.isolation._PROCESS", tmp_path / "self")
    with isolated(1, CPU) as taken:
        pass
    assert taken.memory is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_cuda_its_generator_and_its_memory() -> None:
    device = torch.device("cuda:0")
    before = torch.cuda.get_rng_state(device)
    draws = []
    for _ in range(2):
        with isolated(1, device) as taken:
            draws.append(float(torch.rand((), device=device)))
            torch.ones(2**24, device=device)
        assert taken.memory is not None
        assert 2**26 <= taken.memory < 2**27
    assert draws[0] == draws[1]
    assert torch.equal(torch.cuda.get_rng_state(device), before)
