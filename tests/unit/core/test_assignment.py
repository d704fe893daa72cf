"""What each node is told, whole and as what changed."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.core import assignment
from warren.model.assignments import (
    Assignment,
    AssignmentDelta,
    Endpoint,
    ManagerAddress,
    Peer,
    ServiceTraffic,
)
from warren.model.errors import InvalidInput, NotFound
from warren.model.nodes import Node, NodeRole, NodeState
from warren.model.services import Port
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.state import maps
from warren.state.cluster import ClusterState
from warren.testing.builders import (
    NOON,
    a_cluster,
    a_node,
    a_service,
    a_state,
    a_task,
    a_volume,
)

BOTH = (NodeRole.MANAGER, NodeRole.WORKER)
PORTS = (Port(target=80, published=8080),)


def endpoint(task: Task, weight: int = 100) -> Endpoint:
    return Endpoint(
        address=task.status.address,
        task_id=task.id,
        node_id=task.node_id,
        slot=task.slot,
        weight=weight,
    )


def peer(name: str, number: int) -> Peer:
    return Peer(
        node_id=name,
        name=name,
        public_key=f"key of {name}",
        endpoint=f"192.0.2.{number}:51820",
        address=f"10.86.0.{number}",
        subnet=f"10.88.{number}.0/24",
    )


def weighted(node: Node, weight: int) -> Node:
    return replace(node, spec=replace(node.spec, weight=weight))


def with_tasks(state: ClusterState, tasks: Iterable[Task]) -> ClusterState:
    """The next state, in which these tasks are new or others."""
    after = state.tasks
    for task in tasks:
        after = maps.put(after, task.id, task)
    return replace(state, index=state.index + 1, tasks=after)


def test_names_tasks_peers_services_and_managers() -> None:
    m1, w2 = a_node("m1", roles=BOTH), weighted(a_node("w2"), 50)
    web = replace(a_service(replicas=2, ports=PORTS), vip="10.92.0.7")
    here, there = a_task(1, "m1"), a_task(2, "w2")
    ended = a_task(2, "m1", id="web-2-old", state=TaskState.LOST)

    told = assignment.begin(a_state(nodes=[w2, m1], services=[web], tasks=[ended, there, here])).of(
        "m1"
    )

    assert told == Assignment(
        index=100,
        tasks=(here, ended),
        peers=(peer("w2", 2),),
        services={
            "web": ServiceTraffic(
                name="web",
                vip="10.92.0.7",
                ports=PORTS,
                endpoints=(endpoint(here), endpoint(there, weight=50)),
            )
        },
        spec=a_cluster().spec,
        mesh=m1.mesh,
        managers=(
            ManagerAddress(node_id="m1", name="m1", api="192.0.2.1:7443", raft="10.86.0.1:7445"),
        ),
        roles=BOTH,
        mesh_keepalive=m1.spec.mesh_keepalive,
        tells_draining=True,
    )


@pytest.mark.parametrize(
    "task",
    [
        a_task(1, "w1", state=TaskState.STARTING),
        a_task(1, "w1", desired=DesiredState.STOPPED),
        a_task(1, "w1", desired=DesiredState.DRAINING),
        a_task(1, "w1", health=Health.STARTING),
        a_task(1, "w1", health=Health.UNHEALTHY),
        a_task(1, "w1", address=""),
        a_task(1, "w2"),
    ],
    ids=["not running", "stopped", "draining", "unproven", "unhealthy", "no address", "node down"],
)
def test_sends_no_traffic_to_a_task(task: Task) -> None:
    web = a_service(ports=PORTS)
    nodes = [a_node("w1"), a_node("w2", state=NodeState.DOWN)]

    told = assignment.begin(a_state(nodes=nodes, services=[web], tasks=[task])).of("w1")

    assert told.services["web"].endpoints == ()


@pytest.mark.parametrize(
    ("task", "drains"),
    [
        (a_task(1, "w1"), False),
        (a_task(1, "w1", desired=DesiredState.DRAINING), True),
        (a_task(1, "w1", desired=DesiredState.STOPPED), True),
        (a_task(1, "w1", state=TaskState.STOPPING, address="10.88.0.1"), True),
        (a_task(1, "w1", health=Health.UNHEALTHY), True),
        (a_task(1, "w1", health=Health.STARTING), False),
        (a_task(1, "w1", state=TaskState.RESTARTING), False),
        (a_task(1, "w1", state=TaskState.LOST), False),
        (a_task(1, "w2", desired=DesiredState.DRAINING), False),
    ],
    ids=[
        *("ready", "draining", "to be stopped", "stopping", "unhealthy", "unproven"),
        *("restarting", "lost", "node down"),
    ],
)
def test_tells_which_tasks_may_still_have_connections(task: Task, drains: bool) -> None:
    web = a_service(ports=PORTS)
    nodes = [a_node("w1"), a_node("w2", state=NodeState.DOWN)]

    told = assignment.begin(a_state(nodes=nodes, services=[web], tasks=[task])).of("w1")

    assert told.services["web"].draining == ((endpoint(task),) if drains else ())


def test_is_the_same_in_whatever_order_the_state_is_held() -> None:
    state = a_state(
        nodes=[a_node(f"w{n}") for n in range(1, 5)],
        services=[a_service("web", replicas=9, ports=PORTS), a_service("db")],
        tasks=[a_task(slot, f"w{slot % 4 + 1}") for slot in range(1, 9)],
    )
    turned = replace(
        state,
        nodes=dict(reversed(list(state.nodes.items()))),
        services=dict(reversed(list(state.services.items()))),
        tasks=dict(reversed(list(state.tasks.items()))),
    )

    for node_id in state.nodes:
        one = assignment.begin(state).of(node_id)
        assert one == assignment.begin(turned).of(node_id)


def test_there_is_none_for_an_unknown_node() -> None:
    with pytest.raises(NotFound, match=r"^there is no node w9$"):
        assignment.begin(replace(ClusterState(), cluster=a_cluster())).of("w9")


def a_large_state(services: int = 600) -> ClusterState:
    """More services and tasks than fit a plain mapping."""
    names = [f"s{number}" for number in range(services)]
    return a_state(
        nodes=[a_node("w1"), a_node("w2")],
        services=[a_service(name, ports=PORTS) for name in names],
        tasks=[
            a_task(1, "w1" if number % 2 else "w2", service=name)
            for number, name in enumerate(names)
        ],
    )


def test_a_change_is_told_as_what_it_changes() -> None:
    state = assignment.begin(with_tasks(a_large_state(), ()))
    gone = replace(state.state.tasks["s7-1-r1"], desired=DesiredState.DRAINING)

    later = assignment.advance(state, with_tasks(state.state, [gone]))

    traffic = ServiceTraffic(name="s7", ports=PORTS, draining=(endpoint(gone),))
    assert assignment.services_delta(state, later) == AssignmentDelta(
        base=0, index=0, services=(traffic,)
    )
    assert assignment.node_delta(state, later, "w1") == AssignmentDelta(
        base=101, index=102, tasks=(gone,)
    )
    assert assignment.says_nothing(assignment.node_delta(state, later, "w2"))


def test_volumes_of_the_node_and_of_no_node_are_told_and_then_what_changes_of_them() -> None:
    known = [a_volume("here", node="w1"), a_volume("there", node="w2"), a_volume("new")]
    before = a_state(nodes=[a_node("w1"), a_node("w2")], volumes=known)
    exports = a_volume("exports", driver="nfs", node="w2")
    after = replace(
        before,
        index=101,
        volumes={
            "here": before.volumes["here"],
            "exports": exports,
            "new": replace(before.volumes["new"], node_id="w2"),
        },
    )

    told, newest = assignment.begin(before), assignment.begin(after)
    delta = assignment.node_delta(told, newest, "w1")

    assert [volume.spec.name for volume in told.of("w1").volumes] == ["here", "new"]
    assert not assignment.needs_whole(told, newest, "w1")
    assert (delta.volumes, delta.volumes_gone) == ((exports,), ("new",))
    assert assignment.apply_delta(told.of("w1"), delta) == newest.of("w1")


def test_what_no_assignment_shows_is_no_change() -> None:
    before = assignment.begin(a_large_state())
    task = before.state.tasks["s7-1-r1"]
    changed = replace(task, status=replace(task.status, message="x"))

    later = assignment.advance(before, with_tasks(before.state, [changed]))

    assert later.services is before.services
    assert assignment.says_nothing(assignment.services_delta(before, later))


@pytest.mark.parametrize(
    "change",
    [
        lambda node: replace(node, mesh=replace(node.mesh, public_key="new")),
        lambda node: replace(node, spec=replace(node.spec, roles=BOTH)),
        lambda node: weighted(node, 7),
    ],
    ids=["key", "roles", "weight"],
)
def test_what_a_delta_cannot_tell_needs_the_whole(change) -> None:  # type: ignore[no-untyped-def]
    before = assignment.begin(a_large_state())
    nodes = {**before.state.nodes, "w1": change(before.state.nodes["w1"])}

    later = assignment.advance(before, replace(before.state, index=101, nodes=nodes))

    assert assignment.needs_whole(before, later, "w1")


def test_a_node_that_is_down_takes_its_endpoints_along() -> None:
    before = assignment.begin(a_large_state())
    down = replace(
        before.state.nodes["w1"],
        status=replace(before.state.nodes["w1"].status, state=NodeState.DOWN),
    )
    nodes = {**before.state.nodes, "w1": down}

    later = assignment.advance(before, replace(before.state, index=101, nodes=nodes))

    told = assignment.services_delta(before, later)
    assert len(told.services) == 300
    assert not any(traffic.endpoints for traffic in told.services)
    assert not assignment.needs_whole(before, later, "w2")


def test_a_delta_that_begins_elsewhere_is_refused() -> None:
    told = assignment.begin(a_large_state()).of("w1")

    with pytest.raises(InvalidInput, match=r"^it tells changes since 7, and 100 is known$"):
        assignment.apply_delta(told, AssignmentDelta(base=7, index=101))


_KINDS = ("run", "fail", "drain", "move", "lose", "forget", "publish", "weigh", "down", "up", "key")


@given(
    st.lists(st.tuples(st.sampled_from(_KINDS), st.integers(0, 7)), max_size=25),
    st.sampled_from([8, maps.LARGE]),
)
def test_deltas_lead_where_a_whole_assignment_does(
    steps: list[tuple[str, int]], services: int
) -> None:
    """Whatever happens, in a small or a large state, and however much at once."""
    state = _BEGINNINGS[services]
    told = {node_id: assignment.begin(state) for node_id in state.nodes}
    known = {node_id: each.of(node_id) for node_id, each in told.items()}
    newest = assignment.begin(state)
    for kind, number in steps:
        state = _changed(state, kind, number)
        newest = assignment.advance(newest, state)
        for node_id in list(known)[: number % 3]:
            before = told[node_id]
            if assignment.needs_whole(before, newest, node_id):
                known[node_id] = newest.of(node_id)
            else:
                common = assignment.services_delta(before, newest)
                delta = replace(
                    assignment.node_delta(before, newest, node_id),
                    services=common.services,
                    services_gone=common.services_gone,
                )
                known[node_id] = assignment.apply_delta(known[node_id], delta)
            told[node_id] = newest
            assert known[node_id] == newest.of(node_id)
    for node_id in known:
        assert newest.of(node_id) == assignment.begin(state).of(node_id)


_BEGINNINGS = {count: a_large_state(count) for count in (8, maps.LARGE)}


def _changed(state: ClusterState, kind: str, number: int) -> ClusterState:
    """One more change of the state; what there is no object for changes nothing."""
    state = replace(state, index=state.index + 1)
    name, node_id = f"s{number}", f"w{number % 2 + 1}"
    task, service = state.tasks.get(f"{name}-1-r1"), state.services.get(name)
    node = state.nodes[node_id]
    match kind:
        case "run":
            new = a_task(1, node_id, service=name)
            return replace(state, tasks=maps.put(state.tasks, new.id, new))
        case "fail" if task:
            failed = replace(task, status=replace(task.status, state=TaskState.RESTARTING))
            return replace(state, tasks=maps.put(state.tasks, task.id, failed))
        case "drain" if task:
            drained = replace(task, desired=DesiredState.DRAINING, draining_since=NOON)
            return replace(state, tasks=maps.put(state.tasks, task.id, drained))
        case "move" if task:
            moved = replace(task, node_id=node_id)
            return replace(state, tasks=maps.put(state.tasks, task.id, moved))
        case "lose" if task:
            return replace(state, tasks=maps.without(state.tasks, task.id))
        case "forget" if service:
            return replace(state, services=maps.without(state.services, name))
        case "publish":
            new_service = a_service(name, ports=(Port(target=80, published=number + 1),))
            return replace(state, services=maps.put(state.services, name, new_service))
        case "weigh":
            return replace(state, nodes={**state.nodes, node_id: weighted(node, number * 10)})
        case "down" | "up":
            to = NodeState.DOWN if kind == "down" else NodeState.READY
            status = replace(node.status, state=to)
            return replace(state, nodes={**state.nodes, node_id: replace(node, status=status)})
        case "key":
            mesh = replace(node.mesh, public_key=f"key {number} of {node_id}")
            return replace(state, nodes={**state.nodes, node_id: replace(node, mesh=mesh)})
        case _:
            return state
