"""What leads out of a process that measures metrics, and what the driver's files and secrets are to a worker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from suite.executors import Job, LocalExecutor
from suite.measuring import confinement
from suite.measuring.place import WORKER_MODULES, WORKER_VARIABLES
from tests.measuring import looks

REACHES = """
import os, signal, subprocess, sys, tempfile
from pathlib import Path
import torch
from suite.measuring import confinement, isolation

other, outside = int(sys.argv[1]), Path(sys.argv[2])
tempfile.tempdir = sys.argv[3]
if sys.argv[4] == "confined":
    confinement.confine(torch.device("cpu"))


def told(name, function):
    try:
        function()
    except PermissionError:
        print(name, "refused")
    except Exception as error:
        print(name, type(error).__name__)
    else:
        print(name, "open")


own = Path(tempfile.gettempdir())
told("environment", lambda: Path(f"/proc/{other}/environ").read_bytes())
told("memory", lambda: open(f"/proc/{other}/mem", "rb"))
told("folder", lambda: os.readlink(f"/proc/{other}/cwd"))
told("signal", lambda: os.kill(other, signal.SIGCONT))
told("write", lambda: (outside / "new").write_text("x"))
told("write-again", lambda: (outside / "kept").write_text("y"))
told("append", lambda: (outside / "kept").open("a").close())
told("truncate", lambda: os.truncate(outside / "kept", 0))
told("remove", lambda: (outside / "gone").unlink())
told("make-folder", lambda: (outside / "folder").mkdir())
told("link", lambda: (outside / "link").symlink_to("/"))
told("by-child", lambda: subprocess.run(["touch", outside / "child"], check=True, stderr=-3))
(own / "link").symlink_to(outside / "behind")
told("through-link", lambda: (own / "link").write_text("x"))
(own / "moved").write_text("x")
told("move-out", lambda: (own / "moved").rename(outside / "moved"))
told("own", lambda: (own / "file").write_text("x"))
told("own-folder", lambda: tempfile.mkdtemp())
told("nowhere", lambda: Path(os.devnull).write_text("x"))
told("read", lambda: (outside / "kept").read_text())
told("own-child", lambda: (p := subprocess.Popen(["sleep", "60"]), p.kill(), p.wait()))
told("own-environment", lambda: Path("/proc/self/environ").read_bytes())
print("peak", "open" if isolation.forget_peak() else "refused")
"""

OPEN_TO_ALL = ("own", "own-folder", "nowhere", "read", "own-child", "own-environment", "peak")
CLOSED = (
    *("environment", "memory", "folder", "signal", "write", "write-again", "append", "truncate", "remove"),
    *("make-folder", "link", "through-link", "move-out"),
)


def said(tmp_path: Path, how: str) -> dict[str, str]:
    outside, own = tmp_path / how / "outside", tmp_path / how / "own"
    outside.mkdir(parents=True)
    own.mkdir()
    for name in ("kept", "gone"):
        (outside / name).write_text("x")
    with subprocess.Popen(["sleep", "60"]) as other:
        words = [sys.executable, "-c", REACHES, str(other.pid), str(outside), str(own), how]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        other.kill()
    assert done.returncode == 0, done.stderr
    return {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}


@pytest.mark.skipif(bool(confinement.open_here()), reason=f"open here: {confinement.open_here()}")
def test_what_is_closed_and_what_is_left(tmp_path: Path) -> None:
    """Without confinement all of it is open: as root and as any user that other processes and files are of."""
    confined, free = said(tmp_path, "confined"), said(tmp_path, "free")
    assert set(free) == {*OPEN_TO_ALL, *CLOSED, "by-child"}
    assert {name: free[name] for name in free} == dict.fromkeys(free, "open")
    assert {name: confined[name] for name in CLOSED} == dict.fromkeys(CLOSED, "refused")
    assert {name: confined[name] for name in OPEN_TO_ALL} == dict.fromkeys(OPEN_TO_ALL, "open")
    assert confined["by-child"] == "CalledProcessError"
    assert {path.name for path in (tmp_path / "confined" / "outside").iterdir()} == {"kept", "gone"}
    assert (tmp_path / "confined" / "outside" / "kept").read_text() == "x"


def test_what_cannot_be_closed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement.network, "unfit", lambda: "no filters")
    for version, still in ((7, set()), (3, {"signals to other processes"}), (0, set(ALL[1:]))):
        monkeypatch.setattr(confinement, "_landlock_version", lambda version=version: version)
        found = confinement.open_here()
        assert found.pop("network") == "no filters"  # type: ignore[attr-defined]
        assert set(found) == still
        assert all(found.values())
    monkeypatch.setattr(confinement, "_landlock_version", lambda: 2)
    assert "version 2, 3 is needed" in confinement.open_here()["truncating files"]


ALL = (
    *("network", "writing files", "truncating files"),
    *("memory and environment of other processes", "signals to other processes"),
)


def test_a_worker_has_none_of_the_drivers_files(tmp_path: Path) -> None:
    """Not even those that children inherit: a store's database and lock, sockets."""
    with (tmp_path / "database").open("w") as file, socket.socket() as connected, socket.socketpair()[0] as pair:
        for one in (file, connected, pair):
            os.set_inheritable(one.fileno(), True)
        with LocalExecutor(1, WORKER_VARIABLES, preload=WORKER_MODULES) as executor:
            (outcome,) = executor.map([Job("look", looks.open_files, ())])
    assert outcome.status == "ok", outcome.reason
    assert outcome.result, "it has its pipes"
    assert not [name for name in outcome.result if name.startswith("socket:") or str(tmp_path) in name]
