"""Which services and tasks have which volumes, and where a task with volumes may be. Pure.

The law of volumes, which `apply` alone guarantees, whoever decides:

    a local volume              is on one node, that of its first use; its tasks are on that node
    one that is not shared      has one writer at a time: one task that lives, has a node, and does
                                not only read it
    and its writer was LOST     the next one goes to that node, where a worker sees to it that the
                                first has ended; or a user releases the volume

Asked by `apply`, by filters, and for what users are told.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from warren.model.services import Service, TaskTemplate
from warren.model.tasks import Task, TaskState
from warren.model.volumes import MountKind, MountSpec, Volume
from warren.state.cluster import ClusterState


def of_volumes(template: TaskTemplate) -> tuple[MountSpec, ...]:
    """The template's mounts of volumes."""
    if not template.mounts:
        return ()
    return tuple(mount for mount in template.mounts if mount.type is MountKind.VOLUME)


def written(template: TaskTemplate) -> frozenset[str]:
    """Names of the volumes that a task of the template may write to."""
    return frozenset(mount.source for mount in of_volumes(template) if not mount.read_only)


def missing(state: ClusterState, template: TaskTemplate) -> str:
    """The first volume that the template mounts and that is not there, or will soon be gone."""
    for mount in of_volumes(template):
        volume = state.volumes.get(mount.source)
        if volume is None or volume.removing:
            return mount.source
    return ""


def users(state: ClusterState, name: str) -> tuple[str, ...]:
    """Services that need the volume: their spec mounts it, a rollout between revisions that do is
    under way, or one of their tasks that lives has it."""
    found = {
        service.spec.name
        for service in state.services.values()
        if any(_mounts(template, name) for template in _in_force(service))
    }
    found |= {task.service for task in living(state, name)}
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """Who has what, of a whole state: worked out once for answers about many."""

    services: Mapping[str, frozenset[str]]
    """By volume: services that need it, as `users` answers it."""
    tasks: Mapping[str, tuple[str, ...]]
    """By volume: names of the tasks that have it now."""


def uses(state: ClusterState) -> Uses:
    """All of them."""
    services: defaultdict[str, set[str]] = defaultdict(set)
    tasks: defaultdict[str, set[str]] = defaultdict(set)
    for service in state.services.values():
        for template in _in_force(service):
            for mount in of_volumes(template):
                services[mount.source].add(service.spec.name)
    for task in state.tasks.values():
        if not task.template.mounts or task.status.state.terminal:
            continue
        for mount in of_volumes(task.template):
            services[mount.source].add(task.service)
            if task.node_id:
                tasks[mount.source].add(task.name)
    return Uses(
        services={name: frozenset(found) for name, found in services.items()},
        tasks={name: tuple(sorted(found)) for name, found in tasks.items()},
    )


def living(state: ClusterState, name: str) -> Iterator[Task]:
    """Tasks that mount the volume and have not ended."""
    for task in state.tasks.values():
        if task.template.mounts and not task.status.state.terminal and _mounts(task.template, name):
            yield task


def writes(task: Task, name: str) -> bool:
    """The task may write to the volume."""
    return name in written(task.template)


def one_writer(volume: Volume, template: TaskTemplate) -> bool:
    """A task of the template is one of those of which the volume has one at a time."""
    return not volume.spec.shared and volume.spec.name in written(template)


@dataclass(frozen=True, slots=True)
class Tie:
    """A volume that a task cannot have elsewhere."""

    volume: str
    node_id: str
    node_name: str
    lost_writer: str = ""
    """Name of the task that wrote to it there, and of which nobody knows whether it has ended."""


def ties(state: ClusterState, template: TaskTemplate) -> tuple[Tie, ...]:
    """What keeps tasks of the template to certain nodes."""
    found = []
    for mount in of_volumes(template):
        volume = state.volumes.get(mount.source)
        if volume is None or not volume.node_id:
            continue
        lost = ""
        if not volume.is_local:
            writer = _last_writer(state, volume) if one_writer(volume, template) else None
            if writer is None or writer.status.state is not TaskState.LOST:
                continue
            if volume.node_id not in state.nodes:  # who removed it says that it is gone
                continue
            lost = writer.name
        found.append(Tie(mount.source, volume.node_id, volume.node_name, lost))
    return tuple(found)


def refusal(state: ClusterState, task: Task, node_id: str) -> str:
    """Why the task cannot be on that node for the sake of its volumes; empty: it can."""
    if not task.template.mounts:
        return ""
    gone = missing(state, task.template)
    if gone:
        return f"there is no volume {gone}"
    for tie in ties(state, task.template):
        if tie.node_id != node_id:
            return f"volume {tie.volume} is on {tie.node_name}"
    for mount in of_volumes(task.template):
        volume = state.volumes[mount.source]
        if one_writer(volume, task.template):
            writer = _last_writer(state, volume)
            if writer is not None and writer.id != task.id and _writes_now(writer):
                return f"volume {mount.source} is written by {writer.name}"
    return ""


def _last_writer(state: ClusterState, volume: Volume) -> Task | None:
    """A task that lives, if there is one, on the node where the volume was written last; else the
    one that came last."""
    name = volume.spec.name
    tasks = (task for task in state.tasks_on(volume.node_id) if writes(task, name))
    return max(tasks, key=lambda t: (_writes_now(t), t.created_at, t.id), default=None)


def _writes_now(task: Task) -> bool:
    return not task.status.state.terminal and task.status.state is not TaskState.PENDING


def _mounts(template: TaskTemplate, name: str) -> bool:
    return any(mount.source == name for mount in of_volumes(template))


def _in_force(service: Service) -> Iterator[TaskTemplate]:
    yield service.spec
    live = service.live_rollout
    if live is not None:
        numbers = (live.from_revision, live.to_revision)
        yield from (each.template for each in service.revisions if each.number in numbers)
