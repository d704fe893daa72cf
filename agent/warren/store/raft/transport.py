"""Connections with all other members: one per pair, dialed, checked, kept alive, replaced.

Runs in the Raft thread, between its poller and `Wire`. Both ends may dial, the one with the lower
node id at once and the other only after a while, so that the two do not cross. A new connection
with a peer ends the old one before a word on it is heard, and what was read from the old one is
dropped: a message is never overtaken by one that was sent before it. Followers ping each other
too, so that the way is open when one of them asks for votes.
"""

import errno
import logging
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from warren.store.raft import clocks, messages
from warren.store.raft.connections import Connection, Ended, Stage, new_socket, prepare
from warren.store.raft.messages import Hello, Malformed, Message, Refused
from warren.store.raft.node import Node
from warren.store.raft.raft_state import Broken
from warren.store.raft.shell import ERROR, READ, WRITE, Shell
from warren.store.raft.tls import Contexts, Stranger, TlsFiles, manager_named

logger = logging.getLogger(__name__)

PING_AFTER = 0.25
DEAD_AFTER = 1.0
GREET_WITHIN = 2.0
RETRY = 0.15
PATIENCE = 1.0
"""What the higher node id waits before it dials by itself, and anyone after a first refusal."""
PATIENCE_MAX = 30.0
"""After many refusals, each of which doubles it. Who is wanted after all is called by others."""
UNKNOWN_MAX = 64
"""Accepted connections that have not said hello; more are turned away."""
_MAINTAIN = 0.05
_IP_FREEBIND = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A manager that may be called before the log says who the members are."""

    node_id: str
    address: str


class Transport:
    """Implements `shell.Wires`."""

    def __init__(
        self, node: Node, shell: Shell, files: TlsFiles, contacts: tuple[Contact, ...], address: str
    ) -> None:
        """Listen on `address`. Raises OSError when that cannot be."""
        self._node, self._wire, self._poller = node, shell.wire, shell.poller
        self._contacts = contacts
        self._contexts = Contexts(files)
        self._cluster_id = node.hello().cluster_id
        self._me = node.raft.me
        self._peers: dict[str, Connection] = {}
        """Connections that are up, by node id."""
        self._all: dict[int, Connection] = {}
        """Every open connection, by descriptor."""
        self._dial_at: dict[str, float] = {}
        self._refused: dict[str, float] = {}
        """How long a peer that refuses this manager is left alone the next time."""
        self._unheard: set[str] = set()
        """Peers that have said hello and nothing since: a refusal may follow."""
        self._told: dict[str, str] = {}
        self._ahead: dict[str, float] = {}
        """Seconds by which the clocks of peers were ahead, when they said hello."""
        self._maintain_at = self._accept_at = 0.0
        self._now = 0.0
        self._listener = _listen(address)
        self._watch_listener()
        self._wire.wires = self

    def send(self, to: str, message: Message) -> None:
        connection = self._peers.get(to)
        if connection is None:
            return
        self._guard(connection, lambda: connection.say(messages.encode(message)))

    def tick(self, now: float) -> None:
        self._now = now
        if now >= self._maintain_at:
            self._maintain_at = now + _MAINTAIN
            self._maintain(now)
        for connection in tuple(self._peers.values()):
            if connection.wants_write:
                self._flush(connection)

    def close(self) -> None:
        self._poller.unsubscribe(self._listener.fileno())
        self._listener.close()
        for connection in tuple(self._all.values()):
            self._poller.unsubscribe(connection.descriptor)
            connection.close()
        self._all.clear()
        self._peers.clear()

    def _maintain(self, now: float) -> None:
        for connection in tuple(self._all.values()):
            if connection.stage is Stage.UP:
                if now - connection.heard_at > DEAD_AFTER:
                    self._end(connection, "it has fallen silent")
                elif now - connection.said_at > PING_AFTER:
                    self._guard(connection, connection.ping)
            elif now - connection.began_at > GREET_WITHIN:
                self._end(connection, "it did not say hello in time")
        for peer, address in self._addresses().items():
            if peer not in self._peers and now >= self._dial_at.setdefault(peer, self._first(peer)):
                self._dial_at[peer] = now + self._pause(peer)
                if not any(c.dialed == peer for c in self._all.values()):
                    self._dial(peer, address)
        if self._accept_at and now >= self._accept_at:
            self._accept_at = 0.0
            self._watch_listener()

    def _addresses(self) -> Mapping[str, str]:
        """Whom to call: the members, or the contacts while there is no configuration."""
        members = {m.node_id: m.address for m in self._node.log.configuration.members}
        known = members or {c.node_id: c.address for c in self._contacts}
        return {peer: address for peer, address in known.items() if peer != self._me}

    def _first(self, peer: str) -> float:
        return self._now + (0.0 if self._me < peer else PATIENCE / 2)

    def _pause(self, peer: str) -> float:
        usual = RETRY if self._me < peer else PATIENCE
        return usual * random.uniform(1.0, 1.5)

    def _dial(self, peer: str, address: str) -> None:
        sock = new_socket()
        host, _, port = address.rpartition(":")
        connection = Connection(sock, dialed=peer, now=self._now)
        self._add(connection)
        # What goes wrong later shows when the poller says so.
        self._guard(connection, lambda: _begin(sock, host, int(port)))

    def _watch_listener(self) -> None:
        self._poller.subscribe(self._listener.fileno(), self._accept, READ)

    def _accept(self, _descriptor: int, _events: int) -> None:
        """An error here, too many open files above all, must not end listening."""
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            logger.warning("cannot accept a connection for the log: %s", error)
            self._poller.unsubscribe(self._listener.fileno())
            self._accept_at = self._now + 0.5
            return
        unknown = sum(c.stage is not Stage.UP for c in self._all.values())
        if unknown >= UNKNOWN_MAX:
            sock.close()
            return
        prepare(sock)
        connection = Connection(sock, dialed="", now=self._now)
        self._add(connection)
        self._guard(connection, lambda: connection.secure(self._contexts.accepting()))

    def _add(self, connection: Connection) -> None:
        self._all[connection.descriptor] = connection
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        if connection.stage is Stage.CLOSED:
            return
        events = READ | ERROR | (WRITE if connection.wants_write else 0)
        self._poller.subscribe(connection.descriptor, self._ready, events)

    def _ready(self, descriptor: int, _events: int) -> None:
        """Something can be done about a connection."""
        connection = self._all.get(descriptor)
        if connection is None:
            return
        writing = connection.wants_write
        self._guard(connection, lambda: self._advance(connection))
        if connection.wants_write != writing or writing:
            self._watch(connection)

    def _advance(self, connection: Connection) -> None:
        if connection.stage is Stage.DIALING:
            connection.finish_dialing()
            connection.secure(self._contexts.dialing())
        if connection.stage is Stage.SECURING:
            secured = connection.shake_hands()
            if secured is None:
                self._watch(connection)
                return
            connection.peer = manager_named(secured, self._cluster_id)
            if connection.dialed not in ("", connection.peer):
                raise Stranger(f"{connection.peer} answers in its place")
            hello = replace(self._node.hello(), clock_ms=int(time.time() * 1000))
            connection.say(messages.encode(hello))
        if connection.wants_write:
            connection.flush(self._now)
        connection.receive(self._now, lambda frame: self._take(connection, frame))

    def _take(self, connection: Connection, frame: bytes) -> None:
        message = messages.decode(frame)
        peer = connection.peer
        if isinstance(message, Refused):
            pause = self._refused.get(peer, PATIENCE)
            self._refused[peer] = min(2 * pause, PATIENCE_MAX)
            self._dial_at[peer] = self._now + pause
            self._wire.heard(peer, message)
            raise Ended(f"it refuses this manager: {message.reason}")
        if connection.stage is Stage.UP:
            if self._peers.get(peer) is connection:
                self._take_part(peer)
                if message is not None:
                    self._wire.heard(peer, message)
        elif isinstance(message, Hello):
            self._greet(connection, message)
        else:
            raise Malformed("it did not say hello first")

    def _take_part(self, peer: str) -> None:
        """The peer goes on after the hellos, so it does not refuse this manager."""
        if peer in self._unheard:
            self._unheard.discard(peer)
            self._refused.pop(peer, None)
            self._told.pop(peer, None)
            logger.info("connected with %s", peer)

    def _greet(self, connection: Connection, hello: Hello) -> None:
        peer = connection.peer
        if hello.node_id != peer:
            raise Stranger(f"it calls itself {hello.node_id} with the certificate of {peer}")
        refused = self._node.meet(hello)
        if refused is not None:
            self._dial_at[peer] = self._now + PATIENCE
            connection.say(messages.encode(refused))
            connection.flush(self._now)
            raise Ended(f"refused: {refused.reason}")
        self._compare_clocks(peer, hello)
        old = self._peers.get(peer)
        if old is not None:
            self._end(old, "")
        connection.stage = Stage.UP
        self._peers[peer] = connection
        self._unheard.add(peer)
        self._wire.connected(peer)

    def _compare_clocks(self, peer: str, hello: Hello) -> None:
        if not hello.clock_ms:
            return
        here, there = time.time(), hello.clock_ms / 1000
        self._ahead[peer] = there - here
        wrong = clocks.verdict(here, self._ahead, self._node.log.configuration.voters)
        if wrong:
            raise Broken(wrong)
        told = clocks.difference(peer, here, there)
        if told:
            logger.warning("%s", told)

    def _flush(self, connection: Connection) -> None:
        self._guard(connection, lambda: connection.flush(self._now))
        if connection.wants_write:
            self._watch(connection)

    def _guard(self, connection: Connection, act: Callable[[], None]) -> None:
        """Whatever a peer does ends at most the connection with it."""
        try:
            act()
        except (Ended, Malformed, Stranger, OSError) as error:
            self._end(connection, str(error))

    def _end(self, connection: Connection, reason: str) -> None:
        if connection.stage is Stage.CLOSED:
            return
        was_up = self._peers.get(connection.peer) is connection
        peer = connection.peer or connection.dialed
        self._poller.unsubscribe(connection.descriptor)
        self._all.pop(connection.descriptor, None)
        connection.close()
        if was_up:
            del self._peers[connection.peer]
            self._unheard.discard(connection.peer)
            if connection.peer not in self._refused:
                self._dial_at[connection.peer] = self._now + self._pause(connection.peer) / 3
        if peer and reason and self._told.get(peer) != reason:
            self._told[peer] = reason
            logger.info("no connection with %s: %s", peer, reason)
        if was_up:
            self._wire.disconnected(connection.peer)


def _begin(sock: socket.socket, host: str, port: int) -> None:
    error = sock.connect_ex((host, port))
    if error not in (0, errno.EINPROGRESS):
        raise Ended(errno.errorcode.get(error, str(error)))


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # The mesh may bring the address up later than this daemon starts.
    sock.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)
    try:
        sock.bind((host, int(port)))
        sock.listen(64)
    except OSError:
        sock.close()
        raise
    return sock
