"""What tests of global services share: nodes with a task on each, and what may become of them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from warren.model.nodes import Availability, NodeState
from warren.model.rollouts import (
    UpdatePolicy,
)
from warren.model.services import (
    Bytes,
    Placement,
    Port,
    PortMode,
    ResourceReservations,
    Resources,
    Service,
    ServiceMode,
)
from warren.state.cluster import ClusterState
from warren.testing.builders import (
    a_node,
    a_node_task,
    a_service,
)

from tests.unit.core.rollout_kit import World

GLOBAL = ServiceMode.GLOBAL
THREE = (a_node("w1"), a_node("w2"), a_node("w3"))
OLD = (a_node_task("w1"), a_node_task("w2"), a_node_task("w3"))
ALONE = Placement(max_per_node=1)
HOST_PORT = (Port(target=80, published=80, mode=PortMode.HOST),)


def a_global(**values: Any) -> Service:
    return a_service(mode=GLOBAL, **values)


def reserving(memory: int) -> Resources:
    return Resources(reservations=ResourceReservations(memory=Bytes(memory)))


def settled(state: ClusterState) -> ClusterState:
    world = World(state)
    world.run()
    return world.state


def places(state: ClusterState) -> Mapping[str, str]:
    """The state, and the node, of each task that is wanted, by name."""
    return {
        task.name: f"{task.status.state.value} {task.node_id}".strip()
        for task in sorted(state.tasks.values(), key=lambda task: task.slot)
        if task.wanted
    }


def changed(state: ClusterState, name: str, **values: Any) -> ClusterState:
    node = state.nodes[name]
    return replace(state, nodes={**state.nodes, name: replace(node, **values)})


def made_available(state: ClusterState, name: str, availability: Availability) -> ClusterState:
    spec = replace(state.nodes[name].spec, availability=availability)
    return changed(state, name, spec=spec)


def in_state(state: ClusterState, name: str, of_node: NodeState) -> ClusterState:
    return changed(state, name, status=replace(state.nodes[name].status, state=of_node))


def rolling(**values: Any) -> UpdatePolicy:
    return UpdatePolicy(**{"monitor": timedelta(), **values})
