"""Temporary folders go, with whoever made them or with the next one who makes some."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from suite.executors.clearing import clear, temporary_folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_goes_and_what_is_in_use_or_elses_stays(place: Path) -> None:
    script = """
        import os, signal, sys, tempfile
        from suite.executors.clearing import temporary_folder
        tempfile.tempdir = sys.argv[1]
        print(temporary_folder("x-")[0], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    told = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), place], check=False, capture_output=True, text=True
    )
    left = Path(told.stdout.strip())
    (left / "deep" / "er").mkdir(parents=True)
    used, claim = temporary_folder("y-")
    (place / "x-unclaimed").mkdir()
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / ".in-use").touch()
    (place / "x-link").symlink_to(place / "elsewhere")
    assert left.is_dir()
    own, other = temporary_folder("x-")
    assert sorted(path.name for path in place.iterdir()) == sorted(
        [Path(used).name, Path(own).name, "x-unclaimed", "elsewhere", "x-link"]
    )
    temporary_folder("x-")
    assert Path(own).is_dir(), "it is in use, by this process"
    assert (place / "elsewhere" / ".in-use").exists()
    os.close(claim)
    os.close(other)


def test_folders_in_folders_beyond_any_recursion(place: Path) -> None:
    here = Path.cwd()
    os.chdir(place)
    try:
        for _ in range(1500):
            Path("d").mkdir()
            os.chdir("d")
        Path("file").touch()
    finally:
        os.chdir(here)
    clear(place / "d")
    assert list(place.iterdir()) == []
    clear(place / "none")
