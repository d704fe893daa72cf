"""What one connection of the log may do to another in the same thread, on real sockets and TLS."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from warren.store.raft.connections import Connection, Ended, prepare
from warren.store.raft.tls import Contexts

from tests.contract.raft_members import a_pki

RESET = struct.pack("ii", 1, 0)
"""Closing with this lingering sends RST, as the kernel does for a process that was killed."""


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    return Contexts(a_pki(tmp_path / "pki").files("n1"))


@contextmanager
def a_pair(contexts: Contexts) -> Iterator[tuple[Connection, Connection]]:
    """Both ends of a connection on which TLS stands and nothing is waiting to be read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dialing = socket.create_connection(listener.getsockname())
        accepting, _ = listener.accept()
    ends = []
    for sock, dialed in ((dialing, "n1"), (accepting, "")):
        prepare(sock)
        ends.append(Connection(sock, dialed=dialed, now=0.0))
    ends[0].secure(contexts.dialing())
    ends[1].secure(contexts.accepting())
    standing: set[int] = set()
    while len(standing) < 2:
        standing |= {n for n, end in enumerate(ends) if n in standing or end.shake_hands()}
    for end in ends:
        end.receive(0.0, lambda _: None)
    try:
        yield ends[0], ends[1]
    finally:
        for end in ends:
            end.close()


@pytest.mark.parametrize("attempt", range(10))
@pytest.mark.parametrize("failing", ["write", "read"])
def test_a_peer_that_was_killed_ends_no_other_connection(
    contexts: Contexts, failing: str, attempt: int
) -> None:
    with a_pair(contexts) as (here, killed), a_pair(contexts) as (other, peer):
        killed.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        killed.close()
        with pytest.raises(Ended):
            _fail(here, failing)
        here.close()

        other.receive(0.0, lambda _: None)

        peer.ping()
        peer.flush(0.0)
        heard: list[bytes] = []
        _read_until(other, heard)
        assert len(heard) == 1


def _fail(connection: Connection, failing: str) -> None:
    if failing == "write":
        connection.ping()
        connection.flush(0.0)
    connection.receive(0.0, lambda _: None)


def _read_until(connection: Connection, heard: list[bytes]) -> None:
    deadline = time.monotonic() + 5
    while not heard and time.monotonic() < deadline:
        connection.receive(0.0, heard.append)
