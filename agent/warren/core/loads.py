"""What tasks take of each node: memory, cpus, host ports; how those of a service are spread over
the nodes; and which tasks have no place yet.

Counted for the scheduler and for whoever asks what has room. As with the groups of tasks, what was
counted last is followed to the next state that is asked about, which costs what changed between
the two; to remember it changes the cost of the answer, never the answer.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from warren.model.services import Port, PortMode, Protocol, Service
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state import groups, maps, mounts
from warren.state.cluster import ClusterState

HostPort = tuple[int, Protocol]

_WITHOUT_PLACE = (TaskState.PENDING, *(state for state in TaskState if state.terminal))
"""A tuple, as hashing a member is slow."""


@dataclass(frozen=True, slots=True)
class Load:
    """What some tasks take of one node."""

    tasks: int = 0
    memory: int = 0
    millicpus: int = 0
    """In thousandths, because sums of fractions like 0.1 are not exact."""
    host_ports: Mapping[HostPort, int] = field(default_factory=dict)
    """How many tasks take each."""


NOTHING = Load()

Spread = Mapping[tuple[str, int, bool], int]
"""How many tasks of a service there are, by node id, revision, and whether they go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """Of all nodes of a state; one that is in neither of the mappings has no tasks."""

    state: ClusterState
    living: Mapping[str, Load] = field(default_factory=dict)
    """By node id: of tasks that have not ended, stopping ones too."""
    wanted: Mapping[str, Load] = field(default_factory=dict)
    """By node id: of those of them that go on."""
    pending: Mapping[str, Task] = field(default_factory=dict)
    """Wanted tasks without a place, by id."""
    spread: Mapping[str, Spread] = field(default_factory=dict)
    """By service: of tasks that have not ended."""
    writers: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    """By volume and task id: tasks with a place that may write to it, and whether they go on."""


_newest = Loads(state=ClusterState())
"""Whichever thread comes last, what it leaves here is right."""


def of(state: ClusterState) -> Loads:
    """The loads at this state, worked out from those that were asked for last."""
    global _newest
    _newest = found = advance(_newest, state)
    return found


@contextmanager
def kept() -> Iterator[None]:
    """Who asks about states that will never be, as a plan does, leaves the newest as they were: the
    next question is about what is."""
    global _newest
    before = _newest
    try:
        yield
    finally:
        _newest = before


def begin(state: ClusterState) -> Loads:
    """The loads at a state of which nothing is known yet."""
    return advance(Loads(state=ClusterState()), state)


def advance(before: Loads, state: ClusterState) -> Loads:
    """The loads at another state, a later one or any, in fact."""
    old = before.state
    if old.tasks is state.tasks and old.services is state.services:
        return before
    living, wanted = _Counts(before.living), _Counts(before.wanted)
    old_ports, new_ports = _Ports(old.services), _Ports(state.services)
    spreads = _Spreads(before.spread)
    pending: dict[str, Task] | None = None
    writers = before.writers
    for task_id, was, task in _concerned(old, state):
        share, new_share = _share(was, old_ports), _share(task, new_ports)
        if share != new_share:
            for each, part, sign in ((was, share, -1), (task, new_share, 1)):
                if each is not None and part is not None:
                    living.add(part, sign)
                    if part[-1]:
                        wanted.add(part, sign)
                    spreads.add(each.service, (part[0], each.revision, part[-1]), sign)
        if writers or (task is not None and task.template.mounts):
            writers = _written(writers, was, task)
        waits = task is not None and is_pending(task)
        if waits or task_id in before.pending:
            pending = dict(before.pending) if pending is None else pending
            pending.pop(task_id, None)
            if task is not None and waits:
                pending[task_id] = task
    return Loads(
        state=state,
        living=living.loads(),
        wanted=wanted.loads(),
        spread=spreads.spread(),
        pending=before.pending if pending is None else pending,
        writers=writers,
    )


_Writers = Mapping[str, Mapping[str, bool]]


def _written(writers: _Writers, was: Task | None, task: Task | None) -> _Writers:
    """Once a task has become another. Hardly any has volumes."""
    for each, comes in ((was, False), (task, True)):
        if each is None or not each.template.mounts or not is_placed(each):
            continue
        for name in mounts.written(each.template):
            others = {key: on for key, on in writers.get(name, {}).items() if key != each.id}
            if comes:
                others[each.id] = each.desired is DesiredState.RUNNING
            writers = {**writers, name: others} if others else maps.without(writers, name)
    return writers


