"""What is known of slots beforehand makes decisions faster, and no decision another."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.core import orchestrator, slots
from warren.core.decisions import Decision
from warren.core.slots import Slot
from warren.model.rollouts import RolloutState, Strategy, UpdateOrder, UpdatePolicy
from warren.model.services import Service
from warren.model.tasks import Task, TaskState
from warren.state.cluster import ClusterState
from warren.testing.builders import (
    NOON,
    a_node,
    a_service,
    a_state,
    a_task,
    an_update,
    at,
    counting_ids,
)

from tests.unit.core.rollout_kit import World, a_world, of
from tests.unit.strategies import states

WEB = a_service(replicas=3)


def the_slot(*tasks: Task) -> Slot:
    within, _ = slots.survey(a_state(), a_service(), tasks)
    return within[0]


def test_a_task_is_alone_if_it_is_ready_and_to_stay_and_has_no_other_beside_it() -> None:
    task = a_task(1, "w1", revision=4)
    failed = a_task(1, "w1", id="old", state=TaskState.FAILED)

    assert the_slot(task).alone == 4
    assert the_slot().alone == 0
    assert the_slot(replace(task, leaving=True)).alone == 0
    assert the_slot(a_task(1, "w1", state=TaskState.STARTING)).alone == 0
    assert the_slot(task, a_task(1, "w2", revision=5)).alone == 0
    assert the_slot(task, failed).alone == 0


def test_what_failed_before_its_revision_was_gone_back_to_is_forgotten() -> None:
    """Also once there is a newer rollout, during which the slot may need it again."""
    web = an_update(revision=3, rollout={"started_at": at(20)})
    back = replace(of(a_world(web)), id="web-r1", to_revision=1, started_at=at(10))
    web = replace(web, rollouts=(replace(back, state=RolloutState.COMPLETE), *web.rollouts))
    before = a_task(1, "w1", id="before", state=TaskState.FAILED, created_at=at(9))
    since = a_task(1, "w1", id="since", state=TaskState.FAILED, created_at=at(11))

    within, _ = slots.survey(a_state(), web, (before, since))

    assert within == (Slot(1, final=(since,)),)


def decided(state: ClusterState, service: Service, within: tuple[Slot, ...]) -> Decision:
    return orchestrator.decide_slots(state, service, (within, ()), NOON, counting_ids())


def assert_alone_changes_nothing(state: ClusterState) -> None:
    for name, service in state.services.items():
        within, _ = slots.survey(state, service, state.tasks_of(name))
        unknown = tuple(replace(slot, alone=0) for slot in within)
        assert decided(state, service, within) == decided(state, service, unknown)


@given(states())
def test_to_pass_over_who_is_alone_changes_no_decision(state: ClusterState) -> None:
    assert_alone_changes_nothing(state)


@pytest.mark.parametrize("order", list(UpdateOrder))
def test_nor_does_it_in_a_rollout(order: UpdateOrder) -> None:
    update = UpdatePolicy(
        strategy=Strategy.ROLLING, order=order, parallelism="2", monitor=timedelta()
    )
    web = an_update(replicas=5, update=update)
    world = World(a_world(web, *(a_task(n, f"w{n % 3 + 1}") for n in range(1, 6))))

    def look(_: ClusterState, after: ClusterState) -> None:
        assert_alone_changes_nothing(after)
        draining = replace(after, nodes={**after.nodes, "w1": a_node("w1", roles=())})
        assert_alone_changes_nothing(draining)

    world.on_decision = look
    world.run()

    assert of(world.state).state is RolloutState.COMPLETE


TASKS = st.builds(
    a_task,
    st.integers(1, 3),
    st.just("w1"),
    revision=st.integers(1, 2),
    state=st.sampled_from(TaskState),
    id=st.sampled_from("abcdef"),
)


@given(st.lists(TASKS, unique_by=lambda task: task.id), st.lists(TASKS, max_size=2))
def test_slots_with_other_tasks_are_what_a_survey_of_all_finds(
    before: list[Task], changes: list[Task]
) -> None:
    was = {task.id: task for task in before}
    now = was | {task.id: task for task in changes}
    in_slot = {
        number: [task for task in now.values() if task.slot == number] for number in (1, 2, 3)
    }
    changed = {each.slot for task in changes for each in (task, was.get(task.id, task))}

    found = slots.renewed(
        slots.survey(a_state(), WEB, before), WEB, {number: in_slot[number] for number in changed}
    )

    assert found == slots.survey(
        a_state(), WEB, [task for tasks in in_slot.values() for task in tasks]
    )
