"""The sentences in which a broken state is described; without these, a check could be empty."""

from dataclasses import replace

import pytest
from warren.model.nodes import Availability, NodeState
from warren.model.tasks import TaskState
from warren.state import invariants
from warren.state.cluster import ClusterState
from warren.testing.builders import a_node, a_service, a_state, a_task

W1, W2 = a_node("w1"), a_node("w2")
DRAINING = a_node("w2", availability=Availability.DRAIN)
HEALTHY = a_state(
    nodes=[W1, W2], services=[a_service(replicas=2)], tasks=[a_task(1, "w1"), a_task(2, "w2")]
)


def test_a_healthy_state_violates_nothing() -> None:
    assert invariants.check_decided(HEALTHY) == ()


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (replace(HEALTHY, cluster=None), "there is no cluster, but it has contents"),
        (
            a_state(nodes=[W1, replace(W2, spec=W1.spec)]),
            "2 nodes have node name w1",
        ),
        (
            a_state(nodes=[W1, replace(W2, mesh=replace(W2.mesh, public_key="key of w1"))]),
            "2 nodes have mesh key key of w1",
        ),
        (
            a_state(nodes=[W1, replace(W2, mesh=replace(W2.mesh, address="10.86.0.1"))]),
            "2 nodes have mesh address 10.86.0.1",
        ),
        (
            a_state(nodes=[W1, replace(W2, mesh=replace(W2.mesh, subnet="10.88.0.0/23"))]),
            "task subnets 10.88.0.0/23 and 10.88.1.0/24 overlap",
        ),
        (a_state(tasks=[a_task()]), "task web-1-r1 is of unknown service web"),
        (
            a_state(services=[a_service()], tasks=[a_task(1, "w9")]),
            "task web-1-r1 is running on unknown node 'w9'",
        ),
        (
            a_state(nodes=[W1], services=[a_service()], tasks=[replace(a_task(), node_id="w1")]),
            "task web-1-r1 is pending, but on node w1",
        ),
        (
            replace(HEALTHY, services={"api": a_service(), **HEALTHY.services}),
            "service web is stored as api",
        ),
        (replace(HEALTHY, nodes={**HEALTHY.nodes, "w7": a_node("w3")}), "node w3 is stored as w7"),
    ],
)
def test_says_what_apply_must_prevent(state: ClusterState, sentence: str) -> None:
    assert invariants.check(state) == (sentence,)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (
            a_state(
                nodes=[W1, W2],
                services=[a_service()],
                tasks=[a_task(1, "w1"), a_task(1, "w2", id="web-1-x")],
            ),
            "web.1 has 2 wanted tasks of revision 1",
        ),
        (
            a_state(
                nodes=[W1, DRAINING],
                services=[a_service(revision=2)],
                tasks=[a_task(1, "w1"), a_task(1, "w1", revision=2), a_task(1, "w2", id="x")],
            ),
            "web.1 has 3 wanted tasks",
        ),
        (
            a_state(nodes=[W1], services=[a_service(replicas=0)], tasks=[a_task(2, "w1")]),
            "web.2 is not wanted, but its task is",
        ),
        (
            a_state(
                nodes=[a_node("w1", state=NodeState.DOWN)],
                services=[a_service()],
                tasks=[a_task(1, "w1")],
            ),
            "task web-1-r1 lives on node w1, which is down",
        ),
        (
            a_state(nodes=[DRAINING], services=[a_service()], tasks=[a_task(1, "w2")]),
            "web.1 is on a node that is leaving, and has no successor",
        ),
        (
            a_state(services=[a_service()], tasks=[a_task(1, state=TaskState.LOST)]),
            "web.1 has no task",
        ),
    ],
)
def test_says_what_the_deciders_must_prevent(state: ClusterState, sentence: str) -> None:
    assert invariants.check(state) == ()
    assert invariants.check_decided(state) == (sentence,)


def test_a_draining_node_may_have_the_task_that_is_replaced() -> None:
    tasks = [a_task(1, "w1"), a_task(1, "w2", id="web-1-old")]
    state = a_state(nodes=[W1, DRAINING], services=[a_service()], tasks=tasks)

    assert invariants.check_decided(state) == ()


def test_a_lost_task_may_name_a_node_that_is_gone() -> None:
    lost = a_task(1, "w9", state=TaskState.LOST)
    state = a_state(services=[a_service(replicas=0)], tasks=[lost])

    assert invariants.check_decided(state) == ()


@pytest.mark.parametrize("ended", [TaskState.FAILED, TaskState.COMPLETE])
def test_a_slot_may_be_empty_after_its_task_ended_for_good(ended: TaskState) -> None:
    state = a_state(services=[a_service()], tasks=[a_task(1, "w1", state=ended)])

    assert invariants.check_decided(state) == ()
