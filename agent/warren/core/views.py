"""What reads answer: stored objects, with what can be computed from them, without their secrets.

Called by the API at each read and for each watcher at each change. The reason of a service is the
one line that a waiting user is shown, so it names the first thing that stands in the way.
"""

import base64
import binascii
import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from warren.core import drain, eligible, failures, hiding, names, rollout_views, vips
from warren.model import units
from warren.model.errors import NotFound
from warren.model.nodes import Availability, Node, NodeState
from warren.model.services import Bytes, Service
from warren.model.tasks import Health, Task, TaskState
from warren.model.views import ClusterView, NodeView, RolloutView, ServiceStatus, ServiceView
from warren.state.cluster import ClusterState


def service_view(
    state: ClusterState, name: str, now: datetime, behind: Collection[Node] = ()
) -> ServiceView:
    """A service with its tasks. NotFound if there is none of that name. `behind`: nodes that do not
    send it traffic yet as the state says."""
    service = state.services.get(name)
    if service is None:
        raise NotFound(f"there is no service {name}")
    tasks = _in_order(state.tasks_of(name))
    return ServiceView(
        service=hiding.of_service(service),
        status=service_status(state, service, tasks, behind),
        tasks=tuple(_shown(task) for task in tasks),
        node_names=tuple(names.node_name(state, task) for task in tasks),
        rollout=_rollout(state, service, tasks, now),
    )


def _rollout(
    state: ClusterState, service: Service, tasks: tuple[Task, ...], now: datetime
) -> RolloutView | None:
    newest = service.rollout
    if newest is None or service.removing:
        return None
    return rollout_views.view(state, service, tasks, now, newest)


def _shown(task: Task) -> Task:
    """A task as reads answer it: without secrets, and while it drains with what it waits for."""
    task = replace(task, template=hiding.hide(task.template))
    if not drain.is_draining(task) or task.status.state is not TaskState.RUNNING:
        return task
    return replace(task, status=replace(task.status, message=_draining(task)))


def service_status(
    state: ClusterState,
    service: Service,
    tasks: tuple[Task, ...],
    behind: Collection[Node] = (),
) -> ServiceStatus:
    """How far a service is. `tasks` are all of its tasks, `behind` as for its view."""
    within = eligible.numbers(state, service, tasks)
    desired = len(within)
    held = [t for t in tasks if t.slot not in within and eligible.is_held(state, service, t)]
    tasks = tuple(task for task in tasks if task not in held) if held else tasks
    live = [task for task in tasks if not task.status.state.terminal]
    running = [task for task in live if task.ready]
    up_to_date = [t for t in running if t.wanted and t.revision == service.revision]
    settled = not service.removing and not vips.explain_none(state, service)
    settled = settled and service.live_rollout is None
    converged = len(up_to_date) == len(live) == desired and settled and not behind
    return ServiceStatus(
        desired=desired,
        running=len(running),
        up_to_date=len(up_to_date),
        failing=len(_failing(service, tasks, within)),
        converged=converged,
        converged_since=_converged_since(service, up_to_date) if converged else None,
        reason="" if converged else _reason(state, service, tasks, within, behind),
        warnings=(*_warnings(state, service), *_without_nodes(state, service, desired, held)),
    )


def _warnings(state: ClusterState, service: Service) -> tuple[str, ...]:
    published = {(port.published, port.protocol) for port in service.spec.ports}
    return tuple(
        f"port {held.port}/{held.protocol.value} is not answered on node {node.spec.name}: "
        f"{held.holder} of that host holds it"
        for node in sorted(state.nodes.values(), key=lambda node: node.spec.name)
        for held in node.held_ports
        if held.service == service.spec.name and (held.port, held.protocol) in published
    )


def _without_nodes(
    state: ClusterState, service: Service, desired: int, held: Iterable[Task]
) -> Iterator[str]:
    """Of a global service: that no node may have it, and tasks that stay as they are because their
    node is paused."""
    if service.spec.is_global and not desired and not service.removing:
        yield f"it has no task: {eligible.explain_none(state, service)}"
    for task in held:
        node = state.nodes[task.node_id]
        if node.spec.availability is Availability.PAUSE:
            at = f"stays at revision {task.revision}"
            yield f"node {node.spec.name} is paused: {task.name} {at}"


def _converged_since(service: Service, up_to_date: Iterable[Task]) -> datetime:
    """Start of the youngest run: how long checks took after it is not in the state."""
    return max((task.status.since for task in up_to_date), default=service.updated_at)


def _in_order(tasks: Iterable[Task]) -> tuple[Task, ...]:
    """Wanted tasks by slot, the current revision first, then the others, newest first."""
    every = sorted(tasks, key=lambda task: (task.created_at, task.id), reverse=True)
    wanted = [task for task in every if task.wanted]
    wanted.sort(key=lambda task: (task.slot, -task.revision))
    return (*wanted, *(task for task in every if not task.wanted))


def _failing(service: Service, tasks: Iterable[Task], within: Collection[int]) -> list[Task]:
    """Current tasks that are not ready because they failed, or that failed for good."""
    current = [t for t in tasks if t.revision == service.revision and t.slot in within]
    replaced = {task.slot for task in current if task.wanted}
    return sorted(
        (
            task
            for task in current
            if (task.wanted and not task.ready and (task.status.failures > 0 or _is_sick(task)))
            or (task.status.state is TaskState.FAILED and task.slot not in replaced)
        ),
        key=lambda task: task.slot,
    )


def _is_sick(task: Task) -> bool:
    return task.status.health is Health.UNHEALTHY


