"""SURGE, TRIAL, SWITCHED: the whole new set beside the old, then all traffic at once."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from warren.core import acts, assignment, situation
from warren.model.checks import HttpCheck
from warren.model.rollouts import (
    Analysis,
    AnalysisRecord,
    FailureAction,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdatePolicy,
)
from warren.model.services import Bytes, Port, ResourceReservations, Resources
from warren.model.tasks import Task, TaskState
from warren.state.cluster import ClusterState
from warren.state.commands import RecordAnalysis, SetRollout
from warren.testing.builders import GIB, a_task, an_update, at

from tests.unit.core.rollout_kit import World, a_world, next_step, of

OLD = (a_task(1, "w1"), a_task(2, "w2"), a_task(3, "w3"))
NEW = tuple(a_task(n, f"w{n}", revision=2, since=at(50)) for n in (1, 2, 3))
SURGE = {"phase": RolloutPhase.SURGE, "weight": 0}
ALL = {**SURGE, "batch": (1, 2, 3)}
SMOKE = Analysis(http=HttpCheck(port=80), retries=2)


def policy(**values: Any) -> UpdatePolicy:
    fixed = {"strategy": Strategy.BLUE_GREEN, "monitor": timedelta()}
    return UpdatePolicy(**{**fixed, **values})


def test_the_whole_set_starts_at_once_and_the_old_one_goes_on() -> None:
    world = World(a_world(an_update(replicas=3, update=policy(), rollout=SURGE), *OLD))

    world.decide()

    created = sorted((t.slot, t.revision) for t in world.state.tasks.values() if t.wanted)
    assert created == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]


def test_slots_that_came_with_the_change_have_the_new_set_only() -> None:
    web = an_update(replicas=5, update=policy(), rollout={**SURGE, "slots_before": 3})
    world = World(a_world(web, *OLD))

    world.decide()
    created = sorted((t.slot, t.revision) for t in world.state.tasks_of("web") if t.slot > 3)
    world.run()

    assert created == [(4, 2), (5, 2)]
    tasks = sorted((task.slot, task.revision) for task in world.state.tasks_of("web"))
    assert tasks == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 2), (5, 2)]
    assert of(world.state).state is RolloutState.COMPLETE


def test_they_have_the_old_one_where_the_new_has_no_room_for_all() -> None:
    reserved = Resources(reservations=ResourceReservations(memory=Bytes(GIB)))
    surge = {**SURGE, "slots_before": 3}
    web = an_update(replicas=10, update=policy(), rollout=surge, resources=reserved)
    old = [replace(task, template=web.revisions[0].template) for task in OLD]
    world = World(a_world(web, *old))

    world.decide()

    assert {task.revision for task in world.state.tasks_of("web")} == {1}
    assert len({task.slot for task in world.state.tasks_of("web")}) == 10


def test_nothing_starts_where_there_is_not_room_for_all() -> None:
    reserved = Resources(reservations=ResourceReservations(memory=Bytes(3 * GIB)))
    web = an_update(replicas=3, update=policy(), rollout=SURGE, resources=reserved)
    old = [replace(task, template=web.revisions[0].template) for task in OLD[:2]]
    state = a_world(web, *old, a_task(3, "w3"))

    step = next_step(state)

    assert step.rollout == of(state)
    assert step.waits_for == (
        "no room for 2 of 3 new tasks: no node has 3 GiB of memory free (3 of 3)"
    )


@pytest.mark.parametrize(
    ("ready", "phase", "weight"),
    [(NEW[:2], RolloutPhase.SURGE, 0), (NEW, RolloutPhase.SWITCHED, 100)],
)
def test_traffic_is_switched_when_all_are_ready(
    ready: tuple[Task, ...], phase: RolloutPhase, weight: int
) -> None:
    web = an_update(replicas=3, update=policy(), rollout=ALL)

    rollout = next_step(a_world(web, *OLD, *ready)).rollout

    assert (rollout.phase, rollout.weight) == (phase, weight)


def test_the_new_set_has_no_traffic_before_the_switch_and_all_after() -> None:
    def weights(**rollout: Any) -> dict[int, set[int]]:
        web = an_update(
            replicas=3, update=policy(), rollout={**ALL, **rollout}, ports=(Port(target=80),)
        )
        traffic = assignment.begin(a_world(web, *OLD, *NEW)).of("w1").services["web"]
        by_revision: dict[int, set[int]] = {1: set(), 2: set()}
        for endpoint in traffic.endpoints:
            by_revision[1 if endpoint.task_id.endswith("r1") else 2].add(bool(endpoint.weight))
        assert traffic.divided
        return by_revision

    assert weights() == {1: {True}, 2: {False}}
    switched = {"phase": RolloutPhase.SWITCHED, "weight": 100, "weight_at": at(60)}
    assert weights(**switched) == {1: {False}, 2: {True}}


class TestSmokeCheck:
    """It must be good once; so many bad ones in a row, and the set is bad."""

    def state(self, *records: AnalysisRecord, **values: Any) -> ClusterState:
        rollout = {**ALL, "phase": RolloutPhase.TRIAL, "ready_at": at(60), "analyses": records}
        web = an_update(replicas=3, update=policy(smoke=SMOKE, **values), rollout=rollout)
        return a_world(web, *OLD, *NEW)

    def record(self, good: int = 0, bad: int = 0) -> AnalysisRecord:
        return AnalysisRecord(
            name="smoke check", checked_at=at(90), good=good, bad=bad, output="GET /: 503"
        )

    def test_comes_when_the_set_is_ready(self) -> None:
        web = an_update(replicas=3, update=policy(smoke=SMOKE), rollout=ALL)

        step = next_step(a_world(web, *OLD, *NEW))

        assert step.rollout.phase is RolloutPhase.TRIAL
        assert step.waits_for == "the new set is ready: waits for smoke check"

    def test_a_good_one_switches(self) -> None:
        rollout = next_step(self.state(self.record(good=1))).rollout

        assert (rollout.phase, rollout.weight) == (RolloutPhase.SWITCHED, 100)

    def test_a_bad_one_is_repeated_and_then_goes_back(self) -> None:
        assert next_step(self.state(self.record(bad=1))).rollout.phase is RolloutPhase.TRIAL

        rollout = next_step(self.state(self.record(bad=2))).rollout

        assert rollout.state is RolloutState.ROLLING_BACK
        assert rollout.reason == "smoke check: GET /: 503 (2 times)"

    def test_without_auto_promote_it_waits_for_somebody(self) -> None:
        step = next_step(self.state(self.record(good=1), auto_promote=False))

        assert (step.rollout.state, step.rollout.weight) == (RolloutState.WAITING, 0)


class TestWholes:
    """From begin to end."""

    def test_the_old_set_goes_when_the_grace_period_is_over(self) -> None:
        grace = timedelta(seconds=30)
        world = World(
            a_world(an_update(replicas=3, update=policy(grace_period=grace), rollout=SURGE), *OLD)
        )
        switched_at = []

        def look(before: ClusterState, after: ClusterState) -> None:
            if of(after).phase is RolloutPhase.SWITCHED and of(before).phase is not (
                RolloutPhase.SWITCHED
            ):
                switched_at.append(world.now)
            if of(after).phase in (RolloutPhase.SURGE, RolloutPhase.SWITCHED):
                assert all(after.tasks[task.id].wanted for task in OLD)

        world.on_decision = look
        world.run()

        assert of(world.state).state is RolloutState.COMPLETE
        assert world.now == switched_at[0] + grace
        wanted = {task.revision for task in world.state.tasks_of("web") if task.wanted}
        assert wanted == {2}

    def test_one_that_turns_bad_after_the_switch_gives_the_traffic_back_at_once(self) -> None:
        world = World(a_world(an_update(replicas=3, update=policy(), rollout=SURGE), *OLD))
        while of(world.state).phase is not RolloutPhase.SWITCHED:
            world.decide()
            world.work()
        world.is_bad = lambda task: task.revision == 2 and task.slot == 2
        world.work()

        world.decide()

        assert (of(world.state).state, of(world.state).weight) == (RolloutState.ROLLING_BACK, 0)
        assert all(world.state.tasks[task.id] == task for task in OLD)
        world.run()
        assert of(world.state).state is RolloutState.ROLLED_BACK

    def test_scaling_while_the_old_set_is_kept_makes_both(self) -> None:
        rollout = {
            **ALL,
            "phase": RolloutPhase.SWITCHED,
            "weight": 100,
            "weight_at": at(0),
            "ready_at": at(0),
        }
        web = an_update(replicas=4, update=policy(), rollout=rollout)
        world = World(a_world(web, *OLD, *NEW), 1)

        world.decide()

        created = sorted(t.revision for t in world.state.tasks.values() if t.slot == 4)
        assert created == [1, 2]

    def test_where_nothing_serves_there_is_nothing_to_keep(self) -> None:
        broken = [a_task(n, f"w{n}", state=TaskState.RESTARTING, failures=2) for n in (1, 2, 3)]
        world = World(a_world(an_update(replicas=3, update=policy(), rollout=SURGE), *broken))

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE

    @pytest.mark.parametrize("on_failure", [FailureAction.PAUSE, FailureAction.ROLLBACK])
    def test_a_trial_that_is_made_by_the_leader_decides(self, on_failure: FailureAction) -> None:
        update = policy(smoke=SMOKE, on_failure=on_failure)
        world = World(a_world(an_update(replicas=3, update=update, rollout=SURGE), *OLD))
        world.run()
        record = AnalysisRecord(name="smoke check", checked_at=world.now, bad=2, output="503")
        rollout_id = of(world.state).id
        world.apply(RecordAnalysis(service="web", rollout_id=rollout_id, record=record))

        world.run()

        paused = on_failure is FailureAction.PAUSE
        ended = RolloutState.PAUSED if paused else RolloutState.ROLLED_BACK
        assert of(world.state).state is ended


def test_promote_switches_what_waits() -> None:
    web = an_update(
        replicas=3,
        update=policy(auto_promote=False),
        rollout={**ALL, "state": RolloutState.WAITING, "ready_at": at(60)},
    )
    world = World(a_world(web, *OLD, *NEW), 100)
    tasks = tuple(world.state.tasks_of("web"))
    now_is = situation.of(world.state, world.state.services["web"], tasks, world.now)

    after = acts.promote(now_is)

    world.apply(SetRollout(service="web", rollout=after, expected_version=1, now=world.now))
    assert (of(world.state).phase, of(world.state).weight) == (RolloutPhase.SWITCHED, 100)
    world.run()
    assert of(world.state).state is RolloutState.COMPLETE
