"""A plan is what will happen: held against what the deciders then do."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warren.core import acts, analyses, plan, situation
from warren.model.checks import HttpCheck
from warren.model.rollouts import (
    Analysis,
    AnalysisRecord,
    CanaryStep,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdateOrder,
    UpdatePolicy,
)
from warren.model.services import Bytes, Placement, ResourceReservations, Resources
from warren.model.views import PlanMove, PlanStep, RolloutPlan
from warren.state import apply_rollouts
from warren.state.cluster import ClusterState
from warren.state.commands import RecordAnalysis, SetRollout
from warren.testing.builders import GIB, NOON, a_node, a_task, an_update, at

from tests.unit.core.rollout_kit import World, a_world, of

SMOKE = Analysis(http=HttpCheck(port=80))
CANARY = (CanaryStep(weight=10, duration=timedelta(minutes=2)), CanaryStep(weight=50, manual=True))


def policy(strategy: Strategy, **values: Any) -> UpdatePolicy:
    fixed = {"strategy": strategy, "monitor": timedelta(seconds=5), "steps": CANARY}
    return UpdatePolicy(**{**fixed, **values})


def begun(update: UpdatePolicy, replicas: int = 3, nodes: int = 3, **values: Any) -> ClusterState:
    phase = apply_rollouts.first_phase(update)
    rollout = {
        "phase": phase,
        "step": int(phase is RolloutPhase.STEP),
        "weight": None if phase is RolloutPhase.REPLACE else 0,
    }
    web = an_update(replicas=replicas, update=update, rollout=rollout, **values)
    tasks = [a_task(n, f"w{n % nodes + 1}") for n in range(1, replicas + 1)]
    return a_world(web, *tasks, nodes=tuple(a_node(f"w{n}") for n in range(1, nodes + 1)))


def executed(state: ClusterState) -> list[dict[int, str]]:
    """The new tasks of each batch or step with their nodes, in the order in which they came."""
    world = World(state)
    batches: dict[object, dict[int, str]] = {}

    def look(before: ClusterState, after: ClusterState) -> None:
        live = of(after)
        key = (live.phase, live.step, live.batches)
        for task in after.tasks.values():
            if task.id not in before.tasks:
                batches.setdefault(key, {})[task.slot] = task.node_id

    world.on_decision = look
    for _ in range(100):
        world.run()
        if not _push(world):
            break
    assert of(world.state).state is RolloutState.COMPLETE
    return list(batches.values())


def _push(world: World) -> bool:
    """Make what analyses are due, and promote what waits."""
    service, now = world.state.services["web"], world.now
    live = service.live_rollout
    due, _ = analyses.due(world.state, now)
    for check in due:
        record = AnalysisRecord(name=check.name, checked_at=now, good=1)
        world.apply(RecordAnalysis(service="web", rollout_id=check.rollout_id, record=record))
    if live is not None and live.state is RolloutState.WAITING:
        tasks = tuple(world.state.tasks_of("web"))
        after = acts.promote(situation.of(world.state, service, tasks, now))
        command = SetRollout(service="web", rollout=after, expected_version=live.version, now=now)
        world.apply(command)
        return True
    return bool(due)


def planned(found: RolloutPlan) -> list[dict[int, str]]:
    """The same, as the plan says."""
    steps = (
        {move.slot: move.node for move in step.moves if move.action != "stop"}
        for step in found.steps
    )
    return [step for step in steps if step]


@pytest.mark.parametrize("order", list(UpdateOrder))
@pytest.mark.parametrize("strategy", list(Strategy))
def test_what_is_done_is_what_was_told(strategy: Strategy, order: UpdateOrder) -> None:
    update = policy(strategy, order=order, parallelism="2", smoke=SMOKE, auto_promote=False)
    state = begun(update, replicas=6)

    found = plan.of_rollout(state, "web", NOON)

    assert planned(found) == executed(state)
    assert found.blocks == ()
    assert found.enough


@settings(max_examples=40, deadline=None)
@given(
    strategy=st.sampled_from(Strategy),
    order=st.sampled_from(UpdateOrder),
    replicas=st.integers(1, 8),
    nodes=st.integers(1, 4),
    parallelism=st.sampled_from(["1", "2", "50%", "100%"]),
    monitor=st.sampled_from([0, 5]),
    delay=st.sampled_from([0, 3]),
)
def test_so_it_is_whatever_is_asked_for(
    strategy: Strategy,
    order: UpdateOrder,
    replicas: int,
    nodes: int,
    parallelism: str,
    monitor: int,
    delay: int,
) -> None:
    update = policy(
        strategy,
        order=order,
        parallelism=parallelism,
        monitor=timedelta(seconds=monitor),
        delay=timedelta(seconds=delay),
    )
    state = begun(update, replicas=replicas, nodes=nodes)

    assert planned(plan.of_rollout(state, "web", NOON)) == executed(state)


def test_of_a_rolling_update() -> None:
    found = plan.of_rollout(begun(policy(Strategy.ROLLING), replicas=2), "web", NOON)

    assert found == RolloutPlan(
        strategy=Strategy.ROLLING,
        from_revision=1,
        to_revision=2,
        replicas=2,
        steps=(
            PlanStep(
                title="batch 1",
                moves=(PlanMove(slot=1, node="w1", from_node="w2", action="replace"),),
                served=2,
                waits_for="5s",
            ),
            PlanStep(
                title="batch 2",
                moves=(PlanMove(slot=2, node="w2", from_node="w3", action="replace"),),
                served=2,
                waits_for="5s",
            ),
        ),
        lowest=2,
        min_healthy=2,
        room="cpus 12 of 12, memory 12 GiB of 12 GiB free on 3 nodes: enough",
    )


def test_the_lines_of_a_canary() -> None:
    state = begun(policy(Strategy.CANARY, parallelism="2"), replicas=4)

    assert plan.lines(plan.of_rollout(state, "web", NOON)) == (
        "step 1  10 %  slot 1  +task on w1 (beside w2)  capacity 4/4  then 2m",
        "step 2  50 %  slot 2  +task on w3 (beside w3)  capacity 4/4  then promote",
        "batch 1  50 %  slot 1  -task on w2",
        "               slot 2  -task on w3",
        "               slot 3  replace on w2 instead of w1 (start first)",
        "               slot 4  replace on w3 instead of w2 (start first)  capacity 4/4  then 5s",
        "lowest capacity 4/4, at least 4 (min_healthy)",
        "room  cpus 12 of 12, memory 12 GiB of 12 GiB free on 3 nodes: enough",
    )


def test_the_lines_of_a_blue_green_update() -> None:
    update = policy(Strategy.BLUE_GREEN, smoke=SMOKE, auto_promote=False)

    lines = plan.lines(plan.of_rollout(begun(update, replicas=1), "web", NOON))

    assert lines[:4] == (
        "new set  0 %  slot 1  +task on w1 (beside w2)  capacity 1/1  then 5s",
        "smoke check  0 %  then promote",
        "switch  100 %  then 1m",
        "old tasks  100 %  slot 1  -task on w2  capacity 1/1",
    )


def test_says_what_blocks_and_that_there_is_no_room() -> None:
    reserved = Resources(reservations=ResourceReservations(memory=Bytes(8 * GIB)))
    rolling = begun(policy(Strategy.ROLLING), resources=reserved)
    blue_green = begun(policy(Strategy.BLUE_GREEN), resources=reserved)

    one = plan.of_rollout(rolling, "web", NOON)
    other = plan.of_rollout(blue_green, "web", NOON)

    assert not one.enough
    assert one.blocks[0] == "slot 1: no node has 8 GiB of memory free (3 of 3)"
    assert one.steps[0].moves[0].action == "wait"
    assert other.blocks == (
        "no room for 3 of 3 new tasks: no node has 8 GiB of memory free (3 of 3)",
    )
    assert not other.enough
    assert "not enough" in other.room


def test_a_batch_that_goes_on_in_parts_is_not_blocked() -> None:
    """There is room for one more task, and each that is done makes room for the next."""
    reserved = Resources(reservations=ResourceReservations(memory=Bytes(2 * GIB)))
    update = UpdatePolicy(parallelism="100%")
    web = an_update(replicas=5, update=update, resources=reserved)
    places = zip(range(1, 6), ("w1", "w1", "w2", "w2", "w3"), strict=True)
    tasks = [a_task(slot, node, spec=web.spec) for slot, node in places]

    found = plan.of_rollout(a_world(web, *tasks), "web", at(1))

    assert (found.enough, found.blocks, found.lowest) == (True, (), 5)
    (step,) = found.steps
    assert [(move.slot, move.action) for move in step.moves] == [
        (slot, "replace") for slot in range(1, 6)
    ]


def test_says_the_lowest_capacity_where_the_old_task_must_go_first() -> None:
    state = begun(policy(Strategy.ROLLING), placement=Placement(max_per_node=1))

    found = plan.of_rollout(state, "web", at(1))

    assert (found.lowest, found.min_healthy) == (2, 2)
    assert {move.action for step in found.steps for move in step.moves} == {"stop_first"}


def test_of_many_slots_one_by_one_is_cut() -> None:
    found = plan.of_rollout(begun(policy(Strategy.ROLLING), replicas=60), "web", NOON)

    assert len(found.steps) == plan.STEPS_MAX + 1
    assert found.steps[-1].title == "and so on"
