"""What commands make of volumes: where they are, who writes, and what keeps them."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from warren.model.nodes import NodeState
from warren.model.services import Service
from warren.model.tasks import Task, TaskState, TaskStatus
from warren.model.volumes import Volume, VolumeSpec
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import (
    Applied,
    AssignTask,
    Batch,
    Command,
    CreateTask,
    ForgetVolume,
    PutService,
    PutVolume,
    Rejected,
    ReleaseVolume,
    RemoveNode,
    RemoveVolume,
    SetTaskStatus,
)
from warren.testing.builders import (
    NOON,
    a_mount,
    a_node,
    a_service,
    a_spec,
    a_state,
    a_task,
    a_volume,
    at,
)


def a_pg(**mount: Any) -> Service:
    """A service with one mount, of volume `data`."""
    return a_service("pg", mounts=(a_mount(**mount),))


def a_world(
    *tasks: Task, volume: Volume | None = None, service: Service | None = None, **values: Any
) -> ClusterState:
    nodes = values.get("nodes", [a_node("n1"), a_node("n2")])
    return a_state(
        nodes=nodes,
        services=[service or a_pg()],
        tasks=tasks,
        volumes=[volume or a_volume()],
    )


def rejected(state: ClusterState, command: Command) -> tuple[str, str]:
    """Reason and message of a refusal that leaves all as it was."""
    after, outcome = apply(state, command)
    assert isinstance(outcome, Rejected), outcome
    assert replace(after, index=state.index) == state
    return outcome.reason, outcome.message


def applied(state: ClusterState, *commands: Command) -> ClusterState:
    for command in commands:
        state, outcome = apply(state, command)
        assert isinstance(outcome, Applied), outcome
        assert invariants.check(state) == ()
    return state


def assign(task_id: str, node_id: str) -> AssignTask:
    return AssignTask(task_id=task_id, node_id=node_id, now=at(5))


def test_creates_a_volume_that_is_nowhere_yet() -> None:
    put = PutVolume(spec=VolumeSpec(name="data"), id="5k2ha", expected_version=0, now=NOON)

    after = applied(a_state(nodes=[a_node("n1")]), put)

    assert after.volumes == {
        "data": Volume(
            spec=VolumeSpec(name="data"), id="5k2ha", version=101, created_at=NOON, updated_at=NOON
        )
    }


def test_a_volume_of_a_named_node_is_there_at_once() -> None:
    spec = VolumeSpec(name="data", node="n2")

    after = applied(
        a_state(nodes=[a_node("n1"), a_node("n2")]),
        PutVolume(spec=spec, id="5k2ha", expected_version=0, now=NOON),
    )

    assert (after.volumes["data"].node_id, after.volumes["data"].node_name) == ("n2", "n2")


def test_the_first_use_fixes_the_node() -> None:
    state = a_world(a_task(1, service="pg", state=TaskState.PENDING))
    task = next(iter(state.tasks))

    after = applied(state, assign(task, "n2"))

    assert after.volumes["data"] == replace(a_volume(), node_id="n2", node_name="n2")


def test_a_task_goes_nowhere_but_where_its_volume_is() -> None:
    state = a_world(a_task(1, service="pg", state=TaskState.PENDING), volume=a_volume(node="n2"))
    task = next(iter(state.tasks))

    assert rejected(state, assign(task, "n1")) == (
        "Conflict",
        f"{task} cannot be on n1: volume data is on n2",
    )


def test_a_second_writer_is_refused_whoever_decides() -> None:
    runs = a_task(1, service="pg", node="n1", state=TaskState.RUNNING, id="pg-1-old")
    comes = a_task(1, service="pg", state=TaskState.PENDING, id="pg-1-new")
    state = a_world(runs, comes, volume=a_volume(node="n1"))

    assert rejected(state, assign("pg-1-new", "n1")) == (
        "Conflict",
        "pg-1-new cannot be on n1: volume data is written by pg.1",
    )


def test_a_shared_volume_has_many_writers_on_its_node() -> None:
    runs = a_task(1, service="pg", node="n1", state=TaskState.RUNNING, id="pg-1-old")
    comes = a_task(2, service="pg", state=TaskState.PENDING, id="pg-2-new")
    state = a_world(runs, comes, volume=a_volume(node="n1", shared=True))

    after = applied(state, assign("pg-2-new", "n1"))

    assert after.tasks["pg-2-new"].node_id == "n1"


def test_readers_stand_beside_the_writer() -> None:
    runs = a_task(1, service="pg", node="n1", state=TaskState.RUNNING, id="pg-1-old")
    comes = a_task(1, service="reader", state=TaskState.PENDING, id="reader-1")
    reader = a_service("reader", mounts=(a_mount(read_only=True),))
    state = a_state(
        nodes=[a_node("n1")],
        services=[a_pg(), reader],
        tasks=[runs, comes],
        volumes=[a_volume(node="n1")],
    )

    assert applied(state, assign("reader-1", "n1")).tasks["reader-1"].node_id == "n1"


def test_a_volume_of_all_nodes_stays_where_its_writer_was_lost_until_it_is_released() -> None:
    lost = a_task(1, service="pg", node="n1", state=TaskState.LOST, id="pg-1-old")
    comes = a_task(1, service="pg", state=TaskState.PENDING, id="pg-1-new")
    state = a_world(
        lost,
        comes,
        volume=a_volume(node="n1", driver="nfs"),
        nodes=[a_node("n1", state=NodeState.DOWN), a_node("n2")],
    )
    release = ReleaseVolume(name="data", id="other", now=at(5))

    assert rejected(state, assign("pg-1-new", "n2")) == (
        "Conflict",
        "pg-1-new cannot be on n2: volume data is on n1",
    )
    after = applied(state, release, assign("pg-1-new", "n2"))
    assert (after.volumes["data"].node_id, after.volumes["data"].id) == ("n2", "v1")


def test_a_volume_of_all_nodes_follows_a_writer_that_ended_in_order() -> None:
    ended = a_task(1, service="pg", node="n1", state=TaskState.STOPPED, id="pg-1-old")
    comes = a_task(1, service="pg", state=TaskState.PENDING, id="pg-1-new")
    state = a_world(ended, comes, volume=a_volume(node="n1", driver="nfs"))

    assert applied(state, assign("pg-1-new", "n2")).volumes["data"].node_id == "n2"


def test_a_service_is_not_stored_without_its_volume() -> None:
    state = a_state(nodes=[a_node("n1")])
    spec = a_spec("pg", mounts=(a_mount(),))

    assert rejected(state, PutService(spec=spec, expected_version=0, now=NOON)) == (
        "FailedPrecondition",
        "there is no volume data",
    )


def test_a_volume_in_use_is_not_removed_and_names_its_users() -> None:
    assert rejected(a_world(), RemoveVolume(name="data", now=NOON)) == (
        "FailedPrecondition",
        "volume data is used by service pg",
    )


def test_a_volume_with_data_is_forgotten_only_when_that_is_deleted() -> None:
    state = a_state(nodes=[a_node("n1")], volumes=[a_volume(node="n1")])

    removing = applied(state, RemoveVolume(name="data", now=at(5)))
    spec = a_spec("pg", mounts=(a_mount(),))
    put = PutService(spec=spec, expected_version=0, now=NOON)
    gone = applied(removing, ForgetVolume(name="data", id="v1"))

    assert removing.volumes["data"].removing
    assert rejected(removing, put) == ("FailedPrecondition", "there is no volume data")
    assert gone.volumes == {}


def test_what_was_made_anew_is_not_forgotten_for_what_was_removed() -> None:
    state = a_state(volumes=[a_volume(id="v2")])

    assert applied(state, ForgetVolume(name="data", id="v1")).volumes == state.volumes


def test_a_volume_that_is_on_no_node_goes_at_once() -> None:
    state = a_state(nodes=[a_node("n1")], volumes=[a_volume()])

    assert applied(state, RemoveVolume(name="data", now=at(5))).volumes == {}


def test_a_released_volume_begins_anew_under_another_id() -> None:
    state = a_world(volume=a_volume(node="n1"), nodes=[a_node("n2")])

    after = applied(state, ReleaseVolume(name="data", id="v2", now=at(5)))

    assert after.volumes["data"] == replace(a_volume(id="v2"), version=101, updated_at=at(5))


def test_a_volume_released_to_a_node_is_there_with_the_same_directory() -> None:
    state = a_world(volume=a_volume(node="gone"))

    after = applied(state, ReleaseVolume(name="data", id="v2", node="n2", now=at(5)))

    volume = after.volumes["data"]
    assert (volume.id, volume.node_id, volume.spec.node) == ("v1", "n2", "n2")


def test_a_volume_that_a_task_has_is_not_released() -> None:
    runs = a_task(1, service="pg", node="n1", state=TaskState.RUNNING)
    state = a_world(runs, volume=a_volume(node="n1"))

    assert rejected(state, ReleaseVolume(name="data", id="v2", now=at(5))) == (
        "FailedPrecondition",
        "task pg.1 has volume data now",
    )


def test_a_removal_that_waits_for_a_node_is_ended_by_a_release() -> None:
    state = a_state(nodes=[a_node("n1")], volumes=[replace(a_volume(node="n1"), removing=True)])

    assert applied(state, ReleaseVolume(name="data", id="v2", now=at(5))).volumes == {}


def test_a_volume_stays_on_a_node_that_left_the_cluster() -> None:
    state = a_world(volume=a_volume(node="n1"))

    after = applied(state, RemoveNode(node_id="n1", now=at(5)))

    assert after.volumes == state.volumes


NODES, SLOTS = st.sampled_from(["n1", "n2"]), st.integers(1, 2)
VOLUMES = st.sampled_from(["data", "files"])
SERVICES = {
    "pg": (a_mount("data"), a_mount("files", "/files")),
    "reader": (a_mount("data", read_only=True),),
    "other": (a_mount("files"),),
}
TASKS = [f"{service}-{slot}-{letter}" for service in SERVICES for slot in (1, 2) for letter in "ab"]
STATUSES = st.sampled_from(TaskState).map(lambda state: TaskStatus(state=state, since=NOON))


@st.composite
def _new_task(draw: Any) -> CreateTask:
    task_id = draw(st.sampled_from(TASKS))
    service, slot, _ = task_id.split("-")
    spec = a_spec(service, mounts=SERVICES[service])
    return CreateTask(task=a_task(int(slot), service=service, id=task_id, spec=spec))


ANY: st.SearchStrategy[Command] = st.one_of(
    _new_task(),
    st.builds(AssignTask, task_id=st.sampled_from(TASKS), node_id=NODES, now=st.just(NOON)),
    st.builds(AssignTask, task_id=st.sampled_from(TASKS), node_id=NODES, now=st.just(NOON)),
    st.builds(SetTaskStatus, task_id=st.sampled_from(TASKS), status=STATUSES),
    st.builds(
        PutVolume,
        spec=st.builds(VolumeSpec, name=VOLUMES, shared=st.booleans()),
        id=st.just("x"),
        expected_version=st.integers(0, 120),
        now=st.just(NOON),
    ),
    st.builds(
        PutService,
        spec=st.sampled_from(list(SERVICES)).map(lambda name: a_spec(name)),
        expected_version=st.integers(0, 120),
        now=st.just(NOON),
    ),
    st.builds(RemoveVolume, name=VOLUMES, now=st.just(NOON)),
    st.builds(ForgetVolume, name=VOLUMES, id=st.sampled_from(["v1", "v2", "x"])),
    st.builds(
        ReleaseVolume,
        name=VOLUMES,
        id=st.just("v2"),
        node=st.sampled_from(["", "n1", "n2"]),
        now=st.just(NOON),
    ),
    st.builds(RemoveNode, node_id=NODES, now=st.just(NOON)),
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["local", "nfs"]), st.booleans(), st.lists(ANY, max_size=25))
def test_no_commands_in_any_order_bring_two_writers_or_a_task_apart_from_its_volume(
    driver: str, shared: bool, commands: list[Command]
) -> None:
    state = a_state(
        nodes=[a_node("n1"), a_node("n2")],
        services=[a_service(name, mounts=mounts) for name, mounts in SERVICES.items()],
        volumes=[a_volume(driver=driver, shared=shared), a_volume("files", driver=driver)],
    )

    one_by_one, together = state, apply(state, Batch(commands=tuple(commands)))[0]
    for command in commands:
        one_by_one, _ = apply(one_by_one, command)

        assert invariants.check(one_by_one) == (), command
    assert invariants.check(together) == ()


def test_the_second_writer_of_one_batch_is_refused() -> None:
    one = a_task(1, service="pg", state=TaskState.PENDING, id="pg-1-a")
    other = replace(one, id="pg-1-b")
    batch = Batch(commands=(assign("pg-1-a", "n1"), assign("pg-1-b", "n1")))

    after = applied(a_world(one, other), batch)

    assert [task.node_id for task in after.tasks.values()] == ["n1", ""]
