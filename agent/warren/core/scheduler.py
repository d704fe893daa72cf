"""Where pending tasks go: spread over the nodes that pass every filter. One of a global service has
its node already, and waits for it.

Placed tasks are counted at once, so that ten tasks created together spread. A task that no node
can take stays PENDING and says why; the text is proposed only when it changes, because a loop that
writes on every look would never rest.

A cluster that comes up, restored or after all its hosts were off, is not scheduled at once: its
first node would get everything. Tasks wait for the other nodes, but not for long.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import heapify, heappop, heapreplace

from warren.core import filters, index, loads
from warren.core.decisions import Decision
from warren.core.index import Services
from warren.model.nodes import Availability, Node, NodeRole, NodeState
from warren.model.services import MountSpec, TaskTemplate
from warren.model.tasks import Task
from warren.state import mounts
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import AssignTask, Command, SetTaskStatus

PATIENCE = {
    NodeState.UNKNOWN: timedelta(seconds=30),  # joins, or was restored: its host is being set up
    NodeState.DOWN: timedelta(seconds=5),  # has its worker already, or is off for good
}
"""How long after the first node of a cluster that comes up the others are waited for."""
_Order = tuple[int, int, int, str]
_Demands = tuple[tuple[str, ...], tuple[MountSpec, ...]]
"""What a template asks of nodes, whatever runs there: constraints and mounts."""
SETTLING = "waits a moment for the other nodes: the cluster has only just come up"


def decide(state: ClusterState, now: datetime, among: Services | None = None) -> Decision:
    """A node for each pending task, or for those of the services `among`, oldest first; a reason
    for each that gets none."""
    if among is None:
        tasks: Iterable[Task] = loads.of(state).pending.values()
    else:
        tasks = filter(loads.is_pending, index.tasks_of(state, among))
    pending = sorted(tasks, key=lambda task: (task.created_at, task.service, task.slot, task.id))
    if not pending:
        return Decision()
    settled_at = _settled_at(state.nodes.values(), now)
    if settled_at is not None:
        return Decision(commands=tuple(_explained(pending, SETTLING)), wake_at=settled_at)
    nodes = filters.usage(state, {task.service for task in pending})
    needs = _Needs(state, nodes)
    commands: list[Command] = []
    unplaced: list[Task] = []
    for task in pending:
        place = _only_place(task, needs.of(task)) if task.node else _place(task, needs)
        if place is None:
            unplaced.append(task)
        else:
            place.add(task, state.services[task.service].spec.ports)
            assign = AssignTask(task_id=task.id, node_id=place.node.id, now=now)
            commands.append(assign)
            if mounts.of_volumes(task.template):  # may be there from now on, for tasks to come
                state, _ = apply(state, assign)
                needs = _Needs(state, nodes)
    return Decision(commands=(*commands, *_explanations(unplaced, needs, nodes)))


def _settled_at(nodes: Collection[Node], now: datetime) -> datetime | None:
    """Until when tasks wait for more nodes; None: they do not.

    A node that was ready before, by the clock of an earlier leader even later than now, shows that
    the cluster was up already.
    """
    ready = [node.status.since for node in nodes if node.status.state is NodeState.READY]
    awaited = [PATIENCE[node.status.state] for node in nodes if _is_awaited(node)]
    if not ready or not awaited or max(ready) > now:
        return None
    settled_at = min(ready) + max(awaited)
    return settled_at if settled_at > now else None


def _is_awaited(node: Node) -> bool:
    wanted = NodeRole.WORKER in node.spec.roles and node.spec.availability is Availability.ACTIVE
    return wanted and node.status.state is not NodeState.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """What the tasks of one revision need of a node."""

    every: tuple[filters.Filter, ...]
    changing: tuple[filters.Filter, ...]
    """Those that placing a task can change."""
    suitable: tuple[filters.NodeUsage, ...]
    """Nodes that pass the others."""
    queue: list[tuple[_Order, int]]
    """Of those that may take another task, a heap: how even it would be, as it was when the node
    was put there, and which of the suitable it is. Both only get worse within a decision."""


class _Needs:
    """Needs of each service and revision, worked out once per decision."""

    def __init__(self, state: ClusterState, nodes: Sequence[filters.NodeUsage]) -> None:
        self._state = state
        self._nodes = nodes
        self._known: dict[tuple[str, int], _Need] = {}
        self._suitable: dict[_Demands, tuple[filters.NodeUsage, ...]] = {}
        self.hopeless: set[tuple[filters.Filter, ...]] = set()
        """What no node takes any more, as what is free only gets less. Many services may wait for
        the same when a cluster is full."""

    def of(self, task: Task) -> _Need:
        key = (task.service, task.revision)
        if key not in self._known:
            self._known[key] = self._new(task)
        return self._known[key]

    def _new(self, task: Task) -> _Need:
        ports = self._state.services[task.service].spec.ports
        every = filters.filters_for(task.service, task.template, ports, self._state)
        suitable = self._suited(task.template) if every not in self.hopeless else ()
        among = () if task.node else suitable
        queue = [(_order(task, usage), number) for number, usage in enumerate(among)]
        heapify(queue)
        return _Need(
            every=every,
            changing=(
                *filters.exclusive_filters(task.service, task.template, ports, self._state),
                *filters.resource_filters(task.template),
            ),
            suitable=suitable,
            queue=queue,
        )

    def _suited(self, template: TaskTemplate) -> tuple[filters.NodeUsage, ...]:
        demands = template.placement.constraints, template.mounts
        if demands not in self._suitable:
            needs = filters.place_filters(template, self._state)
            found = tuple(n for n in self._nodes if filters.passes_all(needs, n))
            self._suitable[demands] = found
        return self._suitable[demands]


def _place(task: Task, needs: _Needs) -> filters.NodeUsage | None:
    """The best of all nodes that can take the task.

    Tasks of the same revision are spread first. Were all tasks of the service counted alike, each
    slot of a rollout would find the node that the previous slot's old task had just left, and the
    new revision would end up on few nodes.
    """
    need = needs.of(task)
    while need.queue:
        known, number = need.queue[0]
        usage = need.suitable[number]
        if not filters.passes_all(need.changing, usage):
            heappop(need.queue)
            continue
        order = _order(task, usage)
        if order == known:
            return usage
        heapreplace(need.queue, (order, number))
    needs.hopeless.add(need.every)
    return None


def _only_place(task: Task, need: _Need) -> filters.NodeUsage | None:
    """The node that the task is for, if it can take it now."""
    usage = next((each for each in need.suitable if each.node.spec.name == task.node), None)
    return usage if usage is not None and filters.passes_all(need.changing, usage) else None


def _order(task: Task, usage: filters.NodeUsage) -> _Order:
    return (
        usage.wanted_of_revision.get((task.service, task.revision), 0),
        usage.wanted.get(task.service, 0),
        usage.tasks,
        usage.node.spec.name,
    )


def _explanations(
    unplaced: Sequence[Task], needs: _Needs, nodes: Sequence[filters.NodeUsage]
) -> list[Command]:
    """Reasons that differ from those stored, made after all placing so that they are final."""
    reasons: dict[tuple[tuple[filters.Filter, ...], str], str] = {}
    commands: list[Command] = []
    for task in unplaced:
        key = needs.of(task).every, task.node
        if key not in reasons:
            named = [usage for usage in nodes if usage.node.spec.name == task.node]
            reasons[key] = (
                filters.explain_one(key[0], named[0]) if named else filters.explain(key[0], nodes)
            )
        commands += _explained([task], reasons[key])
    return commands


def _explained(tasks: Iterable[Task], reason: str) -> Iterator[Command]:
    for task in tasks:
        if reason != task.status.message:
            status = replace(task.status, message=reason)
            yield SetTaskStatus(task_id=task.id, status=status)
