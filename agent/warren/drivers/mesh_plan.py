"""Which changes turn the peers that a WireGuard device has into those that it should have.

Data in, data out; `wireguard.py` reads the device before and applies the changes after. The laws:
 - what is right is not mentioned: touching a peer can cost its session and its learned endpoint;
 - never "replace all peers": one wrong list would cut this host off;
 - removals come first, because an address belongs to one peer only and moves silently;
 - an endpoint that works is left alone: the peer may have roamed to it.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Network, ip_address
from itertools import pairwise

from warren.drivers.ports import PeerStatus
from warren.model.assignments import Peer
from warren.model.errors import DriverError

KEEPALIVE_S = 25
"""Keeps paths through NAT open, and handshakes fresh enough to tell live endpoints from dead."""
_SESSION_LIFE = timedelta(seconds=180)


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


def plan(
    present: tuple[DevicePeer, ...], wanted: tuple[Peer, ...], now: datetime
) -> tuple[PeerChange, ...]:
    """The changes, in the order in which to apply them. DriverError when `wanted` conflicts."""
    check_disjoint(wanted)
    by_key = {peer.status.public_key: peer for peer in present}
    keys = {peer.public_key for peer in wanted}
    removals = [PeerChange(public_key=key, remove=True) for key in sorted(by_key.keys() - keys)]
    updates = [
        change
        for peer in sorted(wanted, key=lambda peer: peer.public_key)
        if (change := _change(by_key.get(peer.public_key), peer, now)) is not None
    ]
    updates.sort(key=lambda change: not change.update_only)  # who gives up, before who takes
    return (*removals, *updates)


def allowed_ips(peer: Peer) -> tuple[str, ...]:
    """Networks routed to the peer, in the form that devices report."""
    return tuple(sorted({f"{peer.address}/32", str(IPv4Network(peer.subnet))}))


def check_disjoint(peers: tuple[Peer, ...]) -> None:
    """A device would give an address to its last claimant, and not back again."""
    claims = sorted(
        ((IPv4Network(text), peer.name) for peer in peers for text in allowed_ips(peer)),
        key=lambda claim: (claim[0].network_address, claim[0].prefixlen),
    )
    for (first, owner), (second, other) in pairwise(claims):
        if first.overlaps(second):
            raise DriverError(f"nodes {owner} and {other} both claim {second} in the mesh")


def split_endpoint(peer: Peer) -> tuple[str, int]:
    """Address and port. WireGuard takes no names: it would have to resolve them."""
    host, _, port = peer.endpoint.rpartition(":")
    try:
        return str(ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise DriverError(
            f"node {peer.name}: {peer.endpoint!r} is not an IP address and a port"
        ) from None


def join_endpoint(host: str, port: int) -> str:
    """`10.77.0.11:51820`, `[fd00::1]:51820`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _change(present: DevicePeer | None, wanted: Peer, now: datetime) -> PeerChange | None:
    endpoint = join_endpoint(*split_endpoint(wanted))
    networks = allowed_ips(wanted)
    if present is None:
        return PeerChange(
            public_key=wanted.public_key,
            endpoint=endpoint,
            allowed_ips=networks,
            keepalive_s=KEEPALIVE_S,
        )
    handshake = present.status.latest_handshake
    live = handshake is not None and now - handshake < _SESSION_LIFE
    moved = present.status.endpoint != endpoint and not live
    unchanged = PeerChange(public_key=wanted.public_key, update_only=True)
    change = replace(
        unchanged,
        endpoint=endpoint if moved else None,
        allowed_ips=networks if present.status.allowed_ips != networks else None,
        keepalive_s=KEEPALIVE_S if present.keepalive_s != KEEPALIVE_S else None,
    )
    return None if change == unchanged else change
