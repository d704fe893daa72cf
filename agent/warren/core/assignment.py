"""What each node must know: its tasks, its peers, the ports to publish, where the managers are.

Called by the dispatcher for every session after each change of the state. What is the same for all
nodes is worked out once, in `Assignments`; the order of everything is fixed, so that an unchanged
assignment compares equal (but for `index`) and need not be sent.
"""

from collections import defaultdict
from dataclasses import replace

from warren.model.assignments import (
    Assignment,
    Endpoint,
    ManagerAddress,
    Peer,
    PublishedPort,
)
from warren.model.clusters import ClusterSpec
from warren.model.errors import NotFound
from warren.model.nodes import Node, NodeState
from warren.model.services import Service
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state.cluster import ClusterState


def assignment_for(state: ClusterState, node_id: str) -> Assignment:
    """The assignment of one node. NotFound if the cluster has no such node."""
    return Assignments(state).of(node_id)


def same(one: Assignment, other: Assignment) -> bool:
    """They ask the same of the node: all is equal but for the index."""
    return replace(one, index=0) == replace(other, index=0)


class Assignments:
    """The assignments of all nodes at one state; `of` is cheap."""

    def __init__(self, state: ClusterState) -> None:
        assert state.cluster is not None, "a node is in a cluster"
        self._state = state
        self._spec: ClusterSpec = state.cluster.spec
        self._tasks: defaultdict[str, list[Task]] = defaultdict(list)
        receivers: defaultdict[str, list[Task]] = defaultdict(list)
        for task in state.tasks.values():
            self._tasks[task.node_id].append(task)
            if _may_receive(state, task):
                receivers[task.service].append(task)
        self._ports = tuple(
            port
            for name, service in sorted(state.services.items())
            for port in _ports(service, receivers[name])
        )
        nodes = sorted(state.nodes.values(), key=lambda node: node.spec.name)
        self._peers = tuple(_peer(node) for node in nodes)
        self._managers = tuple(manager_address(self._spec, node) for node in state.managers())

    def of(self, node_id: str) -> Assignment:
        """NotFound if the cluster has no such node."""
        node = self._state.nodes.get(node_id)
        if node is None:
            raise NotFound(f"there is no node {node_id}")
        return Assignment(
            index=self._state.index,
            tasks=tuple(sorted(self._tasks.get(node_id, ()), key=lambda task: task.id)),
            peers=tuple(peer for peer in self._peers if peer.node_id != node_id),
            ports=self._ports,
            spec=self._spec,
            mesh=node.mesh,
            managers=self._managers,
            roles=node.spec.roles,
        )


def manager_address(spec: ClusterSpec, node: Node) -> ManagerAddress:
    """Where a manager answers, by its node's addresses and the cluster's ports."""
    return ManagerAddress(
        node_id=node.id,
        name=node.spec.name,
        api=f"{node.description.address}:{spec.api_port}",
        raft=f"{node.mesh.address}:{spec.raft_port}",
    )


def _may_receive(state: ClusterState, task: Task) -> bool:
    """Traffic may be sent to the task: it runs, shall run, and its node is there."""
    node = state.nodes.get(task.node_id)
    return (
        task.status.state is TaskState.RUNNING
        and task.desired is DesiredState.RUNNING
        and bool(task.status.address)
        and node is not None
        and node.status.state is not NodeState.DOWN
    )


def _ports(service: Service, receivers: list[Task]) -> list[PublishedPort]:
    published = [port for port in service.spec.ports if port.published]
    if not published:
        return []
    receivers.sort(key=lambda task: (task.slot, task.id))
    return [
        PublishedPort(
            service=service.spec.name,
            published=port.published,
            protocol=port.protocol,
            mode=port.mode,
            endpoints=tuple(
                Endpoint(
                    address=task.status.address,
                    port=port.target,
                    task_id=task.id,
                    node_id=task.node_id,
                )
                for task in receivers
            ),
        )
        for port in sorted(published, key=lambda port: (port.published, port.protocol.value))
    ]


def _peer(node: Node) -> Peer:
    return Peer(
        node_id=node.id,
        name=node.spec.name,
        public_key=node.mesh.public_key,
        endpoint=node.mesh.endpoint,
        address=node.mesh.address,
        subnet=node.mesh.subnet,
    )
