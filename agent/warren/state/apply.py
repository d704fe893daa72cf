"""`apply`: the one function that changes the replicated state. Total, deterministic, no clock.

It never raises: what cannot be done is a `Rejected` outcome, and the state is the same value as
before but for its index. Every manager runs it on the same commands in the same order, so any
difference between two versions of this file is a split brain: change meanings only behind a new
command.
"""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Network
from typing import TypeVar, assert_never

from warren.model.nodes import Node, NodeState
from warren.model.services import Service, same_template
from warren.model.tasks import TaskState
from warren.state import commands as c
from warren.state import maps
from warren.state.cluster import ClusterState

T = TypeVar("T")


class _Refusal(Exception):
    """Ends the handling of one command; becomes a `Rejected`."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason = reason
        self.message = message


def apply(state: ClusterState, command: c.Command) -> tuple[ClusterState, c.Outcome]:
    """The state after `command`, and what became of it. `index` grows by one in either case."""
    state = replace(state, index=state.index + 1)
    try:
        return _apply(state, command), c.Applied(index=state.index)
    except _Refusal as refusal:
        outcome = c.Rejected(index=state.index, reason=refusal.reason, message=refusal.message)
        return state, outcome


def _apply(state: ClusterState, command: c.Command) -> ClusterState:  # noqa: C901 - one row per command
    if state.cluster is None and not isinstance(command, c.CreateCluster | c.Batch):
        raise _Refusal("FailedPrecondition", "there is no cluster yet")
    match command:
        case c.Batch():
            return _batch(state, command)
        case c.CreateCluster():
            return _create_cluster(state, command)
        case c.PutClusterSpec():
            return _put_cluster_spec(state, command)
        case c.PutService():
            return _put_service(state, command)
        case c.RemoveService():
            return _remove_service(state, command)
        case c.ForgetService():
            return _forget_service(state, command)
        case c.AddNode():
            return _add_node(state, command)
        case c.PutNodeSpec():
            return _put_node_spec(state, command)
        case c.SetNodeDescription():
            node = _existing(state.nodes, command.node_id, "node")
            return _with_node(state, replace(node, description=command.description))
        case c.SetNodeStatus():
            node = _existing(state.nodes, command.node_id, "node")
            return _with_node(state, replace(node, status=command.status))
        case c.SetNodePublicKey():
            return _set_node_public_key(state, command)
        case c.RemoveNode():
            return _remove_node(state, command)
        case c.CreateTask():
            return _create_task(state, command)
        case c.AssignTask():
            return _assign_task(state, command)
        case c.SetTaskDesired():
            task = _existing(state.tasks, command.task_id, "task")
            changed = replace(task, desired=command.desired, version=state.index)
            return replace(state, tasks=maps.put(state.tasks, task.id, changed))
        case c.SetTaskStatus():
            return _set_task_status(state, command)
        case c.RemoveTask():
            return _remove_task(state, command)
        case c.AddJoinToken():
            return replace(state, tokens=maps.put(state.tokens, command.token.id, command.token))
        case c.RemoveJoinToken():
            _existing(state.tokens, command.token_id, "join token")
            return replace(state, tokens=maps.without(state.tokens, command.token_id))
        case _:
            assert_never(command)


def _batch(state: ClusterState, batch: c.Batch) -> ClusterState:
    """Members stand alone: one that is refused leaves the others in effect."""
    for member in batch.commands:
        try:
            state = _apply(state, member)
        except _Refusal:
            continue
    return state


def _create_cluster(state: ClusterState, command: c.CreateCluster) -> ClusterState:
    if state.cluster is not None:
        raise _Refusal("AlreadyExists", f"this log holds cluster {state.cluster.spec.name}")
    _subnet(command.node)
    node = replace(command.node, version=state.index)
    cluster = replace(command.cluster, version=state.index)
    return replace(state, cluster=cluster, nodes={node.id: node})


def _put_cluster_spec(state: ClusterState, command: c.PutClusterSpec) -> ClusterState:
    cluster = state.cluster
    assert cluster is not None, "checked for every command"
    _expect(cluster.version, command.expected_version, f"cluster {cluster.spec.name}")
    return replace(state, cluster=replace(cluster, spec=command.spec, version=state.index))


def _put_service(state: ClusterState, command: c.PutService) -> ClusterState:
    name = command.spec.name
    before = state.services.get(name)
    if before is None:
        _expect(0, command.expected_version, f"service {name}")
        service = Service(
            spec=command.spec,
            version=state.index,
            revision=1,
            created_at=command.now,
            updated_at=command.now,
        )
    elif before.removing:
        raise _Refusal("FailedPrecondition", f"service {name} is being removed")
    else:
        _expect(before.version, command.expected_version, f"service {name}")
        new_revision = not same_template(before.spec, command.spec)
        service = replace(
            before,
            spec=command.spec,
            version=state.index,
            revision=before.revision + new_revision,
            updated_at=command.now,
        )
    return replace(state, services=maps.put(state.services, name, service))


def _remove_service(state: ClusterState, command: c.RemoveService) -> ClusterState:
    before = _existing(state.services, command.name, "service")
    if command.expected_version:
        _expect(before.version, command.expected_version, f"service {command.name}")
    if before.removing:
        return state
    service = replace(before, removing=True, updated_at=command.now, version=state.index)
    return replace(state, services=maps.put(state.services, command.name, service))


def _forget_service(state: ClusterState, command: c.ForgetService) -> ClusterState:
    """Its ended tasks go with it, so that no task is ever without its service."""
    service = _existing(state.services, command.name, "service")
    if not service.removing:
        raise _Refusal("FailedPrecondition", f"service {command.name} is not being removed")
    if any(not task.status.state.terminal for task in state.tasks_of(command.name)):
        raise _Refusal("FailedPrecondition", f"service {command.name} has tasks that live")
    tasks = {task.id: task for task in state.tasks.values() if task.service != command.name}
    return replace(state, services=maps.without(state.services, command.name), tasks=tasks)


def _add_node(state: ClusterState, command: c.AddNode) -> ClusterState:
    node = command.node
    subnet = _subnet(node)
    for other in state.nodes.values():
        if other.id == node.id or other.spec.name == node.spec.name:
            raise _Refusal("AlreadyExists", f"a node named {other.spec.name} is in the cluster")
        if other.mesh.address == node.mesh.address:
            raise _Refusal("Conflict", f"{other.spec.name} has mesh address {node.mesh.address}")
        if _subnet(other).overlaps(subnet):
            raise _Refusal("Conflict", f"{other.spec.name} has task subnet {other.mesh.subnet}")
        if other.mesh.public_key == node.mesh.public_key:
            raise _Refusal("AlreadyExists", f"{other.spec.name} has the same mesh key")
    return _with_node(state, replace(node, version=state.index))


def _put_node_spec(state: ClusterState, command: c.PutNodeSpec) -> ClusterState:
    node = _existing(state.nodes, command.node_id, "node")
    _expect(node.version, command.expected_version, f"node {node.spec.name}")
    if command.spec.name != node.spec.name and state.node_named(command.spec.name):
        raise _Refusal("AlreadyExists", f"a node named {command.spec.name} is in the cluster")
    return _with_node(state, replace(node, spec=command.spec, version=state.index))


def _set_node_public_key(state: ClusterState, command: c.SetNodePublicKey) -> ClusterState:
    node = _existing(state.nodes, command.node_id, "node")
    for other in state.nodes.values():
        if other.id != node.id and other.mesh.public_key == command.public_key:
            raise _Refusal("AlreadyExists", f"{other.spec.name} has the same mesh key")
    mesh = replace(node.mesh, public_key=command.public_key, endpoint=command.endpoint)
    return _with_node(state, replace(node, mesh=mesh))


def _remove_node(state: ClusterState, command: c.RemoveNode) -> ClusterState:
    node = _existing(state.nodes, command.node_id, "node")
    tasks = dict(state.tasks)
    for task in state.tasks_on(node.id):
        if not task.status.state.terminal:
            status = replace(
                task.status,
                state=TaskState.LOST,
                since=command.now,
                message=f"node {node.spec.name} was removed",
                address="",
            )
            tasks[task.id] = replace(task, status=status, version=state.index)
    return replace(state, nodes=maps.without(state.nodes, node.id), tasks=tasks)


def _create_task(state: ClusterState, command: c.CreateTask) -> ClusterState:
    task = command.task
    if task.id in state.tasks:
        raise _Refusal("AlreadyExists", f"task {task.id} exists")
    if task.status.state is not TaskState.PENDING or task.node_id:
        raise _Refusal("InvalidInput", f"new task {task.id} is not pending without a node")
    service = _existing(state.services, task.service, "service")
    if service.removing:
        raise _Refusal("FailedPrecondition", f"service {task.service} is being removed")
    return replace(state, tasks=maps.put(state.tasks, task.id, replace(task, version=state.index)))


def _assign_task(state: ClusterState, command: c.AssignTask) -> ClusterState:
    task = _existing(state.tasks, command.task_id, "task")
    node = _existing(state.nodes, command.node_id, "node")
    if task.status.state is not TaskState.PENDING:
        raise _Refusal("Conflict", f"task {task.id} is {task.status.state.value}")
    if not task.wanted:
        raise _Refusal("Conflict", f"task {task.id} is not wanted any more")
    if node.status.state is NodeState.DOWN:
        raise _Refusal("Conflict", f"node {node.spec.name} is down")
    status = replace(task.status, state=TaskState.ASSIGNED, since=command.now, message="")
    assigned = replace(task, node_id=node.id, status=status, version=state.index)
    return replace(state, tasks=maps.put(state.tasks, task.id, assigned))


def _set_task_status(state: ClusterState, command: c.SetTaskStatus) -> ClusterState:
    task = _existing(state.tasks, command.task_id, "task")
    if task.status.state.terminal:
        raise _Refusal("Conflict", f"task {task.id} is {task.status.state.value}, which is final")
    is_pending = task.status.state is TaskState.PENDING
    if command.status.state is TaskState.PENDING and not is_pending:
        raise _Refusal("Conflict", f"task {task.id} is {task.status.state.value}, not pending")
    if is_pending and not (
        command.status.state is TaskState.PENDING or command.status.state.terminal
    ):
        raise _Refusal("Conflict", f"task {task.id} has no node that could report on it")
    changed = replace(task, status=command.status, version=state.index)
    return replace(state, tasks=maps.put(state.tasks, task.id, changed))


def _remove_task(state: ClusterState, command: c.RemoveTask) -> ClusterState:
    task = state.tasks.get(command.task_id)
    if task is None:
        return state
    if not task.status.state.terminal:
        raise _Refusal("FailedPrecondition", f"task {task.id} is {task.status.state.value}")
    return replace(state, tasks=maps.without(state.tasks, task.id))


def _subnet(node: Node) -> IPv4Network:
    try:
        return IPv4Network(node.mesh.subnet)
    except ValueError as error:
        message = f"{node.mesh.subnet!r} is no subnet: {error}"
        raise _Refusal("InvalidInput", message) from error


def _with_node(state: ClusterState, node: Node) -> ClusterState:
    return replace(state, nodes=maps.put(state.nodes, node.id, node))


def _existing(mapping: Mapping[str, T], key: str, noun: str) -> T:
    found = mapping.get(key)
    if found is None:
        raise _Refusal("NotFound", f"there is no {noun} {key}")
    return found


def _expect(version: int, expected: int, what: str) -> None:
    if version != expected:
        raise _Refusal("Conflict", f"{what} was changed: version {version}, not {expected}")
