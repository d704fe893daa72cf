"""The whole decision: one pass does all that can be done, and a second finds nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from warren.core.reconcile import Decision, Reconciliation, reconcile
from warren.model.nodes import NodeState
from warren.model.tasks import TaskState
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import AssignTask, Batch, CreateTask, SetServiceVip, SetTaskStatus
from warren.testing.builders import a_node, a_service, a_state, a_task, at, counting_ids

from tests.unit.strategies import states

CONTACTS = {"w1": at(0), "w2": at(0), "w3": at(0)}


def after(state: ClusterState, decision: Decision) -> ClusterState:
    return apply(state, Batch(commands=decision.commands))[0]


def settled_after(state: ClusterState, new_id: Callable[[], str]) -> ClusterState:
    """A place that another service took in one pass is found to be taken in the next."""
    first = after(state, reconcile(state, at(0), new_id, CONTACTS))
    return after(first, reconcile(first, at(0), new_id, CONTACTS))


def test_creates_and_places_in_one_go() -> None:
    state = a_state(nodes=[a_node("w1")], services=[a_service()])

    decision = reconcile(state, at(1), counting_ids(), {"w1": at(0)})

    address, created, assigned = decision.commands
    assert address == SetServiceVip(name="web", vip="10.92.99.228")
    assert isinstance(created, CreateTask)
    assert assigned == AssignTask(task_id=created.task.id, node_id="w1", now=at(1))
    assert decision.wake_at == at(6)


def test_replaces_a_lost_task_on_another_node_in_one_go() -> None:
    state = a_state(
        nodes=[a_node("w1"), a_node("w2")], services=[a_service()], tasks=[a_task(1, "w1")]
    )

    new = after(state, reconcile(state, at(6), counting_ids(), {"w1": at(0), "w2": at(5)}))

    assert new.nodes["w1"].status.state is NodeState.DOWN
    assert {(t.node_id, t.status.state) for t in new.tasks.values()} == {
        ("w1", TaskState.LOST),
        ("w2", TaskState.ASSIGNED),
    }


def test_says_nothing_without_a_cluster() -> None:
    assert reconcile(ClusterState(), at(0), counting_ids(), {}) == Decision()


def test_a_reason_that_changed_is_the_only_command() -> None:
    task = a_task(1, message="there are no nodes")
    web = replace(a_service(), vip="10.92.0.1")
    state = a_state(nodes=[a_node(state=NodeState.DOWN)], services=[web], tasks=[task])

    decision = reconcile(state, at(0), counting_ids(), {})

    status = replace(task.status, message="no node is ready (1 of 1)")
    assert decision == Decision(commands=(SetTaskStatus(task_id=task.id, status=status),))


@settings(max_examples=300)
@given(states(), st.dictionaries(st.sampled_from(["w1", "w2", "w3"]), st.integers(-9, 3)))
def test_any_state_is_settled_soon(state: ClusterState, heard: dict[str, int]) -> None:
    contacts = {name: at(seconds) for name, seconds in heard.items()}
    new_id = counting_ids()

    first = after(state, reconcile(state, at(0), new_id, contacts))
    settled = after(first, reconcile(first, at(0), new_id, contacts))
    again = reconcile(settled, at(0), new_id, contacts)

    assert again.commands == ()
    assert again.wake_at is None or again.wake_at > at(0)
    assert invariants.check_decided(settled) == ()


@settings(max_examples=200)
@given(states(), st.data())
def test_an_interrupted_pass_is_completed_by_the_next(
    state: ClusterState, data: st.DataObject
) -> None:
    """A leader may die between any two of its commands, and another go on."""
    new_id = counting_ids()
    decision = reconcile(state, at(0), new_id, CONTACTS)
    done = data.draw(st.integers(0, len(decision.commands)))

    halfway = after(state, replace(decision, commands=decision.commands[:done]))
    settled = settled_after(halfway, new_id)

    assert reconcile(settled, at(0), new_id, CONTACTS).commands == ()
    assert invariants.check_decided(settled) == ()


@settings(max_examples=200)
@given(states())
def test_a_wake_up_never_comes_early(state: ClusterState) -> None:
    """Just before `wake_at` there is still nothing to do."""
    new_id = counting_ids()
    settled = settled_after(state, new_id)
    wake_at = reconcile(settled, at(0), new_id, CONTACTS).wake_at
    if wake_at is not None:
        early = reconcile(settled, wake_at - timedelta(microseconds=1), new_id, CONTACTS)
        assert early.commands == ()


@settings(max_examples=200)
@given(st.lists(states(), min_size=2, max_size=4), st.integers(0, 3))
def test_remembering_what_is_at_rest_changes_no_answer(
    visited: list[ClusterState], seconds: int
) -> None:
    """From any state to any other, and from each to what its own decision makes of it."""
    keeper = Reconciliation()
    for state in visited:
        for now in (at(0), at(seconds)):
            kept = keeper.decide(state, now, counting_ids(), CONTACTS)

            assert kept == reconcile(state, now, counting_ids(), CONTACTS)
            state = after(state, kept)


def test_a_service_at_rest_costs_nothing() -> None:
    web = replace(a_service(replicas=2), vip="10.92.0.1")
    state = a_state(nodes=[a_node("w1")], services=[web], tasks=[a_task(1, "w1"), a_task(2, "w1")])
    keeper = Reconciliation()

    keeper.decide(state, at(0), counting_ids(), CONTACTS)

    assert keeper.looks_at == ()
