"""The laws of the simulation, by example: what they forbid, and what no leader is held to."""

from dataclasses import replace
from datetime import timedelta

from warren.model.rollouts import CanaryStep, RolloutPhase, Strategy, UpdatePolicy
from warren.model.services import Service
from warren.model.tasks import TaskState
from warren.testing import simulation_laws
from warren.testing.builders import GIB, a_node_task, an_update

from tests.unit.core.global_kit import GLOBAL, reserving, settled
from tests.unit.core.rollout_kit import a_world

SERVES = a_node_task("w1", spec=an_update(resources=reserving(3 * GIB)).spec)
FAILED = a_node_task("w2", state=TaskState.FAILED, failures=3)
OTHER = a_node_task("w3")


def a_canary_without_room(phase: RolloutPhase = RolloutPhase.STEP) -> Service:
    """Of a global service, on the first node; it waits for as long as it takes."""
    policy = UpdatePolicy(
        strategy=Strategy.CANARY,
        steps=(CanaryStep(weight=10, manual=True),),
        monitor=timedelta(),
        progress_deadline=timedelta(),
    )
    return an_update(
        mode=GLOBAL,
        resources=reserving(3 * GIB),
        update=policy,
        rollout={"phase": phase, "step": 1, "batch": (1,), "weight": 0, "weight_at": None},
    )


def test_a_node_whose_task_failed_for_good_stays_empty_while_a_canary_waits_for_room() -> None:
    state = settled(a_world(a_canary_without_room(), SERVES, FAILED, OTHER))

    living = [t for t in state.tasks.values() if not t.status.state.terminal]
    assert [(t.name, t.revision, t.status.state) for t in living] == [
        ("web.w1", 1, TaskState.RUNNING),
        ("web.w3", 1, TaskState.RUNNING),
        ("web.w1", 2, TaskState.PENDING),
    ]
    assert list(simulation_laws.one_on_each_node(state)) == []


def test_a_node_is_not_empty_for_no_reason_while_a_canary_waits_for_room() -> None:
    state = settled(a_world(a_canary_without_room(), SERVES, FAILED, OTHER))

    tasks = {each: task for each, task in state.tasks.items() if task.node != "w2"}
    broken = simulation_laws.one_on_each_node(replace(state, tasks=tasks))

    assert list(broken) == ["web has tasks on ['w1', 'w3'], not on ['w1', 'w2', 'w3']"]


def test_a_node_whose_task_failed_for_good_is_not_empty_once_all_slots_change_over() -> None:
    state = settled(a_world(a_canary_without_room(), SERVES, FAILED, OTHER))

    service = a_canary_without_room(RolloutPhase.REPLACE)
    broken = simulation_laws.one_on_each_node(replace(state, services={"web": service}))

    assert list(broken) == ["web has tasks on ['w1', 'w3'], not on ['w1', 'w2', 'w3']"]
