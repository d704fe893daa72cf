"""A copy of pysyncobj for itself, with the clock, chance, polling and forking of a simulation.

The code is the installed package's, imported a second time, so that nothing which is replaced here
reaches the shell of our engine in the same process. What decides is untouched: messages, elections,
replication, snapshots, journal.
"""

import gzip
import importlib
import io
import pickle
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

CHILD = 1 << 30
"""The id of a forked process that is not one."""


class Surroundings(Protocol):
    """What the library's code may know of the world."""

    def clock(self) -> float:
        """The time. It moves a little with each look, as some of the library's loops need."""

    def chance(self) -> float:
        """A number in [0, 1)."""

    def fork(self, file: Path, snapshot: bytes) -> float:
        """Let a child write a snapshot; answers when it will be done."""


class Current:
    """The world of the test that runs."""

    surroundings: Surroundings


def _import_again() -> ModuleType:
    known = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_part(name)}
    address = socket.inet_ntop, socket.inet_pton
    try:
        package = importlib.import_module("pysyncobj")
    finally:
        socket.inet_ntop, socket.inet_pton = address
        for name in [name for name in sys.modules if _is_part(name)]:
            del sys.modules[name]
        sys.modules.update(known)
    return package


def _is_part(name: str) -> bool:
    return name == "pysyncobj" or name.startswith("pysyncobj.")


pysyncobj: Any = _import_again()
Transport: Any = pysyncobj.transport.Transport


class Peer(pysyncobj.node.Node):  # type: ignore[misc]
    """A member's name, with the same hash in every process: sets are walked in its order."""

    def __hash__(self) -> int:
        return int(self.id[1:])

    @property
    def address(self) -> str:
        return str(self.id)


class _Chance:
    def random(self) -> float:
        return Current.surroundings.chance()


class _NoSockets:
    def subscribe(self, *_: object) -> None:
        """There is none."""

    def unsubscribe(self, *_: object) -> None:
        """There is none."""

    def poll(self, _timeout: float) -> None:
        """Nothing happens here."""


class Forking(pysyncobj.serializer.Serializer):  # type: ignore[misc]
    """Snapshots whose child process is an event: it ends, whatever becomes of its parent."""

    _Serializer__pid: int
    _Serializer__transmissions: dict[Any, Any]

    def serialize(self, data: Any, id: Any) -> None:  # noqa: A002 - the library's name
        if self._Serializer__pid != 0:
            return
        packed = io.BytesIO()
        with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as file:
            pickle.dump(data, file)
        self._Serializer__pid, self._Serializer__currentID = CHILD, id
        target = Path(self._Serializer__fileName)
        self.done_at = Current.surroundings.fork(target, packed.getvalue())

    def checkSerializing(self) -> tuple[Any, Any]:  # noqa: N802
        states = pysyncobj.SERIALIZER_STATE
        if self._Serializer__pid == 0:
            return states.NOT_SERIALIZING, None
        if Current.surroundings.clock() <= self.done_at:
            return states.SERIALIZING, self._Serializer__currentID
        self._Serializer__transmissions = {}
        self._Serializer__pid = 0
        return states.SUCCESS, self._Serializer__currentID


def write_snapshot(file: Path, snapshot: bytes) -> None:
    """What the child does last."""
    temporary = file.with_name(file.name + ".tmp")
    temporary.write_bytes(snapshot)
    temporary.replace(file)


_raft = pysyncobj.syncobj
_raft.monotonicTime = lambda: Current.surroundings.clock()
_raft.random = _Chance()
_raft.createPoller = lambda _kind: _NoSockets()
_raft.PIPE_NOTIFIER_ENABLED = False
_raft.Serializer = Forking