def is_pending(task: Task) -> bool:
    """It is to have a place, and has none."""
    return task.status.state is TaskState.PENDING and task.wanted


def is_placed(task: Task) -> bool:
    """It takes something of its node."""
    return task.status.state not in _WITHOUT_PLACE


def host_ports(ports: Iterable[Port]) -> tuple[HostPort, ...]:
    """The published ports that a task takes for itself on its node."""
    return tuple(
        (port.published, port.protocol)
        for port in ports
        if port.published and port.mode is PortMode.HOST
    )


def millicpus(cpus: float) -> int:
    """Cpus in thousandths."""
    return round(cpus * 1000)


_Share = tuple[str, int, int, tuple[HostPort, ...], bool]
"""What one task takes: of which node, memory, thousandths of cpus, host ports; and if it is wanted.
A plain tuple, as one is made for each task."""


class _Counts:
    """Loads while they are being changed."""

    def __init__(self, before: Mapping[str, Load]) -> None:
        self._before = before
        self._changed: dict[str, tuple[list[int], dict[HostPort, int]]] = {}

    def add(self, share: _Share, sign: int) -> None:
        """Once more, or once less."""
        node_id, memory, millicpus, host_ports, _ = share
        changed = self._changed.get(node_id)
        if changed is None:
            load = self._before.get(node_id, NOTHING)
            changed = ([load.tasks, load.memory, load.millicpus], dict(load.host_ports))
            self._changed[node_id] = changed
        sums, ports = changed
        sums[0] += sign
        sums[1] += sign * memory
        sums[2] += sign * millicpus
        for port in host_ports:
            ports[port] = ports.get(port, 0) + sign

    def loads(self) -> Mapping[str, Load]:
        """As they are in the end."""
        if not self._changed:
            return self._before
        loads = dict(self._before)
        for node_id, (sums, ports) in self._changed.items():
            held = {port: count for port, count in ports.items() if count}
            loads[node_id] = Load(sums[0], sums[1], sums[2], held)
            if not sums[0]:
                del loads[node_id]
        return loads


class _Spreads:
    """How services are spread, while it is being changed."""

    def __init__(self, before: Mapping[str, Spread]) -> None:
        self._before = before
        self._changed: dict[str, dict[tuple[str, int, bool], int]] = {}

    def add(self, service: str, key: tuple[str, int, bool], sign: int) -> None:
        """Once more, or once less."""
        counts = self._changed.get(service)
        if counts is None:
            self._changed[service] = counts = dict(self._before.get(service, ()))
        count = counts.get(key, 0) + sign
        if count:
            counts[key] = count
        else:
            del counts[key]

    def spread(self) -> Mapping[str, Spread]:
        """As it is in the end."""
        changed = {service: counts or None for service, counts in self._changed.items()}
        return maps.updated(self._before, changed)


def _concerned(
    before: ClusterState, after: ClusterState
) -> Iterable[tuple[str, Task | None, Task | None]]:
    """Tasks that are not as they were, and those of services that take other ports."""
    changes = maps.changes(before.tasks, after.tasks)
    others = _of_other_ports(before, after)
    if not others:
        return changes
    found = {change[0]: change for change in changes}
    for task_id in others:
        found[task_id] = (task_id, before.tasks.get(task_id), after.tasks.get(task_id))
    return found.values()


def _of_other_ports(before: ClusterState, after: ClusterState) -> dict[str, None]:
    found: dict[str, None] = {}
    for name, was, service in maps.changes(before.services, after.services):
        if _host_ports(was) != _host_ports(service):
            for state in (before, after):
                found |= dict.fromkeys(groups.of(state.tasks).by_service.get(name, ()))
    return found


def _host_ports(service: Service | None) -> tuple[HostPort, ...]:
    return host_ports(service.spec.ports) if service is not None and service.spec.ports else ()


class _Ports(dict[str, tuple[HostPort, ...]]):
    """Host ports of services, by name, each found out once."""

    def __init__(self, services: Mapping[str, Service]) -> None:
        super().__init__()
        self._services = services

    def __missing__(self, name: str) -> tuple[HostPort, ...]:
        self[name] = found = _host_ports(self._services.get(name))
        return found


def _share(task: Task | None, ports: _Ports) -> _Share | None:
    if task is None or not is_placed(task):
        return None
    reserved = task.template.resources.reservations
    cpus = millicpus(reserved.cpus) if reserved.cpus else 0
    wanted = task.desired is DesiredState.RUNNING
    return task.node_id, reserved.memory, cpus, ports[task.service], wanted
