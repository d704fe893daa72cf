"""Which changes turn the peers that a WireGuard device has into those that it should have.

Data in, data out; `wireguard.py` reads the device before and applies the changes after. The laws:
 - what is right is not mentioned: touching a peer can cost its session and its learned endpoint;
 - never "replace all peers": one wrong list would cut this host off;
 - removals come first, because an address belongs to one peer only and moves silently; but a key
   that gives way to the same node's next one goes last, so that no packet finds nobody;
 - whoever claims what is another's gets nothing and is named; all others are carried out;
 - an endpoint that works is left alone: the peer may have roamed to it (`mesh_endpoints.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network
from itertools import pairwise

from warren.drivers import mesh_endpoints
from warren.drivers.mesh_endpoints import Trial
from warren.drivers.ports import MeshConfig, PeerStatus
from warren.model.assignments import Peer
from warren.model.errors import DriverError

SWITCH_PATIENCE = timedelta(seconds=1)
"""For which a peer that may use its next key stays a stranger under it. What it sends meanwhile
waits on its side for our first word, which comes when the cluster says that it has switched. Nobody
says so if the leader is lost just then; so after that the peer is taken to have switched."""
SWITCH_TRIAL = timedelta(seconds=1)
"""For which it is, until a handshake under the next key shows that it has. Without one it has its
addresses back under the old key, and the next waits beside it for a handshake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePeer:
    """A peer as read from a device."""

    status: PeerStatus
    keepalive_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device as read. The private key stays out of every representation."""

    private_key: str = field(repr=False)
    """Base64; empty when the device has none yet."""
    listen_port: int
    peers: tuple[DevicePeer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerChange:
    """One change of one peer; what is None stays as it is."""

    public_key: str
    remove: bool = False
    update_only: bool = False
    """Do nothing if the peer is gone meanwhile."""
    endpoint: str | None = None
    allowed_ips: tuple[str, ...] | None = None
    """Replaces all that the peer has."""
    keepalive_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the plans of a device's past tell the next one. A new process begins with none."""

    trials: Mapping[str, Trial] = field(default_factory=dict)
    """By public key."""
    switching: Mapping[str, datetime] = field(default_factory=dict)
    """Since when a peer may use its next key, by that key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, and what could not be planned."""

    changes: tuple[PeerChange, ...]
    """In the order in which to apply them."""
    refusals: tuple[str, ...]
    """Peers that get nothing, or less than they claim, and why."""
    memory: Memory


def plan(
    config: MeshConfig, present: tuple[DevicePeer, ...], memory: Memory, now: datetime
) -> Plan:
    """The changes. Peers that conflict are left out, and named."""
    by_key = {peer.status.public_key: peer for peer in present}
    peers, refusals = acceptable(config, by_key)
    memory = Memory(
        trials=mesh_endpoints.observe(memory.trials, [peer.status for peer in present], peers, now),
        switching={
            peer.next_public_key: memory.switching.get(peer.next_public_key, now)
            for peer in peers
            if peer.switching and peer.next_public_key
        },
    )
    wanted = [each for peer in peers for each in _keys(peer, by_key, memory, now)]
    changes = [
        change
        for peer in sorted(wanted, key=lambda peer: peer.public_key)
        if (change := _change(config, by_key.get(peer.public_key), peer, memory, now)) is not None
    ]
    return Plan(
        changes=_ordered(changes, by_key, {peer.public_key for peer in wanted}),
        refusals=refusals,
        memory=memory,
    )


def acceptable(
    config: MeshConfig, present: Mapping[str, DevicePeer]
) -> tuple[tuple[Peer, ...], tuple[str, ...]]:
    """The peers that can be had at once, and what stands against the others.

    A device would give an address to its last claimant, and not back again. So whoever has it
    keeps it: this node itself, then a peer that the device knows with it, then the first by name.
    """
    claims: list[tuple[IPv4Network, str]] = [
        (network, "this node") for network in _networks(config.address, config.subnet)
    ]
    wanted = sorted(config.peers, key=lambda peer: (not _holds(present, peer), peer.name))
    # Most lists are without fault, and looking at neighbours in order finds that out quickly.
    everything = sorted(
        [*claims, *((n, p.name) for p in wanted for n in _networks(p.address, p.subnet))],
        key=lambda claim: (claim[0].network_address, claim[0].prefixlen),
    )
    is_disjoint = not any(one.overlaps(other) for (one, _), (other, _) in pairwise(everything))
    peers: list[Peer] = []
    keys: dict[str, str] = {}
    refusals = []
    for peer in wanted:
        networks = _networks(peer.address, peer.subnet)
        problem = "" if is_disjoint else _conflict(peer, networks, claims)
        if owner := keys.get(peer.public_key):
            problem = f"nodes {owner} and {peer.name} have the same key in the mesh"
        problem = problem or _endpoint_problem(peer)
        if problem:
            refusals.append(problem)
            continue
        keys[peer.public_key] = peer.name
        peers.append(peer)
        if not is_disjoint:
            claims += [(network, peer.name) for network in networks]
    return tuple(peers), tuple(refusals)


