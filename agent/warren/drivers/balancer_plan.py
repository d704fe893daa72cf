"""What a balancer should do with the services: who answers where, and with which share.

Data in, data out; `nftables.py` carries it out. A frontend is what clients connect to: a port of a
virtual address, or a published port of this host. Behind it the range of numbers below `SHARES` is
cut into one part per endpoint, by weight; each new connection draws a number. The laws:
 - the parts of a frontend adjoin, do not overlap, and cover the whole range;
 - a frontend belongs to one service; should two claim it, the first by name has it;
 - pinned sources have a range of their own, where there is an endpoint for them;
 - between two plans only services that are other objects are looked at, however many there are.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from warren.model.assignments import Endpoint, ServiceTraffic
from warren.model.services import Affinity, Port, PortMode, Protocol
from warren.state import maps

SHARES = 10_000
"""Weights are exact to one part in so many."""


class Frontend(NamedTuple):
    """What clients connect to. Without an address: a published port, on every address of this
    host but loopback, link-local ones and the gateway of the tasks."""

    address: str
    protocol: Protocol
    port: int


class Share(NamedTuple):
    """The endpoint that gets the connections which draw a number from `first` to `last`."""

    first: int
    last: int
    address: str
    port: int


class Balance(NamedTuple):
    """What is behind a frontend. With no share, connections are refused."""

    shares: tuple[Share, ...]
    by_source: bool = False
    """The number comes from the client's address instead of chance."""
    pinned: tuple[str, ...] = ()
    """Networks of clients for which `pinned_shares` stand in the place of `shares`. They do not
    overlap, and without a share for them there are none."""
    pinned_shares: tuple[Share, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What turns one plan into the next. A frontend that changes is in both mappings."""

    before: Mapping[Frontend, Balance] = field(default_factory=dict)
    after: Mapping[Frontend, Balance] = field(default_factory=dict)
    local_before: Set[str] = frozenset()
    """Addresses of tasks of this host that are not behind any frontend any more."""
    local_after: Set[str] = frozenset()
    """And of those that are now."""
    gone: Set[str] = frozenset()
    """Addresses of tasks that are neither endpoints nor draining any more. No rule has them."""

    def __bool__(self) -> bool:
        """There are rules to change."""
        return bool(self.before or self.after or self.local_before or self.local_after)


class _Claim(NamedTuple):
    service: str
    port: Port


class Plan:
    """The newest plan of one host."""

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._services: Mapping[str, ServiceTraffic] = {}
        self._claims: dict[Frontend, tuple[_Claim, ...]] = {}
        """Who wants the frontend, in order."""
        self._local: Counter[str] = Counter()
        """How many services have an endpoint at this address of this host: one, but for moments."""
        self._present: Counter[str] = Counter()
        """How many have a task there, on any host, which is an endpoint or drains."""
        self._blocked: frozenset[Frontend] = frozenset()
        self._udp: set[Frontend] = set()
        self._published: set[Frontend] = set()

    def change(
        self, services: Mapping[str, ServiceTraffic], blocked: frozenset[Frontend]
    ) -> Changes:
        """Go on to these services, but for the frontends that are not to be had."""
        touched = set(blocked ^ self._blocked)
        claims = []
        local: Counter[str] = Counter()
        present: Counter[str] = Counter()
        for name in maps.changed_keys(self._services, services):
            old, new = self._services.get(name), services.get(name)
            before_of, after_of = _frontends(old, self._node_id), _frontends(new, self._node_id)
            touched.update(before_of, after_of)
            claims.append((name, before_of, after_of))
            local.subtract(self._local_addresses(old))
            local.update(self._local_addresses(new))
            present.subtract(_addresses(old))
            present.update(_addresses(new))
        before = self._balances(touched)
        for name, before_of, after_of in claims:
            self._claim(name, before_of, after_of)
        # A mapping of the state is never changed in place; another one may be.
        self._services = services if isinstance(services, maps.BucketMap) else dict(services)
        self._blocked = blocked
        after = self._balances(touched)
        self._note_kinds(touched)
        local_gone, local_come = _count(self._local, local)
        return Changes(
            before={f: b for f, b in before.items() if after.get(f) != b},
            after={f: b for f, b in after.items() if before.get(f) != b},
            local_before=local_gone,
            local_after=local_come,
            gone=_count(self._present, present)[0],
        )

    def everything(self) -> Changes:
        """What turns nothing into this plan."""
        return Changes(after=self._balances(self._claims), local_after=frozenset(self._local))

    def udp(self) -> Mapping[Frontend, frozenset[tuple[str, int]]]:
        """The endpoints behind every frontend of UDP, those without weight, too."""
        found = {}
        for frontend in self._udp:
            claim = self._claims[frontend][0]
            endpoints = self._behind(frontend, claim)
            found[frontend] = frozenset((e.address, claim.port.target) for e in endpoints)
        return found

    def published(self, services: Mapping[str, ServiceTraffic]) -> frozenset[Frontend]:
        """Every published port that this host is to answer on for these services, blocked or not;
        and a few more, perhaps, that it answers on now."""
        after: set[Frontend] = set(self._published)
        for name in maps.changed_keys(self._services, services):
            after.update(_frontends(services.get(name), self._node_id))
        return frozenset(frontend for frontend in after if not frontend.address)

    def has(self, address: str) -> bool:
        """There is a task at the address which is an endpoint, or drains."""
        return address in self._present

    def holder(self, frontend: Frontend) -> str:
        """Name of the service that a frontend belongs to; empty: of none."""
        claims = self._claims.get(frontend)
        return claims[0].service if claims else ""

    def _claim(
        self, name: str, before: Mapping[Frontend, Port], after: Mapping[Frontend, Port]
    ) -> None:
        for frontend in before:
            left = tuple(claim for claim in self._claims[frontend] if claim.service != name)
            if left:
                self._claims[frontend] = left
            else:
                del self._claims[frontend]
        for frontend, port in after.items():
            claims = (*self._claims.get(frontend, ()), _Claim(name, port))
            self._claims[frontend] = tuple(sorted(claims, key=lambda claim: claim.service))

    def _balances(self, frontends: Iterable[Frontend]) -> dict[Frontend, Balance]:
        found = {}
        for frontend in frontends:
            claims = self._claims.get(frontend)
            if claims and frontend not in self._blocked:
                found[frontend] = self._balance(frontend, claims[0])
        return found

    def _balance(self, frontend: Frontend, claim: _Claim) -> Balance:
        service = self._services[claim.service]
        endpoints, port = self._behind(frontend, claim), claim.port.target
        balance = Balance(shares(endpoints, port), service.affinity is Affinity.SOURCE)
        if service.pin is None or not (own := tuple(e for e in endpoints if e.pinned)):
            return balance
        return balance._replace(pinned=service.pin.networks, pinned_shares=shares(own, port))

    def _behind(self, frontend: Frontend, claim: "_Claim") -> tuple[Endpoint, ...]:
        endpoints = self._services[claim.service].endpoints
        if frontend.address or claim.port.mode is PortMode.MESH:
            return endpoints
        return tuple(e for e in endpoints if e.node_id == self._node_id)

    def _local_addresses(self, service: ServiceTraffic | None) -> set[str]:
        if service is None:
            return set()
        return {e.address for e in service.endpoints if e.node_id == self._node_id}

    def _note_kinds(self, touched: Set[Frontend]) -> None:
        claimed = touched & self._claims.keys()
        self._udp -= touched
        self._udp |= {f for f in claimed - self._blocked if f.protocol is Protocol.UDP}
        self._published -= touched
        self._published |= {f for f in claimed if not f.address}


def shares(endpoints: Iterable[Endpoint], port: int) -> tuple[Share, ...]:
    """By weight, in the given order. If nobody has weight, all have the same."""
    candidates = tuple(endpoints)
    weights = [endpoint.weight for endpoint in candidates]
    if not any(weights):
        weights = [1] * len(candidates)
    total = sum(weights)
    parts, first, sofar = [], 0, 0
    for endpoint, weight in zip(candidates, weights, strict=True):
        sofar += weight
        end = SHARES * sofar // total
        if first < end:
            parts.append(Share(first, end - 1, endpoint.address, port))
        first = end
    return tuple(parts)


def _addresses(service: ServiceTraffic | None) -> set[str]:
    if service is None:
        return set()
    return {e.address for e in (*service.endpoints, *service.draining)}


def _count(counts: Counter[str], difference: Counter[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Addresses that have gone and come when the counts change by `difference`."""
    gone, come = set(), set()
    for address, change in difference.items():
        count = counts[address]
        if count and not count + change:
            gone.add(address)
        if not count and change:
            come.add(address)
        counts[address] = count + change
        if not counts[address]:
            del counts[address]
    return frozenset(gone), frozenset(come)


def digest(changes: Changes) -> int:
    """A number for what changes that can be added up: that of a plan is the sum of the changes
    that led to it, whichever these were."""
    came = _sum(changes.after, changes.local_after)
    return came - _sum(changes.before, changes.local_before)


def _sum(balances: Mapping[Frontend, Balance], local: Set[str]) -> int:
    texts = [
        f"{f.address} {f.protocol.value} {f.port} {b.by_source} {_text(b.shares)}"
        f" {' '.join(b.pinned)} {_text(b.pinned_shares)}"
        for f, b in balances.items()
    ]
    digests = (hashlib.blake2b(t.encode(), digest_size=16).digest() for t in (*texts, *local))
    return sum(map(int.from_bytes, digests))


def _text(parts: tuple[Share, ...]) -> str:
    return " ".join([f"{first} {last} {address} {port}" for first, last, address, port in parts])


def _frontends(service: ServiceTraffic | None, node_id: str) -> dict[Frontend, Port]:
    """What a service wants on this host. In mode HOST, a host without a task of it has nothing to
    do with the port, which may serve something else there."""
    found: dict[Frontend, Port] = {}
    if service is None:
        return found
    for port in service.ports:
        if service.vip:
            found.setdefault(Frontend(service.vip, port.protocol, port.target), port)
        if port.published and (
            port.mode is PortMode.MESH or any(e.node_id == node_id for e in service.endpoints)
        ):
            found.setdefault(Frontend("", port.protocol, port.published), port)
    return found
