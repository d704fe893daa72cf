"""What the API answers: stored objects together with what can be computed from them.

Views are computed by the managers at each read (`core/views.py`) and never stored.
"""

from dataclasses import dataclass
from datetime import datetime

from warren.model.clusters import ClusterSpec
from warren.model.nodes import Node, NodeRole
from warren.model.services import Bytes, Service, ServiceSpec
from warren.model.tasks import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """How far a service is. All counts are of tasks."""

    desired: int
    running: int
    """Running tasks of any revision."""
    up_to_date: int
    """Running tasks of the current revision."""
    failing: int
    """Wanted tasks of the current revision whose last starts failed, or that failed for good."""
    converged: bool
    """`desired` tasks of the current revision run, and nothing else does."""
    converged_since: datetime | None = None
    """Start of the youngest task's run, while converged."""
    reason: str = ""
    """One line: why it has not converged, in the user's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A service with its tasks: wanted ones first, by slot, then history, newest first."""

    service: Service
    status: ServiceStatus
    tasks: tuple[Task, ...] = ()
    node_names: tuple[str, ...] = ()
    """Name of the node of each task, in the order of `tasks`; empty text where unassigned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node with what runs on it."""

    node: Node
    leader: bool = False
    reachable: bool = False
    """It is in Raft contact with the leader; meaningful for managers."""
    tasks: int = 0
    """Wanted tasks."""
    reserved_cpus: float = 0.0
    reserved_memory: Bytes = Bytes(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The cluster at a glance."""

    id: str
    spec: ClusterSpec
    version: int
    created_at: datetime
    leader: str = ""
    """Name of the leading manager."""
    managers: tuple[NodeView, ...] = ()
    nodes: int = 0
    nodes_ready: int = 0
    services: int = 0
    tasks_running: int = 0
    term: int = 0
    index: int = 0
    ca_digest: str = ""
    """SHA-256 of the CA certificate (DER), hexadecimal."""
    warren: str = ""
    """Version of the answering manager."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference between two specs, as text for people; secrets are `(hidden)`."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceApplied:
    """Answer to an Apply of a service; the same for a dry run."""

    changed: bool
    before: ServiceSpec | None
    after: ServiceSpec
    changes: tuple[Change, ...] = ()
    plan: tuple[str, ...] = ()
    """Lines that say what happens to tasks: which slot, on which node, in which order."""
    version: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenView:
    """A join token without its secret; `token` is filled only in the answer to its creation."""

    id: str
    role: NodeRole
    created_at: datetime
    expires_at: datetime
    token: str = ""
