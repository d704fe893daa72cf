"""What is told of two states that follow each other."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.core import events
from warren.model.events import Event, EventKind
from warren.model.nodes import Availability, Node, NodeRole, NodeState
from warren.model.rollouts import RolloutState
from warren.model.services import RegistryAuth, Secret, Service
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.state.cluster import ClusterState
from warren.testing.builders import a_node, a_service, a_state, a_task, an_update, at

from tests.unit.strategies import states

NODES = [a_node("w1"), a_node("w2")]
BAD = "GET /healthz on 10.88.0.1:8080: 503"


def told(before: ClusterState, after: ClusterState) -> tuple[Event, ...]:
    later = replace(after, index=before.index + 1)
    return events.derive(before, later, at(60))


def of_tasks(old: Iterable[Task], new: Iterable[Task]) -> list[tuple[EventKind, str]]:
    found = told(a_state(nodes=NODES, tasks=old), a_state(nodes=NODES, tasks=new))
    return [(event.kind, event.message) for event in found]


def of_services(old: list[Service], new: list[Service]) -> list[tuple[EventKind, str]]:
    found = told(a_state(services=old), a_state(services=new))
    return [(event.kind, event.message) for event in found]


def of_nodes(old: list[Node], new: list[Node], **values: Any) -> list[tuple[EventKind, str]]:
    found = told(a_state(nodes=old, **values), a_state(nodes=new, **values))
    return [(event.kind, event.message) for event in found]


def test_an_event_says_what_it_is_about_and_when() -> None:
    running = a_task(1, "w1", since=at(5))
    before = a_state(nodes=NODES, tasks=[replace(running, status=a_task(1).status)])

    assert told(before, a_state(nodes=NODES, tasks=[running])) == (
        Event(
            index=before.index + 1,
            at=at(5),
            kind=EventKind.TASK_RUNNING,
            message="web.1 on w1 runs at 10.88.0.1",
            service="web",
            task="web.1",
            node="w1",
        ),
    )


RUNNING = a_task(1, "w1", health=Health.HEALTHY)
VERDICT = f"unhealthy: {BAD} (3 times)"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            None,
            a_task(1, message="no node has 512 MiB of memory free (2 of 2)"),
            [
                (
                    EventKind.TASK_PENDING,
                    "web.1 is pending: no node has 512 MiB of memory free (2 of 2)",
                )
            ],
        ),
        (
            a_task(1),
            a_task(1, "w1", state=TaskState.ASSIGNED),
            [(EventKind.TASK_ASSIGNED, "web.1 on w1 is assigned")],
        ),
        (
            a_task(1, "w1", health=Health.STARTING),
            RUNNING,
            [(EventKind.TASK_HEALTHY, "web.1 on w1 is healthy")],
        ),
        (
            RUNNING,
            a_task(1, "w1", health=Health.UNHEALTHY, health_output=BAD, message=VERDICT),
            [(EventKind.TASK_UNHEALTHY, f"web.1 on w1 is {VERDICT}")],
        ),
        (
            RUNNING,
            a_task(
                1,
                "w1",
                state=TaskState.RESTARTING,
                message="exit code 1; next start in 1s",
                last_log="KeyError: X",
            ),
            [
                (
                    EventKind.TASK_RESTARTING,
                    "web.1 on w1 restarts: exit code 1; next start in 1s; "
                    "last log line: KeyError: X",
                )
            ],
        ),
        (
            RUNNING,
            a_task(1, "w1", desired=DesiredState.DRAINING, health=Health.HEALTHY),
            [(EventKind.TASK_DRAINING, "web.1 on w1 is draining")],
        ),
        (
            RUNNING,
            a_task(1, "w1", state=TaskState.FAILED, message=VERDICT),
            [(EventKind.TASK_FAILED, f"web.1 on w1 has failed: {VERDICT}")],
        ),
        (
            RUNNING,
            a_task(1, "w1", state=TaskState.STOPPED),
            [(EventKind.TASK_STOPPED, "web.1 on w1 has stopped")],
        ),
        (
            RUNNING,
            a_task(1, "w1", state=TaskState.LOST, message="node w1 is down"),
            [(EventKind.TASK_LOST, "web.1 on w1 is lost: node w1 is down")],
        ),
        (RUNNING, a_task(1, "w1", health=Health.HEALTHY, health_output=BAD), []),
    ],
)
def test_the_life_of_a_task(
    old: Task | None, new: Task, expected: list[tuple[EventKind, str]]
) -> None:
    assert of_tasks([old] if old else [], [new]) == expected


def test_a_history_that_is_cut_off_is_no_news() -> None:
    assert of_tasks([a_task(1, "w1", state=TaskState.STOPPED)], []) == []


def test_the_life_of_a_service() -> None:
    one, five = a_service(replicas=1, image="web:1"), a_service(replicas=5, image="web:1")

    assert of_services([], [one]) == [
        (EventKind.SERVICE_CREATED, "web is created with image web:1")
    ]
    assert of_services([one], [five]) == [
        (EventKind.SERVICE_CHANGED, "web is changed: replicas 1 -> 5 (revision 1)")
    ]
    assert of_services([one], [replace(one, removing=True)]) == [
        (EventKind.SERVICE_REMOVING, "web is being removed")
    ]
    assert of_services([one], []) == [(EventKind.SERVICE_REMOVED, "web is removed")]
    assert of_services([one], [replace(one, vip="10.96.0.1")]) == []


def test_no_password_is_told() -> None:
    old, new = (
        a_service(registry_auth=RegistryAuth(username="me", password=Secret(text)))
        for text in ("hunter2", "hunter3")
    )

    assert "hunter" not in repr(of_services([old], [new]))


def test_the_life_of_a_node() -> None:
    ready = a_node("w1")
    down = a_node("w1", state=NodeState.DOWN, message="no heartbeat for 5s")

    assert of_nodes([], [ready]) == [
        (EventKind.NODE_JOINED, "w1 has joined as worker"),
        (EventKind.NODE_READY, "w1 is ready"),
    ]
    assert of_nodes([ready], [down]) == [(EventKind.NODE_DOWN, "w1 is down: no heartbeat for 5s")]
    assert of_nodes([down], [ready]) == [(EventKind.NODE_READY, "w1 is ready")]
    assert of_nodes([ready], []) == [(EventKind.NODE_REMOVED, "w1 is removed from the cluster")]
    manager = a_node("w1", roles=(NodeRole.MANAGER, NodeRole.WORKER))
    assert of_nodes([], [manager])[0][1] == "w1 has joined as manager and worker"


def test_a_node_is_drained_when_its_last_task_has_ended() -> None:
    drains = [a_node("w1", availability=Availability.DRAIN)]
    task = a_task(1, "w1", desired=DesiredState.STOPPED)
    ended = a_task(1, "w1", desired=DesiredState.STOPPED, state=TaskState.STOPPED)

    assert of_nodes([a_node("w1")], drains, tasks=[task]) == []
    assert of_nodes([a_node("w1")], drains) == [(EventKind.NODE_DRAINED, "w1 is drained")]
    found = told(a_state(nodes=drains, tasks=[task]), a_state(nodes=drains, tasks=[ended]))
    assert [event.message for event in found] == ["w1 is drained", "web.1 on w1 has stopped"]


def test_a_new_leader_is_told_by_its_name() -> None:
    event = events.leader_changed(a_state(), "m2", at(1))

    assert (event.kind, event.message) == (EventKind.LEADER_CHANGED, "m2 leads the managers")


@given(states(), states())
def test_whatever_happens_can_be_told_and_nothing_is_told_of_nothing(
    before: ClusterState, after: ClusterState
) -> None:
    found = told(before, after)

    assert all(event.message and "\n" not in event.message for event in found)
    assert told(before, before) == ()


@given(st.data())
def test_a_state_is_told_once(data: st.DataObject) -> None:
    state = data.draw(states())

    assert events.derive(state, state, at(1)) == ()


def test_a_rollout_is_told_of_from_its_begin_to_its_end() -> None:
    web = an_update(replicas=2)
    states = [
        a_state(services=[a_service()]),
        a_state(services=[web]),
        a_state(services=[_with_rollout(web, state=RolloutState.PAUSED, reason="it was bad")]),
        a_state(services=[_with_rollout(web, state=RolloutState.COMPLETE)]),
    ]
    states = [replace(state, index=100 + number) for number, state in enumerate(states)]

    told = [
        (event.kind, event.message)
        for before, after in pairwise(states)
        for event in events.derive(before, after, at(1))
        if event.kind.value.startswith("rollout")
    ]

    assert told == [
        (EventKind.ROLLOUT_STARTED, "web: rollout web-r2 begins (rolling, revision 1 -> 2)"),
        (EventKind.ROLLOUT_CHANGED, "web: rollout web-r2 is paused: it was bad"),
        (EventKind.ROLLOUT_ENDED, "web: rollout web-r2 is complete"),
    ]


def _with_rollout(service: Service, **values: Any) -> Service:
    return replace(service, rollouts=(replace(service.rollouts[0], **values),))
