"""Where tasks with mounts go, what they wait for, and how one writer follows another."""

from dataclasses import replace
from typing import Any

from warren.core import orchestrator, scheduler
from warren.core.reconcile import reconcile
from warren.model.nodes import Availability, Node, NodeState
from warren.model.services import MountSpec, Service
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.model.volumes import MountKind, Volume
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import AssignTask, SetTaskStatus
from warren.testing.builders import (
    a_mount,
    a_node,
    a_service,
    a_spec,
    a_state,
    a_task,
    a_volume,
    an_update,
    at,
    counting_ids,
)

PG = a_service("pg", mounts=(a_mount(),))
BIND = MountSpec(type=MountKind.BIND, source="/srv/certs/web", target="/certs")


def a_pg_task(slot: int = 1, node: str = "", **values: Any) -> Task:
    spec = a_spec("pg", mounts=(a_mount(),))
    return a_task(slot, node, service="pg", **{"spec": spec, **values})


def a_world(
    *tasks: Task,
    volume: Volume | None = None,
    nodes: tuple[Node, ...] = (a_node("n1"), a_node("n2"), a_node("n3")),
    service: Service = PG,
) -> ClusterState:
    volumes = [volume or a_volume(node="n2")]
    return a_state(nodes=nodes, services=[service], tasks=tasks, volumes=volumes)


def places(state: ClusterState) -> dict[str, str]:
    """Where the scheduler puts tasks, by id."""
    commands = scheduler.decide(state, at(60)).commands
    return {c.task_id: c.node_id for c in commands if isinstance(c, AssignTask)}


def reason(state: ClusterState) -> str:
    """Why the one pending task stays pending."""
    (command,) = scheduler.decide(state, at(60)).commands
    assert isinstance(command, SetTaskStatus)
    return command.status.message


def test_a_task_goes_where_its_volume_is() -> None:
    assert places(a_world(a_pg_task())) == {"pg-1-r1": "n2"}


def test_tasks_that_share_a_new_volume_stay_together() -> None:
    shared = a_service("pg", mounts=(a_mount(),), replicas=3)
    state = a_world(
        *(a_pg_task(slot) for slot in (1, 2, 3)), volume=a_volume(shared=True), service=shared
    )

    assert places(state) == {"pg-1-r1": "n1", "pg-2-r1": "n1", "pg-3-r1": "n1"}


def test_a_task_waits_for_the_end_of_the_writer_before_it() -> None:
    stopping = a_pg_task(node="n2", id="pg-1-old", desired=DesiredState.STOPPED)
    state = a_world(stopping, a_pg_task(id="pg-1-new"))

    assert places(state) == {}
    assert reason(state) == (
        "volume data is on n2, which waits for the writer of volume data to end"
    )


def test_a_task_whose_volume_is_on_a_node_that_is_down_says_so_and_what_helps() -> None:
    nodes = (a_node("n1"), a_node("n2", state=NodeState.DOWN), a_node("n3"))

    assert reason(a_world(a_pg_task(), nodes=nodes)) == (
        "volume data is on n2, which is not ready: if it does not come back, warren volume release "
        "data gives it up"
    )


def test_a_task_whose_volume_is_on_a_node_that_left_says_so() -> None:
    assert reason(a_world(a_pg_task(), nodes=(a_node("n1"),))) == (
        "volume data is on n2, which has left the cluster: if it does not come back, warren volume "
        "release data gives it up"
    )


def test_what_else_the_node_of_the_volume_lacks_is_said_too() -> None:
    nodes = (a_node("n1"), a_node("n2", availability=Availability.DRAIN))

    assert reason(a_world(a_pg_task(), nodes=nodes)) == "volume data is on n2, which is draining"


def test_a_path_that_no_node_allows_is_named() -> None:
    web = a_service("pg", mounts=(BIND,))
    nodes = (a_node("n1"), a_node("n2", bind_paths=("/srv/cert",)))

    assert reason(a_world(a_pg_task(), service=web, nodes=nodes)) == (
        "no node lets tasks mount /srv/certs/web (bind_paths) (2 of 2)"
    )


