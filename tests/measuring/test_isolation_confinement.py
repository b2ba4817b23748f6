"""What leads out of a process that measures metrics, and what the driver's files and secrets are to a worker."""

from __future__ import annotations

import json
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
import json, os, signal, subprocess, sys, tempfile, termios
from pathlib import Path
import torch
from suite.measuring import confinement, isolation

other, outside = int(sys.argv[1]), Path(sys.argv[2])
tempfile.tempdir = sys.argv[3]
if sys.argv[4] == "confined":
    confinement.confine(torch.device("cpu"))
found = {}


def told(name, function):
    try:
        function()
    except PermissionError:
        found[name] = "refused"
    except Exception as error:
        found[name] = type(error).__name__
    else:
        found[name] = "open"


def changes_a_terminal():
    terminal = os.open(sys.argv[5], os.O_RDONLY | os.O_NOCTTY)
    try:
        termios.tcsetattr(terminal, termios.TCSANOW, termios.tcgetattr(terminal))
    except termios.error as error:
        raise OSError(*error.args)


own = Path(tempfile.gettempdir())
told("environment", lambda: Path(f"/proc/{other}/environ").read_bytes())
told("memory", lambda: open(f"/proc/{other}/mem", "rb"))
told("folder", lambda: os.readlink(f"/proc/{other}/cwd"))
told("signal", lambda: os.kill(other, signal.SIGCONT))
told("terminal", changes_a_terminal)
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
found["peak"] = "open" if isolation.forget_peak() else "refused"
(own / "found").write_text(json.dumps(found))
"""

OPEN_TO_ALL = ("own", "own-folder", "nowhere", "read", "own-child", "own-environment", "peak")
CLOSED = (
    *("environment", "memory", "folder", "signal", "write", "write-again", "append", "truncate", "remove"),
    *("make-folder", "link", "through-link", "move-out", "terminal"),
)


def said(tmp_path: Path, how: str) -> dict[str, str]:
    outside, own = tmp_path / how / "outside", tmp_path / how / "own"
    outside.mkdir(parents=True)
    own.mkdir()
    for name in ("kept", "gone"):
        (outside / name).write_text("x")
    ends = os.openpty()
    with subprocess.Popen(["sleep", "60"]) as other:
        words = [sys.executable, "-c", REACHES, str(other.pid), str(outside), str(own), how, os.ttyname(ends[1])]
        done = subprocess.run(words, check=False)
        other.kill()
    for end in ends:
        os.close(end)
    assert done.returncode == 0
    return dict(json.loads((own / "found").read_text()))


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
    for version, still in ((7, set()), (4, {*ALL[4:]}), (0, set(ALL[1:]))):
        monkeypatch.setattr(confinement, "_landlock_version", lambda version=version: version)
        found = confinement.open_here()
        assert found.pop("network") == "no filters"  # type: ignore[attr-defined]
        assert set(found) == still
        assert all(found.values())
    monkeypatch.setattr(confinement, "_landlock_version", lambda: 2)
    assert "version 2, 3 is needed" in confinement.open_here()["truncating files"]


ALL = (
    *("network", "writing files", "truncating files"),
    *("memory and environment of other processes", "settings of terminals", "signals to other processes"),
)


DRIVER = """
import json, os, sys
from pathlib import Path
from suite.executors import Job, LocalExecutor
from suite.measuring.place import WORKER_VARIABLES
from tests.measuring import looks

with LocalExecutor(1, WORKER_VARIABLES, preload=("suite.measuring.jobs",)) as executor:
    (outcome,) = executor.map([Job("look", looks.leads_before_and_in_a_metric, ())])
outputs = [os.readlink(f"/proc/self/fd/{number}") for number in (1, 2)]
Path(sys.argv[1]).write_text(json.dumps([outcome.reason, outputs, outcome.result]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what is open")
def test_a_worker_that_measures_has_no_way_to_any_output(tmp_path: Path) -> None:
    """All that is open in it, by whatever number: neither the command's terminal nor the pipe of its output."""
    screen, terminal = os.openpty()
    words = [sys.executable, "-c", DRIVER, str(tmp_path / "found")]
    root = Path(__file__).parents[2]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=terminal) as driver:
        os.close(terminal)
        printed, _ = driver.communicate()
    reason, outputs, looked = json.loads((tmp_path / "found").read_text())
    assert not reason
    before, after = looked
    assert outputs[0].startswith("pipe:")
    assert set(outputs) <= set(before), "as it begins it has both"
    assert after.count("/dev/null") >= 3
    assert not [name for name in after if name in outputs or "pts" in name or "tty" in name]
    assert printed == b"before"
    assert os.read(screen, 1000) == b"before"
    os.close(screen)


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
