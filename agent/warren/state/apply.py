"""`apply`: the one function that changes the replicated state. Total, deterministic, no clock.

It never raises: what cannot be done is a `Rejected` outcome, and the state is the same value as
before but for its index. Every manager runs it on the same commands in the same order, so any
difference between two versions of this file is a split brain: change meanings only behind a new
command.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import TypeVar, assert_never

from warren.model.nodes import Node, NodeMesh, NodeState
from warren.model.records import replace
from warren.model.services import Service, same_template
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state import apply_rollouts, apply_secrets, apply_volumes, maps
from warren.state import commands as c
from warren.state.cluster import ClusterState
from warren.state.refusals import Refusal

T = TypeVar("T")
_DESIRED = {desired: place for place, desired in enumerate(DesiredState)}


def apply(state: ClusterState, command: c.Command) -> tuple[ClusterState, c.Outcome]:
    """The state after `command`, and what became of it. `index` grows by one in either case."""
    state = replace(state, index=state.index + 1)
    try:
        return _apply(state, command), c.Applied(index=state.index)
    except Refusal as refusal:
        outcome = c.Rejected(index=state.index, reason=refusal.reason, message=refusal.message)
        return state, outcome


def _apply(state: ClusterState, command: c.Command) -> ClusterState:  # noqa: C901 - one row per command
    if state.cluster is None and not isinstance(command, c.CreateCluster | c.Batch):
        raise Refusal("FailedPrecondition", "there is no cluster yet")
    match command:
        case c.Batch():
            return _batch(state, command)
        case c.CreateCluster():
            return _create_cluster(state, command)
        case c.PutClusterSpec():
            return _put_cluster_spec(state, command)
        case c.PutService():
            return _put_service(state, command)
        case c.StartRollout():
            return _start_rollout(state, command)
        case c.SetRollout():
            service = _staying(state, command.service)
            return _with_service(state, apply_rollouts.go_on(service, command, state.index))
        case c.RecordAnalysis():
            service = _staying(state, command.service)
            return _with_service(state, apply_rollouts.record(service, command, state.index))
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
        case (
            c.SetNodeSeenAddress()
            | c.RequestKeyRotation()
            | c.OfferNodeKey()
            | c.AllowKeySwitch()
            | c.FinishKeyRotation()
        ):
            node = _existing(state.nodes, command.node_id, "node")
            return _with_node(state, replace(node, mesh=_new_mesh(state, node, command)))
        case c.SetHeldPorts():
            node = _existing(state.nodes, command.node_id, "node")
            return _with_node(state, replace(node, held_ports=command.ports))
        case c.RemoveNode():
            return _remove_node(state, command)
        case (
            c.CreateTask()
            | c.AssignTask()
            | c.SetTaskDesired()
            | c.WithdrawTask()
            | c.SetTaskStatus()
            | c.ReplaceTask()
            | c.RemoveTask()
        ):
            if isinstance(command, c.AssignTask):
                state = _with_its_volumes(state, command)
            tasks = maps.Draft(state.tasks)
            _change_task(state, tasks, command)
            return replace(state, tasks=tasks.mapping())
        case c.SetServiceVip():
            return _set_service_vip(state, command)
        case c.AddJoinToken():
            return replace(state, tokens=maps.put(state.tokens, command.token.id, command.token))
        case c.RemoveJoinToken():
            _existing(state.tokens, command.token_id, "join token")
            return replace(state, tokens=maps.without(state.tokens, command.token_id))
        case c.SetSecretKeys():
            if state.secret_keys is not None:
                raise Refusal("AlreadyExists", "secrets have keys already")
            return replace(state, secret_keys=command.keys)
        case c.AddSecretKey():
            return apply_secrets.add_key(state, command)
        case c.LockSecretKeys():
            return apply_secrets.lock(state, command)
        case c.ResealSecrets():
            return apply_secrets.reseal(state, command)
        case c.PutSecret() | c.PutConfig():
            return apply_secrets.put(state, command)
        case c.RemoveSecret() | c.RemoveConfig():
            return apply_secrets.remove(state, command)
        case c.PutVolume():
            return apply_volumes.put(state, command)
        case c.RemoveVolume():
            return apply_volumes.remove(state, command)
        case c.ForgetVolume():
            return apply_volumes.forget(state, command)
        case c.ReleaseVolume():
            return apply_volumes.release(state, command)
        case _:
            assert_never(command)


def _batch(state: ClusterState, batch: c.Batch) -> ClusterState:
    """Members stand alone: one that is refused leaves the others in effect."""
    tasks = maps.Draft(state.tasks)
    for member in batch.commands:
        try:
            if isinstance(member, c.TaskCommand) and not _concerns_volumes(tasks, member):
                _change_task(state, tasks, member)
            else:
                state = _apply(replace(state, tasks=tasks.mapping()), member)
                tasks = maps.Draft(state.tasks)
        except Refusal:
            continue
    return replace(state, tasks=tasks.mapping())


def _concerns_volumes(tasks: maps.Draft[Task], command: c.TaskCommand) -> bool:
    """It depends on other tasks, and changes more than its own."""
    if not isinstance(command, c.AssignTask):
        return False
    task = tasks.get(command.task_id)
    return task is not None and bool(task.template.mounts)


def _with_its_volumes(state: ClusterState, command: c.AssignTask) -> ClusterState:
    task, node = state.tasks.get(command.task_id), state.nodes.get(command.node_id)
    if task is None or node is None:
        return state
    return apply_volumes.assigned(state, task, node)


def _create_cluster(state: ClusterState, command: c.CreateCluster) -> ClusterState:
    if state.cluster is not None:
        raise Refusal("AlreadyExists", f"this log holds cluster {state.cluster.spec.name}")
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
    apply_secrets.require_references(state, command.spec)
    apply_volumes.require_mounts(state, command.spec)
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
        raise Refusal("FailedPrecondition", f"service {name} is being removed")
    else:
        _expect(before.version, command.expected_version, f"service {name}")
        number = before.revision
        if not same_template(before.spec, command.spec):
            number = max(before.revision, before.last_revision) + 1
            if before.last_revision:
                before = apply_rollouts.superseded_by_put(before, command, number)
        service = replace(
            before,
            spec=command.spec,
            version=state.index,
            revision=number,
            updated_at=command.now,
        )
    return _with_service(state, service)


def _start_rollout(state: ClusterState, command: c.StartRollout) -> ClusterState:
    before = _staying(state, command.spec.name)
    _expect(before.version, command.expected_version, f"service {command.spec.name}")
    apply_secrets.require_references(state, command.spec)
    apply_volumes.require_mounts(state, command.spec)
    return _with_service(state, apply_rollouts.start(before, command, state.index))


def _staying(state: ClusterState, name: str) -> Service:
    service = _existing(state.services, name, "service")
    if service.removing:
        raise Refusal("FailedPrecondition", f"service {name} is being removed")
    return service


def _with_service(state: ClusterState, service: Service) -> ClusterState:
    return replace(state, services=maps.put(state.services, service.spec.name, service))


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
        raise Refusal("FailedPrecondition", f"service {command.name} is not being removed")
    if any(not task.status.state.terminal for task in state.tasks_of(command.name)):
        raise Refusal("FailedPrecondition", f"service {command.name} has tasks that live")
    tasks = state.tasks
    for task in state.tasks_of(command.name):
        tasks = maps.without(tasks, task.id)
    return replace(state, services=maps.without(state.services, command.name), tasks=tasks)


def _add_node(state: ClusterState, command: c.AddNode) -> ClusterState:
    node = command.node
    subnet = _subnet(node)
    for other in state.nodes.values():
        if other.id == node.id or other.spec.name == node.spec.name:
            raise Refusal("AlreadyExists", f"a node named {other.spec.name} is in the cluster")
        if other.mesh.address == node.mesh.address:
            raise Refusal("Conflict", f"{other.spec.name} has mesh address {node.mesh.address}")
        if _subnet(other).overlaps(subnet):
            raise Refusal("Conflict", f"{other.spec.name} has task subnet {other.mesh.subnet}")
        if other.mesh.public_key == node.mesh.public_key:
            raise Refusal("AlreadyExists", f"{other.spec.name} has the same mesh key")
    return _with_node(state, replace(node, version=state.index))


def _put_node_spec(state: ClusterState, command: c.PutNodeSpec) -> ClusterState:
    node = _existing(state.nodes, command.node_id, "node")
    _expect(node.version, command.expected_version, f"node {node.spec.name}")
    if command.spec.name != node.spec.name and state.node_named(command.spec.name):
        raise Refusal("AlreadyExists", f"a node named {command.spec.name} is in the cluster")
    return _with_node(state, replace(node, spec=command.spec, version=state.index))


def _set_node_public_key(state: ClusterState, command: c.SetNodePublicKey) -> ClusterState:
    node = _existing(state.nodes, command.node_id, "node")
    for other in state.nodes.values():
        if other.id != node.id and other.mesh.public_key == command.public_key:
            raise Refusal("AlreadyExists", f"{other.spec.name} has the same mesh key")
    mesh = replace(node.mesh, public_key=command.public_key, endpoint=command.endpoint)
    return _with_node(state, replace(node, mesh=mesh))


def _new_mesh(
    state: ClusterState,
    node: Node,
    command: c.SetNodeSeenAddress
    | c.RequestKeyRotation
    | c.OfferNodeKey
    | c.AllowKeySwitch
    | c.FinishKeyRotation,
) -> NodeMesh:
    """The node's place in the mesh after a command that concerns nothing else of it.

    A rotation: asked for, offered, allowed, finished. Each step may be repeated; an offer of
    another key goes back to the second, because a host may have lost the first.
    """
    mesh = node.mesh
    match command:
        case c.SetNodeSeenAddress():
            return replace(mesh, seen_address=command.address)
        case c.RequestKeyRotation():
            return replace(mesh, rotating=True)
        case c.OfferNodeKey():
            if not mesh.rotating:
                raise Refusal("FailedPrecondition", f"nobody asked {node.spec.name} for a key")
            if command.public_key == mesh.next_public_key:
                return mesh
            _check_unused_key(state, node, command.public_key)
            return replace(
                mesh,
                next_public_key=command.public_key,
                switching=False,
                offered_index=state.index,
            )
        case c.AllowKeySwitch():
            if not command.public_key or command.public_key != mesh.next_public_key:
                raise Refusal("Conflict", f"{node.spec.name} has offered another key meanwhile")
            return replace(mesh, switching=True)
        case c.FinishKeyRotation():
            if command.public_key == mesh.public_key:
                return mesh
            if not mesh.switching or command.public_key != mesh.next_public_key:
                raise Refusal("Conflict", f"{node.spec.name} has not been told to switch keys")
            return replace(
                mesh,
                public_key=command.public_key,
                next_public_key="",
                rotating=False,
                switching=False,
                key_since=command.now,
            )
        case _:
            assert_never(command)


def _check_unused_key(state: ClusterState, node: Node, key: str) -> None:
    """A key belongs to one node, be it the one in use or the next."""
    for other in state.nodes.values():
        if key == other.mesh.public_key or (
            other.id != node.id and key == other.mesh.next_public_key
        ):
            raise Refusal("AlreadyExists", f"{other.spec.name} has the same mesh key")


def _remove_node(state: ClusterState, command: c.RemoveNode) -> ClusterState:
    node = _existing(state.nodes, command.node_id, "node")
    tasks = state.tasks
    for task in state.tasks_on(node.id):
        if not task.status.state.terminal:
            status = replace(
                task.status,
                state=TaskState.LOST,
                since=command.now,
                message=f"node {node.spec.name} was removed",
                address="",
            )
            lost = replace(task, status=status, version=state.index)
            tasks = maps.put(tasks, task.id, lost)
    return replace(state, nodes=maps.without(state.nodes, node.id), tasks=tasks)


def _change_task(state: ClusterState, tasks: maps.Draft[Task], command: c.TaskCommand) -> None:
    """What the command makes of a task. Of the state all is read but its tasks, which `tasks` are
    further on in a batch."""
    match command:
        case c.CreateTask():
            _create_task(state, tasks, command)
        case c.AssignTask():
            _assign_task(state, tasks, command)
        case c.SetTaskDesired():
            _set_task_desired(state, tasks, command)
        case c.WithdrawTask():
            task = _existing(tasks, command.task_id, "task")
            tasks.put(task.id, replace(task, withdrawn_at=command.now))
        case c.SetTaskStatus():
            _set_task_status(state, tasks, command)
        case c.ReplaceTask():
            task = _existing(tasks, command.task_id, "task")
            tasks.put(task.id, replace(task, leaving=True, version=state.index))
        case c.RemoveTask():
            _remove_task(tasks, command)
        case _:
            assert_never(command)


def _create_task(state: ClusterState, tasks: maps.Draft[Task], command: c.CreateTask) -> None:
    task = command.task
    if tasks.get(task.id) is not None:
        raise Refusal("AlreadyExists", f"task {task.id} exists")
    if task.status.state is not TaskState.PENDING or task.node_id:
        raise Refusal("InvalidInput", f"new task {task.id} is not pending without a node")
    service = _existing(state.services, task.service, "service")
    if service.removing:
        raise Refusal("FailedPrecondition", f"service {task.service} is being removed")
    tasks.put(task.id, replace(task, version=state.index))


def _assign_task(state: ClusterState, tasks: maps.Draft[Task], command: c.AssignTask) -> None:
    task = _existing(tasks, command.task_id, "task")
    node = _existing(state.nodes, command.node_id, "node")
    if task.status.state is not TaskState.PENDING:
        raise Refusal("Conflict", f"task {task.id} is {task.status.state.value}")
    if not task.wanted:
        raise Refusal("Conflict", f"task {task.id} is not wanted any more")
    if node.status.state is NodeState.DOWN:
        raise Refusal("Conflict", f"node {node.spec.name} is down")
    status = replace(task.status, state=TaskState.ASSIGNED, since=command.now, message="")
    tasks.put(task.id, replace(task, node_id=node.id, status=status, version=state.index))


def _set_task_desired(
    state: ClusterState, tasks: maps.Draft[Task], command: c.SetTaskDesired
) -> None:
    """Only ever later in the order: two leaders that overlap must not wake what one has stopped."""
    task = _existing(tasks, command.task_id, "task")
    if _DESIRED[command.desired] < _DESIRED[task.desired]:
        raise Refusal("Conflict", f"task {task.id} shall be {task.desired.value} already")
    since = task.draining_since
    if command.desired is DesiredState.DRAINING:
        if command.now is None:
            raise Refusal("InvalidInput", f"since when task {task.id} drains is not said")
        if task.desired is not DesiredState.DRAINING:
            since = command.now
    changed = replace(task, desired=command.desired, draining_since=since, version=state.index)
    tasks.put(task.id, changed)


def _set_service_vip(state: ClusterState, command: c.SetServiceVip) -> ClusterState:
    """A service keeps its address for life; two never have the same."""
    service = _existing(state.services, command.name, "service")
    assert state.cluster is not None, "checked for every command"
    if service.vip:
        raise Refusal("AlreadyExists", f"service {command.name} has address {service.vip}")
    if not _is_in(command.vip, state.cluster.spec.vip_network):
        pool = state.cluster.spec.vip_network
        raise Refusal("InvalidInput", f"{command.vip} is not in vip_network {pool}")
    for other in state.services.values():
        if other.vip == command.vip:
            raise Refusal("Conflict", f"service {other.spec.name} has address {command.vip}")
    changed = replace(service, vip=command.vip)
    return replace(state, services=maps.put(state.services, command.name, changed))


def _is_in(address: str, network: str) -> bool:
    try:
        return IPv4Address(address) in IPv4Network(network)
    except ValueError:
        return False


def _set_task_status(
    state: ClusterState, tasks: maps.Draft[Task], command: c.SetTaskStatus
) -> None:
    task = _existing(tasks, command.task_id, "task")
    if task.status.state.terminal:
        raise Refusal("Conflict", f"task {task.id} is {task.status.state.value}, which is final")
    is_pending = task.status.state is TaskState.PENDING
    if command.status.state is TaskState.PENDING and not is_pending:
        raise Refusal("Conflict", f"task {task.id} is {task.status.state.value}, not pending")
    if is_pending and not (
        command.status.state is TaskState.PENDING or command.status.state.terminal
    ):
        raise Refusal("Conflict", f"task {task.id} has no node that could report on it")
    tasks.put(task.id, replace(task, status=command.status, version=state.index))


def _remove_task(tasks: maps.Draft[Task], command: c.RemoveTask) -> None:
    task = tasks.get(command.task_id)
    if task is None:
        return
    if not task.status.state.terminal:
        raise Refusal("FailedPrecondition", f"task {task.id} is {task.status.state.value}")
    tasks.put(task.id, None)


def _subnet(node: Node) -> IPv4Network:
    try:
        return IPv4Network(node.mesh.subnet)
    except ValueError as error:
        message = f"{node.mesh.subnet!r} is no subnet: {error}"
        raise Refusal("InvalidInput", message) from error


def _with_node(state: ClusterState, node: Node) -> ClusterState:
    return replace(state, nodes=maps.put(state.nodes, node.id, node))


def _existing(mapping: Mapping[str, T] | maps.Draft[T], key: str, noun: str) -> T:
    found = mapping.get(key)
    if found is None:
        raise Refusal("NotFound", f"there is no {noun} {key}")
    return found


def _expect(version: int, expected: int, what: str) -> None:
    if version != expected:
        raise Refusal("Conflict", f"{what} was changed: version {version}, not {expected}")