def _reason(
    state: ClusterState,
    service: Service,
    tasks: tuple[Task, ...],
    within: Collection[int],
    behind: Collection[Node],
) -> str:
    """Why the service has not converged: failures, then what waits, then what is on its way."""
    live = [task for task in tasks if not task.status.state.terminal]
    if service.removing:
        return f"is being removed: {names.count(len(live), 'task')} still to stop"
    failing = _failing(service, tasks, within)
    if failing:
        return failures.explain(state, failing[0])
    progress = _progress(service, live, len(within))
    obstacle = vips.explain_none(state, service) or _obstacle(state, service, tasks, within)
    if not obstacle and service.live_rollout is not None:
        obstacle = f"rollout {service.live_rollout.id} is not over yet"
    if not obstacle and behind:
        late = ", ".join(node.spec.name for node in behind) if len(behind) < 4 else ""
        obstacle = f"{late or names.count(len(behind), 'node')} still to send them traffic"
    return f"{progress}; {obstacle}" if obstacle else progress


def _progress(service: Service, live: Iterable[Task], desired: int) -> str:
    """`2 of 3 tasks run`, or during a rollout `2 of 3 tasks are up to date`. One that is not
    healthy does not count."""
    wanted = [task for task in live if task.wanted]
    running = [task for task in wanted if task.ready]
    current = [task for task in running if task.revision == service.revision]
    outdated = any(task.revision != service.revision for task in wanted)
    return f"{len(current)} of {desired} tasks {'are up to date' if outdated else 'run'}"


def _obstacle(
    state: ClusterState, service: Service, tasks: tuple[Task, ...], within: Collection[int]
) -> str:
    """The first task that is not yet what it shall be."""
    wanted = [task for task in tasks if task.wanted]
    current = [task for task in wanted if task.revision == service.revision]
    for task in current:
        if task.status.state is TaskState.PENDING:
            why = f": {task.status.message}" if task.status.message else ""
            return f"{task.name} is pending{why}"
    for task in current:
        if task.status.state is not TaskState.RUNNING:
            why = f": {task.status.message}" if task.status.message else ""
            where = f"{task.name} on {names.node_name(state, task)}"
            return f"{where} is {task.status.state.value}{why}"
    for task in current:
        if not task.ready:
            return f"{task.name} on {names.node_name(state, task)} is {_unready(task)}"
    completed = _completed(service, tasks, within)
    if completed:
        return f"{completed[0].name} has completed and is not started again (restart.condition)"
    leaving = [t for t in tasks if not t.wanted and not t.status.state.terminal]
    if leaving:
        drains = drain.is_draining(leaving[0])
        doing = f"is {_draining(leaving[0])}" if drains else "has still to stop"
        return f"{leaving[0].name} on {names.node_name(state, leaving[0])} {doing}"
    return ""


def _draining(task: Task) -> str:
    """`draining: …`, with what it waits for."""
    if task.withdrawn_at is None:
        return "draining: waiting for all nodes to send it no more connections"
    delay = units.format_duration(task.template.drain_delay)
    return f"draining: gets no new connections, the open ones have {delay}"


def _unready(task: Task) -> str:
    """Of a task that runs and may not receive traffic, with what its last check said."""
    status = task.status
    if status.health is Health.UNHEALTHY:
        return status.message or f"unhealthy: {status.health_output}"
    return f"not healthy yet: {status.health_output or 'its first check is still to come'}"


def _completed(service: Service, tasks: Iterable[Task], within: Collection[int]) -> list[Task]:
    return [
        task
        for task in tasks
        if task.revision == service.revision
        and task.status.state is TaskState.COMPLETE
        and task.slot in within
    ]


def node_view(
    state: ClusterState, node: Node, *, leader_id: str, reachable: frozenset[str]
) -> NodeView:
    """A node with what is set aside on it. Stopping tasks still hold their reservation."""
    live = [task for task in state.tasks_on(node.id) if not task.status.state.terminal]
    reserved = [task.template.resources.reservations for task in live]
    return NodeView(
        node=node,
        leader=node.id == leader_id,
        reachable=node.id in reachable,
        tasks=sum(task.wanted for task in live),
        reserved_cpus=round(sum(each.cpus for each in reserved), 3),
        reserved_memory=Bytes(sum(each.memory for each in reserved)),
    )


def cluster_view(
    state: ClusterState, *, leader_id: str, reachable: frozenset[str], term: int, warren: str
) -> ClusterView:
    """The cluster at a glance. FailedPrecondition is the API's; here there is a cluster."""
    cluster = state.cluster
    assert cluster is not None
    leader = state.nodes.get(leader_id)
    return ClusterView(
        id=cluster.id,
        spec=cluster.spec,
        version=cluster.version,
        created_at=cluster.created_at,
        leader=leader.spec.name if leader is not None else "",
        managers=tuple(
            node_view(state, node, leader_id=leader_id, reachable=reachable)
            for node in state.managers()
        ),
        nodes=len(state.nodes),
        nodes_ready=sum(n.status.state is NodeState.READY for n in state.nodes.values()),
        services=len(state.services),
        tasks_running=sum(t.status.state is TaskState.RUNNING for t in state.tasks.values()),
        term=term,
        index=state.index,
        ca_digest=_digest(cluster.ca_certificate),
        warren=warren,
        autolock=state.secret_keys is not None and state.secret_keys.lock is not None,
    )


def _digest(pem: str) -> str:
    """SHA-256 of the certificate within the PEM; empty text if there is none."""
    body = "".join(line for line in pem.splitlines() if line and not line.startswith("-----"))
    try:
        return hashlib.sha256(base64.b64decode(body, validate=True)).hexdigest() if body else ""
    except binascii.Error:
        return ""