def test_a_task_goes_where_its_path_is_allowed() -> None:
    web = a_service("pg", mounts=(BIND,))
    nodes = (a_node("n1"), a_node("n2", bind_paths=("/srv/certs",)))

    assert places(a_world(a_pg_task(), service=web, nodes=nodes)) == {"pg-1-r1": "n2"}


def test_a_driver_that_no_node_has_is_named() -> None:
    state = a_world(a_pg_task(), volume=a_volume(driver="nfs"))

    assert reason(state) == "no node has volume driver nfs (3 of 3)"


def test_a_lost_writer_keeps_a_volume_of_all_nodes_where_it_was() -> None:
    nodes = tuple(
        a_node(name, state=state, volume_drivers=("local", "nfs"))
        for name, state in (("n1", NodeState.READY), ("n2", NodeState.DOWN))
    )
    lost = a_pg_task(node="n2", id="pg-1-old", state=TaskState.LOST)
    volume = a_volume(node="n2", driver="nfs")

    assert reason(a_world(lost, a_pg_task(id="pg-1-new"), volume=volume, nodes=nodes)) == (
        "volume data was last written by pg.1 on n2, which is not ready: if it does not come back, "
        "warren volume release data gives it up"
    )


def test_an_update_stops_the_writer_before_the_next_starts_whatever_its_order() -> None:
    service = an_update("pg", mounts=(a_mount(),), rollout={"batch": (1,), "batches": 1})
    state = a_world(a_pg_task(node="n2"), service=service)

    history = _until_settled(state)

    assert history == ["pg r1 on n2", "nothing", "pg r2 on n2"]


def test_draining_a_node_moves_the_writer_of_a_volume_of_all_nodes() -> None:
    nodes = (
        a_node("n1", volume_drivers=("local", "nfs")),
        a_node("n2", availability=Availability.DRAIN, volume_drivers=("local", "nfs")),
    )
    volume = a_volume(node="n2", driver="nfs")

    history = _until_settled(a_world(a_pg_task(node="n2"), volume=volume, nodes=nodes))

    assert history == ["pg r1 on n2", "nothing", "pg r1 on n1"]


def test_draining_a_node_leaves_the_task_of_a_local_volume_and_says_why() -> None:
    nodes = (a_node("n1"), a_node("n2", availability=Availability.DRAIN))
    state = a_world(a_pg_task(node="n2"), nodes=nodes)

    commands = orchestrator.decide(state, at(60), counting_ids()).commands

    assert [type(command).__name__ for command in commands] == ["CreateTask"]


def _until_settled(state: ClusterState) -> list[str]:
    """What writes to the volume, step by step, with workers that do at once as they are told."""
    new_id = counting_ids()
    history = [_writers(state)]
    contacts = {name: at(600) for name in state.nodes}
    for step in range(40):
        now = at(60 + step)
        for command in reconcile(state, now, new_id, contacts).commands:
            state, _ = apply(state, command)
            assert invariants.check(state) == ()
            if (writers := _writers(state)) != history[-1]:
                history.append(writers)
        for task in list(state.tasks.values()):
            state = _followed(state, task, now)
            if (writers := _writers(state)) != history[-1]:
                history.append(writers)
    return history


def _followed(state: ClusterState, task: Task, now: Any) -> ClusterState:
    if task.status.state is TaskState.ASSIGNED:
        end = TaskState.RUNNING
    elif task.desired is DesiredState.STOPPED and not task.status.state.terminal:
        end = TaskState.STOPPED
    else:
        return state
    status = replace(task.status, state=end, since=now, health=Health.NONE)
    return apply(state, SetTaskStatus(task_id=task.id, status=status))[0]


def _writers(state: ClusterState) -> str:
    found = [
        f"{task.service} r{task.revision} on {task.node_id}"
        for task in state.tasks.values()
        if task.node_id and not task.status.state.terminal
    ]
    return ", ".join(found) or "nothing"
