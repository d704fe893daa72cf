"""Which endpoint to send to, of those by which a peer may be reached.

A peer says where it is, the managers see where it comes from, and the device learns where its
packets come from. What works is never touched. What does not is given up for the next of the three:
an endpoint under which no handshake came within 15 s, or no new one within 275 s (a session lasts
180 s, a device tries for 90 s to renew it, and 5 s more go by before the next attempt is late).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from warren.drivers.ports import PeerStatus
from warren.model.assignments import Peer
from warren.model.errors import DriverError

FIRST_KEEPALIVE_S = 25
"""Also the default. The shortest time after which NATs in use forget a path is 30 s."""
_SESSION_LIFE = timedelta(seconds=180)
_DEAD_AFTER = timedelta(seconds=275)
_FIRST_HANDSHAKE = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How it went with a peer's endpoint so far."""

    endpoint: str
    """That the device has."""
    since: datetime
    learned: str = ""
    """The last one that worked although nobody announced it."""


def announced(peer: Peer) -> tuple[str, ...]:
    """The endpoints that the peer is said to have, in the form that devices report."""
    texts = (peer.endpoint, peer.seen_endpoint) if peer.seen_endpoint else (peer.endpoint,)
    return tuple(dict.fromkeys(join(*split(text, peer.name)) for text in texts))


def observe(
    trials: Mapping[str, Trial],
    present: Iterable[PeerStatus],
    peers: Iterable[Peer],
    now: datetime,
) -> dict[str, Trial]:
    """The trials after a look at the device, by public key."""
    known = {peer.public_key: announced(peer) for peer in peers}
    return {
        status.public_key: _observed(
            trials.get(status.public_key), status, known.get(status.public_key, ()), now
        )
        for status in present
    }


def choose(
    peer: Peer, status: PeerStatus, trial: Trial, now: datetime, keepalive_s: int
) -> str | None:
    """The endpoint to go over to; None: none."""
    candidates = announced(peer)
    handshake = status.latest_handshake
    age = None if handshake is None else now - handshake
    if status.endpoint not in (*candidates, trial.learned):
        return None if age is not None and age < _SESSION_LIFE else candidates[0]
    if not keepalive_s:
        return None  # silence says nothing about a peer that nobody speaks to
    if trial.learned and trial.learned not in candidates:
        candidates = (*candidates, trial.learned)
    has_failed = age is None or age > _DEAD_AFTER
    if not has_failed or now - trial.since < _FIRST_HANDSHAKE or len(candidates) == 1:
        return None
    return candidates[(candidates.index(status.endpoint) + 1) % len(candidates)]


def split(endpoint: str, name: str) -> tuple[str, int]:
    """Address and port. WireGuard takes no names: it would have to resolve them."""
    host, _, port = endpoint.rpartition(":")
    try:
        return str(ip_address(host.strip("[]"))), int(port)
    except ValueError:
        raise DriverError(f"node {name}: {endpoint!r} is not an IP address and a port") from None


def join(host: str, port: int) -> str:
    """`10.77.0.11:51820`, `[fd00::1]:51820`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _observed(
    trial: Trial | None, status: PeerStatus, known: tuple[str, ...], now: datetime
) -> Trial:
    learned = trial.learned if trial is not None else ""
    handshake = status.latest_handshake
    is_live = handshake is not None and now - handshake < _SESSION_LIFE
    if is_live and status.endpoint not in known:
        learned = status.endpoint
    is_new = trial is None or trial.endpoint != status.endpoint
    since = now if is_new or trial is None else trial.since
    return Trial(endpoint=status.endpoint, since=since, learned=learned)
