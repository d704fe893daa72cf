"""What each node must know: its tasks, its peers, how services are reached, where managers are.

Kept by the dispatcher from state to state: `advance` works out anew only what hangs on tasks,
services and nodes that are other objects than before, and shares the rest. So the difference
between two assignments is found by looking at what is not shared, however large the cluster is,
and is told as a delta.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from warren.core import index, mesh, pins, shares
from warren.core.index import Index
from warren.model.assignments import (
    Assignment,
    AssignmentDelta,
    Endpoint,
    ManagerAddress,
    Peer,
    ServiceTraffic,
)
from warren.model.clusters import ClusterSpec
from warren.model.errors import InvalidInput, NotFound
from warren.model.nodes import Node, NodeState
from warren.model.services import Service
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.model.volumes import Volume
from warren.state import maps
from warren.state.cluster import ClusterState

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignments:
    """The assignments of all nodes at one state."""

    tasks: Index
    services: Mapping[str, ServiceTraffic] = field(default_factory=dict)
    peers: Mapping[str, Peer] = field(default_factory=dict)
    """By node id, in the order of names."""
    managers: tuple[ManagerAddress, ...] = ()
    mtu: int = 0

    @property
    def state(self) -> ClusterState:
        """The state that they are of."""
        return self.tasks.state

    @property
    def index(self) -> int:
        """Of the state."""
        return self.state.index

    def of(self, node_id: str) -> Assignment:
        """NotFound if the cluster has no such node."""
        tasks = self.tasks.tasks_on.get(node_id, {})
        return replace(
            self.without_services(node_id),
            tasks=tuple(sorted(tasks.values(), key=lambda task: task.id)),
            peers=tuple(peer for peer in self.peers.values() if peer.node_id != node_id),
            services=self.services,
            volumes=tuple(volume for _, volume in sorted(_volumes(self.state, node_id).items())),
        )

    def without_services(self, node_id: str) -> Assignment:
        """All that a delta cannot tell."""
        node = self.state.nodes.get(node_id)
        if node is None:
            raise NotFound(f"there is no node {node_id}")
        return Assignment(
            index=self.index,
            spec=self._spec,
            mesh=node.mesh,
            managers=self.managers,
            roles=node.spec.roles,
            mtu=self.mtu,
            mesh_keepalive=node.spec.mesh_keepalive,
            weight=node.spec.weight,
            tells_draining=True,
            labels=node.spec.labels,
        )

    @property
    def _spec(self) -> ClusterSpec:
        assert self.state.cluster is not None, "a node is in a cluster"
        return self.state.cluster.spec


def begin(state: ClusterState) -> Assignments:
    """The assignments of a state of which nothing is known yet."""
    tasks = index.begin(state)
    services = {
        name: _traffic(state, service, tasks.tasks_of.get(name, {}).values())
        for name, service in state.services.items()
    }
    return _with_nodes(Assignments(tasks=tasks, services=maps.large(services)))


def advance(before: Assignments, state: ClusterState) -> Assignments:
    """The assignments of a later state (any, in fact), with all shared that is the same."""
    old = before.state
    if old is state:
        return before
    tasks, concerned = index.advance(before.tasks, state, matters=_share)
    services = before.services
    for name in concerned:
        services = _with_traffic(services, state, name, tasks.tasks_of.get(name, {}).values())
    changed = replace(before, tasks=tasks, services=services)
    if old.nodes is state.nodes and old.cluster is state.cluster:
        return changed
    return _with_nodes(changed)


def _share(node: Node | None) -> int | None:
    """The weight of endpoints on the node; None if there can be none."""
    if node is None or node.status.state is NodeState.DOWN:
        return None
    return node.spec.weight


def _with_traffic(
    services: Mapping[str, ServiceTraffic], state: ClusterState, name: str, tasks: Iterable[Task]
) -> Mapping[str, ServiceTraffic]:
    service = state.services.get(name)
    if service is None:
        return maps.without(services, name) if name in services else services
    traffic = _traffic(state, service, tasks)
    if services.get(name) == traffic:
        return services
    return maps.put(services, name, traffic)


def _traffic(state: ClusterState, service: Service, tasks: Iterable[Task]) -> ServiceTraffic:
    ordered = sorted(tasks, key=lambda task: (task.slot, task.id))
    receiving = _weighed(state, filter(may_receive, ordered))
    rollout = service.live_rollout
    if rollout is not None:
        receiving = shares.divided(rollout, receiving)
    pin = pins.of(rollout)
    return ServiceTraffic(
        name=service.spec.name,
        vip=service.vip,
        ports=service.spec.ports,
        affinity=service.spec.affinity,
        endpoints=tuple(
            endpoint(task, task.status.address, weight, pinned=pins.leads_to(pin, task))
            for task, weight in receiving
        ),
        divided=rollout is not None and rollout.weight is not None,
        draining=tuple(
            endpoint(task, task.status.address, weight)
            for task, weight in _weighed(state, filter(may_have_connections, ordered))
        ),
        pin=pin,
    )


def _weighed(state: ClusterState, tasks: Iterable[Task]) -> shares.Weights:
    """Those on nodes that are there, with the weights of these."""
    return tuple(
        (task, weight)
        for task in tasks
        if (weight := _share(state.nodes.get(task.node_id))) is not None
    )


def may_receive(task: Task) -> bool:
    """Traffic may be sent to the task, if its node is there: it is ready, and it shall run."""
    return task.ready and task.desired is DesiredState.RUNNING and bool(task.status.address)


def may_have_connections(task: Task) -> bool:
    """It receives no new ones, but runs, and may have received some before."""
    if may_receive(task) or not task.status.address:
        return False
    has_been_ready = task.status.health is not Health.STARTING
    return task.status.state is TaskState.STOPPING or (
        task.status.state is TaskState.RUNNING and has_been_ready
    )


def endpoint(task: Task, address: str, weight: int, *, pinned: bool = False) -> Endpoint:
    """The task as a receiver of traffic."""
    return Endpoint(
        address=address,
        task_id=task.id,
        node_id=task.node_id,
        slot=task.slot,
        weight=weight,
        pinned=pinned,
    )


def _with_nodes(assignments: Assignments) -> Assignments:
    """With what is worked out from nodes and settings; equal values stay the same objects."""
    state = assignments.state
    if state.cluster is None:
        return assignments
    spec = state.cluster.spec
    nodes = sorted(state.nodes.values(), key=lambda node: node.spec.name)
    peers = {node.id: mesh.peer(node) for node in nodes}
    same_peers = list(peers.items()) == list(assignments.peers.items())
    return replace(
        assignments,
        peers=assignments.peers if same_peers else peers,
        managers=tuple(manager_address(spec, node) for node in state.managers()),
        mtu=mesh.mtu(spec, nodes),
    )


def manager_address(spec: ClusterSpec, node: Node) -> ManagerAddress:
    """Where a manager answers, by its node's addresses and the cluster's ports."""
    return ManagerAddress(
        node_id=node.id,
        name=node.spec.name,
        api=f"{node.description.address}:{spec.api_port}",
        raft=f"{node.mesh.address}:{spec.raft_port}",
    )


# ------------------------------------------------------------------ deltas


def needs_whole(told: Assignments, newest: Assignments, node_id: str) -> bool:
    """A delta could not tell the node the difference."""
    if told.state.nodes is newest.state.nodes and told.state.cluster is newest.state.cluster:
        return False
    one, other = told.without_services(node_id), newest.without_services(node_id)
    return replace(one, index=0) != replace(other, index=0)


def services_delta(told: Assignments, newest: Assignments) -> AssignmentDelta:
    """The part that is the same for all nodes."""
    changed, gone = _difference(told.services, newest.services)
    return AssignmentDelta(base=0, index=0, services=changed, services_gone=gone)


def node_delta(told: Assignments, newest: Assignments, node_id: str) -> AssignmentDelta:
    """The part that concerns one node."""
    tasks, tasks_gone = _difference(
        told.tasks.tasks_on.get(node_id, {}), newest.tasks.tasks_on.get(node_id, {})
    )
    peers: tuple[Peer, ...] = ()
    peers_gone: tuple[str, ...] = ()
    if told.peers is not newest.peers:
        others = (_others(told.peers, node_id), _others(newest.peers, node_id))
        peers, peers_gone = _difference(*others)
    volumes: tuple[Volume, ...] = ()
    volumes_gone: tuple[str, ...] = ()
    if told.state.volumes is not newest.state.volumes:
        known = (_volumes(told.state, node_id), _volumes(newest.state, node_id))
        volumes, volumes_gone = _difference(*known)
    return AssignmentDelta(
        base=told.index,
        index=newest.index,
        volumes=volumes,
        volumes_gone=volumes_gone,
        tasks=tasks,
        tasks_gone=tasks_gone,
        peers=peers,
        peers_gone=peers_gone,
    )


def says_nothing(delta: AssignmentDelta) -> bool:
    """It changes nothing but the index."""
    return delta == AssignmentDelta(base=delta.base, index=delta.index)


def apply_delta(assignment: Assignment, delta: AssignmentDelta) -> Assignment:
    """The assignment that the delta leads to. InvalidInput if it does not begin at this one."""
    if delta.base != assignment.index:
        message = f"it tells changes since {delta.base}, and {assignment.index} is known"
        raise InvalidInput(message)
    services = assignment.services
    for name in delta.services_gone:
        services = maps.without(services, name)
    for traffic in delta.services:
        services = maps.put(services, traffic.name, traffic)
    tasks, peers = assignment.tasks, assignment.peers
    if delta.tasks or delta.tasks_gone:
        known = {task.id: task for task in tasks if task.id not in delta.tasks_gone}
        known |= {task.id: task for task in delta.tasks}
        tasks = tuple(known[task_id] for task_id in sorted(known))
    if delta.peers or delta.peers_gone:
        others = {peer.node_id: peer for peer in peers if peer.node_id not in delta.peers_gone}
        others |= {peer.node_id: peer for peer in delta.peers}
        peers = tuple(sorted(others.values(), key=lambda peer: peer.name))
    volumes = assignment.volumes
    if delta.volumes or delta.volumes_gone:
        named = {v.spec.name: v for v in volumes if v.spec.name not in delta.volumes_gone}
        named |= {volume.spec.name: volume for volume in delta.volumes}
        volumes = tuple(named[name] for name in sorted(named))
    return replace(
        assignment,
        index=delta.index,
        services=services,
        tasks=tasks,
        peers=peers,
        volumes=volumes,
    )


def sharing(before: Assignment | None, after: Assignment) -> Assignment:
    """`after`, with the services of `before` as far as they are equal: who compares them by
    identity, as the drivers do, finds no change where there is none."""
    services: Mapping[str, ServiceTraffic] = maps.large(after.services)
    if before is None:
        return replace(after, services=services)
    changed, gone = _difference(before.services, services)
    services = before.services
    for name in gone:
        services = maps.without(services, name)
    for traffic in changed:
        services = maps.put(services, traffic.name, traffic)
    return replace(after, services=services)


def _volumes(state: ClusterState, node_id: str) -> Mapping[str, Volume]:
    """Those that tasks of the node could have."""
    return {
        name: volume
        for name, volume in state.volumes.items()
        if volume.node_id in ("", node_id) or not volume.is_local
    }


def _others(peers: Mapping[str, Peer], node_id: str) -> Mapping[str, Peer]:
    return {key: peer for key, peer in peers.items() if key != node_id}


def _difference(
    before: Mapping[str, T], after: Mapping[str, T]
) -> tuple[tuple[T, ...], tuple[str, ...]]:
    """New and changed values, and the keys that are gone, both in the order of keys."""
    changed: list[T] = []
    gone: list[str] = []
    for key in sorted(maps.changed_keys(before, after)):
        value = after.get(key)
        if value is None:
            gone.append(key)
        elif before.get(key) != value:
            changed.append(value)
    return tuple(changed), tuple(gone)
