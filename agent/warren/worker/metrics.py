"""A worker's figures: its rules, and its way to every other node of the mesh. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from warren.api.exposition import Metric, Sample, many, one
from warren.drivers.ports import PeerStatus
from warren.model.assignments import Peer
from warren.model.volumes import VolumeUsage


def of_worker(
    peers: Sequence[Peer],
    statuses: Iterable[PeerStatus],
    *,
    mtu: int,
    balancer: str,
    version: str,
    now: datetime,
    volumes: Iterable[VolumeUsage] = (),
) -> tuple[Metric, ...]:
    """Everything that this worker has to say. Peers are told by the names of their nodes."""
    names = {key: peer.name for peer in peers for key in (peer.public_key, peer.next_public_key)}
    known = [
        (names[status.public_key], status)
        for status in statuses
        if names.get(status.public_key) and status.allowed_ips
    ]
    known.sort(key=lambda pair: pair[0])

    def each(values: Iterable[tuple[str, float]]) -> list[Sample]:
        return [Sample(labels={"node": name}, value=value) for name, value in values]

    return (
        one("worker_info", "Always 1; the label says which version.", 1, version=version),
        one(
            "balancer_info",
            "Always 1; the label says how the rules of services are written.",
            1,
            layout=balancer,
        ),
        many(
            "volume_bytes",
            "Size of a local volume on this node, as it was measured last.",
            [
                Sample(labels={"volume": usage.name}, value=usage.size)
                for usage in sorted(volumes, key=lambda usage: usage.name)
            ],
        ),
        one("mesh_mtu", "Largest packet of the mesh; 0: not known yet.", mtu),
        one("mesh_peers", "Other nodes that the mesh should reach.", len(peers)),
        many(
            "mesh_peer_handshake_age_seconds",
            "Time since the last handshake; no line: there never was one.",
            each(
                (name, max(0.0, (now - status.latest_handshake).total_seconds()))
                for name, status in known
                if status.latest_handshake is not None
            ),
        ),
        many(
            "mesh_peer_received_bytes_total",
            "Received from the peer, as the device counts.",
            each((name, status.received_bytes) for name, status in known),
            kind="counter",
        ),
        many(
            "mesh_peer_sent_bytes_total",
            "Sent to the peer, as the device counts.",
            each((name, status.sent_bytes) for name, status in known),
            kind="counter",
        ),
    )
