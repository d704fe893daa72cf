"""Who may speak to a member, and how: strangers, liars and broken connections, on real sockets."""

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from warren.model.errors import DeadlineExceeded, FailedPrecondition
from warren.store.log import LogMember
from warren.store.raft import connections, messages
from warren.store.raft.engine import RaftLog
from warren.store.raft.messages import Append, Hello
from warren.store.raft.tls import Contexts, TlsFiles
from warren.store.raft.transport import Contact

from tests.contract.raft_members import CLUSTER, Keeper, Pki, a_config, a_pki, address, node_id

PORT = 21845
TIMEOUT = timedelta(seconds=5)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return a_pki(tmp_path / "pki")


@pytest.fixture
async def log(tmp_path: Path, pki: Pki) -> AsyncIterator[RaftLog]:
    """A single member that leads."""
    made = RaftLog(a_config(tmp_path, 1, pki, port=PORT), on_failure=pytest.fail)
    await made.start(Keeper())
    await _wait(lambda: made.status().is_leader)
    yield made
    await made.stop()


async def test_a_peer_without_a_certificate_is_not_heard(log: RaftLog) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(b"\0" * 4096)

    assert await _is_closed(reader)
    writer.close()
    await log.propose(b"one", TIMEOUT)


async def test_a_certificate_of_another_ca_is_not_accepted(log: RaftLog, tmp_path: Path) -> None:
    other = a_pki(tmp_path / "other")

    assert await _hello(other.files("n2"), _a_hello("n2")) is None


async def test_a_workers_certificate_is_not_accepted(log: RaftLog, pki: Pki) -> None:
    assert await _hello(pki.files("w1", roles=("worker",)), _a_hello("w1")) is None


async def test_who_calls_itself_by_another_name_is_not_accepted(log: RaftLog, pki: Pki) -> None:
    assert await _hello(pki.files("n2"), _a_hello("n1")) is None


async def test_a_manager_that_is_no_member_is_told_so(log: RaftLog, pki: Pki) -> None:
    answer = await _hello(pki.files("n2"), _a_hello("n2"))

    assert isinstance(answer, messages.Refused)
    assert (answer.reason, answer.fatal) == ("n2 is not a manager of the cluster", False)
    assert log.status().term < 100


async def test_a_member_of_another_cluster_is_told_to_stop(log: RaftLog, pki: Pki) -> None:
    hello = replace(_a_hello("n2"), cluster_id="another")

    answer = await _hello(pki.files("n2"), hello)

    assert isinstance(answer, messages.Refused)
    assert (answer.reason, answer.fatal) == (f"it belongs to cluster another, not {CLUSTER}", True)


async def test_a_frame_of_absurd_length_ends_the_connection_before_it_is_read(
    log: RaftLog, pki: Pki
) -> None:
    reader, writer = await _connect(pki.files("n2"))
    writer.write(struct.pack("<I", 0xFFFFFFF0))

    assert await _is_closed(reader)
    writer.close()


async def test_a_message_before_the_hello_ends_the_connection(log: RaftLog, pki: Pki) -> None:
    reader, writer = await _connect(pki.files("n2"))
    append = Append(
        term=1_000_000, previous_index=0, previous_term=0, entries=(), commit=0, round=0
    )
    _say(writer, messages.encode(append))

    assert await _is_closed(reader)
    writer.close()
    assert log.status().term < 1000


async def test_connections_that_say_nothing_are_ended(log: RaftLog) -> None:
    readers = [await asyncio.open_connection("127.0.0.1", PORT) for _ in range(80)]

    closed = await asyncio.gather(*(_is_closed(reader) for reader, _ in readers))

    assert all(closed)
    for _, writer in readers:
        writer.close()
    await log.propose(b"one", TIMEOUT)


async def test_a_new_connection_of_a_peer_ends_the_old_one(log: RaftLog, pki: Pki) -> None:
    with pytest.raises((DeadlineExceeded, FailedPrecondition)):
        await log.add_member(
            LogMember(node_id="n2", address=address(2, PORT)), timedelta(seconds=0.5)
        )
    old_reader, old = await _connect(pki.files("n2"))
    _say(old, messages.encode(_a_hello("n2")))
    await asyncio.sleep(0)
    assert isinstance(await _next(old_reader), Hello)

    reader, new = await _connect(pki.files("n2"))
    _say(new, messages.encode(_a_hello("n2")))

    assert isinstance(await _next(reader), Hello)
    assert await _is_closed(old_reader)
    for writer in (old, new):
        writer.close()


