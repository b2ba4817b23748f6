"""What a worker says to the driver: a few kinds of messages, read without waiting and without running anything.

In a worker a stranger's code may have run, which can say whatever it likes on that worker's pipe. So each worker has a
pipe of its own, half a message holds up nobody, what is no message is `Garbled`, and results of such workers travel as
JSON. What the driver says to a worker is pickled: it trusts the driver.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import struct
from typing import Any

from suite.errors import printable

BEGUN, MOVED, DONE, FAILED = b"b", b"m", b"d", b"f"
_HEAD, _NUMBER = struct.Struct("=cQ"), struct.Struct("=d")
_CHUNK = 2**20
MOST_PLAIN = 2**26
"""Bytes of a message of a plain job."""
_MOST_WORDS = 10_000
"""Characters of the reason for which a job failed."""


class Garbled(Exception):
    """A worker said what no worker says."""


def tell(pipe: int, kind: bytes, number: float = 0.0, content: bytes = b"") -> None:
    """Say something, from a worker; waits until all of it is on its way.

    Args:
        pipe: the worker's own.
        kind: one of the four.
        number: with `MOVED` the fraction done; with `DONE` and `FAILED` the seconds it took.
        content: with `DONE` the result, with `FAILED` the reason.
    """
    rest = memoryview(_HEAD.pack(kind, _NUMBER.size + len(content)) + _NUMBER.pack(number) + content)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def packed(result: object, plain: bool) -> bytes:
    """A result as it travels: JSON if it is plain.

    Raises:
        Exception: it cannot travel so.
    """
    return json.dumps(result, allow_nan=False).encode() if plain else pickle.dumps(result)


def unpacked(content: bytes, plain: bool) -> Any:
    """What `packed` made; plain, it is read as data and nothing else.

    Raises:
        Exception: it did not make it.
    """
    if plain:
        return json.loads(content, parse_constant=_no_number)
    return pickle.loads(content)  # noqa: S301 - no stranger's code ran there


def _no_number(said: str) -> None:
    raise ValueError(f"{said} is no number of JSON's")


class Listener:
    """The driver's end of what one worker says.

    Args:
        pipe: from now on read without waiting.
    """

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self.pipe = pipe
        self._held = bytearray()

    def read(self, plain: bool) -> list[tuple[bytes, float, bytes]] | None:
        """Kind, number and content of each message that came; None if nothing did. At most a chunk: others wait too.

        Args:
            plain: whether a stranger's code may run there, which is to take no more memory here than it is worth.

        Raises:
            Garbled: it is no message; a number is none.
            EOFError: nobody can say anything any more, and all was read.
        """
        try:
            came = os.read(self.pipe, _CHUNK)
        except BlockingIOError:
            return None
        if not came:
            raise EOFError
        self._held += came
        found: list[tuple[bytes, float, bytes]] = []
        while (message := self._next(plain)) is not None:
            found.append(message)
        return found

    def _next(self, plain: bool) -> tuple[bytes, float, bytes] | None:
        if len(self._held) < _HEAD.size:
            return None
        kind, size = _HEAD.unpack_from(self._held)
        if kind not in (BEGUN, MOVED, DONE, FAILED) or size < _NUMBER.size or (plain and size > MOST_PLAIN):
            raise Garbled("what is no message")
        if len(self._held) < _HEAD.size + size:
            return None
        (number,) = _NUMBER.unpack_from(self._held, _HEAD.size)
        if not (math.isfinite(number) and number >= 0 and (kind != MOVED or number <= 1)):
            raise Garbled(f"{number} as a number")
        content = bytes(self._held[_HEAD.size + _NUMBER.size : _HEAD.size + size])
        del self._held[: _HEAD.size + size]
        return kind, number, content


def words(content: bytes) -> str:
    """A reason that was sent: a line that a terminal can show, however it was made."""
    return printable(content.decode("utf-8", "replace")[:_MOST_WORDS])


class Teller:
    """The driver's end of what it says to one worker, which need not listen.

    Args:
        pipe: from now on written to without waiting.
    """

    def __init__(self, pipe: int) -> None:
        os.set_blocking(pipe, False)
        self.pipe = pipe
        self._rest = memoryview(b"")

    @property
    def waits(self) -> bool:
        """Whether there is something left to be sent."""
        return bool(self._rest)

    def task(self, task: object) -> None:
        """Let this be sent next."""
        content = pickle.dumps(task)
        self._rest = memoryview(_HEAD.pack(BEGUN, len(content)) + content)

    def go_on(self) -> None:
        """Send what it takes now. What nobody will read is dropped: that the worker has ended is told elsewhere."""
        try:
            while self._rest:
                self._rest = self._rest[os.write(self.pipe, self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._rest = memoryview(b"")


def next_task(pipe: int) -> bytes | None:
    """What the driver says next, in the worker, pickled; waits for it. None: the driver is gone."""
    try:
        _, size = _HEAD.unpack(_exactly(pipe, _HEAD.size))
        return _exactly(pipe, size)
    except EOFError:
        return None


def _exactly(pipe: int, size: int) -> bytes:
    held = bytearray()
    while len(held) < size:
        came = os.read(pipe, min(_CHUNK, size - len(held)))
        if not came:
            raise EOFError
        held += came
    return bytes(held)
