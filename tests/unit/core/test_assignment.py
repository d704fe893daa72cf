"""What each node is told."""

from dataclasses import replace

import pytest
from warren.core import assignment
from warren.model.assignments import (
    Assignment,
    Endpoint,
    ManagerAddress,
    Peer,
    PublishedPort,
)
from warren.model.errors import NotFound
from warren.model.nodes import NodeRole, NodeState
from warren.model.services import Port, PortMode, Protocol
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state.cluster import ClusterState
from warren.testing.builders import a_cluster, a_node, a_service, a_state, a_task

BOTH = (NodeRole.MANAGER, NodeRole.WORKER)


def endpoint(task: Task, port: int) -> Endpoint:
    address = task.status.address
    return Endpoint(address=address, port=port, task_id=task.id, node_id=task.node_id)


def test_names_tasks_peers_ports_and_managers() -> None:
    m1, w2 = a_node("m1", roles=BOTH), a_node("w2")
    web = a_service(replicas=2, ports=(Port(target=80, published=8080),))
    here, there = a_task(1, "m1"), a_task(2, "w2")
    ended = a_task(2, "m1", id="web-2-old", state=TaskState.LOST)

    told = assignment.assignment_for(
        a_state(nodes=[w2, m1], services=[web], tasks=[ended, there, here]), "m1"
    )

    assert told == Assignment(
        index=100,
        tasks=(here, ended),
        peers=(
            Peer(
                node_id="w2",
                name="w2",
                public_key="key of w2",
                endpoint="192.0.2.2:51820",
                address="10.86.0.2",
                subnet="10.88.2.0/24",
            ),
        ),
        ports=(
            PublishedPort(
                service="web",
                published=8080,
                protocol=Protocol.TCP,
                mode=PortMode.MESH,
                endpoints=(endpoint(here, 80), endpoint(there, 80)),
            ),
        ),
        spec=a_cluster().spec,
        mesh=m1.mesh,
        managers=(
            ManagerAddress(node_id="m1", name="m1", api="192.0.2.1:7443", raft="10.86.0.1:7445"),
        ),
        roles=BOTH,
    )


@pytest.mark.parametrize(
    "task",
    [
        a_task(1, "w1", state=TaskState.STARTING),
        a_task(1, "w1", desired=DesiredState.STOPPED),
        a_task(1, "w1", address=""),
        a_task(1, "w2"),
    ],
    ids=["not running", "not wanted", "without address", "on a node that is down"],
)
def test_sends_no_traffic_to_a_task(task: Task) -> None:
    web = a_service(ports=(Port(target=80, published=8080), Port(target=81)))
    nodes = [a_node("w1"), a_node("w2", state=NodeState.DOWN)]

    told = assignment.assignment_for(a_state(nodes=nodes, services=[web], tasks=[task]), "w1")

    port = PublishedPort(service="web", published=8080, protocol=Protocol.TCP, mode=PortMode.MESH)
    assert told.ports == (port,)


def test_is_the_same_in_whatever_order_the_state_is_held() -> None:
    ports = (Port(target=1, published=90), Port(target=2, published=80))
    state = a_state(
        nodes=[a_node(f"w{n}") for n in range(1, 5)],
        services=[a_service("web", replicas=9, ports=ports), a_service("db", ports=ports[:0])],
        tasks=[a_task(slot, f"w{slot % 4 + 1}") for slot in range(1, 9)],
    )
    turned = replace(
        state,
        index=101,
        nodes=dict(reversed(list(state.nodes.items()))),
        services=dict(reversed(list(state.services.items()))),
        tasks=dict(reversed(list(state.tasks.items()))),
    )

    for node_id in state.nodes:
        one = assignment.assignment_for(state, node_id)
        other = assignment.assignment_for(turned, node_id)
        assert one != other
        assert assignment.same(one, other)


def test_there_is_none_for_an_unknown_node() -> None:
    with pytest.raises(NotFound, match=r"^there is no node w9$"):
        assignment.assignment_for(replace(ClusterState(), cluster=a_cluster()), "w9")
