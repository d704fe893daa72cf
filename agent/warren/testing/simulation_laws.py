"""What the simulation holds the leader to, beyond the invariants of a single state.

Each law compares the state before a decision with the one after it, or judges how a run ended; it
yields sentences that say what was violated. Only for decisions that nothing came between.
"""

from collections import Counter
from collections.abc import Iterator

from warren.core import filters
from warren.model.nodes import Availability
from warren.model.services import Service
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state.cluster import ClusterState

_STARTING = (TaskState.ASSIGNED, TaskState.PREPARING, TaskState.STARTING)


def needless_stops(before: ClusterState, after: ClusterState) -> Iterator[str]:
    """A running task of a wanted slot is stopped only when another of the slot runs.

    A service whose tasks exclude each other from a node may stop first, but one slot at a time.
    """
    stopped_first: Counter[str] = Counter()
    for task in before.tasks.values():
        service = after.services.get(task.service)
        if service is None or service.removing or task.slot > service.spec.replicas:
            continue
        known = after.tasks.get(task.id)
        stopped = known is not None and known.desired is not DesiredState.RUNNING
        ran = task.wanted and task.status.state is TaskState.RUNNING
        if not stopped or not ran or _runs(after, task.service, task.slot):
            continue
        stopped_first[task.service] += 1
        for other in _on_their_way(before, after, task):
            yield f"{task.id} was stopped first although {other.id} is on its way"
        if not filters.exclusive_filters(task.service, service.spec, service.spec.ports):
            yield f"{task.id} runs and was stopped, and nothing else runs in its slot"
    for name, count in stopped_first.items():
        if count > 1:
            yield f"{count} slots of {name} were emptied at once"


def _runs(state: ClusterState, service: str, slot: int) -> bool:
    tasks = (task for task in state.tasks_of(service) if task.slot == slot and task.wanted)
    return any(task.status.state is TaskState.RUNNING for task in tasks)


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
    emptied = {task.slot for task in others if not task.wanted}
    for task in others:
        waits = task.status.state is TaskState.PENDING and task.slot in emptied
        starts = task.status.state in _STARTING
        if task.wanted and task.revision == revision and (waits or starts):
            yield task


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
            if elsewhere and failing and task.revision == new.revision:
                yield f"{new.id} replaces a task that runs although {task.id} fails"
    for name, count in begun.items():
        if count > 1:
            yield f"{name} replaces {count} slots at once"


def _replaces_running(before: ClusterState, after: ClusterState, new: Task) -> bool:
    """The slot has a task of an older revision that runs on a node that stays in use."""
    for task in before.tasks_of(new.service):
        node = after.nodes.get(task.node_id)
        if (
            task.slot == new.slot
            and task.wanted
            and task.status.state is TaskState.RUNNING
            and task.revision < new.revision
            and not _has_ended(after, task)
            and node is not None
            and node.spec.availability is not Availability.DRAIN
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
    """No task can be placed, each says so, and all else that lives runs."""
    needs = filters.filters_for(service.spec.name, service.spec, service.spec.ports)
    usage = filters.usage(state, state.tasks.values())
    others = [t for t in state.tasks_of(service.spec.name) if not t.status.state.terminal]
    return (
        not any(filters.passes_all(needs, each) for each in usage)
        and all(task.status.message for task in pending)
        and all(
            task.status.state in (TaskState.PENDING, TaskState.RUNNING)
            and task.desired is DesiredState.RUNNING
            for task in others
        )
    )
