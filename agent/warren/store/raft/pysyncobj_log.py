"""A `ReplicatedLog` by pysyncobj 0.3.17. The only module that knows pysyncobj.

The library runs in one thread of ours, one tick after another; this module carries commands into
that thread and outcomes out of it. Commands are byte strings, the snapshot is the state machine's
own bytes. What the library does not do well enough is set right here where a few lines suffice:

- the mesh address is bound before the mesh is up, as the mesh needs a manager to come up;
- a new member does not call elections before it has heard a leader (it would raise the term of a
  cluster that does not know it yet);
- after a restart, membership is that of the whole journal, not only of its committed part (one of
  three that forgot the others would elect itself);
- a snapshot that cannot be read stops the daemon instead of emptying the state.

The library's known defects (writes lost after long partitions, no fsync) are not cured here: this
is the first engine, behind an interface, until a hardened one takes its place.
"""

import _socket
import asyncio
import base64
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pysyncobj
from pysyncobj.config import FAIL_REASON
from pysyncobj.node import TCPNode
from pysyncobj.poller import POLL_EVENT_TYPE
from pysyncobj.tcp_server import SERVER_STATE, TcpServer
from pysyncobj.transport import TCPTransport

from warren.model.errors import DeadlineExceeded, FailedPrecondition, Unavailable
from warren.store.log import LogStatus, StateMachine

# The library puts a stand-in for Windows there, on every system; with it nobody else in the
# process can read a network address.
socket.inet_ntop = _socket.inet_ntop

logger = logging.getLogger(__name__)

_TICK = 0.05
"""Longest wait of the thread, in seconds; a command or a message ends the wait at once."""

_HAND_OVER = 0.5
"""Longest wait at a stop for another member to take the lead, in seconds."""

_FIRST_ELECTION_OF_A_NEW_MEMBER = 10 * 365 * 86400.0
_IP_FREEBIND = 15
"""Linux; Python's socket module has no name for it before 3.14."""
_MEMBERSHIP = 2
"""First byte of a log entry that changes the members, in pysyncobj's format."""

