"""The one module that imports pysyncobj: our Raft inside its shell.

What pysyncobj 0.3.17 supplies here: the bounded, thread-safe queue through which requests enter the
Raft thread (`_applyCommand`, `FAIL_REASON`), the poller that the thread waits in and the pipe that
wakes it, `Node` as the name of a peer, and the plumbing between a `Transport` and its owner. That
is all. Consensus is ours: messages, elections, replication, commit, snapshots, journal, membership
and transport replace every method of `SyncObj` that touches them, because as shipped it
acknowledges writes that it then loses. Its own log, vote and member sets still exist inside the
object, hold nothing, and are out of reach: what would use them is overridden here to fail.

Methods named `_SyncObj__x` replace private methods of the library, so the version is pinned with
its hash, and the names are asserted when this module is imported.
"""

import _socket
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, Protocol

import pysyncobj
from pysyncobj.config import FAIL_REASON
from pysyncobj.fast_queue import FastQueue, Queue
from pysyncobj.node import Node as PeerName
from pysyncobj.pipe_notifier import PipeNotifier
from pysyncobj.poller import POLL_EVENT_TYPE
from pysyncobj.transport import Transport
from pysyncobj.version import VERSION

from warren.store.raft.messages import Message
from warren.store.raft.node import Node
from warren.store.raft.pending import NotDone, Reply
from warren.store.raft.raft_state import Send

# The library puts a stand-in for Windows there, on every system; with it nobody else in the
# process can read a network address.
socket.inet_ntop = _socket.inet_ntop

PINNED = "0.3.17"
QUEUE_LENGTH = 10_000
READ, WRITE, ERROR = POLL_EVENT_TYPE.READ, POLL_EVENT_TYPE.WRITE, POLL_EVENT_TYPE.ERROR

_REPLACED = (
    "_SyncObj__onMessageReceived",
    "_SyncObj__onNodeConnected",
    "_SyncObj__onNodeDisconnected",
    "_SyncObj__onReadonlyNodeConnected",
    "_SyncObj__onReadonlyNodeDisconnected",
    "_checkCommandsToApply",
    "_onTick",
    "raftCommitIndex",
    "raftCurrentTerm",
    "raftLastApplied",
)
_FORBIDDEN = (
    "_SyncObj__applyLogEntries",
    "_SyncObj__changeCluster",
    "_SyncObj__doApplyCommand",
    "_SyncObj__doChangeCluster",
    "_SyncObj__loadDumpFile",
    "_SyncObj__onBecomeLeader",
    "_SyncObj__parseChangeClusterRequest",
    "_SyncObj__sendAppendEntries",
    "_SyncObj__sendNextNodeIdx",
    "_SyncObj__setCurrentTerm",
    "_SyncObj__setState",
    "_SyncObj__tryLogCompaction",
    "_SyncObj__updateClusterConfiguration",
    "_addNodeToCluster",
    "_removeNodeFromCluster",
    "_setCodeVersion",
    "_transferLeadership",
    "addNodeToCluster",
    "forceLogCompaction",
    "removeNodeFromCluster",
    "setCodeVersion",
    "transferLeadership",
)
"""The library's own Raft: nothing here calls it, and if anything ever did, it must not run."""

if VERSION != PINNED:
    raise ImportError(f"the Raft engine is made for pysyncobj {PINNED}, and this is {VERSION}")
_MISSING = [n for n in (*_REPLACED, *_FORBIDDEN) if not hasattr(pysyncobj.SyncObj, n)]
if _MISSING:
    raise ImportError(f"pysyncobj {PINNED} without {', '.join(_MISSING)} is not the one we know")

Request = Callable[[float], None]
"""What entered through the queue: called in the Raft thread with the time."""


class Wires(Protocol):
    """Connections with the other members, as the shell sees them: real ones, or simulated."""

    def send(self, to: str, message: Message) -> None:
        """Queue a message for a peer; lost if there is no connection."""

    def tick(self, now: float) -> None:
        """Dial, ping, give up, send what is queued."""

    def close(self) -> None:
        """End all connections."""


class Wire(Transport):  # type: ignore[misc]
    """pysyncobj's end of the wires. Wires call `heard`, `connected` and `disconnected`."""

    def __init__(self, owner: "Shell", *_: object) -> None:
        super().__init__(owner, None, [])
        self.wires: Wires | None = None

    def connected(self, peer: str) -> None:
        """A connection with a peer that was met is up."""
        self._onNodeConnected(PeerName(peer))

    def disconnected(self, peer: str) -> None:
        """It ended."""
        self._onNodeDisconnected(PeerName(peer))

    def heard(self, peer: str, message: Message) -> None:
        """A peer said something."""
        self._onMessageReceived(PeerName(peer), message)

    def tick(self, now: float) -> None:
        """Let the wires work."""
        assert self.wires is not None
        self.wires.tick(now)

    def send(self, node: PeerName, message: Message) -> bool:
        assert self.wires is not None
        self.wires.send(node.id, message)
        return True

    def destroy(self) -> None:
        if self.wires is not None:
            self.wires.close()


