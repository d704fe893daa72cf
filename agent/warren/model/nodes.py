"""Nodes: the hosts of the cluster, and what the mesh and the scheduler know of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated

from warren.model.constraints import DNS_LABEL, Range
from warren.model.services import Bytes, Protocol


class NodeRole(Enum):
    """A manager takes part in Raft and serves the API; a worker runs tasks. A node may be both."""

    MANAGER = "manager"
    WORKER = "worker"


class Availability(Enum):
    """ACTIVE takes tasks; PAUSE keeps those it has; DRAIN gives them up."""

    ACTIVE = "active"
    PAUSE = "pause"
    DRAIN = "drain"


class NodeState(Enum):
    """UNKNOWN until its worker first reports."""

    UNKNOWN = "unknown"
    READY = "ready"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What the user wants of a node. Written by users only."""

    name: Annotated[str, DNS_LABEL]
    roles: tuple[NodeRole, ...] = (NodeRole.WORKER,)
    labels: Mapping[str, str] = field(default_factory=dict)
    availability: Availability = Availability.ACTIVE
    weight: Annotated[int, Range(0, 1000)] = 100
    """Share of new connections that tasks here receive, relative to those of other nodes; 0: none
    as long as others are ready."""
    mesh_keepalive: timedelta = timedelta(seconds=25)
    """How often it sends to each peer even if there is nothing to say, so that a path through NAT
    stays open and a broken one is noticed; 0: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDescription:
    """What the host is. Written by its worker at the start of each session."""

    address: str = ""
    """Underlay address that other nodes reach it by."""
    cpus: float = 0.0
    memory: Bytes = Bytes(0)
    architecture: str = ""
    os: str = ""
    kernel: str = ""
    runtime: str = ""
    """Name and version of the container runtime."""
    warren: str = ""
    """Version of the agent."""
    mtu: int = 0
    """What the underlay leaves for packets of the mesh; 0: not known."""
    volume_drivers: tuple[str, ...] = ()
    """Names of those that the host has. Older agents do not say, and have none."""
    bind_paths: tuple[str, ...] = ()
    """What the host's owner lets tasks mount, with all below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeMesh:
    """The node's place in the WireGuard mesh. Addresses are given once, at joining, and kept."""

    public_key: str
    """Base64, as `wg pubkey` prints it."""
    endpoint: str
    """`address:port` that peers send to."""
    address: str
    """Mesh address, without prefix length."""
    subnet: str
    """Subnet of the node's tasks, CIDR."""
    next_public_key: str = ""
    """During a rotation: the key that the node will use once its peers know it."""
    rotating: bool = False
    """A rotation was asked for and is not done. By the API; the change of the key ends it."""
    switching: bool = False
    """Every node that is there knows the next key: the node may use it. By the leader."""
    offered_index: int = 0
    """Log index at which the next key became known."""
    key_since: datetime | None = None
    """When the last rotation was done; None: the key is as old as the membership."""
    seen_address: str = ""
    """Address that the managers see the node's worker come from. Another than the endpoint's when
    it is behind NAT. By the dispatcher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """What is. Written by the leader: heartbeats decide READY and DOWN."""

    state: NodeState = NodeState.UNKNOWN
    since: datetime
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPort:
    """A published port that a node leaves to a process of its own host."""

    service: str
    port: int
    protocol: Protocol
    holder: str
    """Name of the process, and its number: `sshd (pid 812)`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A host in the cluster."""

    id: str
    version: int = 0
    """Log index of the last change of `spec`."""
    spec: NodeSpec
    description: NodeDescription = NodeDescription()
    mesh: NodeMesh
    status: NodeStatus
    joined_at: datetime
    held_ports: tuple[HeldPort, ...] = ()
    """By port, protocol and service. Written by its worker, when they change."""