_NEVER_COMMITTED = {
    FAIL_REASON.QUEUE_FULL: "too many commands wait for this manager",
    FAIL_REASON.MISSING_LEADER: "no leader is known",
    FAIL_REASON.DISCARDED: "another leader took over",
    FAIL_REASON.NOT_LEADER: "another leader took over",
    FAIL_REASON.REQUEST_DENIED: "the leader is not ready for a change of members",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Where a member keeps its log, who it is, and whom it knows at its start."""

    directory: Path
    address: str
    """Own mesh `address:port`: bound, and the member's name."""
    members: tuple[str, ...]
    """Members known before the log is read; this one may be among them."""
    secret: str
    """Authenticates and encrypts the connections between members."""
    election_timeout: timedelta = timedelta(milliseconds=600)
    """Shortest silence of a leader that starts an election; the longest is twice that."""
    snapshot_entries: int = 5000
    """Entries in the journal after which it is replaced by a snapshot."""


class PySyncObjLog:
    """The engine. Methods are called from the event loop."""

    def __init__(self, config: EngineConfig, *, on_failure: Callable[[str], None]) -> None:
        """`on_failure` is called from the engine's thread when it must not go on."""
        self._config = config
        self._on_failure = on_failure
        self._status = LogStatus(members=(config.address,))
        self._callbacks: list[Callable[[], None]] = []
        self._member: _Member | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._barrier: asyncio.Task[None] | None = None
        self._next_barrier: asyncio.Task[None] | None = None

    async def start(self, machine: StateMachine) -> None:
        self._loop = asyncio.get_running_loop()
        self._config.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            (self._config.directory / "snapshot.tmp").unlink()
        try:
            _listen(self._config.address).close()
        except OSError as error:
            message = f"cannot listen on {self._config.address} for Raft: {error.strerror}"
            raise FailedPrecondition(message) from error
        self._member = await asyncio.to_thread(_Member, self._config, machine, self._fail)
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._thread = self._member = None

    async def propose(self, command: bytes, timeout: timedelta) -> bytes:
        member = self._require_lead()
        outcome = await self._submit(lambda done: member.apply_command(command, done), timeout)
        assert isinstance(outcome, bytes)
        return outcome

    async def read_barrier(self, timeout: timedelta) -> None:
        """One empty entry, committed: it stands behind all that was acknowledged before.

        Callers that come while one is on its way share the next, so that reads cost one entry per
        round trip however many they are.
        """
        self._require_lead()
        if self._barrier is None or self._barrier.done():
            self._barrier = asyncio.create_task(self._commit_nothing(None, timeout))
            await asyncio.shield(self._barrier)
            return
        if self._next_barrier is None or self._next_barrier.done():
            self._next_barrier = asyncio.create_task(self._commit_nothing(self._barrier, timeout))
        await asyncio.shield(self._next_barrier)

    def status(self) -> LogStatus:
        return self._status

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def add_member(self, address: str, timeout: timedelta) -> None:
        member = self._require_lead()
        if address in self._status.members:
            return
        await self._submit(lambda done: member.addNodeToCluster(address, done), timeout)

    async def remove_member(self, address: str, timeout: timedelta) -> None:
        member = self._require_lead()
        if address not in self._status.members:
            return
        await self._submit(lambda done: member.removeNodeFromCluster(address, done), timeout)

    def _require_lead(self) -> "_Member":
        if self._member is None or not self._status.is_leader:
            leader = self._status.leader
            raise Unavailable(f"the leader is {leader}" if leader else "no leader is known")
        return self._member

    async def _commit_nothing(
        self, previous: "asyncio.Task[None] | None", timeout: timedelta
    ) -> None:
        if previous is not None:
            await asyncio.wait([previous])
            self._barrier = asyncio.current_task()
        member = self._require_lead()
        await self._submit(lambda done: member.apply_command(b"", done), timeout)

    async def _submit(
        self, send: Callable[[Callable[[Any, int], None]], None], timeout: timedelta
    ) -> Any:
        """Hand something to the thread and wait for what became of it."""
        future: asyncio.Future[tuple[Any, int]] = self._loop.create_future()

        def settle(result: Any, failure: int) -> None:
            if not future.done():
                future.set_result((result, failure))

        def done(result: Any, failure: int) -> None:
            self._call_soon(lambda: settle(result, failure))

        send(done)
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                result, failure = await future
        except TimeoutError as error:
            seconds = f"{timeout.total_seconds():g} s"
            raise DeadlineExceeded(f"no majority of the managers answered in {seconds}") from error
        if failure == FAIL_REASON.SUCCESS:
            return result
        if failure in _NEVER_COMMITTED:
            raise Unavailable(_NEVER_COMMITTED[failure])
        raise DeadlineExceeded("the leader changed before it answered")

    def _run(self) -> None:
        """The engine's thread."""
        member = self._member
        assert member is not None
        while not self._stopping.is_set():
            self._turn(member)
        if member.hand_over():
            end = time.monotonic() + _HAND_OVER
            while self._status.is_leader and time.monotonic() < end:
                self._turn(member)
        member.destroy()

    def _turn(self, member: "_Member") -> None:
        try:
            member.doTick(_TICK)
        except Exception:
            # One bad message must not end the member; a lasting fault shows in the log.
            logger.exception("Raft failed in one of its turns and goes on")
            time.sleep(_TICK)
        status = member.status_now()
        if status != self._status:
            self._status = status
            self._call_soon(self._tell_change)

    def _fail(self, reason: str) -> None:
        self._stopping.set()
        self._on_failure(reason)

    def _tell_change(self) -> None:
        for callback in self._callbacks:
            callback()

    def _call_soon(self, callback: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(callback)


class _Member(pysyncobj.SyncObj):  # type: ignore[misc]
    """The library's object, with our state machine behind its one replicated method.

    Methods named `_SyncObj__x` replace private methods of the library; `pysyncobj==0.3.17` is
    pinned for that reason. All run in the engine's thread, but for the constructor.
    """

    def __init__(
        self, config: EngineConfig, machine: StateMachine, fail: Callable[[str], None]
    ) -> None:
        self._machine = machine
        self._fail = fail
        self._address = config.address
        others = [member for member in config.members if member != config.address]
        self._new_member = bool(others)
        low = config.election_timeout.total_seconds()
        conf = pysyncobj.SyncObjConf(
            password=config.secret,
            autoTick=False,
            appendEntriesUseBatch=False,
            appendEntriesPeriod=low / 6,
            raftMinTimeout=low,
            raftMaxTimeout=2 * low,
            leaderFallbackTimeout=2 * low,
            connectionRetryTime=low / 2,
            # Two followers are silent to each other; closing their link would cost an election.
            connectionTimeout=3600.0,
            commandsWaitLeader=False,
            commandsQueueSize=10000,
            bindAddress=config.address,
            maxBindRetries=1,
            dynamicMembershipChange=True,
            journalFile=str(config.directory / "journal"),
            fullDumpFile=str(config.directory / "snapshot"),
            serializer=self._write_snapshot,
            deserializer=self._read_snapshot,
            useFork=False,
            logCompactionMinEntries=config.snapshot_entries,
        )
        super().__init__(config.address, others, conf, transportClass=_Transport)
        if len(self._SyncObj__raftLog) > 1:
            self._new_member = False
            self._SyncObj__raftElectionDeadline = time.monotonic() + 2 * low
        self._replay_membership()

    @pysyncobj.replicated  # type: ignore[untyped-decorator]
    def commit(self, command: bytes) -> bytes:
        """An empty command is a read barrier: it has its place in the log and no effect."""
        return self._machine.apply(command) if command else b""

    def apply_command(self, command: bytes, done: Callable[[Any, int], None]) -> None:
        """Propose from any thread."""
        self.commit(command, callback=done)

    def _checkCommandsToApply(self) -> None:  # noqa: N802 - the library's name
        """Without followers no answer would end the thread's wait, so a new entry must."""
        super()._checkCommandsToApply()
        if not self.otherNodes and self._SyncObj__raftLog[-1][1] > self.raftLastApplied:
            self._SyncObj__pipeNotifier.notify()

    def _SyncObj__tryLogCompaction(self) -> None:  # noqa: N802 - the library's name
        """Cut the journal at once after a snapshot: a kill in between costs the journal's end."""
        super()._SyncObj__tryLogCompaction()
        super()._SyncObj__tryLogCompaction()

    def status_now(self) -> LogStatus:
        """The library's view, put in our words."""
        leader = self._getLeader()
        if leader is not None and leader != self.selfNode and not self.isNodeConnected(leader):
            # Cut off from everyone, the library starts no election and remembers the old leader.
            leader = None
        caught_up = self.raftLastApplied >= (self._SyncObj__noopIDx or 0)
        others = self.otherNodes
        return LogStatus(
            leader=None if leader is None else str(leader.id),
            is_leader=self._isLeader() and caught_up,
            term=self.raftCurrentTerm,
            members=tuple(sorted({self._address, *(str(node.id) for node in others)})),
            reachable=frozenset(
                {self._address, *(str(node.id) for node in others if self.isNodeConnected(node))}
            ),
        )

    def hand_over(self) -> bool:
        """Ask the follower that is furthest on to lead, if this one leads; whether it was asked."""
        asked: list[int] = []
        if self._isLeader() and self.otherNodes:
            self.transferLeadership(None, lambda _result, failure: asked.append(failure))
        return FAIL_REASON.SUCCESS in asked

    def _replay_membership(self) -> None:
        """Raft counts a change of members from when it is in the log, committed or not."""
        journal = self._SyncObj__raftLog
        for position in range(len(journal)):
            command = journal[position][0]
            if command[:1] == bytes([_MEMBERSHIP]):
                self._SyncObj__doChangeCluster(self._SyncObj__parseChangeClusterRequest(command))

    def _SyncObj__generateRaftTimeout(self) -> float:  # noqa: N802 - the library's name
        if self._new_member:
            heard = getattr(self, "_SyncObj__raftLeader", None)
            if heard is None:
                return _FIRST_ELECTION_OF_A_NEW_MEMBER
            self._new_member = False
        timeout: float = super()._SyncObj__generateRaftTimeout()
        return timeout

    def _SyncObj__loadDumpFile(self, clearJournal: bool) -> None:  # noqa: N802, N803
        super()._SyncObj__loadDumpFile(clearJournal)
        self._replay_membership()

    def _write_snapshot(self, path: str, data: tuple[Any, ...]) -> None:
        last, before_last, members = data
        header = {
            "format": 1,
            "entries": [[base64.b64encode(e[0]).decode(), e[1], e[2]] for e in (last, before_last)],
            "members": sorted(node.id for node in members),
        }
        with Path(path).open("wb") as file:
            file.write(json.dumps(header).encode() + b"\n" + self._machine.snapshot())
            file.flush()
            os.fsync(file.fileno())

    def _read_snapshot(self, path: str) -> tuple[Any, ...]:
        try:
            line, _, state = Path(path).read_bytes().partition(b"\n")
            header = json.loads(line)
            last, before_last = (
                (base64.b64decode(command), index, term)
                for command, index, term in header["entries"]
            )
            self._machine.restore(state)
            return last, before_last, [TCPNode(member) for member in header["members"]]
        except Exception as error:
            # The library would go on with an empty state, and the cluster's services would go.
            self._fail(f"cannot read the snapshot {path}: {error}")
            raise


class _Transport(TCPTransport):  # type: ignore[misc]
    """The library's transport, listening on an address that the host may not have yet."""

    def _createServer(self) -> None:  # noqa: N802 - the library's name
        super()._createServer()
        self._server.__class__ = _FreeServer


class _FreeServer(TcpServer):  # type: ignore[misc]
    def bind(self) -> None:
        listener = _listen(f"{self._TcpServer__host}:{self._TcpServer__port}")
        events = POLL_EVENT_TYPE.READ | POLL_EVENT_TYPE.ERROR
        self._TcpServer__socket = listener
        self._TcpServer__fileno = listener.fileno()
        self._TcpServer__poller.subscribe(
            listener.fileno(), self._TcpServer__onNewConnection, events
        )
        self._TcpServer__state = SERVER_STATE.BINDED


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.setblocking(False)
        listener.bind((host, int(port)))
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener
