"""What has happened between two states, in the words of the user. Pure.

Called by `manager/event_log.py` on every manager with each state it sees. A state that lasted for
less than a look is not told of. Nothing is decided by events, so what is missed does no harm.
"""

from collections.abc import Iterator
from datetime import datetime

from warren.core import hiding, services
from warren.model.events import Event, EventKind
from warren.model.nodes import Availability, Node, NodeState
from warren.model.rollouts import Rollout
from warren.model.services import Service
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.state import maps
from warren.state.cluster import ClusterState

_CHANGES_SHOWN = 3
_ENDS = {
    TaskState.STOPPED: (EventKind.TASK_STOPPED, "has stopped"),
    TaskState.COMPLETE: (EventKind.TASK_COMPLETE, "has completed"),
    TaskState.FAILED: (EventKind.TASK_FAILED, "has failed"),
    TaskState.LOST: (EventKind.TASK_LOST, "is lost"),
}


def derive(before: ClusterState, after: ClusterState, now: datetime) -> tuple[Event, ...]:
    """Everything that has happened: of services, rollouts, nodes, then of tasks."""
    if before.index == after.index:
        return ()
    return (
        *_of_services(before, after, now),
        *_of_rollouts(before, after, now),
        *_of_nodes(before, after, now),
        *_of_tasks(before, after, now),
    )


def leader_changed(state: ClusterState, name: str, now: datetime) -> Event:
    """Another manager leads, as this one has seen it."""
    return Event(
        index=state.index,
        at=now,
        kind=EventKind.LEADER_CHANGED,
        message=f"{name} leads the managers",
        node=name,
    )


def _of_services(before: ClusterState, after: ClusterState, now: datetime) -> Iterator[Event]:
    for name in sorted(maps.changed_keys(before.services, after.services)):
        told = _service(before.services.get(name), after.services.get(name))
        if told is not None:
            kind, message = told
            yield Event(
                index=after.index, at=now, kind=kind, message=f"{name} {message}", service=name
            )


def _of_rollouts(before: ClusterState, after: ClusterState, now: datetime) -> Iterator[Event]:
    for name in sorted(maps.changed_keys(before.services, after.services)):
        old, new = before.services.get(name), after.services.get(name)
        known = {each.id: each for each in old.rollouts} if old is not None else {}
        for rollout in new.rollouts if new is not None else ():
            told = _rollout(known.get(rollout.id), rollout)
            if told is not None:
                kind, message = told
                text = f"{name}: rollout {rollout.id} {message}"
                yield Event(index=after.index, at=now, kind=kind, message=text, service=name)


def _rollout(old: Rollout | None, new: Rollout) -> tuple[EventKind, str] | None:
    """What is new of it; batches are told by their tasks."""
    if old is None and new.live:
        way = f"revision {new.from_revision} -> {new.to_revision}"
        begins = f"begins ({new.policy.strategy.value}, {way})"
        return EventKind.ROLLOUT_STARTED, _with_reason(begins, new.started_because)
    if old is None or old == new:
        return None
    if old.live and not new.live:
        state = new.state.value.replace("_", " ")
        return EventKind.ROLLOUT_ENDED, _with_reason(f"is {state}", new.reason)
    if old.state is not new.state:
        state = new.state.value.replace("_", " ")
        return EventKind.ROLLOUT_CHANGED, _with_reason(f"is {state}", new.reason)
    if (old.phase, old.step) != (new.phase, new.step):
        step = f" {new.step}" if new.step else ""
        return EventKind.ROLLOUT_CHANGED, f"is at {new.phase.value}{step}"
    if old.weight != new.weight and new.weight is not None:
        return EventKind.ROLLOUT_CHANGED, f"gives its tasks {new.weight} % of the traffic"
    return None


def _service(old: Service | None, new: Service | None) -> tuple[EventKind, str] | None:
    if new is None:
        return EventKind.SERVICE_REMOVED, "is removed"
    if old is None:
        return EventKind.SERVICE_CREATED, f"is created with image {new.spec.image}"
    if new.removing and not old.removing:
        return EventKind.SERVICE_REMOVING, "is being removed"
    found = services.changes(hiding.hide(old.spec), hiding.hide(new.spec))
    if not found:
        return None
    parts = [f"{c.path} {c.before or 'none'} -> {c.after or 'none'}" for c in found]
    more = "" if len(parts) <= _CHANGES_SHOWN else f", and {len(parts) - _CHANGES_SHOWN} more"
    shown = ", ".join(parts[:_CHANGES_SHOWN])
    return EventKind.SERVICE_CHANGED, f"is changed: {shown}{more} (revision {new.revision})"


