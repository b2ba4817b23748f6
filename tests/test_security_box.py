"""The box of docs/security.md, as a user copies it: what code in it can reach."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCK = r"^```sh\n(clone=.*?)^```$"
REACHES = """
import os, socket, sys
from pathlib import Path

import torch, suite

port, outside = int(sys.argv[1]), Path(sys.argv[2])


def told(name, function):
    try:
        print(name, function())
    except OSError as error:
        print(name, type(error).__name__)


told("network", lambda: socket.create_connection(("127.0.0.1", port), 5) and "open")
told("secret", lambda: os.environ.get("A_TOKEN"))
told("outside", lambda: (outside / "kept").read_text())
told("write", lambda: (Path(suite.__file__).parent / "written").write_text("x"))
told("processes", lambda: max(int(name) for name in os.listdir("/proc") if name.isdigit()) < 20)
told("store", lambda: (Path(os.environ["SUITE_HOME"]) / "written").write_text("x"))
"""


def boxes() -> bool:
    """Whether a box can be made on this machine."""
    words = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "true"]
    return shutil.which("bwrap") is not None and not subprocess.run(words, capture_output=True, check=False).returncode


@pytest.mark.skipif(not boxes(), reason="bubblewrap is not installed here, or may make no box")
@pytest.mark.skipif(not (ROOT / ".venv/bin/python").exists(), reason="the box is for a clone after `make run`")
def test_what_is_imported_in_the_box_reaches_nothing_but_the_store(tmp_path: Path) -> None:
    (block,) = re.findall(BLOCK, (ROOT / "docs/security.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "boxed.sh").write_text(block.replace(".venv/bin/suite", ".venv/bin/python -c '" + REACHES + "'"))
    assert ".venv/bin/suite" in block
    (tmp_path / "kept").write_text("kept")
    environment = {**os.environ, "A_TOKEN": "secret", "SUITE_HOME": str(tmp_path / "store")}
    environment.pop("SUITE_DATA_DIR", None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        words = [str(server.getsockname()[1]), str(tmp_path)]
        boxed = ran(["sh", str(tmp_path / "boxed.sh"), *words], environment)
        free = ran([sys.executable, "-c", REACHES.replace("written", "gone/written"), *words], environment)
    refused = {"network": "ConnectionRefusedError", "secret": "None", "outside": "FileNotFoundError"}
    assert boxed == {**refused, "write": "OSError", "processes": "True", "store": "1"}
    assert (tmp_path / "store" / "written").read_text() == "x"
    assert {name: free[name] for name in refused} == {"network": "open", "secret": "secret", "outside": "kept"}


def ran(words: list[str], environment: dict[str, str]) -> dict[str, str]:
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())
