"""When nodes are down, when they are back, and what becomes of their tasks."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from warren.core import nodes
from warren.core.decisions import Decision
from warren.model.nodes import Node, NodeState, NodeStatus
from warren.model.tasks import DesiredState, TaskState
from warren.state.commands import SetNodeStatus, SetTaskStatus
from warren.testing.builders import a_node, a_service, a_state, a_task, at

READY, DOWN, UNKNOWN = NodeState.READY, NodeState.DOWN, NodeState.UNKNOWN


def becomes(node: Node, state: NodeState, now: float, message: str = "") -> SetNodeStatus:
    status = NodeStatus(state=state, since=at(now), message=message)
    return SetNodeStatus(node_id=node.id, status=status)


def test_a_node_that_is_heard_stays_ready_and_is_looked_at_when_it_might_be_down() -> None:
    state = a_state(nodes=[a_node("w1"), a_node("w2")])

    decision = nodes.decide(state, at(10), {"w1": at(9), "w2": at(7)})

    assert decision == Decision(wake_at=at(13))


def test_a_node_that_is_not_heard_for_six_seconds_is_down_and_its_tasks_are_lost() -> None:
    node = a_node("w1")
    live, stopping = a_task(1, "w1"), a_task(2, "w1", desired=DesiredState.STOPPED)
    ended = a_task(3, "w1", state=TaskState.FAILED)
    state = a_state(nodes=[node], services=[a_service(replicas=3)], tasks=[live, stopping, ended])

    decision = nodes.decide(state, at(16.2), {"w1": at(10)})

    lost = replace(
        live.status,
        state=TaskState.LOST,
        since=at(16.2),
        message="node w1 is down (no heartbeat for 6s)",
        address="",
    )
    assert decision == Decision(
        commands=(
            becomes(node, DOWN, 16.2, "no heartbeat for 6s"),
            SetTaskStatus(task_id=live.id, status=lost),
            SetTaskStatus(task_id=stopping.id, status=lost),
        )
    )


def test_a_task_that_came_to_a_down_node_at_the_last_moment_is_lost_too() -> None:
    node = a_node("w1", state=DOWN, message="no heartbeat for 6s")
    task = a_task(1, "w1", state=TaskState.ASSIGNED)
    state = a_state(nodes=[node], services=[a_service()], tasks=[task])

    decision = nodes.decide(state, at(20), {})

    message = "node w1 is down (no heartbeat for 6s)"
    lost = replace(task.status, state=TaskState.LOST, since=at(20), message=message)
    assert decision == Decision(commands=(SetTaskStatus(task_id=task.id, status=lost),))


def test_a_node_is_ready_when_it_is_heard_for_the_first_time_or_again() -> None:
    new, returning = a_node("w1", state=UNKNOWN), a_node("w2", state=DOWN)
    state = a_state(nodes=[new, returning])

    decision = nodes.decide(state, at(10), {"w1": at(10), "w2": at(8)})

    expected = (becomes(new, READY, 10), becomes(returning, READY, 10))
    assert decision == Decision(commands=expected, wake_at=at(14))


def test_a_node_that_was_never_heard_stays_as_it_is() -> None:
    state = a_state(nodes=[a_node("w1", state=UNKNOWN), a_node("w2", state=DOWN)])

    assert nodes.decide(state, at(10), {}) == Decision()


def test_a_contact_that_is_too_old_makes_no_node_ready() -> None:
    state = a_state(nodes=[a_node("w1", state=DOWN)])

    assert nodes.decide(state, at(10), {"w1": at(4)}) == Decision()


def test_a_new_leader_gives_ready_nodes_time_and_believes_nothing_of_the_others() -> None:
    state = a_state(nodes=[a_node("w1"), a_node("w2", state=DOWN), a_node("w3", state=UNKNOWN)])

    contacts = nodes.first_contacts(state, at(60))

    assert contacts == {"w1": at(60)}
    assert nodes.decide(state, at(60), contacts) == Decision(wake_at=at(66))


STATES = st.dictionaries(
    st.sampled_from(["w1", "w2", "w3"]),
    st.tuples(st.sampled_from(NodeState), st.none() | st.floats(-20, 20)),
)


@given(STATES)
def test_wakes_later_than_now_and_exactly_when_the_answer_changes(
    given_nodes: dict[str, tuple[NodeState, float | None]],
) -> None:
    state = a_state(nodes=[a_node(name, state=value) for name, (value, _) in given_nodes.items()])
    contacts = {name: at(heard) for name, (_, heard) in given_nodes.items() if heard is not None}

    decision = nodes.decide(state, at(0), contacts)

    if decision.wake_at is None or decision.commands:
        return
    assert decision.wake_at > at(0)
    assert nodes.decide(state, decision.wake_at, contacts).commands
