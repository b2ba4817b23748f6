"""Importing files that strangers wrote: what a file does when it is imported must not take this process with it.

`bounded` is around every import of one: it ends one that takes too long, and a process that the file forks. What ends
the process itself cannot be caught in it: `import_elsewhere` imports the files in another one first.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from suite.errors import BadInput, printable

LIMIT = 120.0
"""Seconds that importing may take."""
_GRACE = 5.0
"""Seconds that a file has to end after it was told to."""
_START, _TAIL = 120.0, 4096
"""Seconds that another process may take to begin; bytes of what it prints that are kept."""

_BEGUN, _WHOLE, _FORKED, _LIMITED = b"b", b"w", b"f", b"l"
"""What the other process says of itself: that it begins to import, that every file was imported, that one forked it,
that one changed its limits (and which)."""
_PROGRAM = f"""\
import os, signal, sys
signal.alarm(int(sys.argv[3]))  # for the case that whoever waits for this process is killed
sys.path.append(sys.argv[1])
from pathlib import Path
from suite.errors import BadInput
from suite.metrics import importing
from suite.metrics.registry import metrics_of
importing.LIMIT = float(sys.argv[3])  # whoever waits has another one
forked = []
os.register_at_fork(after_in_parent=lambda: forked.append(True))
os.write(int(sys.argv[2]), {_BEGUN!r})
before = importing.limits()
for word in sys.argv[4:]:
    try:
        metrics_of(Path(word) if word else None)
    except BadInput:
        pass  # is raised again, and told, by whoever imports it next
changed = ", ".join(name for name, limit in importing.limits().items() if limit != before[name])
os.write(int(sys.argv[2]), {_FORKED!r} if forked else {_LIMITED!r} + changed.encode() if changed else {_WHOLE!r})
"""


_WATCHES = """\
import os, sys, time
seconds, process, said = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
time.sleep(seconds)
if os.getppid() == process:
    os.write(2, said.encode(errors="backslashreplace"))
    os.kill(process, 9)
"""


class TooLong(BaseException):
    """Importing takes too long: no exception that a file would catch by accident."""


@contextlib.contextmanager
def bounded(path: Path) -> Iterator[None]:
    """Around the import of a file: within `LIMIT`, what it prints aside, and in one process.

    Standard output is the answer to a command, which may be JSON: what the file prints goes to standard error. A
    process that it forks would go on as a second driver; it ends here. In another thread than the main one there is no
    limit.

    Raises:
        TooLong: it takes longer. Where it goes on all the same, this process ends with a line that says so; is
            killed, after such a line, where it never comes back from C to where it could end itself.
    """
    process = os.getpid()
    try:
        with _alarmed(path), _aside():
            yield
    finally:
        if os.getpid() != process:
            os._exit(0)


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """What is printed goes to standard error; both streams are what they were after it, whatever is done to them."""
    streams, kept = (sys.stdout, sys.stderr), [os.dup(number) for number in (1, 2)]
    for stream in filter(None, streams):
        stream.flush()
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace") as aside:
        sys.stdout = sys.stderr = aside
        os.dup2(2, 1)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                aside.flush()
            for number, one in enumerate(kept, 1):
                os.dup2(one, number)
                os.close(one)
            sys.stdout, sys.stderr = streams


@contextlib.contextmanager
def _alarmed(path: Path) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    said = f"importing takes longer than {LIMIT:g} s"
    told: list[bool] = []

    def expired(number: int, frame: FrameType | None) -> None:
        if told:
            os.write(2, f"{path}: {said}\n".encode(errors="backslashreplace"))
            os._exit(2)
        told.append(True)
        raise TooLong(said)

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, LIMIT, _GRACE)
    try:
        with _watched(f"{path}: {said}\n"):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _watched(said: str) -> Iterator[None]:
    """A process looks on and kills this one, should it not end itself: a loop in C hears no signal."""
    words = [str(LIMIT + 2 * _GRACE), str(os.getpid()), said]
    with contextlib.ExitStack() as watched:
        with contextlib.suppress(OSError):  # where a process may begin none it is a worker, which its driver ends
            watch = subprocess.Popen(  # noqa: S603 - this Python and a program of ours: no shell reads the words
                [sys.executable, "-I", "-S", "-c", _WATCHES, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            watched.enter_context(watch)
            watched.callback(watch.kill)
        yield


def limits() -> dict[str, object]:
    """This process's limits by name: what it may take of the system, and how deep Python may go."""
    names = {name for name in dir(resource) if name.startswith("RLIMIT_")} - {"RLIMIT_OFILE"}  # that is NOFILE
    named = {name: resource.getrlimit(getattr(resource, name)) for name in sorted(names)}
    return named | {"the recursion limit": sys.getrecursionlimit()}


