"""What an Apply of a service means, worked out before anything is stored: for real and dry runs.

Called by the API on the leader. The plan comes from the same deciders that will later do the work,
run on the state as it would be; nothing here knows a second version of their rules.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from warren.core import (
    file_references,
    filters,
    health_specs,
    names,
    orchestrator,
    registry_credentials,
    scheduler,
    specs,
    update_specs,
    vips,
)
from warren.core import plan as plans
from warren.model import manifest, units
from warren.model.errors import FailedPrecondition, InvalidInput, NotFound
from warren.model.services import (
    HIDDEN,
    Port,
    PortMode,
    Protocol,
    ServiceSpec,
    TaskTemplate,
)
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.model.views import Change, RolloutPlan
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import (
    Command,
    CreateTask,
    PutService,
    RemoveService,
    SetTaskDesired,
    SetTaskStatus,
    StartRollout,
)

Template = TypeVar("Template", bound=TaskTemplate)
PLAN_LINES_MAX = 200


def merge(before: ServiceSpec | None, spec: ServiceSpec, fields: Iterable[str]) -> ServiceSpec:
    """The whole spec that the user means, where `fields` names what they gave.

    A password that reads `(hidden)` came from a read of ours: it stands for the stored one. A
    secret for pulls takes the place of a stored password.
    """
    given = {"name", *fields}
    merged = specs.merge(before, spec, given, path=spec.name or "service")
    if merged.is_global and "replicas" in given:
        message = "is for mode replicated: a global service has one task on each node"
        raise InvalidInput(message, path=f"{spec.name}.replicas")
    if merged.registry_secret and "registry_auth" not in given:
        merged = replace(merged, registry_auth=None)
    auth = merged.registry_auth
    if auth is None or auth.password != HIDDEN:
        return merged
    stored = before.registry_auth if before is not None else None
    if stored is None:
        path = f"{spec.name}.registry_auth.password"
        raise InvalidInput(f"{HIDDEN} stands for a stored password, and there is none", path=path)
    return replace(merged, registry_auth=replace(auth, password=stored.password))


def changes(before: ServiceSpec | None, after: ServiceSpec) -> tuple[Change, ...]:
    """Every difference between two specs, for people."""
    return specs.changes(before, after)


def check(spec: ServiceSpec, state: ClusterState) -> None:
    """InvalidInput if the spec makes no sense; FailedPrecondition if it cannot be had now."""
    before = state.services.get(spec.name)
    if before is not None and before.spec.mode is not spec.mode:
        message = (
            f"cannot be changed from {before.spec.mode.value}: remove the service, and create it"
        )
        raise InvalidInput(message, path=f"{spec.name}.mode")
    _check_values(before.spec if before is not None else None, spec)
    _check_resources(spec)
    _check_constraints(spec)
    _check_ports(spec)
    health_specs.check(spec)
    file_references.check(spec, state)
    registry_credentials.check(spec, state)
    update_specs.check(spec)
    if before is not None and before.removing:
        raise FailedPrecondition(f"service {spec.name} is being removed")
    if before is None:
        vips.check_room(state)
    _check_ports_of_cluster(spec, state)
    published = frozenset(port.published for port in spec.ports if port.published)
    if published:
        for name in sorted(_sharing(spec.name, published, state)):
            _check_ports_of_other(spec, state.services[name].spec)


def _sharing(name: str, published: frozenset[int], state: ClusterState) -> Iterator[str]:
    """Other services that publish one of the ports."""
    for other in state.services.values():
        if (
            any(port.published in published for port in other.spec.ports)
            and other.spec.name != name
        ):
            yield other.spec.name


def _check_values(before: ServiceSpec | None, spec: ServiceSpec) -> None:
    """Each by itself, as a manifest would be read. What is stored was checked before it was."""
    only = specs.differing(before, spec)
    data = manifest.to_dict(spec, secrets=True, omit_defaults=before is None, only=only)
    manifest.parse_service({"name": spec.name, **data}, partial=True)


def _check_resources(spec: ServiceSpec) -> None:
    limits, reserved = spec.resources.limits, spec.resources.reservations
    if limits.memory and reserved.memory > limits.memory:
        raise InvalidInput(
            f"{units.format_bytes(limits.memory)} is below the reservation, "
            f"{units.format_bytes(reserved.memory)}",
            path=f"{spec.name}.resources.limits.memory",
        )
    if limits.cpus and reserved.cpus > limits.cpus:
        raise InvalidInput(
            f"{limits.cpus:g} is below the reservation, {reserved.cpus:g}",
            path=f"{spec.name}.resources.limits.cpus",
        )


def _check_constraints(spec: ServiceSpec) -> None:
    for index, text in enumerate(spec.placement.constraints):
        try:
            filters.parse_constraint(text)
        except ValueError as error:
            path = f"{spec.name}.placement.constraints[{index}]"
            raise InvalidInput(str(error), path=path) from error


def _check_ports(spec: ServiceSpec) -> None:
    """Within the service, a published port and a name stand for one port."""
    published: dict[tuple[int, Protocol], int] = {}
    names: dict[str, int] = {}
    for index, port in enumerate(spec.ports):
        path = f"{spec.name}.ports[{index}]"
        first = published.setdefault((port.published, port.protocol), index)
        if port.published and first != index:
            message = f"{_port(port)} is published by ports[{first}] already"
            raise InvalidInput(message, path=f"{path}.published")
        first = names.setdefault(port.name, index)
        if port.name and first != index:
            message = f"{port.name} is the name of ports[{first}] already"
            raise InvalidInput(message, path=f"{path}.name")


def _check_ports_of_cluster(spec: ServiceSpec, state: ClusterState) -> None:
    """A service may not take the ports that the cluster itself lives by."""
    if state.cluster is None:
        return
    settings = state.cluster.spec
    own = {
        (settings.api_port, Protocol.TCP): "api_port",
        (settings.join_port, Protocol.TCP): "join_port",
        (settings.raft_port, Protocol.TCP): "raft_port",
        (settings.mesh_port, Protocol.UDP): "mesh_port",
    }
    for index, port in enumerate(spec.ports):
        name = own.get((port.published, port.protocol))
        if name is not None:
            message = f"{_port(port)} is the cluster's own {name}"
            raise InvalidInput(message, path=f"{spec.name}.ports[{index}].published")


def _check_ports_of_other(spec: ServiceSpec, other: ServiceSpec) -> None:
    """Mode `mesh` takes the port on every node; two in mode `host` the scheduler keeps apart."""
    held = {(port.published, port.protocol): port for port in other.ports if port.published}
    for index, port in enumerate(spec.ports):
        holder = held.get((port.published, port.protocol))
        if holder is None or (port.mode is holder.mode is PortMode.HOST):
            continue
        raise FailedPrecondition(
            f"{spec.name}.ports[{index}].published: {_port(port)} is held by service {other.name}"
        )


def _port(port: Port) -> str:
    return f"{port.published}/{port.protocol.value}"


def plan(
    state: ClusterState, change: PutService | StartRollout, now: datetime, new_id: Callable[[], str]
) -> tuple[tuple[str, ...], RolloutPlan | None]:
    """What would happen to tasks if the change were stored now, in order, if all new tasks run; as
    lines, and where it is a rollout, also as data."""
    after, _ = apply(state, change)
    if isinstance(change, PutService):
        return _lines(after, change.spec.name, now, new_id), None
    rollout_plan = plans.of_rollout(after, change.spec.name, now)
    return plans.lines(rollout_plan), rollout_plan


def removal_plan(
    state: ClusterState, name: str, now: datetime, new_id: Callable[[], str]
) -> tuple[str, ...]:
    """What would happen to tasks if the service were removed now."""
    if name not in state.services:
        raise NotFound(f"there is no service {name}")
    remove = RemoveService(name=name, expected_version=0, now=now)
    return _lines(apply(state, remove)[0], name, now, new_id)


def _lines(
    state: ClusterState, name: str, now: datetime, new_id: Callable[[], str]
) -> tuple[str, ...]:
    """Decide, describe, let what was started run and what was stopped end, and decide again."""
    lines: list[str] = []
    state = _run_started(state, name, now)
    while len(lines) < PLAN_LINES_MAX:
        service, tasks = state.services[name], state.tasks_of(name)
        decision = orchestrator.decide_service(state, service, tasks, now, new_id)
        if not decision.commands:
            return tuple(lines)
        before = state
        state = _after(state, decision.commands)
        state = _after(state, scheduler.decide(state, now).commands)
        state = _end_stopped(state, name, now)
        state = _after(state, scheduler.decide(state, now).commands)
        lines += _describe(before, state, name, decision.commands)
        state = _run_started(state, name, now)
    return (*lines[:PLAN_LINES_MAX], "and so on")


def _after(state: ClusterState, commands: Iterable[Command]) -> ClusterState:
    for command in commands:
        state, _ = apply(state, command)
    return state


def _run_started(state: ClusterState, name: str, now: datetime) -> ClusterState:
    """Tasks that have a node and never failed become ready; a task that fails now may well go on
    failing."""
    starting = (TaskState.ASSIGNED, TaskState.PREPARING, TaskState.STARTING, TaskState.RUNNING)
    coming = (
        task
        for task in state.tasks_of(name)
        if task.status.state in starting and not task.status.failures and not task.ready
    )
    return _with_states(state, coming, TaskState.RUNNING, now)


def _end_stopped(state: ClusterState, name: str, now: datetime) -> ClusterState:
    stopping = (
        task
        for task in state.tasks_of(name)
        if task.desired is not DesiredState.RUNNING and not task.status.state.terminal
    )
    return _with_states(state, stopping, TaskState.STOPPED, now)


def _with_states(
    state: ClusterState, tasks: Iterable[Task], target: TaskState, now: datetime
) -> ClusterState:
    commands = [
        SetTaskStatus(
            task_id=task.id,
            status=replace(task.status, state=target, since=now, health=Health.NONE),
        )
        for task in tasks
    ]
    return _after(state, commands)


def _describe(
    before: ClusterState, after: ClusterState, name: str, commands: Iterable[Command]
) -> list[str]:
    """What one round of commands does to the service, slot by slot."""
    created: dict[int, Task] = {}
    stopped: dict[int, Task] = {}
    for command in commands:
        match command:
            case CreateTask():
                created[command.task.slot] = after.tasks[command.task.id]
            case SetTaskDesired() if _placed(before.tasks[command.task_id]):
                stopped[before.tasks[command.task_id].slot] = before.tasks[command.task_id]
            case _:
                pass
    lines: dict[int, str] = {}
    was, now = _by_slot(before, name), _by_slot(after, name)
    for slot, task in stopped.items():
        if not any(other.wanted for other in now.get(slot, ())):
            where = "" if task.node else f" on {names.node_name(after, task)}"
            lines[slot] = f"{names.slot(task)}  -task{where}"
    for slot, task in created.items():
        old = [task for task in was.get(slot, ()) if _placed(task)]
        arrival = _arrival(after, task, old, stop_first=slot in stopped)
        lines[slot] = f"{names.slot(task)}  {arrival}"
    return [lines[slot] for slot in sorted(lines)]


def _by_slot(state: ClusterState, name: str) -> Mapping[int, Sequence[Task]]:
    found: defaultdict[int, list[Task]] = defaultdict(list)
    for task in state.tasks_of(name):
        found[task.slot].append(task)
    return found


def _placed(task: Task) -> bool:
    return task.wanted and task.status.state is not TaskState.PENDING


def _arrival(state: ClusterState, task: Task, old: list[Task], *, stop_first: bool) -> str:
    """How a new task comes into its slot, in which `old` tasks may be."""
    if task.status.state is TaskState.PENDING:
        if old and not stop_first:
            where = names.node_name(state, old[0])
            return f"replacement stays pending, the task on {where} goes on: {task.status.message}"
        return f"stays pending: {task.status.message}"
    if not old:
        return "+task" if task.node else f"+task on {names.node_name(state, task)}"
    moved = (
        "" if old[0].node_id == task.node_id else f" instead of {names.node_name(state, old[0])}"
    )
    order = "stop first" if stop_first else "start first"
    if task.node:
        return f"replace ({order})"
    return f"replace on {names.node_name(state, task)}{moved} ({order})"
