"""The cluster itself: its identity, its settings, and the tokens that let nodes join."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from warren.model.constraints import DNS_LABEL, DNS_NAME, Range
from warren.model.nodes import NodeRole
from warren.model.services import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """Settings that users may give. The networks are fixed when the cluster is created."""

    name: Annotated[str, DNS_LABEL] = "warren"
    mesh_network: str = "10.86.0.0/16"
    """Addresses of the nodes inside the mesh."""
    task_network: str = "10.88.0.0/14"
    """Cut into one subnet per node."""
    task_subnet_prefix: Annotated[int, Range(16, 29)] = 24
    vip_network: str = "10.92.0.0/16"
    """Virtual addresses of services."""
    heartbeat_interval: timedelta = timedelta(seconds=1)
    node_down_after: timedelta = timedelta(seconds=5)
    """A node that missed heartbeats for so long is down, and its tasks are replaced."""
    api_port: Annotated[int, Range(1, 65535)] = 7443
    """TCP, on every manager: API and worker sessions, over mTLS. Fixed at creation, as are:"""
    join_port: Annotated[int, Range(1, 65535)] = 7444
    """TCP, on every manager: joining, TLS without a client certificate."""
    raft_port: Annotated[int, Range(1, 65535)] = 7445
    """TCP, on every manager, inside the mesh only."""
    mesh_port: Annotated[int, Range(1, 65535)] = 51820
    """UDP, on every node: WireGuard."""
    dns_domain: Annotated[str, DNS_NAME] = "warren.internal"
    """Services are found as `<service>.<dns_domain>`."""
    dns_forwarders: tuple[str, ...] = ()
    """Addresses that answer for all other names; empty: those that each host itself uses."""
    drain_timeout: timedelta = timedelta(seconds=3)
    """How long a stop waits for nodes to say that they send the task no more connections, and the
    end of a rollout until they follow it."""
    mesh_mtu: Annotated[int, Range(0, 9000)] = 0
    """Of the mesh and of tasks; 0: the smallest that any node's underlay leaves."""
    task_history: Annotated[int, Range(0, 100)] = 3
    """Ended tasks kept per slot, for `service ps` and logs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """The cluster as it is stored. The keys leave the managers never."""

    id: str
    spec: ClusterSpec
    created_at: datetime
    version: int = 0
    ca_certificate: str
    """PEM."""
    ca_key: Secret
    """PEM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """A credential to join. Only the hash of the secret is stored."""

    id: str
    """First 8 hexadecimal digits of the secret's hash."""
    role: NodeRole
    """A manager token admits managers and workers, a worker token workers only."""
    secret_hash: str
    """SHA-256 of the secret, hexadecimal."""
    created_at: datetime
    expires_at: datetime
