"""What an Apply of a volume means, and what reads answer. Pure; called by the API."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from warren.core import filters, mount_specs, specs, volume_filters
from warren.model import manifest
from warren.model.errors import FailedPrecondition, InvalidInput, NotFound
from warren.model.nodes import NodeState
from warren.model.services import MountSpec, TaskTemplate
from warren.model.views import VolumeView
from warren.model.volumes import LOCAL, NFS, Volume, VolumeSpec, VolumeUsage
from warren.state import apply_volumes, mounts
from warren.state.cluster import ClusterState

_OPTIONS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    LOCAL: ((), ()),
    NFS: (("server", "path"), ("options",)),
}
"""Of the drivers that come with Warren: those that must be given, and those that may be. What
another takes, its worker says."""
_FOR_LIFE = ("driver", "options", "uid", "gid", "mode")


def merge(before: VolumeSpec | None, given: VolumeSpec, fields: Iterable[str]) -> VolumeSpec:
    """The whole spec that the user means."""
    path = given.name or "volume"
    merged = specs.merge(before, given, {"name", *fields}, path=path)
    return manifest.parse_volume(manifest.to_dict(merged))[0]


def check(state: ClusterState, spec: VolumeSpec) -> None:
    """InvalidInput if the spec makes no sense; FailedPrecondition if it cannot be had now."""
    stored = state.volumes.get(spec.name)
    if stored is not None:
        _check_changes(stored, spec)
        if not spec.shared:
            mount_specs.check_sharing(state, replace(stored, spec=spec))
        return
    _check_options(spec)
    if not spec.node:
        known = {name for node in state.nodes.values() for name in node.description.volume_drivers}
        if spec.driver not in known | set(_OPTIONS):
            has = ", ".join(sorted(known | set(_OPTIONS)))
            message = f"no node has {spec.driver}, known are {has}"
            raise InvalidInput(message, path=f"{spec.name}.driver")
        return
    if spec.driver != LOCAL:
        message = f"is for driver {LOCAL}: what {spec.driver} gives is on no node"
        raise InvalidInput(message, path=f"{spec.name}.node")
    if state.node_named(spec.node) is None:
        raise InvalidInput(f"there is no node {spec.node}", path=f"{spec.name}.node")


def _check_options(spec: VolumeSpec) -> None:
    if spec.driver not in _OPTIONS:
        return
    needed, allowed = _OPTIONS[spec.driver]
    path = f"{spec.name}.options"
    for name in spec.options:
        if name not in (*needed, *allowed):
            known = f"known are {', '.join((*needed, *allowed))}" if needed else "it has none"
            message = f"is no option of driver {spec.driver}: {known}"
            raise InvalidInput(message, path=f"{path}.{name}")
    for name in needed:
        if not spec.options.get(name):
            raise InvalidInput(f"is required by driver {spec.driver}", path=f"{path}.{name}")
    if spec.driver != LOCAL:
        for name in ("uid", "gid"):
            if getattr(spec, name):
                message = f"is for driver {LOCAL}: {spec.driver} has owners of its own"
                raise InvalidInput(message, path=f"{spec.name}.{name}")


def _check_changes(stored: Volume, spec: VolumeSpec) -> None:
    for name in _FOR_LIFE:
        if getattr(stored.spec, name) != getattr(spec, name):
            message = "cannot be changed: remove the volume with its data, and create it"
            raise InvalidInput(message, path=f"{spec.name}.{name}")
    if stored.spec.node != spec.node and spec.node != stored.node_name:
        message = f"is changed by a release: warren volume release {spec.name}"
        raise InvalidInput(message, path=f"{spec.name}.node")
    if stored.removing:
        raise FailedPrecondition(f"volume {spec.name} is being removed")


def check_release(state: ClusterState, name: str, node: str) -> Volume:
    """The volume, if it can be released. NotFound, InvalidInput, FailedPrecondition."""
    volume = state.volumes.get(name)
    if volume is None:
        raise NotFound(f"there is no volume {name}")
    if node and not volume.is_local:
        message = f"is for driver {LOCAL}: what {volume.spec.driver} gives is on no node"
        raise InvalidInput(message, path="node")
    if node and state.node_named(node) is None:
        raise InvalidInput(f"there is no node {node}", path="node")
    having = sorted(task.name for task in mounts.living(state, name) if task.node_id)
    if having:
        raise FailedPrecondition(apply_volumes.had_by(name, tuple(having)))
    return volume


def check_unused(state: ClusterState, name: str) -> None:
    """FailedPrecondition names those who need it."""
    users = mounts.users(state, name)
    if users:
        raise FailedPrecondition(apply_volumes.in_use(name, users))


def view(state: ClusterState, name: str, usage: VolumeUsage | None = None) -> VolumeView:
    """NotFound if there is none."""
    volume = state.volumes.get(name)
    if volume is None:
        raise NotFound(f"there is no volume {name}")
    (found,) = _views(state, [volume], {volume.id: usage} if usage is not None else {})
    return found


def views(state: ClusterState, usages: Mapping[str, VolumeUsage]) -> list[VolumeView]:
    """Of all volumes, by name. `usages`: as far as nodes have answered, by id."""
    return _views(state, [volume for _, volume in sorted(state.volumes.items())], usages)


def _views(
    state: ClusterState, asked: Iterable[Volume], usages: Mapping[str, VolumeUsage]
) -> list[VolumeView]:
    uses, nodes = mounts.uses(state), filters.usage(state, ())
    return [
        VolumeView(
            volume=volume,
            services=tuple(sorted(uses.services.get(volume.spec.name, ()))),
            tasks=uses.tasks.get(volume.spec.name, ()),
            usage=usages.get(volume.id),
            trouble=_trouble(state, volume, nodes),
        )
        for volume in asked
    ]


def _trouble(state: ClusterState, volume: Volume, nodes: Sequence[filters.NodeUsage]) -> str:
    name = volume.spec.name
    if volume.removing:
        node = state.nodes.get(volume.node_id)
        if node is not None and node.status.state is NodeState.READY:
            return ""
        return (
            f"its data is deleted when {volume.node_name} is back: if it does not come back, "
            f"warren volume release {name} gives it up"
        )
    template = TaskTemplate(image="-", mounts=(MountSpec(source=name, target="/volume"),))
    needs = (filters.Ready(), *volume_filters.of_place(state, template))
    if any(filters.passes_all(needs, each) for each in nodes):
        return ""
    return filters.explain(needs, nodes)
