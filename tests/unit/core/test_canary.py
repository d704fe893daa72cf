"""STEP: some new tasks have a share of the traffic, and more of it step by step."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.core import acts, assignment, shares, situation
from warren.drivers import balancer_plan
from warren.model.checks import HttpCheck
from warren.model.rollouts import (
    Analysis,
    AnalysisRecord,
    CanaryStep,
    Rollout,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdatePolicy,
)
from warren.model.services import Port
from warren.model.tasks import Task, TaskState
from warren.state.cluster import ClusterState
from warren.state.commands import SetRollout
from warren.testing.builders import a_node, a_task, an_update, at

from tests.unit.core.rollout_kit import World, a_world, next_step, of

OLD = tuple(a_task(n, f"w{n % 3 + 1}") for n in range(1, 7))
TEN_FIFTY = (CanaryStep(weight=10, duration=timedelta(minutes=2)), CanaryStep(weight=50))
BEGIN = {"phase": RolloutPhase.STEP, "step": 1, "weight": 0}
ERRORS = Analysis(name="errors", http=HttpCheck(port=80), retries=2)


def policy(**values: Any) -> UpdatePolicy:
    fixed = {"strategy": Strategy.CANARY, "monitor": timedelta(), "steps": TEN_FIFTY}
    return UpdatePolicy(**{**fixed, **values})


def new(slot: int) -> Task:
    return a_task(slot, f"w{slot % 3 + 1}", revision=2, since=at(50))


def canary(update: UpdatePolicy | None = None, **rollout: Any) -> ClusterState:
    web = an_update(replicas=6, update=update or policy(), rollout={**BEGIN, **rollout})
    return a_world(web, *OLD, *(new(slot) for slot in rollout.get("batch", ())))


def promote(world: World, *, full: bool = False) -> None:
    tasks = tuple(world.state.tasks_of("web"))
    service = world.state.services["web"]
    before = of(world.state)
    after = acts.promote(situation.of(world.state, service, tasks, world.now), full=full)
    world.apply(
        SetRollout(service="web", rollout=after, expected_version=before.version, now=world.now)
    )


class TestSteps:
    """Tasks come first, then their share, then time."""

    @pytest.mark.parametrize(
        ("weight", "batch"), [(1, (1,)), (10, (1,)), (17, (1, 2)), (50, (1, 2, 3)), (100, None)]
    )
    def test_has_as_many_tasks_as_its_share_needs(
        self, weight: int, batch: tuple[int, ...] | None
    ) -> None:
        state = canary(policy(steps=(CanaryStep(weight=weight),)))

        assert next_step(state).rollout.batch == (batch or (1, 2, 3, 4, 5, 6))

    def test_slots_that_came_with_the_change_are_no_canaries(self) -> None:
        """As many tasks are on trial as the step says; the others are of what is known to work."""
        web = an_update(replicas=8, update=policy(), rollout={**BEGIN, "slots_before": 6})
        world = World(a_world(web, *OLD))

        world.decide()

        created = sorted((t.slot, t.revision) for t in world.state.tasks_of("web"))[-3:]
        assert created == [(6, 1), (7, 1), (8, 1)]
        assert of(world.state).batch == (1,)

    def test_has_its_share_when_all_of_its_tasks_are_ready(self) -> None:
        step = next_step(canary(batch=(1,)))

        assert (step.rollout.weight, step.rollout.weight_at) == (10, at(100))
        assert step.wake_at == at(220)

    def test_keeps_the_share_of_the_step_before_until_then(self) -> None:
        state = canary(batch=(1,), step=2, weight=10, weight_at=at(0))

        rollout = next_step(state).rollout

        assert (rollout.weight, rollout.batch) == (10, (1, 2, 3))

    def test_the_next_one_comes_when_its_time_is_over(self) -> None:
        ready: dict[str, Any] = {"batch": (1,), "weight": 10, "weight_at": at(0)}
        ready["ready_at"] = at(0)

        assert next_step(canary(**ready), 119).rollout.step == 1
        assert next_step(canary(**ready), 120).rollout.step == 2

    def test_a_manual_one_waits_for_somebody(self) -> None:
        steps = (CanaryStep(weight=10, manual=True), CanaryStep(weight=50))
        ready: dict[str, Any] = {"batch": (1,), "weight": 10, "weight_at": at(0)}
        ready["ready_at"] = at(0)
        state = canary(policy(steps=steps), **ready)

        step = next_step(state)

        assert (step.rollout.state, step.waits_for) == (
            RolloutState.WAITING,
            "step 1: waits for promote",
        )


class TestAnalyses:
    """Made while a step has its share."""

    def step(self, good: int = 0, bad: int = 0) -> Rollout:
        record = AnalysisRecord(name="errors", checked_at=at(90), good=good, bad=bad, output="503")
        ready: dict[str, Any] = {"batch": (1,), "weight": 10, "weight_at": at(0)}
        ready["ready_at"] = at(0)
        update = policy(analysis=(ERRORS,), steps=(CanaryStep(weight=10),))
        return next_step(canary(update, analyses=(record,), **ready)).rollout

    def test_must_be_good_before_the_next_step(self) -> None:
        assert self.step().phase is RolloutPhase.STEP
        assert self.step(good=1).phase is RolloutPhase.REPLACE
        assert self.step(good=3, bad=1).phase is RolloutPhase.STEP

    def test_so_many_bad_ones_in_a_row_are_the_end(self) -> None:
        rollout = self.step(good=7, bad=2)

        assert (rollout.state, rollout.weight) == (RolloutState.ROLLING_BACK, 0)
        assert rollout.reason == "errors: 503 (2 times)"


class TestWholes:
    """From begin to end."""

    def test_ten_then_fifty_then_all(self) -> None:
        world = World(canary())
        weights: list[int | None] = []

        def look(_: ClusterState, after: ClusterState) -> None:
            if not weights or weights[-1] != of(after).weight:
                weights.append(of(after).weight)

        world.on_decision = look
        world.run()

        assert weights == [0, 10, 50, None]
        assert of(world.state).state is RolloutState.COMPLETE
        wanted = sorted((t.slot, t.revision) for t in world.state.tasks_of("web") if t.wanted)
        assert wanted == [(slot, 2) for slot in range(1, 7)]

    def test_a_bad_canary_costs_no_old_task(self) -> None:
        world = World(canary())
        world.is_bad = lambda task: task.revision == 2

        world.run()

        assert of(world.state).state is RolloutState.ROLLED_BACK
        assert all(world.state.tasks[task.id] == task for task in OLD)

    def test_an_old_task_that_is_lost_comes_again_as_it_was(self) -> None:
        world = World(canary(batch=(1,), weight=10, weight_at=at(0), ready_at=at(0)))
        lost = replace(OLD[4].status, state=TaskState.LOST)
        tasks = {**world.state.tasks, OLD[4].id: replace(OLD[4], status=lost)}
        world.state = replace(world.state, tasks=tasks)

        world.decide()

        (created,) = [t for t in world.state.tasks.values() if t.slot == 5 and t.wanted]
        assert created.revision == 1

    def test_promote_goes_one_step_or_to_the_end(self) -> None:
        steps = tuple(CanaryStep(weight=weight, manual=True) for weight in (10, 20, 50))
        one, full = World(canary(policy(steps=steps))), World(canary(policy(steps=steps)))
        for world in (one, full):
            world.run()
            assert (of(world.state).state, of(world.state).step) == (RolloutState.WAITING, 1)

        promote(one)
        promote(full, full=True)
        for world in (one, full):
            world.run()

        assert (of(one.state).state, of(one.state).step) == (RolloutState.WAITING, 2)
        assert of(full.state).state is RolloutState.COMPLETE


class TestShares:
    """Exactly as much as the step says, whatever the numbers and the nodes."""

    @given(
        share=st.integers(0, 100),
        old=st.lists(st.integers(1, 1000), min_size=1, max_size=30),
        new_=st.lists(st.integers(1, 1000), min_size=1, max_size=30),
    )
    def test_within_one_part_in_a_thousand(
        self, share: int, old: list[int], new_: list[int]
    ) -> None:
        rollout = of(canary(weight=share, weight_at=at(0)))
        tasks = [(a_task(n, "w1"), weight) for n, weight in enumerate(old, 1)]
        tasks += [(a_task(n, "w1", revision=2), weight) for n, weight in enumerate(new_, 1)]

        divided = shares.divided(rollout, tuple(tasks))

        total = sum(weight for _, weight in divided)
        got = sum(weight for task, weight in divided if task.revision == 2)
        assert abs(got / total - share / 100) < 0.001

    def test_the_kernel_gets_them_as_they_are(self) -> None:
        web = an_update(
            replicas=6,
            update=policy(),
            rollout={**BEGIN, "batch": (1,), "weight": 10, "weight_at": at(0)},
            ports=(Port(target=80),),
        )
        nodes = tuple(a_node(f"w{n}") for n in (1, 2, 3))
        state = a_world(web, *OLD, new(1), nodes=nodes)
        endpoints = assignment.begin(state).of("w1").services["web"].endpoints

        parts = balancer_plan.shares(endpoints, 80)

        own = {state.tasks["web-1-r2"].status.address}
        got = sum(part.last - part.first + 1 for part in parts if part.address in own)
        # In the kit, the old task of the slot has the same address.
        old = {e.address: e.weight for e in endpoints if e.task_id == "web-1-r1"}
        assert got - balancer_plan.SHARES * 0.15 * bool(old) == pytest.approx(1000, abs=3)

    def test_who_has_no_task_ready_has_no_share(self) -> None:
        rollout = of(canary(weight=10, weight_at=at(0)))
        only_new = ((a_task(1, "w1", revision=2), 100),)
        only_old = ((a_task(1, "w1"), 100),)

        assert all(weight > 0 for _, weight in shares.divided(rollout, only_new))
        assert all(weight > 0 for _, weight in shares.divided(rollout, only_old))

    def test_the_share_never_gets_smaller_while_the_rest_is_replaced(self) -> None:
        rollout = replace(of(canary(weight=50, weight_at=at(0))), phase=RolloutPhase.REPLACE)
        some = [(a_task(n, "w1"), 100) for n in (4, 5, 6)]
        some += [(a_task(n, "w1", revision=2), 100) for n in (1, 2, 3)]
        most = [*some[2:], (a_task(4, "w1", revision=2), 100), (a_task(5, "w1", revision=2), 100)]

        def share(tasks: list[tuple[Task, int]]) -> float:
            divided = shares.divided(rollout, tuple(tasks))
            total = sum(weight for _, weight in divided)
            return sum(weight for task, weight in divided if task.revision == 2) / total

        assert share(some) == pytest.approx(0.5, abs=0.001)
        assert share(most) == pytest.approx(5 / 6, abs=0.02)
