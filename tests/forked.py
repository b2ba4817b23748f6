"""Commands as forks of one process that has imported what they import: `python -m suite` without its seconds of that.

From the fork on each is a process of its own, with folder, environment, arguments and `__main__` as the interpreter
would have made them, and it ends as one does. `python -m tests.forked` is the process that is forked.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_IMPORTED = ("suite.cli", "suite.pipeline", "suite.reporting.local", "suite.submission.check", "matplotlib.pyplot")


class Forks:
    """The process that is forked, begun at the first command with this environment; it ends with this one.

    The environment is one of before any test: a test's own may name other modules than those that are imported here.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._server: subprocess.Popen[str] | None = None
        self._begun_with = dict(environment)
        self._one = threading.Lock()

    def fits(self, environment: Mapping[str, str]) -> bool:
        """Whether a fork has this environment: what is not the suite's own was read when the interpreter began."""
        return _foreign(environment) == _foreign(self._begun_with)

    def run(
        self, folder: Path, words: Sequence[str], environment: Mapping[str, str], seconds: float
    ) -> tuple[int, str, str]:
        """`suite WORDS` in `folder`: exit status, standard output, standard error.

        Raises:
            TimeoutError: it was not done in time, and was ended.
        """
        with self._one, tempfile.TemporaryDirectory() as place:
            told = [Path(place) / name for name in ("out", "err")]
            server = self._running()
            assert server.stdin is not None  # a pipe
            assert server.stdout is not None
            last = threading.Timer(seconds, server.kill)
            last.start()
            asked = {"folder": str(folder), "words": list(words), "environment": dict(environment)}
            print(json.dumps(asked | {"told": [str(path) for path in told]}), file=server.stdin, flush=True)
            status = server.stdout.readline()
            last.cancel()
            if not status:
                self._server = None
                raise TimeoutError(f"suite {' '.join(words)}: not done after {seconds:g} s, or the process died")
            out, err = (path.read_bytes().decode() for path in told)
            return int(status), out, err

    def _running(self) -> subprocess.Popen[str]:
        if self._server is None:
            words, pipe = [sys.executable, "-m", "tests.forked"], subprocess.PIPE
            self._server = subprocess.Popen(words, cwd=_ROOT, env=self._begun_with, stdin=pipe, stdout=pipe, text=True)
        return self._server


def _foreign(environment: Mapping[str, str]) -> dict[str, str]:
    own = ("SUITE_", "PYTEST_", "KMP_", "TORCHINDUCTOR_")  # the last two are set by sklearn and torch when imported
    return {name: value for name, value in environment.items() if not name.startswith(own)}


def _serve() -> dict[str, Any]:
    """Fork for each line; returns in the forks alone, with what is asked of them."""
    for name in _IMPORTED:
        importlib.import_module(name)
    importlib.import_module("suite.reporting.charts.theme").library()  # the same bytes always, and seconds each time
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork.*", category=DeprecationWarning)
    asking, answering = os.fdopen(os.dup(0)), os.dup(1)
    os.dup2(2, 1)
    for line in asking:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            os.close(answering)
            asking.close()
            return dict(json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(answering, f"{status}\n".encode())
    os._exit(0)


def _become(asked: dict[str, Any]) -> None:
    """What an interpreter that was begun like this would be."""
    ends = [os.open(os.devnull, os.O_RDONLY), *(os.open(path, os.O_WRONLY | os.O_CREAT) for path in asked["told"])]
    for number, end in enumerate(ends):
        os.dup2(end, number)
        os.close(end)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[0] = asked["folder"]
    sys.argv = ["suite", *asked["words"]]


if __name__ == "__main__":
    _become(_serve())
    runpy.run_module("suite", run_name="__main__", alter_sys=True)
