"""Which nodes a global service has a task on: each is a slot of it, with a number for life.

The law, for a node, with the template of the revision that the service is to have:

    ready, active, a worker, and meets every constraint  a slot
    else, but only because it is paused                  a slot while it has a task of that
                                                         revision; another's task is held
    is so by the other revision of a rollout only        its task is held while that lasts
    else (down, drained, no worker, constraints)         no slot: a task there stops

A task that is held goes on as it is: it belongs to no slot, counts for nothing, and is not stopped.
Room on the node and free ports make no difference: there the task is pending, and says why.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from warren.core import filters
from warren.model.nodes import Availability, Node
from warren.model.services import Service, TaskTemplate, template_of
from warren.model.tasks import Task
from warren.state.cluster import ClusterState


def numbers(state: ClusterState, service: Service, tasks: Iterable[Task]) -> Collection[int]:
    """Of all slots that the service, of whichever mode, shall have; `tasks` are all of it."""
    if service.spec.is_global:
        return nodes_of(state, service, tasks)
    return range(1, 1 + (0 if service.removing else service.spec.replicas))


def nodes_of(state: ClusterState, service: Service, tasks: Iterable[Task]) -> Mapping[int, Node]:
    """The slots of a global service, and the node that each of them is, by number."""
    if service.removing:
        return {}
    suits = _suits(template_of(service.spec))
    revision = service.revision
    keeping = {t.node_id for t in tasks if t.wanted and t.node_id and t.revision == revision}
    found = (
        (_number(state, node), node)
        for node in state.nodes.values()
        if (node.id in keeping or not _is_paused(node)) and suits(node)
    )
    return dict(sorted(found))


def is_held(state: ClusterState, service: Service, task: Task) -> bool:
    """A task of a global service that is in none of its slots goes on as it is."""
    node = state.nodes.get(task.node_id)
    if service.removing or not service.spec.is_global or node is None or not task.wanted:
        return False
    if _is_paused(node) and _suits(template_of(service.spec))(node):
        return True
    live = service.live_rollout
    if live is None:
        return False
    ways = (live.from_revision, live.to_revision)
    return any(_suits(each.template)(node) for each in service.revisions if each.number in ways)


def takes(template: TaskTemplate, node: Node) -> bool:
    """The node may have a new task of the template, were there room."""
    return not _is_paused(node) and _suits(template)(node)


def belongs(task: Task, node: Node) -> bool:
    """The task is of the slot that the node is, and not of one that had its name or number before
    it joined."""
    return task.node == node.spec.name and task.node_id in ("", node.id)


def _suits(template: TaskTemplate) -> Callable[[Node], bool]:
    """Whether a node, paused or not, may have tasks of the template."""
    needs = filters.static_filters(template)
    return lambda node: filters.passes_all(needs, filters.NodeUsage(node=_active(node)))


def _active(node: Node) -> Node:
    if not _is_paused(node):
        return node
    return replace(node, spec=replace(node.spec, availability=Availability.ACTIVE))


def _is_paused(node: Node) -> bool:
    return node.spec.availability is Availability.PAUSE


def _number(state: ClusterState, node: Node) -> int:
    """The place of its mesh address among all of them: no two nodes have the same at a time, and a
    node keeps it for life."""
    assert state.cluster is not None, "there is a service"
    return _place(state.cluster.spec.mesh_network, node.mesh.address)


@lru_cache(maxsize=4096)
def _place(network: str, address: str) -> int:
    return int(IPv4Address(address)) - int(IPv4Network(network).network_address)
