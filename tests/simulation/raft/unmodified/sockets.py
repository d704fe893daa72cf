"""One member of unmodified pysyncobj on real sockets and real time, turned by the test itself."""

import pickle
import socket
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import pysyncobj

DEADLINE = 10.0


class Recorder(pysyncobj.SyncObj):  # type: ignore[misc]
    """A state machine that remembers every operation."""

    def __init__(self, me: str, peers: Sequence[str], conf: Any) -> None:
        super().__init__(me, peers, conf)
        self.operations: list[str] = []

    @pysyncobj.replicated  # type: ignore[untyped-decorator]
    def put(self, operation: str, padding: str = "") -> None:
        self.operations.append(operation)


class Alone:
    """A member that leaves its peers time: it asks for no votes while a test runs."""

    def __init__(self, port: int, directory: Path, peers: Sequence[str] = ()) -> None:
        self.port = port
        conf = pysyncobj.SyncObjConf(
            autoTick=False,
            journalFile=str(directory / "journal"),
            raftMinTimeout=DEADLINE if peers else 0.4,
            raftMaxTimeout=DEADLINE + 1.0 if peers else 1.4,
            connectionTimeout=2 * DEADLINE,
            bindAddress=f"127.0.0.1:{port}",
        )
        self.raft = Recorder(f"127.0.0.1:{port}", peers, conf)
        self._named: list[object] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        transport = self.raft._SyncObj__transport
        for connection in [*transport._unknownConnections, *transport._connections.values()]:
            connection.disconnect()
        if self.server._TcpServer__fileno is not None:
            self.server.unbind()
        self.raft.destroy()

    @property
    def server(self) -> Any:
        """The library's listening socket."""
        return self.raft._SyncObj__transport._server

    @property
    def last_index(self) -> int:
        """The end of its log."""
        index: int = self.raft._SyncObj__raftLog[-1][1]
        return index

    def run(self, until: Callable[[], bool]) -> None:
        """Turns until something is so."""
        end = time.monotonic() + DEADLINE
        while not until():
            assert time.monotonic() < end, "it did not come to that"
            self.raft.doTick(0.01)

    def connect(self, name: str) -> socket.socket:
        """As a peer, or as `readonly`."""
        before = len(self._heard())
        connection = socket.create_connection(("127.0.0.1", self.port))
        data = zlib.compress(pickle.dumps(name))
        connection.sendall(struct.pack("i", len(data)) + data)
        self.run(lambda: len(self._heard()) > before)
        return connection

    def _heard(self) -> list[object]:
        """Connections that were given a name since this member began."""
        transport = self.raft._SyncObj__transport
        for connection in transport._connections.values():
            if connection not in self._named:
                self._named.append(connection)
        return self._named
