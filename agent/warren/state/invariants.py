"""What must hold in every replicated state, as sentences. Checked by tests and the simulation.

`check` is what `apply` alone guarantees, whatever commands come, even from two leaders at once.
`check_decided` is what the deciders add: it holds once the leader has reconciled.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise

from warren.model.nodes import Availability, NodeRole, NodeState
from warren.model.rollouts import UpdateOrder
from warren.model.secrets import FileKind
from warren.model.services import Service
from warren.model.tasks import Task, TaskState
from warren.state import mounts, references
from warren.state.cluster import ClusterState

_FOR_GOOD = (TaskState.FAILED, TaskState.COMPLETE)


def check(state: ClusterState) -> tuple[str, ...]:
    """The laws that `state` violates; empty if all is well."""
    laws = (_keys, _nodes, _addresses, _tasks, _files, _volumes)
    return tuple(violated for law in laws for violated in law(state))


def check_decided(state: ClusterState) -> tuple[str, ...]:
    """The same, and the laws that hold after a reconciliation."""
    return (*check(state), *_slots(state), *_places(state))


def _keys(state: ClusterState) -> Iterator[str]:
    if state.cluster is None and (state.nodes or state.services or state.tasks or state.tokens):
        yield "there is no cluster, but it has contents"
    for name, service in state.services.items():
        if service.spec.name != name:
            yield f"service {service.spec.name} is stored as {name}"
        if not 0 < service.version <= state.index or service.revision < 1:
            yield f"service {name} has version {service.version}, revision {service.revision}"
        yield from _rollouts(service, state.index)
    for stored, items in (("node", state.nodes), ("task", state.tasks), ("token", state.tokens)):
        for key, item in items.items():
            if item.id != key:
                yield f"{stored} {item.id} is stored as {key}"


def _rollouts(service: Service, index: int) -> Iterator[str]:
    name, numbers = service.spec.name, [each.number for each in service.revisions]
    if numbers != sorted(set(numbers)) or (numbers and numbers[-1] > service.last_revision):
        yield f"service {name} keeps revisions {numbers}, the last is {service.last_revision}"
    if any(rollout.live for rollout in service.rollouts[:-1]):
        yield f"service {name} has a live rollout that is not the newest"
    live = service.live_rollout
    if live is None:
        return
    if not 0 < live.version <= index:
        yield f"rollout {live.id} has version {live.version}"
    if live.target != service.revision:
        yield f"rollout {live.id} leads to {live.target}, {name} is at {service.revision}"
    if not {live.from_revision, live.to_revision} <= set(numbers):
        yield f"rollout {live.id} is of revisions that {name} does not keep: {numbers}"


def _nodes(state: ClusterState) -> Iterator[str]:
    nodes = state.nodes.values()
    yield from _repeated("node name", (node.spec.name for node in nodes))
    yield from _repeated("mesh address", (node.mesh.address for node in nodes))
    yield from _repeated("mesh key", (node.mesh.public_key for node in nodes))
    subnets = sorted(_network(node.mesh.subnet) for node in nodes)
    for one, other in pairwise(subnets):
        if one.overlaps(other):
            yield f"task subnets {one} and {other} overlap"


def _addresses(state: ClusterState) -> Iterator[str]:
    """Virtual ones: each of one service, all of the pool."""
    owners: dict[str, str] = {}
    for name, service in sorted(state.services.items()):
        if not service.vip or state.cluster is None:
            continue
        if (owner := owners.setdefault(service.vip, name)) != name:
            yield f"services {owner} and {name} have address {service.vip}"
        pool = state.cluster.spec.vip_network
        if IPv4Address(service.vip) not in _network(pool):
            yield f"service {name} has address {service.vip}, which is not in {pool}"


@lru_cache(maxsize=1024)
def _network(subnet: str) -> IPv4Network:
    """Reading one is slow, and simulations check the same few thousands of times."""
    return IPv4Network(subnet)


def _repeated(what: str, values: Iterable[str]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{count} nodes have {what} {value}"


def _tasks(state: ClusterState) -> Iterator[str]:
    for task in state.tasks.values():
        task_state = task.status.state
        if task.service not in state.services:
            yield f"task {task.id} is of unknown service {task.service}"
        if task_state is TaskState.PENDING and task.node_id:
            yield f"task {task.id} is pending, but on node {task.node_id}"
        if task_state.terminal or task_state is TaskState.PENDING:
            continue
        if task.node_id not in state.nodes:
            yield f"task {task.id} is {task_state.value} on unknown node {task.node_id!r}"


def _files(state: ClusterState) -> Iterator[str]:
    """Of secrets and configs: what is needed is there, and versions are in their order."""
    for kind in FileKind:
        for name, found in references.stored(state, kind).items():
            numbers = [each.number for each in found.versions]
            if found.spec.name != name:
                yield f"{kind.value} {found.spec.name} is stored as {name}"
            if not numbers or numbers != sorted(set(numbers)):
                yield f"{kind.value} {name} has versions {numbers}"
    if (keys := state.secret_keys) is not None:
        for each in keys.keys:
            if not each.is_under(keys.lock):
                yield f"key {each.id} of secrets is not under the lock that there is"
    for name, service in state.services.items():
        missing = references.missing(state, service.spec)
        if missing:
            yield f"service {name} refers to {missing}, which is not there"


def _volumes(state: ClusterState) -> Iterator[str]:
    """What is mounted is there, and has one writer unless it is shared."""
    for name, volume in state.volumes.items():
        if volume.spec.name != name:
            yield f"volume {volume.spec.name} is stored as {name}"
    for name, service in state.services.items():
        if gone := mounts.missing(state, service.spec):
            yield f"service {name} mounts volume {gone}, which is not there"
    writers: defaultdict[str, set[str]] = defaultdict(set)
    for task in state.tasks.values():
        if task.template.mounts and task.node_id and not task.status.state.terminal:
            yield from _volumes_of(state, task)
            for name in mounts.written(task.template):
                writers[name].add(task.id)
    for name, tasks in writers.items():
        if len(tasks) > 1 and not state.volumes[name].spec.shared:
            yield f"volume {name} is written by {', '.join(sorted(tasks))}"


def _volumes_of(state: ClusterState, task: Task) -> Iterator[str]:
    for mount in mounts.of_volumes(task.template):
        volume = state.volumes.get(mount.source)
        if volume is None:
            yield f"task {task.id} has volume {mount.source}, which is not there"
        elif volume.is_local and volume.node_id != task.node_id:
            yield f"task {task.id} is not where volume {mount.source} is"


def _slots(state: ClusterState) -> Iterator[str]:
    """In a slot, one task of a revision is wanted, and one old one beside it at most."""
    wanted: defaultdict[tuple[str, int], list[Task]] = defaultdict(list)
    for task in state.tasks.values():
        if task.wanted:
            wanted[task.service, task.slot].append(task)
    ended = {(t.service, t.slot) for t in state.tasks.values() if t.status.state in _FOR_GOOD}
    stopping = set(_stopping_first(state))
    for (name, slot), tasks in sorted(wanted.items()):
        service = state.services[name]
        staying = Counter(task.revision for task in tasks if not _is_leaving(state, task))
        for revision, count in staying.items():
            if count > 1:
                yield f"{name}.{slot} has {count} wanted tasks of revision {revision}"
        if len(tasks) > (2 if service.live_rollout is None else 5):
            yield f"{name}.{slot} has {len(tasks)} wanted tasks"
        if service.removing or (not service.spec.is_global and slot > service.spec.replicas):
            yield f"{name}.{slot} is not wanted, but its task is"
        if not staying and (name, slot) not in ended and not service.spec.is_global:
            yield f"{name}.{slot} is on a node that is leaving, and has no successor"
    taken = {*wanted, *ended, *stopping}
    yield from (f"{name}.{n} has no task" for name, n in _numbered(state) if (name, n) not in taken)


def _numbered(state: ClusterState) -> Iterator[tuple[str, int]]:
    """The slots 1..replicas of every service. Which a global one has is `core`'s to say, and the
    simulation's to check."""
    for name, service in sorted(state.services.items()):
        if not service.removing and not service.spec.is_global:
            yield from ((name, number) for number in range(1, service.spec.replicas + 1))


def _stopping_first(state: ClusterState) -> Iterator[tuple[str, int]]:
    """Slots of which the task stops before there is another, as their service's update says."""
    for task in state.tasks.values():
        rollout = state.services[task.service].live_rollout
        if rollout is None or task.status.state.terminal:
            continue
        if rollout.policy.order is UpdateOrder.STOP_FIRST:
            yield task.service, task.slot


def _is_leaving(state: ClusterState, task: Task) -> bool:
    if task.leaving:
        return True
    node = state.nodes.get(task.node_id)
    return node is not None and (
        node.spec.availability is Availability.DRAIN or NodeRole.WORKER not in node.spec.roles
    )


def _places(state: ClusterState) -> Iterator[str]:
    for task in state.tasks.values():
        node = state.nodes.get(task.node_id)
        lives = not task.status.state.terminal
        if node is not None and lives and node.status.state is NodeState.DOWN:
            yield f"task {task.id} lives on node {node.spec.name}, which is down"
