"""What the leader tells a node: its tasks, its peers, the ports to publish. Data only.

Computed by `core/assignment.py`, sent by `manager/dispatcher.py`, kept on disk by the worker.
"""

from dataclasses import dataclass

from warren.model.clusters import ClusterSpec
from warren.model.nodes import NodeMesh, NodeRole
from warren.model.services import PortMode, Protocol
from warren.model.tasks import Task


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A task that may receive traffic on a port."""

    address: str
    port: int
    task_id: str
    node_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPort:
    """A published port and the endpoints behind it; with none, connections are refused."""

    service: str
    published: int
    protocol: Protocol
    mode: PortMode
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """All that a node must know, at the state's `index`."""

    index: int
    tasks: tuple[Task, ...] = ()
    """Every task assigned to the node that the state holds, ended ones too: a task that is not
    here has no right to a container or a log on the node."""
    peers: tuple[Peer, ...] = ()
    ports: tuple[PublishedPort, ...] = ()
    spec: ClusterSpec
    mesh: NodeMesh
    managers: tuple[ManagerAddress, ...] = ()
    roles: tuple[NodeRole, ...] = ()
    """Of the node: when they change, its worker asks for a certificate that says so."""
