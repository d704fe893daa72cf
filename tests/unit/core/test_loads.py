"""What tasks take of nodes: followed from state to state, it is what it would be counted anew."""

from dataclasses import replace

from hypothesis import given
from warren.core import loads
from warren.core.loads import Load
from warren.model.services import Bytes, Port, PortMode, Protocol, ResourceReservations, Resources
from warren.model.tasks import DesiredState, TaskState
from warren.state import maps
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import SetTaskDesired
from warren.testing.builders import a_mount, a_node, a_service, a_state, a_task

from tests.unit.strategies import states

SOME = Resources(reservations=ResourceReservations(memory=Bytes(100), cpus=0.1))
HTTP = Port(name="http", target=80, published=80, mode=PortMode.HOST)


def a_loaded_state(*ports: Port) -> ClusterState:
    web = a_service(replicas=3, resources=SOME, ports=ports)
    tasks = [a_task(1, "w1"), a_task(2, "w1"), a_task(3)]
    return a_state(nodes=[a_node("w1")], services=[web], tasks=tasks)


@given(states(), states())
def test_following_finds_what_counting_anew_does(one: ClusterState, other: ClusterState) -> None:
    assert loads.advance(loads.begin(one), other) == loads.begin(other)
    assert loads.of(other) == loads.begin(other)


def test_counts_what_lives_what_goes_on_and_what_has_no_place() -> None:
    state = a_loaded_state(HTTP)
    stopping = SetTaskDesired(task_id="web-2-r1", desired=DesiredState.STOPPED)

    found = loads.advance(loads.begin(state), apply(state, stopping)[0])

    assert found.living == {"w1": Load(2, 200, 200, {(80, Protocol.TCP): 2})}
    assert found.wanted == {"w1": Load(1, 100, 100, {(80, Protocol.TCP): 1})}
    assert list(found.pending) == ["web-3-r1"]


def test_a_service_that_publishes_other_ports_takes_those_with_the_tasks_that_it_has() -> None:
    before, after = a_loaded_state(HTTP), a_loaded_state(replace(HTTP, published=81))
    after = replace(after, tasks=before.tasks)

    found = loads.advance(loads.begin(before), after)

    assert found.living == {"w1": Load(2, 200, 200, {(81, Protocol.TCP): 2})}


def test_a_node_without_tasks_has_no_load() -> None:
    state = a_loaded_state()
    ended = [
        replace(task, status=replace(task.status, state=TaskState.LOST))
        for task in state.tasks.values()
    ]
    after = replace(state, tasks=maps.bucketed({task.id: task for task in ended}))

    found = loads.advance(loads.begin(state), after)

    assert (found.living, found.wanted, found.pending) == ({}, {}, {})


def test_knows_who_may_write_to_volumes_and_who_of_them_goes_on() -> None:
    pg = a_service(replicas=3, mounts=(a_mount(), a_mount("logs", "/logs", read_only=True)))
    tasks = [a_task(1, "w1"), a_task(2, "w2"), a_task(3)]
    state = a_state(nodes=[a_node("w1"), a_node("w2")], services=[pg], tasks=tasks)
    stopping = apply(state, SetTaskDesired(task_id="web-2-r1", desired=DesiredState.STOPPED))[0]
    ended = replace(stopping, tasks={})

    first = loads.advance(loads.begin(state), stopping)
    last = loads.advance(first, ended)

    assert first.writers == {"data": {"web-1-r1": True, "web-2-r1": False}}
    assert (last.writers, last) == ({}, loads.begin(ended))


def test_counts_where_the_tasks_of_a_service_are_by_revision() -> None:
    state = a_loaded_state()
    stopping = SetTaskDesired(task_id="web-2-r1", desired=DesiredState.STOPPED)

    found = loads.advance(loads.begin(state), apply(state, stopping)[0])

    assert found.spread == {"web": {("w1", 1, True): 1, ("w1", 1, False): 1}}


def test_what_a_plan_asks_about_is_not_what_is_followed_from_then_on() -> None:
    state = a_loaded_state()
    followed = loads.of(state)

    with loads.kept():
        imagined = loads.of(a_state(nodes=[a_node("w2")]))

    assert imagined.living == {}
    assert loads.of(state) is followed
