"""Connections as TCP makes them: in order, without loss while they last, lost when they break.

A direction may stall (what is sent arrives later, or never if the connection ends first), be slow,
or break. A connection ends when a side hears nothing for a while (`Habits.dead_after`), as pings
tell it, or when its process dies. After that a new one begins with a hello in both directions;
nothing sent on the old one is delivered any more.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from warren.store.raft import messages
from warren.store.raft.messages import Hello, Message, Refused

Schedule = Callable[[float, Callable[[], None]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Of those who use the network: our engine's, unless a test tries another one."""

    encode: Callable[[Any], bytes] = messages.encode
    decode: Callable[[bytes], Any] = messages.decode
    dead_after: float = 1.0
    """Seconds of silence after which a side ends a connection."""
    retry: float = 0.15
    """Seconds between two attempts to connect."""


class Host(Protocol):
    """A running member, as the network sees it."""

    node_id: str
    paused_until: float

    def hello(self) -> Hello:
        """How it introduces itself."""

    def meet(self, hello: Hello) -> Refused | None:
        """Whether it accepts a peer."""

    def connected(self, peer: str) -> None:
        """A connection is up."""

    def disconnected(self, peer: str) -> None:
        """It ended."""

    def heard(self, peer: str, message: Message) -> None:
        """A message arrived."""