class Shell(pysyncobj.SyncObj):  # type: ignore[misc]
    """A pysyncobj object whose Raft is `node`. `turn` is its tick."""

    def __init__(self, node: Node, clock: Callable[[], float]) -> None:
        self.node = node
        self._clock = clock
        conf = pysyncobj.SyncObjConf(
            autoTick=False,
            appendEntriesUseBatch=True,
            commandsWaitLeader=False,
            commandsQueueSize=QUEUE_LENGTH,
            dynamicMembershipChange=False,
            journalFile=None,
            fullDumpFile=None,
            password=None,
            useFork=False,
        )
        super().__init__(PeerName(node.raft.me), [], conf, nodeClass=PeerName, transportClass=Wire)
        self.wire: Wire = self._SyncObj__transport
        self._queue: FastQueue = self._SyncObj__commandsQueue
        self._notifier: PipeNotifier | None = None

    def listen_for_requests(self) -> None:
        """Let `submit` wake a thread that waits in `poll`."""
        self._notifier = PipeNotifier(self._poller)

    @property
    def poller(self) -> Any:
        """pysyncobj's poller, for the wires to subscribe their sockets at."""
        return self._poller

    def submit(self, request: Request, refuse: Reply) -> None:
        """Hand a request to the Raft thread, from any thread."""

        def refused(reason: str | None, code: int) -> None:
            full = code == FAIL_REASON.QUEUE_FULL
            refuse(
                NotDone(reason="too many requests wait for this manager" if full else reason or "")
            )

        self._applyCommand(request, refused)
        if self._notifier is not None:
            with suppress(BlockingIOError):  # the pipe is full of wake-ups already
                self._notifier.notify()

    def turn(self, timeout: float) -> bool:
        """One tick: wait for something, take it, take a turn. True: the next is due at once."""
        self.doTick(timeout)
        return self.node.has_more()

    def refuse_all(self, reason: str) -> None:
        """Answer the requests that were not taken yet."""
        for _ in range(QUEUE_LENGTH):
            try:
                _request, refuse = self._queue.get_nowait()
            except Queue.Empty:
                return
            refuse(reason, FAIL_REASON.DISCARDED)

    def leave(self) -> None:
        """End connections and the pipe; the object is of no use after this."""
        self.destroy()
        if self._notifier is not None:
            for end in ("_PipeNotifier__pipeR", "_PipeNotifier__pipeW"):
                os.close(getattr(self._notifier, end))
            self._notifier = None

    def _onTick(self, timeToWait: float = 0.0) -> None:  # noqa: N802, N803
        self._poller.poll(timeToWait)
        self.wire.tick(self._clock())
        self._checkCommandsToApply()
        self.say(self.node.turn(self._clock()))

    def say(self, sends: tuple[Send, ...]) -> None:
        """Give messages to the wires, after the sync that `Node.turn` ended with."""
        for send in sends:
            self.wire.send(PeerName(send.to), send.message)
        self.wire.tick(self._clock())

    def _checkCommandsToApply(self) -> None:  # noqa: N802
        now = self._clock()
        for _ in range(QUEUE_LENGTH):
            try:
                request, _refused = self._queue.get_nowait()
            except Queue.Empty:
                return
            request(now)

    def _SyncObj__onMessageReceived(self, peer: PeerName, message: Message) -> None:  # noqa: N802
        self.node.receive(peer.id, message, self._clock())

    def _SyncObj__onNodeConnected(self, peer: PeerName) -> None:  # noqa: N802
        self.node.connect(peer.id)

    def _SyncObj__onNodeDisconnected(self, peer: PeerName) -> None:  # noqa: N802
        self.node.disconnect(peer.id, self._clock())

    def _SyncObj__onReadonlyNodeConnected(self, _: PeerName) -> NoReturn:  # noqa: N802
        raise AssertionError("nobody may read the log without being a member")

    def _SyncObj__onReadonlyNodeDisconnected(self, _: PeerName) -> NoReturn:  # noqa: N802
        raise AssertionError("nobody may read the log without being a member")

    @property
    def raftLastApplied(self) -> int:  # noqa: N802
        return self.node.applied

    @property
    def raftCommitIndex(self) -> int:  # noqa: N802
        return self.node.raft.commit

    @property
    def raftCurrentTerm(self) -> int:  # noqa: N802
        return self.node.raft.term


def _forbid(name: str) -> None:
    def forbidden(*_: object, **__: object) -> NoReturn:
        raise AssertionError(f"pysyncobj's own {name} must not run")

    setattr(Shell, name, forbidden)


for _name in _FORBIDDEN:
    _forbid(_name)
