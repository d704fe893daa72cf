"""Slots of a revision that a rollout neither leaves nor brings: it superseded another, before that
had come to them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from warren.model.nodes import Availability
from warren.model.rollouts import RolloutState, UpdatePolicy
from warren.model.services import Service
from warren.model.tasks import TaskState
from warren.state.cluster import ClusterState
from warren.testing.builders import a_task, an_update

from tests.unit.core.rollout_kit import NODES, World, a_world, of

THIRD = a_task(2, "w2", revision=1)
DRAINED = replace(NODES[1], spec=replace(NODES[1].spec, availability=Availability.DRAIN))


def from_2_to_3(**values: Any) -> Service:
    """Two slots, of which the first is in the batch; revision 1 is not kept."""
    policy = UpdatePolicy(progress_deadline=timedelta())
    rollout = {"batch": (1,), "batches": 1}
    return an_update(revision=3, before=2, replicas=2, update=policy, rollout=rollout, **values)


def second_slot(state: ClusterState) -> list[tuple[int, TaskState, str]]:
    return [
        (task.revision, task.status.state, task.node_id)
        for task in sorted(state.tasks_of("web"), key=lambda task: task.revision)
        if task.slot == 2 and task.wanted
    ]


def test_what_is_there_stays_and_what_had_no_place_yet_is_given_up() -> None:
    failing = a_task(1, "w1", revision=2, state=TaskState.RESTARTING, failures=2)
    waiting = a_task(2, revision=2)
    world = World(a_world(from_2_to_3(), failing, THIRD, waiting))

    world.decide()

    assert second_slot(world.state) == [(1, TaskState.RUNNING, "w2")]


def test_its_turn_comes() -> None:
    world = World(a_world(from_2_to_3(), a_task(1, "w1", revision=2), THIRD))

    world.run()

    assert of(world.state).state is RolloutState.COMPLETE
    assert [revision for revision, _, _ in second_slot(world.state)] == [3]


def test_on_a_node_that_is_drained_the_revision_before_takes_its_place() -> None:
    serves = a_task(1, "w1", revision=2)
    world = World(a_world(from_2_to_3(), serves, THIRD, nodes=(NODES[0], DRAINED, NODES[2])))

    world.decide()
    beside = second_slot(world.state)
    world.work()
    world.decide()

    assert beside == [(1, TaskState.RUNNING, "w2"), (2, TaskState.ASSIGNED, "w3")]
    assert second_slot(world.state) == [(2, TaskState.RUNNING, "w3")]


def test_or_the_new_one_if_none_of_that_before_is_ready() -> None:
    failing = a_task(1, "w1", revision=2, state=TaskState.RESTARTING, failures=2)
    world = World(a_world(from_2_to_3(), failing, THIRD, nodes=(NODES[0], DRAINED, NODES[2])))

    world.decide()

    assert [revision for revision, _, _ in second_slot(world.state)] == [1, 3]