class Network:
    """All connections between running members."""

    def __init__(
        self,
        chance: random.Random,
        now: Callable[[], float],
        at: Schedule,
        habits: Habits | None = None,
    ) -> None:
        self._chance, self._now, self._at = chance, now, at
        self._habits = habits or Habits()
        self.latency = (0.0002, 0.002)
        self.blocked: set[tuple[str, str]] = set()
        """Directions in which nothing arrives."""
        self.slow: dict[tuple[str, str], float] = {}
        """Seconds added to a direction."""
        self.hosts: dict[str, Host] = {}
        self.on_message: Callable[[str, str, Message], None] = lambda _from, _to, _message: None
        self.messages = 0
        self._epoch: dict[tuple[str, str], int] = {}
        """Of the connection as the first of the two sees it."""
        self._last_epoch = 0
        self._latest: dict[tuple[str, str], float] = {}
        self._held: defaultdict[tuple[str, str], list[tuple[int, bytes]]] = defaultdict(list)
        self._heard_at: dict[tuple[str, str], float] = {}

    def start(self) -> None:
        """Begin to dial and to give up, for ever."""
        self._maintain()

    def is_connected(self, a: str, b: str) -> bool:
        """`a` believes in a connection with `b`."""
        return (a, b) in self._epoch

    def block(self, a: str, b: str, *, both: bool = True) -> None:
        """Let nothing arrive from `a` at `b`."""
        self.blocked.add((a, b))
        if both:
            self.blocked.add((b, a))

    def unblock(self, a: str, b: str) -> None:
        """Let both directions flow again, beginning with what was held."""
        for way in ((a, b), (b, a)):
            self.blocked.discard(way)
            held, self._held[way] = self._held[way], []
            for epoch, data in held:
                self._post(way, epoch, data)

    def heal(self) -> None:
        """Make the network good."""
        for a, b in sorted(self.blocked):
            self.unblock(a, b)
        self.slow.clear()

    def break_pair(self, a: str, b: str) -> None:
        """End the connection; what is in flight is lost."""
        self._end(a, b)
        self._end(b, a)

    def leave(self, node_id: str, *, silently: bool = False) -> None:
        """A process died. Its kernel tells the peers, unless the whole host is gone."""
        self.hosts.pop(node_id, None)
        for a, b in sorted(self._epoch):
            if a == node_id:
                self._epoch.pop((a, b), None)
            elif b == node_id and not silently:
                epoch = self._epoch[a, b]
                arrival = max(self._now() + 0.0005, self._latest.get((b, a), 0.0) + 0.0001)
                self._at(arrival, lambda a=a, e=epoch: self._reset(a, node_id, e))  # type: ignore[misc]

    def send(self, a: str, b: str, message: Message) -> None:
        """Send, if `a` has a connection with `b`."""
        epoch = self._epoch.get((a, b))
        if epoch is None:
            return
        self.messages += 1
        data = self._habits.encode(message)
        if (a, b) in self.blocked:
            self._held[a, b].append((epoch, data))
        else:
            self._post((a, b), epoch, data)

    def connect(self, a: str, b: str) -> None:
        """Dial: both say hello, and either may refuse."""
        if a not in self.hosts or b not in self.hosts or self._is_cut(a, b):
            return
        first, second = self.hosts[a], self.hosts[b]
        if max(first.paused_until, second.paused_until) > self._now():
            return
        self._end(a, b)
        self._end(b, a)
        words = first.hello(), second.hello()
        for host, other, hello in ((first, second, words[1]), (second, first, words[0])):
            refused = host.meet(hello)
            if refused is not None:
                other.heard(host.node_id, refused)
                return
        self._last_epoch += 1
        for x, y in ((a, b), (b, a)):
            self._epoch[x, y] = self._last_epoch
            self._heard_at[x, y] = self._now()
            self._held[x, y] = []
            self._latest.pop((x, y), None)
            self.hosts[x].connected(y)

    def _post(self, way: tuple[str, str], epoch: int, data: bytes) -> None:
        low, high = self.latency
        delay = self._chance.uniform(low, high) + self.slow.get(way, 0.0) + len(data) / 100e6
        arrival = max(self._now() + delay, self._latest.get(way, 0.0))
        self._latest[way] = arrival
        self._at(arrival, lambda: self._deliver(way, epoch, data))

    def _deliver(self, way: tuple[str, str], epoch: int, data: bytes) -> None:
        a, b = way
        host = self.hosts.get(b)
        if host is None or self._epoch.get((b, a)) != epoch:
            return
        if way in self.blocked:
            self._held[way].append((epoch, data))
            return
        if host.paused_until > self._now():
            self._latest[way] = max(self._latest.get(way, 0.0), host.paused_until)
            self._at(self._latest[way], lambda: self._deliver(way, epoch, data))
            return
        self._heard_at[b, a] = self._now()
        message = self._habits.decode(data)
        assert message is not None
        self.on_message(a, b, message)
        host.heard(a, message)

    def _maintain(self) -> None:
        """Pings are not simulated one by one: a direction that flows has been heard."""
        now = self._now()
        for a, b in sorted(self._epoch):
            peer = self.hosts.get(b)
            flows = (b, a) not in self.blocked and peer is not None
            same = self._epoch.get((b, a)) == self._epoch.get((a, b))
            if flows and same and peer is not None and peer.paused_until <= now:
                self._heard_at[a, b] = now
            elif now - self._heard_at[a, b] > self._habits.dead_after and self._is_awake(a):
                self._end(a, b)
        names = sorted(self.hosts)
        for position, a in enumerate(names):
            for b in names[position + 1 :]:
                if not (self.is_connected(a, b) and self.is_connected(b, a)):
                    self.connect(a, b)
        pause = self._habits.retry * self._chance.uniform(0.8, 1.2)
        self._at(now + pause, self._maintain)

    def _is_awake(self, node_id: str) -> bool:
        return node_id in self.hosts and self.hosts[node_id].paused_until <= self._now()

    def _is_cut(self, a: str, b: str) -> bool:
        return (a, b) in self.blocked or (b, a) in self.blocked

    def _reset(self, a: str, b: str, epoch: int) -> None:
        if self._epoch.get((a, b)) == epoch and (b, a) not in self.blocked:
            self._end(a, b)

    def _end(self, a: str, b: str) -> None:
        if self._epoch.pop((a, b), None) is not None:
            self._held[a, b] = []
            if a in self.hosts:
                self.hosts[a].disconnected(b)
