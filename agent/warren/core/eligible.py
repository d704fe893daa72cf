"""Which nodes a global service has a task on: each is a slot of it, with a number for life.

The law, for a node, with the template of the revision that the service is to have:

    ready, active, a worker, and meets every constraint  a slot
    else, but only because it is paused                  a slot while it has a task of that
                                                         revision; another's task is held
    is so by the other revision of a rollout only        its task is held until that is `ending`
    else (down, drained, no worker, constraints)         no slot: a task there stops

A task that is held goes on as it is: it belongs to no slot, counts for nothing, and is not stopped.
Room on the node and free ports make no difference: there the task is pending, and says why.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network

from warren.core import filters
from warren.model.nodes import Availability, Node
from warren.model.services import Service, TaskTemplate
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
    suited = _suited(state, service.spec)
    revision = service.revision
    keeping = {t.node_id for t in tasks if t.wanted and t.node_id and t.revision == revision}
    found = (
        (_number(state, node), node)
        for node in (state.nodes[node_id] for node_id in suited)
        if node.id in keeping or not _is_paused(node)
    )
    return dict(sorted(found, key=lambda each: each[0]))


def is_held(state: ClusterState, service: Service, task: Task) -> bool:
    """A task of a global service that is in none of its slots goes on as it is."""
    node = state.nodes.get(task.node_id)
    if service.removing or not service.spec.is_global or node is None or not task.wanted:
        return False
    if _is_paused(node) and node.id in _suited(state, service.spec):
        return True
    live = service.live_rollout
    if live is None or live.ending:
        return False
    ways = (live.from_revision, live.to_revision)
    templates = (each.template for each in service.revisions if each.number in ways)
    return any(node.id in _suited(state, template) for template in templates)


def takes(state: ClusterState, template: TaskTemplate, node: Node) -> bool:
    """The node may have a new task of the template, were there room."""
    return not _is_paused(node) and node.id in _suited(state, template)


def belongs(task: Task, node: Node) -> bool:
    """The task is of the slot that the node is, and not of one that had its name or number before
    it joined."""
    return task.node == node.spec.name and task.node_id in ("", node.id)


def explain_none(state: ClusterState, service: Service) -> str:
    """Why no node is a slot of the service."""
    nodes = sorted(state.nodes.values(), key=lambda node: node.spec.name)
    usage = [filters.NodeUsage(node=node) for node in nodes]
    return filters.explain(filters.static_filters(service.spec), usage)


_Suited = tuple[Mapping[str, Node], frozenset[str]]
_known: dict[tuple[str, ...], _Suited] = {}
"""By constraints: the nodes that were asked about last, and the answer. It is the same question
many times in every decision, and nodes hardly ever change."""
_KNOWN_MAX = 256


def _suited(state: ClusterState, template: TaskTemplate) -> frozenset[str]:
    """Ids of the nodes that may have tasks of the template, but for those that are paused."""
    constraints = template.placement.constraints
    known = _known.get(constraints)
    if known is not None and known[0] is state.nodes:
        return known[1]
    needs = filters.static_filters(template)
    usage = (filters.NodeUsage(node=_active(node)) for node in state.nodes.values())
    found = frozenset(each.node.id for each in usage if filters.passes_all(needs, each))
    if len(_known) >= _KNOWN_MAX:
        _known.clear()
    _known[constraints] = (state.nodes, found)
    return found


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