def _of_nodes(before: ClusterState, after: ClusterState, now: datetime) -> Iterator[Event]:
    changed = sorted(maps.changed_keys(before.nodes, after.nodes))
    for node_id in changed:
        old, new = before.nodes.get(node_id), after.nodes.get(node_id)
        node = new or old
        assert node is not None
        for kind, message in _node(old, new):
            yield _node_event(after, now, node, kind, message)
    touched = {
        after.tasks[key].node_id
        for key in maps.changed_keys(before.tasks, after.tasks)
        if key in after.tasks
    }
    for node_id in sorted(touched | set(changed)):
        node = after.nodes.get(node_id)
        if node is not None and _drained(after, node_id) and not _drained(before, node_id):
            yield _node_event(after, now, node, EventKind.NODE_DRAINED, "is drained")


def _node(old: Node | None, new: Node | None) -> Iterator[tuple[EventKind, str]]:
    if new is None:
        yield EventKind.NODE_REMOVED, "is removed from the cluster"
        return
    if old is None:
        roles = " and ".join(role.value for role in new.spec.roles)
        yield EventKind.NODE_JOINED, f"has joined as {roles}"
    known = old.status.state if old is not None else None
    state = new.status.state
    if state is NodeState.READY and known is not NodeState.READY:
        yield EventKind.NODE_READY, "is ready"
    if state is NodeState.DOWN and known is not NodeState.DOWN:
        yield EventKind.NODE_DOWN, _with_reason("is down", new.status.message)


def _drained(state: ClusterState, node_id: str) -> bool:
    node = state.nodes.get(node_id)
    if node is None or node.spec.availability is not Availability.DRAIN:
        return False
    return all(task.status.state.terminal for task in state.tasks_on(node_id))


def _node_event(
    state: ClusterState, now: datetime, node: Node, kind: EventKind, message: str
) -> Event:
    name = node.spec.name
    return Event(index=state.index, at=now, kind=kind, message=f"{name} {message}", node=name)


def _of_tasks(before: ClusterState, after: ClusterState, now: datetime) -> Iterator[Event]:
    for task_id in sorted(maps.changed_keys(before.tasks, after.tasks)):
        new = after.tasks.get(task_id)
        if new is None:
            continue  # its history is cut off; what became of it was told
        node = after.nodes.get(new.node_id)
        where = node.spec.name if node is not None else new.node_id
        subject = f"{new.name} on {where}" if where else new.name
        for kind, message, at in _task(before.tasks.get(task_id), new, now):
            yield Event(
                index=after.index,
                at=at,
                kind=kind,
                message=" ".join(f"{subject} {message}".split()),
                service=new.service,
                task=new.name,
                node=where,
            )


def _task(old: Task | None, new: Task, now: datetime) -> Iterator[tuple[EventKind, str, datetime]]:
    """In the order in which it goes."""
    was, status = old.status if old is not None else None, new.status
    if new.node_id and (old is None or not old.node_id):
        yield EventKind.TASK_ASSIGNED, "is assigned", now
    entered = was is None or was.state is not status.state
    told = status.message and (entered or (was is not None and was.message != status.message))
    if status.state is TaskState.PENDING and told:
        yield EventKind.TASK_PENDING, f"is pending: {status.message}", now
    if status.state is TaskState.RUNNING and entered:
        yield EventKind.TASK_RUNNING, _running(status.address), status.since
    if was is None or was.health is not status.health:
        yield from _health(new, now)
    if new.desired is DesiredState.DRAINING and (old is None or old.desired is not new.desired):
        yield EventKind.TASK_DRAINING, "is draining", new.draining_since or now
    if status.state is TaskState.RESTARTING and told:
        yield EventKind.TASK_RESTARTING, f"restarts: {_why(new)}", now
    if status.state in _ENDS and entered:
        kind, message = _ENDS[status.state]
        why = _why(new) if kind is EventKind.TASK_FAILED else status.message
        yield kind, _with_reason(message, why), status.since


def _running(address: str) -> str:
    return f"runs at {address}" if address else "runs"


def _health(task: Task, now: datetime) -> Iterator[tuple[EventKind, str, datetime]]:
    match task.status.health:
        case Health.HEALTHY:
            yield EventKind.TASK_HEALTHY, "is healthy", now
        case Health.UNHEALTHY:
            why = task.status.message or f"unhealthy: {task.status.health_output}"
            yield EventKind.TASK_UNHEALTHY, f"is {why}", now


def _why(task: Task) -> str:
    status = task.status
    line = status.last_log if status.last_log not in status.message else ""
    return "; last log line: ".join(part for part in (status.message, line) if part)


def _with_reason(message: str, reason: str) -> str:
    return f"{message}: {reason}" if reason else message
