"""`ClusterState`: everything that the managers agree on, as one immutable value."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from warren.model.clusters import Cluster, JoinToken
from warren.model.nodes import Node, NodeRole
from warren.model.secrets import SecretKeys, VersionedConfig, VersionedSecret
from warren.model.services import Service
from warren.model.tasks import Task
from warren.model.volumes import Volume
from warren.state import groups


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterState:
    """A snapshot. Mappings are never changed in place, so holding one is free and safe."""

    index: int = 0
    """Number of commands applied."""
    cluster: Cluster | None = None
    """None until the first command, `CreateCluster`."""
    nodes: Mapping[str, Node] = field(default_factory=dict)
    """By node id."""
    services: Mapping[str, Service] = field(default_factory=dict)
    """By service name."""
    tasks: Mapping[str, Task] = field(default_factory=dict)
    """By task id."""
    tokens: Mapping[str, JoinToken] = field(default_factory=dict)
    """By token id."""
    secrets: Mapping[str, VersionedSecret] = field(default_factory=dict)
    """By name."""
    configs: Mapping[str, VersionedConfig] = field(default_factory=dict)
    """By name."""
    secret_keys: SecretKeys | None = None
    """None until the first secret."""
    volumes: Mapping[str, Volume] = field(default_factory=dict)
    """By name."""

    def node_named(self, name: str) -> Node | None:
        """The node of that name; names are unique."""
        return next((node for node in self.nodes.values() if node.spec.name == name), None)

    def tasks_of(self, service: str) -> tuple[Task, ...]:
        """Tasks of a service, by id."""
        return _by_id(groups.of(self.tasks).by_service.get(service))

    def tasks_on(self, node_id: str) -> tuple[Task, ...]:
        """Tasks assigned to a node, by id."""
        return _by_id(groups.of(self.tasks).by_node.get(node_id))

    def managers(self) -> tuple[Node, ...]:
        """Nodes with the manager role, by name."""
        found = (n for n in self.nodes.values() if NodeRole.MANAGER in n.spec.roles)
        return tuple(sorted(found, key=lambda node: node.spec.name))


def _by_id(tasks: groups.Tasks | None) -> tuple[Task, ...]:
    return tuple(task for _, task in sorted(tasks.items())) if tasks else ()