def import_elsewhere(files: Sequence[Path], package: bool = True) -> None:
    """Import files, and first this package's metrics if asked, in another process, which must come to its end.

    Raises:
        BadInput: it ended before, took too long, forked, or changed its limits: nothing that uses it then could go on.
    """
    words = [*([""] if package else []), *(str(path.absolute()) for path in files)]
    where = ", ".join([*(["suite/metrics"] if package else []), *map(str, files)])
    if not words:
        return
    root, most = str(Path(__file__).parents[2]), str(int(_START + 2 * LIMIT) + 1)
    read, write = os.pipe()
    try:
        with subprocess.Popen(  # noqa: S603 - this Python and paths as words of their own: no shell reads them
            [sys.executable, "-P", "-c", _PROGRAM, root, str(write), most, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(write,),
            start_new_session=True,
        ) as process:
            os.close(write)
            _judge(where, *_ended(process, read))
    finally:
        os.close(read)


def _ended(process: subprocess.Popen[bytes], read: int) -> tuple[int | None, str, bytes]:
    """The exit code (None: it had to be ended), the last line that it printed, and what it said of itself.

    All that it started is ended with it.
    """
    assert process.stderr is not None
    tail: list[bytes] = [b""]
    reader = threading.Thread(target=_read, args=(process.stderr, tail), daemon=True)
    reader.start()
    code: int | None = None
    try:
        select.select([read], [], [], _START)  # of the limit, none is for the suite's own imports
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(LIMIT)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    reader.join(_GRACE)
    os.set_blocking(read, False)
    with contextlib.suppress(BlockingIOError):
        return code, _last_line(tail[0]), os.read(read, _TAIL)
    return code, _last_line(tail[0]), b""


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return printable(lines[-1]) if lines else "it said nothing"


def _read(stream: IO[bytes], tail: list[bytes]) -> None:
    """Read to the end, keeping the last of it: a file may print for ever."""
    with contextlib.suppress(OSError, ValueError):
        while part := stream.read1(2**16):  # type: ignore[attr-defined]
            tail[0] = (tail[0] + part)[-_TAIL:]


def _judge(where: str, code: int | None, last: str, mark: bytes) -> None:
    if code is None:
        left = ": what it started does not end" if mark.endswith(_WHOLE) else ""
        raise BadInput(f"{where}: importing takes longer than {LIMIT:g} s{left}")
    if mark == _BEGUN + _FORKED:
        raise BadInput(f"{where}: importing forks the process: a metric starts nothing")
    if mark.startswith(_BEGUN + _LIMITED):
        said = mark.removeprefix(_BEGUN + _LIMITED).decode("utf-8", "replace").split(", ")
        changed = ", ".join(name for name in said if name in limits())  # a file can say anything in that process's name
        what = f"the limits of the process ({changed})" if changed else "limits of the process"
        raise BadInput(f"{where}: importing changes {what}: a metric's file changes none")
    if code or mark != _BEGUN + _WHOLE:
        raise BadInput(f"{where}: importing ended the process (exit code {code}; {last})")
