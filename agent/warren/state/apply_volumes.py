"""What commands make of volumes. Part of `apply`: total, deterministic, no clock.

The laws are in `mounts.py`; and: what a service's spec mounts is there, and what a service needs is
not removed. A volume whose data is on a node goes in two steps, so that it is forgotten when
nothing is left of it.
"""

from dataclasses import replace

from warren.model.nodes import Node
from warren.model.services import TaskTemplate
from warren.model.tasks import Task
from warren.model.volumes import Volume
from warren.state import commands as c
from warren.state import maps, mounts
from warren.state.cluster import ClusterState
from warren.state.refusals import Refusal


def put(state: ClusterState, command: c.PutVolume) -> ClusterState:
    """With the volume as the command says."""
    spec = command.spec
    before = state.volumes.get(spec.name)
    _expect(before, command.expected_version, spec.name)
    if before is not None:
        _require_staying(before)
        _require_one_writer(state, before, command)
        if spec.driver != before.spec.driver:
            raise Refusal("InvalidInput", f"volume {spec.name} has driver {before.spec.driver}")
        after = replace(before, spec=spec, version=state.index, updated_at=command.now)
        return _with(state, after)
    node = _node(state, spec.node) if spec.node else None
    volume = Volume(
        spec=spec,
        id=command.id,
        version=state.index,
        created_at=command.now,
        updated_at=command.now,
        node_id=node.id if node is not None else "",
        node_name=spec.node,
    )
    return _with(state, volume)


def remove(state: ClusterState, command: c.RemoveVolume) -> ClusterState:
    """Without it, or on its way there. Refused while a service needs it."""
    volume = _existing(state, command.name)
    if volume.removing:
        return state
    if command.expected_version:
        _expect(volume, command.expected_version, command.name)
    users = mounts.users(state, command.name)
    if users:
        raise Refusal("FailedPrecondition", in_use(command.name, users))
    if not volume.is_local or not volume.node_id or volume.node_id not in state.nodes:
        return replace(state, volumes=maps.without(state.volumes, command.name))
    leaving = replace(volume, removing=True, version=state.index, updated_at=command.now)
    return _with(state, leaving)


def forget(state: ClusterState, command: c.ForgetVolume) -> ClusterState:
    """Without it: its data is gone."""
    volume = state.volumes.get(command.name)
    if volume is None or volume.id != command.id:
        return state
    if not volume.removing:
        raise Refusal("FailedPrecondition", f"volume {command.name} is not being removed")
    return replace(state, volumes=maps.without(state.volumes, command.name))


def release(state: ClusterState, command: c.ReleaseVolume) -> ClusterState:
    """With the volume on no node, or on another. Refused while a task has it. One that was being
    removed, and waits for a node that is gone, goes at once."""
    volume = _existing(state, command.name)
    if command.expected_version:
        _expect(volume, command.expected_version, command.name)
    having = sorted(task.name for task in mounts.living(state, command.name) if task.node_id)
    if having:
        raise Refusal("FailedPrecondition", had_by(command.name, tuple(having)))
    if volume.removing:
        return replace(state, volumes=maps.without(state.volumes, command.name))
    node = _node(state, command.node) if command.node else None
    anew = volume.is_local and node is None and volume.node_id
    after = replace(
        volume,
        spec=replace(volume.spec, node=command.node),
        id=command.id if anew else volume.id,
        node_id=node.id if node is not None else "",
        node_name=command.node,
        version=state.index,
        updated_at=command.now,
    )
    return _with(state, after)


def require_mounts(state: ClusterState, template: TaskTemplate) -> None:
    """Refused unless all volumes are there that the template mounts."""
    name = mounts.missing(state, template)
    if name:
        raise Refusal("FailedPrecondition", f"there is no volume {name}")


def assigned(state: ClusterState, task: Task, node: Node) -> ClusterState:
    """With the task's volumes on its node from now on. Refused where they cannot be."""
    if not task.template.mounts:
        return state
    why = mounts.refusal(state, task, node.id)
    if why:
        raise Refusal("Conflict", f"{task.id} cannot be on {node.spec.name}: {why}")
    for mount in mounts.of_volumes(task.template):
        volume = state.volumes[mount.source]
        comes = not volume.node_id if volume.is_local else mounts.one_writer(volume, task.template)
        if comes and volume.node_id != node.id:
            state = _with(state, replace(volume, node_id=node.id, node_name=node.spec.name))
    return state


def in_use(name: str, users: tuple[str, ...]) -> str:
    """The sentence that refuses to remove it."""
    noun = "service" if len(users) == 1 else "services"
    return f"volume {name} is used by {noun} {', '.join(users)}"


def had_by(name: str, tasks: tuple[str, ...]) -> str:
    """The sentence that refuses to release it."""
    noun, has = ("task", "has") if len(tasks) == 1 else ("tasks", "have")
    return f"{noun} {', '.join(tasks)} {has} volume {name} now"


def _node(state: ClusterState, name: str) -> Node:
    node = state.node_named(name)
    if node is None:
        raise Refusal("NotFound", f"there is no node {name}")
    return node


def _existing(state: ClusterState, name: str) -> Volume:
    volume = state.volumes.get(name)
    if volume is None:
        raise Refusal("NotFound", f"there is no volume {name}")
    return volume


def _require_staying(volume: Volume) -> None:
    if volume.removing:
        raise Refusal("FailedPrecondition", f"volume {volume.spec.name} is being removed")


def _require_one_writer(state: ClusterState, before: Volume, command: c.PutVolume) -> None:
    """What is to be shared no longer is not written by two at this moment."""
    if not before.spec.shared or command.spec.shared:
        return
    name = command.spec.name
    writers = [t.name for t in mounts.living(state, name) if t.node_id and mounts.writes(t, name)]
    if len(writers) > 1:
        raise Refusal("FailedPrecondition", had_by(name, tuple(sorted(writers))))


def _with(state: ClusterState, volume: Volume) -> ClusterState:
    return replace(state, volumes=maps.put(state.volumes, volume.spec.name, volume))


def _expect(before: Volume | None, expected: int, name: str) -> None:
    version = before.version if before is not None else 0
    if version != expected:
        message = f"volume {name} was changed: version {version}, not {expected}"
        raise Refusal("Conflict", message)
