"""Where tasks go, and what is said of those that can go nowhere."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from warren.core import scheduler
from warren.core.decisions import Decision
from warren.model.nodes import Availability, Node, NodeRole, NodeState
from warren.model.services import (
    Bytes,
    Placement,
    Port,
    PortMode,
    Protocol,
    ResourceReservations,
    Resources,
)
from warren.model.tasks import DesiredState, Task, TaskState
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import AssignTask, SetTaskStatus
from warren.testing.builders import GIB, a_node, a_service, a_state, a_task, at

MIB = 2**20
THREE = (a_node("w1"), a_node("w2"), a_node("w3"))


def decide(state: ClusterState) -> Decision:
    return scheduler.decide(state, at(100))


def places(state: ClusterState) -> dict[str, str]:
    assigned = (c for c in decide(state).commands if isinstance(c, AssignTask))
    return {command.task_id: command.node_id for command in assigned}


def reserving(memory: int = 0, cpus: float = 0.0) -> Resources:
    return Resources(reservations=ResourceReservations(memory=Bytes(memory), cpus=cpus))


def reason(*nodes: Node, tasks: tuple[Task, ...] = (), **values: Any) -> str:
    """The message of a task of such a service when it has no place."""
    pending = a_task(9)
    services = [a_service(replicas=9, **values), a_service("db", **values)]
    state = a_state(nodes=nodes, services=services, tasks=[pending, *tasks])
    (command,) = decide(state).commands
    assert isinstance(command, SetTaskStatus)
    assert command == SetTaskStatus(
        task_id=pending.id, status=replace(pending.status, message=command.status.message)
    )
    return command.status.message


def test_tasks_that_are_created_together_spread() -> None:
    tasks = [a_task(slot) for slot in range(1, 6)]
    state = a_state(nodes=THREE, services=[a_service(replicas=5)], tasks=tasks)

    decision = decide(state)

    assert decision == Decision(
        commands=tuple(
            AssignTask(task_id=task.id, node_id=node, now=at(100))
            for task, node in zip(tasks, ["w1", "w2", "w3", "w1", "w2"], strict=True)
        )
    )


def test_a_node_without_a_task_of_the_service_comes_before_one_with_fewer_tasks() -> None:
    tasks = [
        a_task(1, "w1"),
        a_task(1, "w2", service="db"),
        a_task(2, "w2", service="db"),
        a_task(2),
    ]
    services = [a_service(replicas=2), a_service("db", replicas=2)]

    assert places(a_state(nodes=THREE[:2], services=services, tasks=tasks)) == {tasks[3].id: "w2"}


def test_else_the_node_with_the_fewest_tasks_is_taken() -> None:
    tasks = [a_task(1, "w1", service="db"), a_task(1)]
    services = [a_service(), a_service("db")]

    assert places(a_state(nodes=THREE[:2], services=services, tasks=tasks)) == {tasks[1].id: "w2"}


def test_stopping_tasks_do_not_make_a_node_look_full() -> None:
    tasks = [
        a_task(1, "w1", desired=DesiredState.STOPPED, state=TaskState.STOPPING),
        a_task(1, "w2", service="db"),
        a_task(1, id="web-1-new"),
    ]
    services = [a_service(), a_service("db")]

    assert places(a_state(nodes=THREE[:2], services=services, tasks=tasks)) == {"web-1-new": "w1"}


def test_a_rollout_spreads_the_new_revision_whatever_the_old_one_does() -> None:
    """The old task of slot 1 has left w1, which is no reason to put the next one there too."""
    tasks = [
        a_task(1, "w1", revision=2),
        a_task(2, "w2"),
        a_task(3, "w3"),
        a_task(2, revision=2),
    ]
    state = a_state(nodes=THREE, services=[a_service(replicas=3, revision=2)], tasks=tasks)

    assert places(state) == {"web-2-r2": "w2"}


def test_the_oldest_task_comes_first() -> None:
    older, younger = a_task(2, created_at=at(1)), a_task(1, created_at=at(2))
    service = a_service(replicas=2, resources=reserving(memory=3 * GIB))
    state = a_state(nodes=THREE[:1], services=[service], tasks=[younger, older])

    assert places(state) == {older.id: "w1"}


def test_what_was_just_placed_is_counted() -> None:
    tasks = [a_task(slot) for slot in range(1, 4)]
    service = a_service(replicas=3, resources=reserving(cpus=0.1))
    state = a_state(nodes=[a_node("w1", cpus=0.2)], services=[service], tasks=tasks)

    assert Counter(places(state).values()) == {"w1": 2}


def test_tenths_of_cpus_add_up_exactly() -> None:
    tasks = [a_task(slot) for slot in range(1, 11)]
    service = a_service(replicas=10, resources=reserving(cpus=0.1))

    assert len(places(a_state(nodes=[a_node(cpus=1)], services=[service], tasks=tasks))) == 10


def test_a_task_may_take_the_last_byte() -> None:
    tasks = [a_task(1), a_task(2)]
    service = a_service(replicas=2, resources=reserving(memory=2 * GIB))
    state = a_state(nodes=[a_node(memory=4 * GIB)], services=[service], tasks=tasks)

    assert places(state) == {"web-1-r1": "w1", "web-2-r1": "w1"}


def test_stopping_tasks_hold_their_memory_until_they_have_ended() -> None:
    service = a_service(resources=reserving(memory=3 * GIB))
    stopping = a_task(2, "w1", desired=DesiredState.STOPPED, state=TaskState.STOPPING)
    ended = replace(stopping, status=replace(stopping.status, state=TaskState.STOPPED))

    held = a_state(nodes=THREE[:1], services=[service], tasks=[a_task(1), stopping])
    free = a_state(nodes=THREE[:1], services=[service], tasks=[a_task(1), ended])

    assert (places(held), places(free)) == ({}, {"web-1-r1": "w1"})


def test_a_host_port_is_taken_once_per_node_and_protocol() -> None:
    tcp = Port(target=53, published=53, mode=PortMode.HOST)
    udp = replace(tcp, protocol=Protocol.UDP)
    services = [a_service("dns", ports=(tcp,), replicas=2), a_service("dnsu", ports=(udp,))]
    tasks = [a_task(1, service="dns"), a_task(2, service="dns"), a_task(1, service="dnsu")]

    assert places(a_state(nodes=THREE[:1], services=services, tasks=tasks)) == {
        "dns-1-r1": "w1",
        "dnsu-1-r1": "w1",
    }


def test_a_settled_reason_is_not_written_again() -> None:
    state = a_state(nodes=[], services=[a_service()], tasks=[a_task(message="there are no nodes")])

    assert decide(state) == Decision()


def test_a_constraint_that_nobody_can_read_keeps_the_loop_going() -> None:
    """The API refuses it, but a state may be older than the API."""
    placement = Placement(constraints=("zone is north",))

    assert reason(*THREE, placement=placement) == (
        "constraint 'zone is north' cannot be read (3 of 3)"
    )


def test_says_that_there_are_no_nodes() -> None:
    assert reason() == "there are no nodes"


@pytest.mark.parametrize(
    ("nodes", "values", "expected"),
    [
        (
            [a_node("w1", memory=100 * MIB), a_node("w2", memory=0), a_node("w3", memory=0)],
            {"resources": reserving(memory=512 * MIB)},
            "no node has 512 MiB of memory free (3 of 3)",
        ),
        (
            [
                a_node("w1", memory=0),
                a_node("w2", memory=0),
                a_node("w3", availability=Availability.DRAIN),
            ],
            {"resources": reserving(memory=512 * MIB)},
            "no suitable node (3 nodes): 2 have less than 512 MiB of memory free, 1 is draining",
        ),
        ([a_node()], {"resources": reserving(cpus=8)}, "no node has 8 cpus free (1 of 1)"),
        ([a_node(cpus=0.5)], {"resources": reserving(cpus=1)}, "no node has 1 cpu free (1 of 1)"),
        ([a_node(state=NodeState.DOWN)], {}, "no node is ready (1 of 1)"),
        ([a_node(state=NodeState.UNKNOWN)], {}, "no node is ready (1 of 1)"),
        ([a_node(roles=(NodeRole.MANAGER,))], {}, "no node is a worker (1 of 1)"),
        ([a_node(availability=Availability.DRAIN)], {}, "every node is draining (1 of 1)"),
        ([a_node(availability=Availability.PAUSE)], {}, "every node is paused (1 of 1)"),
        (
            [a_node("w1", labels={"zone": "south"}), a_node("w2")],
            {"placement": Placement(constraints=("node.labels.zone == north",))},
            "no node meets node.labels.zone == north (2 of 2)",
        ),
        (
            [a_node("w1"), a_node("w2", labels={"zone": "north"}, state=NodeState.DOWN)],
            {"placement": Placement(constraints=("node.labels.zone == north",))},
            "no suitable node (2 nodes): 1 is not ready, 1 does not meet node.labels.zone == north",
        ),
    ],
)
def test_says_why_in_the_words_of_the_user(
    nodes: list[Node], values: dict[str, Any], expected: str
) -> None:
    assert reason(*nodes, **values) == expected


def test_says_that_a_port_is_taken() -> None:
    ports = (Port(target=80, published=8080, mode=PortMode.HOST),)

    assert reason(a_node("w1"), tasks=(a_task(1, "w1", service="db"),), ports=ports) == (
        "port 8080/tcp is taken on every node (1 of 1)"
    )


def test_says_that_the_limit_per_node_is_reached() -> None:
    placement = Placement(max_per_node=1)
    nodes = (a_node("w1"), a_node("w2", state=NodeState.DOWN))

    assert reason(*nodes, tasks=(a_task(1, "w1"),), placement=placement) == (
        "no suitable node (2 nodes): 1 is not ready, 1 has 1 task of web already"
    )


class TestComingUp:
    """The first node of a restored cluster, or of one that was off, does not get everything."""

    TASKS = (a_task(1), a_task(2))

    def state(self, *nodes: Node) -> ClusterState:
        return a_state(nodes=nodes, services=[a_service(replicas=2)], tasks=self.TASKS)

    @pytest.mark.parametrize(
        ("others", "seconds"),
        [
            ((NodeState.DOWN,), 5),
            ((NodeState.UNKNOWN,), 30),
            ((NodeState.UNKNOWN, NodeState.DOWN), 30),
        ],
    )
    def test_tasks_wait_for_the_others_but_not_for_long(
        self, others: tuple[NodeState, ...], seconds: int
    ) -> None:
        away = [a_node(f"w{number}", state=state) for number, state in enumerate(others, 2)]
        state = self.state(a_node("w1"), *away)

        decision = scheduler.decide(state, at(seconds - 1))
        later = scheduler.decide(state, at(seconds))

        assert decision == Decision(
            commands=tuple(
                SetTaskStatus(
                    task_id=task.id,
                    status=replace(
                        task.status,
                        message="waits a moment for the other nodes: "
                        "the cluster has only just come up",
                    ),
                )
                for task in self.TASKS
            ),
            wake_at=at(seconds),
        )
        assert [type(command) for command in later.commands] == [AssignTask, AssignTask]

    def test_all_that_are_there_in_time_get_their_share(self) -> None:
        state = self.state(a_node("w1"), a_node("w2"), a_node("w3", state=NodeState.DOWN))

        decision = scheduler.decide(state, at(5))

        assert {c.node_id for c in decision.commands if isinstance(c, AssignTask)} == {"w1", "w2"}

    @pytest.mark.parametrize(
        "other",
        [
            a_node("w2"),
            a_node("w2", state=NodeState.DOWN, availability=Availability.DRAIN),
            a_node("m2", state=NodeState.DOWN, roles=(NodeRole.MANAGER,)),
        ],
    )
    def test_nobody_waits_for_nodes_that_would_get_no_task(self, other: Node) -> None:
        decision = scheduler.decide(self.state(a_node("w1"), other), at(1))

        assert [type(command) for command in decision.commands] == [AssignTask, AssignTask]

    def test_a_cluster_that_was_up_already_waits_for_no_node_that_joins(self) -> None:
        fresh = a_node("w3")
        fresh = replace(fresh, status=replace(fresh.status, since=at(99)))
        joining = a_node("w2", state=NodeState.UNKNOWN)

        decision = scheduler.decide(self.state(a_node("w1"), joining, fresh), at(100))

        assert [type(command) for command in decision.commands] == [AssignTask, AssignTask]

    def test_a_clock_that_went_back_holds_nothing_up(self) -> None:
        state = self.state(a_node("w1"), a_node("w2", state=NodeState.DOWN))

        decision = scheduler.decide(state, at(-86_400))

        assert [type(command) for command in decision.commands] == [AssignTask, AssignTask]

    def test_what_is_said_already_is_not_written_again(self) -> None:
        state = self.state(a_node("w1"), a_node("w2", state=NodeState.DOWN))
        for command in scheduler.decide(state, at(1)).commands:
            state, _ = apply(state, command)

        assert scheduler.decide(state, at(2)) == Decision(wake_at=at(5))
