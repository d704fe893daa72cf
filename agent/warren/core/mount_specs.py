"""Which mounts of a service make sense. Pure; called by `core/services.py` at an Apply.

Each refusal names the field by its path. What a node's owner allows is not asked here: nodes come
and go, so a path that none allows keeps tasks pending, with the reason.
"""

from warren.core import amounts, file_references
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.rollouts import Strategy, UpdateOrder
from warren.model.services import ServiceSpec
from warren.model.volumes import MountKind, MountSpec, Volume
from warren.state import mounts, references
from warren.state.cluster import ClusterState

_CLOSED = ("/proc", "/sys", "/dev", "/run/secrets")
"""Where no mount may be: what the kernel shows there is not the user's to cover."""


def check(spec: ServiceSpec, state: ClusterState) -> None:
    """InvalidInput if the mounts make no sense; FailedPrecondition if they cannot be had now."""
    taken = {file_references.path_of(each): each.name for each in references.all_of(spec)}
    targets: dict[str, int] = {}
    for place, mount in enumerate(spec.mounts):
        path = f"{spec.name}.mounts[{place}]"
        _check_target(mount, f"{path}.target")
        if mount.target in targets:
            message = f"{mount.target} is the target of mounts[{targets[mount.target]}] already"
            raise InvalidInput(message, path=f"{path}.target")
        if mount.target in taken:
            message = f"{mount.target} is the file of {taken[mount.target]} already"
            raise InvalidInput(message, path=f"{path}.target")
        targets[mount.target] = place
        _check_source(mount, path)
    _check_volumes(spec, state)


def _check_target(mount: MountSpec, path: str) -> None:
    if not _is_plain(mount.target) or mount.target == "/":
        raise InvalidInput(f"{mount.target!r} is no whole, plain path in the container", path=path)
    closed = [root for root in _CLOSED if f"{mount.target}/".startswith(f"{root}/")]
    if closed:
        raise InvalidInput(f"{mount.target} is inside {closed[0]}, where none may be", path=path)


def _is_plain(path: str) -> bool:
    if path == "/":
        return True
    parts = path.split("/")
    return parts[0] == "" and not any(part in ("", ".", "..") for part in parts[1:])


def _check_source(mount: MountSpec, path: str) -> None:
    if mount.type is not MountKind.TMPFS:
        for name, given in (("size", mount.size), ("mode", mount.mode)):
            if given:
                message = f"is for type tmpfs, not {mount.type.value}"
                raise InvalidInput(message, path=f"{path}.{name}")
    match mount.type:
        case MountKind.TMPFS:
            if mount.source:
                message = "is for volumes and paths: a tmpfs has none"
                raise InvalidInput(message, path=f"{path}.source")
            if mount.read_only:
                raise InvalidInput("leaves nothing to a tmpfs", path=f"{path}.read_only")
        case MountKind.BIND:
            if not _is_plain(mount.source):
                message = f"{mount.source!r} is no whole, plain path of a node"
                raise InvalidInput(message, path=f"{path}.source")
        case MountKind.VOLUME:
            if not mount.source:
                raise InvalidInput("is required: the name of a volume", path=f"{path}.source")


def _check_volumes(spec: ServiceSpec, state: ClusterState) -> None:
    nodes: dict[str, str] = {}
    for place, mount in enumerate(spec.mounts):
        if mount.type is not MountKind.VOLUME:
            continue
        path = f"{spec.name}.mounts[{place}]"
        volume = state.volumes.get(mount.source)
        if volume is None:
            raise FailedPrecondition(f"{path}.source: there is no volume {mount.source}")
        if volume.removing:
            raise FailedPrecondition(f"{path}.source: volume {mount.source} is being removed")
        _check_place(spec, volume, nodes, path)
        if mounts.one_writer(volume, spec) and not mount.read_only:
            _check_writer(spec, volume, path)
            _check_others(spec, volume, state, path)


def _check_place(spec: ServiceSpec, volume: Volume, nodes: dict[str, str], path: str) -> None:
    """A local volume is on one node, and so are all tasks that have it."""
    name = volume.spec.name
    if not volume.is_local:
        return
    if spec.is_global:
        message = f"volume {name} is on one node, and a global service has tasks on all of them"
        raise InvalidInput(message, path=f"{path}.source")
    if volume.node_name:
        other, node = next(iter(nodes.items()), (name, volume.node_name))
        if node != volume.node_name:
            message = f"volume {name} is on {volume.node_name}, and volume {other} on {node}"
            raise FailedPrecondition(f"{path}.source: {message}")
        nodes[name] = volume.node_name


def _check_writer(spec: ServiceSpec, volume: Volume, path: str) -> None:
    """Of a service that writes to a volume which is not shared there is one task at a time."""
    one = f"volume {volume.spec.name} is not shared, so it has one writer"
    if spec.is_global or spec.replicas > 1:
        tasks = "a task on each node" if spec.is_global else f"{spec.replicas} replicas"
        message = f"{one}, and the service has {tasks}"
        raise InvalidInput(message, path=f"{path}.source")
    policy = spec.policy
    if policy.strategy is not Strategy.ROLLING:
        message = f"{policy.strategy.value} has old and new tasks beside each other, and {one}"
        raise InvalidInput(message, path=f"{spec.name}.update.strategy")
    stays = policy.min_healthy and amounts.min_healthy(policy, spec.replicas) >= spec.replicas
    if spec.replicas and stays and policy.order is UpdateOrder.START_FIRST:
        message = f"{policy.min_healthy} leaves none to stop before the next starts: {one}"
        raise InvalidInput(message, path=f"{spec.name}.update.min_healthy")


def _check_others(spec: ServiceSpec, volume: Volume, state: ClusterState, path: str) -> None:
    name = volume.spec.name
    for other in sorted(state.services):
        service = state.services[other]
        if other == spec.name or service.removing or name not in mounts.written(service.spec):
            continue
        message = f"volume {name} is not shared, and service {other} writes to it"
        raise FailedPrecondition(f"{path}.source: {message}")


def check_sharing(state: ClusterState, volume: Volume) -> None:
    """FailedPrecondition if its users need it to be shared."""
    for name in sorted(state.services):
        spec = state.services[name].spec
        if state.services[name].removing or volume.spec.name not in mounts.written(spec):
            continue
        try:
            _check_writer(spec, volume, f"{name}.mounts")
            _check_others(spec, volume, state, f"{name}.mounts")
        except (InvalidInput, FailedPrecondition) as error:
            message = f"{volume.spec.name}.shared: service {name} needs it: {error}"
            raise FailedPrecondition(message) from None
