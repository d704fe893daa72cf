"""What the simulation holds the leader to, beyond the invariants of a single state.

Each law compares the state before a decision with the one after it, or judges how a run ended; it
yields sentences that say what was violated. Only for decisions that nothing came between.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime

from warren.core import filters
from warren.model.assignments import Assignment
from warren.model.nodes import Availability, NodeState
from warren.model.services import Service
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.state.cluster import ClusterState

_STARTING = (TaskState.ASSIGNED, TaskState.PREPARING, TaskState.STARTING)


def needless_stops(before: ClusterState, after: ClusterState) -> Iterator[str]:
    """A running task of a wanted slot is stopped only when another of the slot runs, and one that
    is ready, and so may be the last endpoint, only when another of the slot is.

    A service whose tasks exclude each other from a node may stop first, but one slot at a time.
    """
    stopped_first: defaultdict[str, set[int]] = defaultdict(set)
    for task in before.tasks.values():
        service = after.services.get(task.service)
        if service is None or service.removing or task.slot > service.spec.replicas:
            continue
        known = after.tasks.get(task.id)
        stopped = known is not None and known.desired is not DesiredState.RUNNING
        ran = task.wanted and task.status.state is TaskState.RUNNING
        if not stopped or not ran or _has_successor(after, task):
            continue
        stopped_first[task.service].add(task.slot)
        for other in _on_their_way(before, after, task):
            yield f"{task.id} was stopped first although {other.id} is on its way"
        if not filters.exclusive_filters(task.service, service.spec, service.spec.ports):
            yield f"{task.id} runs and was stopped, and nothing else runs in its slot"
    for name, slots in stopped_first.items():
        if len(slots) > 1:
            yield f"{len(slots)} slots of {name} were emptied at once"


def _has_successor(state: ClusterState, task: Task) -> bool:
    others = [t for t in state.tasks_of(task.service) if t.slot == task.slot and t.wanted]
    if task.ready:
        return any(other.ready for other in others)
    return any(other.status.state is TaskState.RUNNING for other in others)


def _on_their_way(before: ClusterState, after: ClusterState, stopped: Task) -> Iterator[Task]:
    """Tasks of other slots that are being started, or wait for a place that was made for them."""
    revision = after.services[stopped.service].revision
    others = [
        task
        for task in before.tasks_of(stopped.service)
        if task.slot != stopped.slot
        and not task.status.state.terminal
        and not _has_ended(after, task)
    ]
    emptied = {t.slot for t in others if not t.wanted and _takes_tasks(after, t.node_id)}
    for task in others:
        waits = task.status.state is TaskState.PENDING and task.slot in emptied
        starts = task.status.state in _STARTING
        if task.wanted and task.revision == revision and (waits or starts):
            yield task


def _takes_tasks(state: ClusterState, node_id: str) -> bool:
    node = state.nodes.get(node_id)
    return node is not None and node.spec.availability is Availability.ACTIVE


def _is_drained(state: ClusterState, task: Task) -> bool:
    node = state.nodes.get(task.node_id)
    return node is None or node.spec.availability is Availability.DRAIN


def rash_rollouts(before: ClusterState, after: ClusterState) -> Iterator[str]:
    """One replacement begins at a time, and none while the new revision fails in another slot."""
    begun: Counter[str] = Counter()
    for new in after.tasks.values():
        if new.id in before.tasks or not _replaces_running(before, after, new):
            continue
        begun[new.service] += 1
        replicas = after.services[new.service].spec.replicas
        for task in before.tasks_of(new.service):
            running = task.status.state is TaskState.RUNNING
            elsewhere = task.slot != new.slot and task.slot <= replicas
            failing = task.wanted and task.status.failures and not running
            still = failing and not _has_ended(after, task)
            if elsewhere and still and task.revision == new.revision:
                yield f"{new.id} replaces a task that runs although {task.id} fails"
    for name, count in begun.items():
        if count > 1:
            yield f"{name} replaces {count} slots at once"


def _replaces_running(before: ClusterState, after: ClusterState, new: Task) -> bool:
    """The slot has a task of an older revision that is ready, on a node that stays in use."""
    for task in before.tasks_of(new.service):
        if (
            task.slot == new.slot
            and task.wanted
            and task.ready
            and task.revision < new.revision
            and not _has_ended(after, task)
            and not _is_drained(after, task)
        ):
            return True
    return False


def _has_ended(state: ClusterState, task: Task) -> bool:
    known = state.tasks.get(task.id)
    return known is None or known.status.state.terminal


def overbooked(state: ClusterState) -> Iterator[str]:
    """Reservations and host ports fit on their nodes."""
    for usage in filters.usage(state, state.tasks.values()):
        name = usage.node.spec.name
        if usage.memory > usage.node.description.memory:
            yield f"node {name} has {usage.memory} bytes of memory reserved"
        yield from (
            f"node {name} has port {port} taken {count} times"
            for port, count in usage.host_ports.items()
            if count > 1
        )


def is_stuck(state: ClusterState, service: Service, pending: list[Task]) -> bool:
    """No task can be placed, each says so, and all else that lives is ready."""
    needs = filters.filters_for(service.spec.name, service.spec, service.spec.ports)
    usage = filters.usage(state, state.tasks.values())
    others = [t for t in state.tasks_of(service.spec.name) if not t.status.state.terminal]
    return (
        not any(filters.passes_all(needs, each) for each in usage)
        and all(task.status.message for task in pending)
        and all(
            (task.ready or task.status.state is TaskState.PENDING)
            and task.desired is DesiredState.RUNNING
            for task in others
        )
    )


def stray_endpoints(state: ClusterState, told: Assignment) -> Iterator[str]:
    """Traffic goes to ready tasks that shall run, on nodes that are there, and to all of them. The
    connections of ready tasks that do not go on."""
    for name, traffic in told.services.items():
        ready = [
            task
            for task in state.tasks_of(name)
            if task.ready and state.nodes[task.node_id].status.state is not NodeState.DOWN
        ]
        expected = {task.id for task in ready if task.desired is DesiredState.RUNNING}
        actual = {endpoint.task_id for endpoint in traffic.endpoints}
        if actual != expected:
            yield f"{name} has endpoints {sorted(actual)}, not {sorted(expected)}"
        cut = {task.id for task in ready} - actual - {e.task_id for e in traffic.draining}
        if cut:
            yield f"{name} keeps no connections to {sorted(cut)}"


def rash_signal(task: Task, status: TaskStatus, now: datetime) -> Iterator[str]:
    """A task that drains gets its stop signal when its connections have had their time."""
    if task.draining_since is None or status.state is not TaskState.RUNNING:
        return
    if task.withdrawn_at is None:
        yield f"{task.id} is stopped before it was withdrawn"
    elif now < task.withdrawn_at + task.template.drain_delay:
        yield f"{task.id} is stopped before its drain delay is over"