async def test_listening_survives_that_nothing_can_be_accepted(
    log: RaftLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    transport = log._shell.wire.wires  # type: ignore[union-attr]

    class Full:
        """A listener whose process has too many open files."""

        def __init__(self, real: socket.socket) -> None:
            self._real, self.failures = real, 1

        def accept(self) -> tuple[socket.socket, object]:
            if self.failures:
                self.failures -= 1
                raise OSError(24, "Too many open files")
            return self._real.accept()

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    monkeypatch.setattr(transport, "_listener", Full(transport._listener))  # type: ignore[union-attr]
    with caplog.at_level(logging.WARNING):
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        assert await _is_closed(reader)

    writer.close()
    assert "cannot accept a connection for the log: [Errno 24]" in caplog.text


async def test_a_new_manager_finds_the_cluster_through_its_contacts(
    log: RaftLog, tmp_path: Path, pki: Pki
) -> None:
    config = replace(
        a_config(tmp_path, 2, pki, port=PORT),
        contacts=(Contact(node_id=node_id(1), address=address(1, PORT)),),
    )
    second = RaftLog(config, on_failure=pytest.fail)
    await second.start(Keeper())

    await log.add_member(LogMember(node_id="n2", address=address(2, PORT)), TIMEOUT)

    await _wait(lambda: len(second.status().reachable) == 2)
    await second.stop()


async def test_a_peer_that_refuses_is_called_ever_less_and_named_once(
    log: RaftLog, pki: Pki, caplog: pytest.LogCaptureFixture
) -> None:
    """So a manager that was removed, and is started again, fills neither log nor network."""
    called: list[float] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.append(asyncio.get_running_loop().time())
        await _next(reader)
        _say(writer, messages.encode(_a_hello("n2")))
        refusal = messages.Refused(term=1, reason="n1 was removed", fatal=False)
        _say(writer, messages.encode(refusal))
        writer.close()

    host, _, port = address(2, PORT).rpartition(":")
    accepting = Contexts(pki.files("n2")).accepting()
    server = await asyncio.start_server(refuse, host, int(port), ssl=accepting)
    with caplog.at_level(logging.INFO, "warren.store.raft.transport"):
        with pytest.raises((DeadlineExceeded, FailedPrecondition)):
            await log.add_member(
                LogMember(node_id="n2", address=address(2, PORT)), timedelta(seconds=0.5)
            )
        await _wait(lambda: len(called) == 3)
    server.close()

    first, second, third = called
    assert third - second > 1.5 * (second - first) > 1.0
    told = [record.getMessage() for record in caplog.records]
    assert told == ["no connection with n2: it refuses this manager: n1 was removed"]


def test_frames_larger_than_allowed_are_never_made() -> None:
    assert connections.FRAME_BYTES_MAX > 2 * (4 << 20) - 1


def _a_hello(name: str) -> Hello:
    return Hello(
        term=1_000_000,
        cluster_id=CLUSTER,
        node_id=name,
        address=address(2, PORT),
        disk_id="disk",
        last_index=0,
        last_term=0,
        configuration_index=0,
        commands_version=1,
    )


async def _connect(files: TlsFiles) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(files.certificate, files.key)
    return await asyncio.open_connection("127.0.0.1", PORT, ssl=context)


async def _hello(files: TlsFiles, hello: Hello) -> messages.Message | None:
    """What is answered to a hello beside the other's own; None when the connection just ends."""
    reader, writer = await _connect(files)
    try:
        _say(writer, messages.encode(hello))
        answer = await _next(reader)
        return await _next(reader) if isinstance(answer, Hello) else answer
    except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
        return None
    finally:
        writer.close()


def _say(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack("<I", len(frame)) + frame)


async def _next(reader: asyncio.StreamReader) -> messages.Message | None:
    async with asyncio.timeout(5):
        (size,) = struct.unpack("<I", await reader.readexactly(4))
        return messages.decode(await reader.readexactly(size))


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(6):
        try:
            while await reader.read(65536):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        return True


async def _wait(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)
