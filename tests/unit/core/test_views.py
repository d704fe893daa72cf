"""What reads answer, and the one line that tells a waiting user what is wrong."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from warren.core import views
from warren.model.errors import NotFound
from warren.model.nodes import HeldPort, NodeRole, NodeState
from warren.model.services import (
    HIDDEN,
    Bytes,
    Port,
    Protocol,
    RegistryAuth,
    ResourceReservations,
    Resources,
    Secret,
)
from warren.model.tasks import DesiredState, Health, Task, TaskState
from warren.model.views import ClusterView, NodeView, ServiceStatus
from warren.testing.builders import GIB, a_cluster, a_node, a_service, a_state, a_task, at

STOPPED = DesiredState.STOPPED
BAD = "GET /healthz on 10.88.1.5:8080: 503"


def status(*tasks: Task, **values: Any) -> ServiceStatus:
    state = a_state(nodes=[a_node("m1"), a_node("m2")], services=[a_service(**values)], tasks=tasks)
    return views.service_view(state, "web", at(50)).status


def test_a_service_has_converged_when_all_its_tasks_run_and_nothing_else_does() -> None:
    tasks = [a_task(1, "m1", since=at(5)), a_task(2, "m2", since=at(7))]

    assert status(*tasks, replicas=2) == ServiceStatus(
        desired=2, running=2, up_to_date=2, failing=0, converged=True, converged_since=at(7)
    )


def test_a_service_without_replicas_has_converged_when_nothing_runs() -> None:
    assert status(replicas=0) == ServiceStatus(
        desired=0, running=0, up_to_date=0, failing=0, converged=True, converged_since=at(0)
    )


@pytest.mark.parametrize(
    ("tasks", "replicas", "reason"),
    [
        (
            [
                a_task(1, "m1"),
                a_task(2, "m2"),
                a_task(3, message="no node has 512 MiB of memory free (3 of 3)"),
            ],
            3,
            "2 of 3 tasks run; web.3 is pending: no node has 512 MiB of memory free (3 of 3)",
        ),
        (
            [
                a_task(
                    1,
                    "m1",
                    state=TaskState.RESTARTING,
                    failures=3,
                    message="exit code 1",
                    last_log="KeyError: DATABASE_URL",
                )
            ],
            1,
            "web.1 on m1 failed 3 times: exit code 1; last log line: KeyError: DATABASE_URL",
        ),
        (
            [a_task(1, "m1", state=TaskState.FAILED, failures=1, exit_code=7)],
            1,
            "web.1 on m1 failed once: exit code 7",
        ),
        (
            [a_task(1, "m1", state=TaskState.FAILED)],
            1,
            "web.1 on m1 failed",
        ),
        ([], 2, "0 of 2 tasks run"),
        (
            [a_task(1, "m1", state=TaskState.PREPARING, message="pulling hello:1")],
            1,
            "0 of 1 tasks run; web.1 on m1 is preparing: pulling hello:1",
        ),
        (
            [a_task(1, "m1"), a_task(2, "m2", state=TaskState.STOPPING, desired=STOPPED)],
            1,
            "1 of 1 tasks run; web.2 on m2 has still to stop",
        ),
        (
            [a_task(1, "m1"), a_task(2, "m2", desired=DesiredState.DRAINING)],
            1,
            "1 of 1 tasks run; web.2 on m2 is draining: waiting for all nodes to send it no more "
            "connections",
        ),
        (
            [a_task(1, "m1"), a_task(2, "m2", health=Health.STARTING)],
            2,
            "1 of 2 tasks run; web.2 on m2 is not healthy yet: its first check is still to come",
        ),
        (
            [a_task(1, "m1", health=Health.STARTING, health_output=BAD)],
            1,
            "0 of 1 tasks run; web.1 on m1 is not healthy yet: GET /healthz on 10.88.1.5:8080: 503",
        ),
        (
            [
                a_task(
                    1,
                    "m1",
                    health=Health.UNHEALTHY,
                    health_output=BAD,
                    message=f"unhealthy: {BAD} (3 times)",
                )
            ],
            1,
            "web.1 on m1 is unhealthy: GET /healthz on 10.88.1.5:8080: 503 (3 times)",
        ),
        (
            [
                a_task(
                    1,
                    "m1",
                    health=Health.STARTING,
                    health_output=BAD,
                    failures=2,
                    exit_code=143,
                    last_log="KeyError: DATABASE_URL",
                )
            ],
            1,
            "web.1 on m1 failed 2 times: not healthy yet: GET /healthz on 10.88.1.5:8080: 503; "
            "last log line: KeyError: DATABASE_URL",
        ),
        (
            [a_task(1, "m1", state=TaskState.COMPLETE)],
            1,
            "0 of 1 tasks run; web.1 has completed and is not started again (restart.condition)",
        ),
    ],
)
def test_says_why_it_has_not_converged(tasks: list[Task], replicas: int, reason: str) -> None:
    actual = status(*tasks, replicas=replicas)

    assert (actual.converged, actual.converged_since, actual.reason) == (False, None, reason)


def test_warns_of_ports_that_hosts_hold_while_the_service_wants_them() -> None:
    held = [
        HeldPort(service=name, port=port, protocol=Protocol.TCP, holder="nginx (pid 7)")
        for name, port in (("web", 80), ("web", 81), ("shop", 80))
    ]
    node = replace(a_node("w1"), held_ports=tuple(held))
    service = a_service(replicas=0, ports=(Port(target=8080, published=80),))

    view = views.service_view(a_state(nodes=[node], services=[service]), "web", at(50))

    assert view.status.converged
    assert view.status.warnings == (
        "port 80/tcp is not answered on node w1: nginx (pid 7) of that host holds it",
    )


def test_during_a_rollout_counts_what_is_up_to_date() -> None:
    tasks = [a_task(1, "m1"), a_task(2, "m2"), a_task(1, revision=2, message="why")]

    assert status(*tasks, replicas=2, revision=2) == ServiceStatus(
        desired=2,
        running=2,
        up_to_date=0,
        failing=0,
        converged=False,
        reason="0 of 2 tasks are up to date; web.1 is pending: why",
    )


def test_tasks_that_are_not_healthy_do_not_count_as_running() -> None:
    tasks = [
        a_task(1, "m1", health=Health.HEALTHY),
        a_task(2, "m1", health=Health.STARTING),
        a_task(3, "m2", health=Health.UNHEALTHY, message="unhealthy: x (once)"),
    ]

    actual = status(*tasks, replicas=3)

    assert (actual.running, actual.up_to_date, actual.failing) == (1, 1, 1)


def test_counts_failing_tasks_of_the_current_revision_only() -> None:
    restarting = TaskState.RESTARTING
    tasks = [
        a_task(1, "m1", state=restarting, failures=5),
        a_task(1, "m2", revision=2, state=restarting, failures=1),
        a_task(2, "m1", revision=2, failures=1),
        a_task(3, "m1", revision=2, state=TaskState.FAILED),
        a_task(4, "m1", revision=2, state=TaskState.FAILED),
    ]

    assert status(*tasks, replicas=3, revision=2).failing == 2


def test_says_what_a_removal_waits_for() -> None:
    actual = status(a_task(1, "m1", desired=STOPPED), replicas=1, removing=True)

    assert actual == ServiceStatus(
        desired=0,
        running=1,
        up_to_date=0,
        failing=0,
        converged=False,
        reason="is being removed: 1 task still to stop",
    )


def test_lists_wanted_tasks_by_slot_and_then_history_newest_first() -> None:
    old = a_task(1, "m2", id="old", state=TaskState.LOST, created_at=at(1))
    older = a_task(2, "gone", id="older", state=TaskState.LOST)
    tasks = [older, old, a_task(2, "m1"), a_task(1, "m1", revision=2), a_task(1, "m1")]
    state = a_state(
        nodes=[a_node("m1"), a_node("m2")],
        services=[a_service(replicas=3, revision=2)],
        tasks=[*tasks, a_task(3)],
    )

    view = views.service_view(state, "web", at(50))

    assert [task.id for task in view.tasks] == [
        "web-1-r2",
        "web-1-r1",
        "web-2-r1",
        "web-3-r1",
        "old",
        "older",
    ]
    assert view.node_names == ("m1", "m1", "m1", "", "m2", "(removed node gone)")


def test_hides_passwords_in_the_service_and_in_its_tasks() -> None:
    auth = RegistryAuth(username="me", password=Secret("hunter2"))
    hidden = replace(auth, password=Secret(HIDDEN))
    state = a_state(services=[a_service(registry_auth=auth)], tasks=[a_task(1)])

    view = views.service_view(state, "web", at(0))

    assert view.service.spec.registry_auth == hidden
    assert [task.template.registry_auth for task in view.tasks] == [hidden]
    assert "hunter2" not in repr(view)


def test_there_is_no_view_of_a_service_that_is_not_there() -> None:
    with pytest.raises(NotFound, match=r"^there is no service web$"):
        views.service_view(a_state(), "web", at(0))


def test_a_node_shows_what_is_set_aside_on_it() -> None:
    reserved = ResourceReservations(memory=Bytes(GIB), cpus=0.1)
    service = a_service(resources=Resources(reservations=reserved), replicas=4)
    tasks = [
        a_task(1, "m1"),
        a_task(2, "m1", desired=STOPPED, state=TaskState.STOPPING),
        a_task(3, "m1", state=TaskState.FAILED),
        a_task(4, "m2"),
    ]
    node = a_node("m1")
    state = a_state(nodes=[node, a_node("m2")], services=[service], tasks=tasks)

    view = views.node_view(state, node, leader_id="m1", reachable=frozenset())

    assert view == NodeView(
        node=node, leader=True, tasks=1, reserved_cpus=0.2, reserved_memory=Bytes(2 * GIB)
    )


def test_the_cluster_at_a_glance() -> None:
    manager = a_node("m1", roles=(NodeRole.MANAGER,))
    state = a_state(
        nodes=[manager, a_node("w1", number=9, state=NodeState.DOWN)],
        services=[a_service()],
        tasks=[a_task(1, "m1"), a_task(2)],
    )

    view = views.cluster_view(
        state, leader_id="m1", reachable=frozenset({"m1"}), term=4, warren="1.0"
    )

    assert view == ClusterView(
        id="c1",
        spec=a_cluster().spec,
        version=0,
        created_at=at(0),
        leader="m1",
        managers=(NodeView(node=manager, leader=True, reachable=True, tasks=1),),
        nodes=2,
        nodes_ready=1,
        services=1,
        tasks_running=1,
        term=4,
        index=100,
        ca_digest=hashlib.sha256(b"\0\0\0").hexdigest(),
        warren="1.0",
    )
    shown = repr(view).replace("public_key", "").replace("key_since", "")
    assert "key" not in shown.replace("key of m1", "")
