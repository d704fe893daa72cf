"""Measures the way to every other node through the mesh: whether, how fast, how large a packet.

On demand of the leader (`requests.py`). Bounded: so many peers at once, so many packets each. The
largest packet is searched for only where the full size does not pass, because that is rare.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from warren.drivers.pings import Pinger
from warren.drivers.ports import Mesh, PeerStatus
from warren.model.assignments import Peer
from warren.model.views import MeshLink

PEERS_AT_ONCE = 64
TRIES = 3
TIMEOUT = timedelta(milliseconds=800)
_SMALL = 64
STEP = 8
"""How exactly the largest size is found, in bytes."""

Ping = Callable[[str], Pinger]


async def measure(
    mesh: Mesh,
    peers: tuple[Peer, ...],
    *,
    source: str,
    mtu: int,
    now: datetime,
    pinger: Ping = Pinger,
) -> tuple[MeshLink, ...]:
    """The links from `source` (its name) to each peer, by name. DriverError: nothing can be."""
    known = {status.public_key: status for status in await mesh.peers()}
    turns = asyncio.Semaphore(PEERS_AT_ONCE)
    link_mtu = mtu or await mesh.mtu()

    async def one(peer: Peer) -> MeshLink:
        async with turns:
            latency, largest = await _ping(pinger, peer.address, link_mtu)
        status = _status_of(peer, known)
        handshake = status.latest_handshake if status is not None else None
        return MeshLink(
            source=source,
            target=peer.name,
            reachable=latency is not None,
            latency=latency or timedelta(),
            mtu=largest,
            handshake_age=None if handshake is None else max(timedelta(), now - handshake),
            endpoint=status.endpoint if status is not None else "",
            received_bytes=status.received_bytes if status is not None else 0,
            sent_bytes=status.sent_bytes if status is not None else 0,
        )

    ordered = sorted(peers, key=lambda peer: peer.name)
    return tuple(await asyncio.gather(*(one(peer) for peer in ordered)))


async def _ping(pinger: Ping, address: str, mtu: int) -> tuple[timedelta | None, int]:
    """The shortest of some times, and the largest size that passes."""
    with pinger(address) as target:
        times = []
        for _ in range(TRIES):
            if (taken := await target.ping(_SMALL, TIMEOUT)) is not None:
                times.append(taken)
            elif not times and _ > 0:
                break  # twice no answer: it is not there
        if not times:
            return None, 0
        patience = max(TIMEOUT / 4, 4 * max(times))
        return min(times), await _largest(target, mtu, patience)


async def _largest(target: Pinger, mtu: int, patience: timedelta) -> int:
    async def passes(size: int) -> bool:
        for _ in range(2):
            if await target.ping(size, patience) is not None:
                return True
        return False

    if await passes(mtu):
        return mtu
    low, high = _SMALL, mtu
    while high - low > STEP:
        middle = (low + high) // 2
        if await passes(middle):
            low = middle
        else:
            high = middle
    return low


def _status_of(peer: Peer, known: Mapping[str, PeerStatus]) -> PeerStatus | None:
    """During a rotation a peer may be known by either key; the one with its networks is in use."""
    candidates = (known.get(key) for key in (peer.public_key, peer.next_public_key) if key)
    found = [status for status in candidates if status is not None]
    return next((status for status in found if status.allowed_ips), found[0] if found else None)
