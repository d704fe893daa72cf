"""Peers and mesh configurations for tests: only what matters to a test is named."""

import base64
import hashlib

from warren.drivers.ports import MeshConfig
from warren.model.assignments import Peer


def a_key(seed: str) -> str:
    """A public key, the same for the same seed; nobody has its private half."""
    return base64.b64encode(hashlib.sha256(seed.encode()).digest()).decode()


def a_peer(number: int, *, key: str = "", endpoint: str = "", subnet: str = "") -> Peer:
    """Node `n<number>` with its own addresses on underlay, mesh and task network."""
    return Peer(
        node_id=f"id{number}",
        name=f"n{number}",
        public_key=key or a_key(f"n{number}"),
        endpoint=endpoint or f"192.168.9.{number}:51820",
        address=f"10.86.0.{number}",
        subnet=subnet or f"10.88.{number}.0/24",
    )


def a_config(*peers: Peer, number: int = 1, listen_port: int = 51820) -> MeshConfig:
    """Of node `n<number>`."""
    return MeshConfig(
        address=f"10.86.0.{number}",
        mesh_network="10.86.0.0/16",
        task_network="10.88.0.0/14",
        subnet=f"10.88.{number}.0/24",
        listen_port=listen_port,
        peers=peers,
    )