def allowed_ips(peer: Peer) -> tuple[str, ...]:
    """Networks routed to the peer, in the form that devices report."""
    return tuple(sorted({str(network) for network in _networks(peer.address, peer.subnet)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """One key that the device shall know."""

    public_key: str
    peer: Peer
    allowed_ips: tuple[str, ...]


def _keys(
    peer: Peer, present: Mapping[str, DevicePeer], memory: Memory, now: datetime
) -> tuple[_Wanted, ...]:
    """The keys under which a peer is known: one, but for moments of a rotation."""
    networks = allowed_ips(peer)
    current = _Wanted(public_key=peer.public_key, peer=peer, allowed_ips=networks)
    since = memory.switching.get(peer.next_public_key)
    if not peer.switching or since is None:
        return (current,)
    following = present.get(peer.next_public_key)
    if following is not None and following.status.latest_handshake is not None:
        return (replace(current, public_key=peer.next_public_key),)
    if now - since < SWITCH_PATIENCE:
        return (current,)
    next_one = replace(current, public_key=peer.next_public_key)
    if now - since < SWITCH_PATIENCE + SWITCH_TRIAL:
        return (replace(current, allowed_ips=()), next_one)
    return (current, replace(next_one, allowed_ips=()))


def _change(
    config: MeshConfig,
    present: DevicePeer | None,
    wanted: _Wanted,
    memory: Memory,
    now: datetime,
) -> PeerChange | None:
    keepalive_s = config.keepalive_s if wanted.allowed_ips else 0
    if present is None:
        return PeerChange(
            public_key=wanted.public_key,
            endpoint=mesh_endpoints.announced(wanted.peer)[0],
            allowed_ips=wanted.allowed_ips,
            # At first always: it makes the device speak at once. What it should be comes next time.
            keepalive_s=(keepalive_s or mesh_endpoints.FIRST_KEEPALIVE_S)
            if wanted.allowed_ips
            else 0,
        )
    endpoint = None
    if wanted.allowed_ips:
        endpoint = mesh_endpoints.choose(
            wanted.peer, present.status, memory.trials[wanted.public_key], now, keepalive_s
        )
    unchanged = PeerChange(public_key=wanted.public_key, update_only=True)
    change = replace(
        unchanged,
        endpoint=endpoint,
        allowed_ips=wanted.allowed_ips
        if present.status.allowed_ips != wanted.allowed_ips
        else None,
        keepalive_s=keepalive_s if present.keepalive_s != keepalive_s else None,
    )
    return None if change == unchanged else change


def _ordered(
    changes: Iterable[PeerChange], present: Mapping[str, DevicePeer], wanted: set[str]
) -> tuple[PeerChange, ...]:
    """Who goes, who gives up, who takes; and last the keys whose networks others have taken."""
    gone = sorted(present.keys() - wanted)
    # A key that loses all to the same node's other one: what is taken need not be given up first.
    changes = sorted(changes, key=lambda change: (change.allowed_ips == (), not change.update_only))
    taken = {frozenset(change.allowed_ips or ()) for change in changes}
    replaced = {key for key in gone if frozenset(present[key].status.allowed_ips) in taken}
    return (
        *(PeerChange(public_key=key, remove=True) for key in gone if key not in replaced),
        *changes,
        *(PeerChange(public_key=key, remove=True) for key in gone if key in replaced),
    )


def _holds(present: Mapping[str, DevicePeer], peer: Peer) -> bool:
    known = present.get(peer.public_key)
    return known is not None and bool(known.status.allowed_ips)


def _conflict(
    peer: Peer, networks: Iterable[IPv4Network], claims: Iterable[tuple[IPv4Network, str]]
) -> str:
    for claimed, owner in claims:
        for network in networks:
            if network.overlaps(claimed):
                return f"node {peer.name} claims {network} in the mesh, which {owner} has"
    return ""


def _endpoint_problem(peer: Peer) -> str:
    try:
        mesh_endpoints.announced(peer)
    except DriverError as error:
        return str(error)
    return ""


def _networks(address: str, subnet: str) -> tuple[IPv4Network, ...]:
    one = IPv4Network(f"{address}/32")
    return (one, IPv4Network(subnet)) if subnet else (one,)
