"""What workers send is read as data: numbers, words, collections of them, and the pool's own messages. No code.

A worker in which a stranger's code ran may send whatever that code likes. Whoever unpickles it without a look runs it
in the driver, which nothing confines.
"""

from __future__ import annotations

import builtins
import io
import os
import pickle
from multiprocessing.connection import Connection, reduce_connection  # type: ignore[attr-defined]
from multiprocessing.context import BaseContext, ForkServerContext, SpawnContext
from multiprocessing.reduction import ForkingPickler
from typing import Any

_MESSAGES = {
    *(("pebble.pool.process", name) for name in ("Acknowledgement", "TaskResult", "TaskProblem")),
    *(("pebble.common.types", name) for name in ("Result", "ResultStatus", "RemoteException.rebuild_exception")),
}
"""All that pebble's workers say; what a job returns comes as bytes inside a `TaskResult`."""


def loads(content: bytes) -> Any:
    """What was pickled, if it is numbers, words and collections of them.

    Raises:
        Exception: there is anything else in it, or it is no pickle.
    """
    return _Unpickler(content, set()).load()


class _Plain(BaseContext):
    """Through its pipes this process reads pebble's messages alone."""

    def Pipe(self, duplex: bool = True) -> tuple[Any, Any]:  # noqa: N802 - as it is called there
        """Two ends; one that is sent to another process is an ordinary one there."""
        reader, writer = super().Pipe(duplex)
        guarded = _Guarded(os.dup(reader.fileno()), readable=reader.readable, writable=reader.writable)
        reader.close()
        return guarded, writer


class PlainSpawn(_Plain, SpawnContext):
    """Starts processes as `spawn` does."""


class PlainForks(_Plain, ForkServerContext):
    """Starts processes as `forkserver` does."""


class _Guarded(Connection):
    def recv(self) -> Any:
        """The next message.

        Raises:
            pickle.PicklingError: it is none; pebble gives its pool up then.
        """
        content = self.recv_bytes()
        try:
            return _Unpickler(content, _MESSAGES).load()
        except Exception as error:  # noqa: BLE001 - whatever a worker may send
            raise pickle.PicklingError(f"a worker sent what no worker says: {error}") from None


ForkingPickler.register(_Guarded, reduce_connection)


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, known: set[tuple[str, str]]) -> None:
        super().__init__(io.BytesIO(content))
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        """One of the known names; where there are any, also an error that Python has itself."""
        found = getattr(builtins, name, None) if module == "builtins" and self._known else None
        if isinstance(found, type) and issubclass(found, Exception):
            return found
        if (module, name) in self._known:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name}")
