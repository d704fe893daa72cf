"""What the leader tells a node: its tasks, its peers, how services are reached. Data only.

Computed by `core/assignment.py`, sent by `manager/dispatcher.py`, kept on disk by the worker.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from warren.model.clusters import ClusterSpec
from warren.model.nodes import NodeMesh, NodeRole
from warren.model.services import Affinity, Port
from warren.model.tasks import Task
from warren.model.volumes import Volume


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerAddress:
    """Where a manager answers."""

    node_id: str
    name: str
    api: str
    """Underlay `address:port`."""
    raft: str
    """Mesh `address:port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another node of the mesh. AllowedIPs are `address`/32 and `subnet`."""

    node_id: str
    name: str
    public_key: str
    endpoint: str
    address: str
    subnet: str
    next_public_key: str = ""
    """A rotation is under way: this will be its key."""
    switching: bool = False
    """The peer may use the next key from any moment on."""
    seen_endpoint: str = ""
    """Where managers see it come from, if not from `endpoint`: to be tried in turn with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A task that may receive traffic, on every port of its service."""

    address: str
    task_id: str
    node_id: str
    slot: int
    weight: int = 100
    """Relative to the other endpoints of the service; with 0, none while others have more."""
    pinned: bool = False
    """Connections of the service's pinned sources come here, and to no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedSources:
    """Clients that a rollout leads to its new tasks. While none of these is an endpoint, they are
    as all others."""

    networks: tuple[str, ...]
    """They do not overlap."""
    revision: int
    """Of the tasks that are theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceTraffic:
    """How traffic reaches a service: its addresses and what is behind them. With no endpoint,
    connections are refused."""

    name: str
    vip: str = ""
    ports: tuple[Port, ...] = ()
    affinity: Affinity = Affinity.NONE
    endpoints: tuple[Endpoint, ...] = ()
    """By slot, then task id."""
    divided: bool = False
    """Weights are by revision, as a rollout says: a task that is not among the endpoints yet has
    none before its leader has given it one."""
    draining: tuple[Endpoint, ...] = ()
    """Tasks that receive no new connections, but may have open ones, which go on. In the same
    order; not told by every manager: see `Assignment.tells_draining`."""
    pin: PinnedSources | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """All that a node must know, at the state's `index`."""

    index: int
    tasks: tuple[Task, ...] = ()
    """Every task assigned to the node that the state holds, ended ones too: a task that is not
    here has no right to a container or a log on the node."""
    peers: tuple[Peer, ...] = ()
    services: Mapping[str, ServiceTraffic] = field(default_factory=dict)
    """By name. Assignments of one session share what did not change between them."""
    spec: ClusterSpec
    mesh: NodeMesh
    managers: tuple[ManagerAddress, ...] = ()
    roles: tuple[NodeRole, ...] = ()
    """Of the node: when they change, its worker asks for a certificate that says so."""
    mtu: int = 0
    """Of the mesh: the smallest that any node's underlay leaves; 0: not known yet."""
    mesh_keepalive: timedelta = timedelta()
    """As the node's spec says."""
    weight: int = 100
    """Of endpoints on this node."""
    tells_draining: bool = False
    """The manager tells which tasks may still have connections: those to all others, which have
    been endpoints, are to nobody any more. Managers of an older version do not."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Of the node, for what is filled into configs."""
    volumes: tuple[Volume, ...] = ()
    """By name: those on this node, and those that are on no node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentDelta:
    """What is different from the assignment at index `base`. Names in `…_gone` are removed; what
    is neither here nor gone stays as it was."""

    base: int
    index: int
    tasks: tuple[Task, ...] = ()
    tasks_gone: tuple[str, ...] = ()
    """Task ids."""
    services: tuple[ServiceTraffic, ...] = ()
    services_gone: tuple[str, ...] = ()
    """Names."""
    peers: tuple[Peer, ...] = ()
    peers_gone: tuple[str, ...] = ()
    """Node ids."""
    volumes: tuple[Volume, ...] = ()
    volumes_gone: tuple[str, ...] = ()
    """Names."""
