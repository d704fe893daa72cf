"""REPLACE: slots change over batch by batch."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from warren.core.situation import Step
from warren.model.rollouts import (
    FailureAction,
    RolloutState,
    UpdateOrder,
    UpdatePolicy,
)
from warren.model.services import Bytes, Placement, ResourceReservations, Resources
from warren.model.tasks import Health, Task, TaskState
from warren.state.commands import PutService
from warren.testing.builders import GIB, a_node, a_task, an_update, at

from tests.unit.core.rollout_kit import World, a_world, next_step, of

OLD = (a_task(1, "w1"), a_task(2, "w2"), a_task(3, "w3"))
RESTARTING, FAILED = TaskState.RESTARTING, TaskState.FAILED


def policy(**values: Any) -> UpdatePolicy:
    return UpdatePolicy(**{"monitor": timedelta(), **values})


def new(slot: int, node: str = "w1", **values: Any) -> Task:
    return a_task(slot, node, revision=2, since=at(50), **values)


class TestBatches:
    """Which slots change over together, and when the next ones do."""

    @pytest.mark.parametrize(
        ("parallelism", "batch"),
        [("1", (1,)), ("2", (1, 2)), ("9", (1, 2, 3)), ("34%", (1, 2)), ("1%", (1,))],
    )
    def test_the_first_has_as_many_slots_as_the_policy_says(
        self, parallelism: str, batch: tuple[int, ...]
    ) -> None:
        web = an_update(replicas=3, update=policy(parallelism=parallelism))

        step = next_step(a_world(web, *OLD))

        assert step.rollout == replace(
            of(a_world(web)), batch=batch, batches=1, progress_at=at(100)
        )
        assert step.stalls

    def test_waits_for_all_of_its_tasks(self) -> None:
        web = an_update(replicas=3, rollout={"batch": (1, 2), "batches": 1})
        state = a_world(web, *OLD, new(1), new(2, health=Health.STARTING))

        assert next_step(state) == Step(
            rollout=of(state),
            stalls=True,
            waits_for="batch 1: 1 of 2 tasks of revision 2 are ready",
            wake_at=at(650),
        )

    def test_is_watched_before_the_next_begins(self) -> None:
        web = an_update(
            replicas=3,
            update=policy(monitor=timedelta(seconds=5)),
            rollout={"batch": (1,), "batches": 1},
        )
        state = a_world(web, *OLD, new(1))

        ready = next_step(state, 100)

        watched = replace(of(state), ready_at=at(100), progress_at=at(100))
        assert (ready.rollout, ready.wake_at) == (watched, at(105))
        later = replace(state.services["web"], rollouts=(watched,))
        state = replace(state, services={"web": later})
        assert next_step(state, 104.9).rollout == watched
        assert next_step(state, 105).rollout.batch == (2,)

    def test_one_that_becomes_unready_while_it_is_watched_is_watched_anew(self) -> None:
        web = an_update(replicas=3, rollout={"batch": (1,), "ready_at": at(99)})

        assert next_step(a_world(web, *OLD, new(1, state=TaskState.STARTING))).rollout.ready_at is (
            None
        )

    def test_the_next_waits_for_the_delay(self) -> None:
        web = an_update(
            replicas=3,
            update=policy(delay=timedelta(seconds=10)),
            rollout={"batch": (1,), "batches": 1},
        )
        state = a_world(web, *OLD, new(1))

        step = next_step(state)

        assert (step.rollout.batch, step.rollout.next_at) == ((), at(110))
        assert step.wake_at == at(110)

    def test_a_task_of_which_only_the_log_tells_is_waited_for(self) -> None:
        web = an_update(replicas=3, rollout={"batch": (1,), "batches": 1})
        state = a_world(web, *OLD, new(1, "w3"))

        assert next_step(state, unheard=("w3",)).rollout == of(state)

    def test_a_task_that_completed_counts_as_done(self) -> None:
        web = an_update(replicas=1, rollout={"batch": (1,), "batches": 1})
        state = a_world(web, a_task(1, "w1"), new(1, state=TaskState.COMPLETE))

        world = World(state, 100)
        world.run()

        assert of(world.state).state is RolloutState.COMPLETE

    def test_with_stop_first_no_more_stop_than_may(self) -> None:
        values = {"parallelism": "3", "min_healthy": "2", "order": UpdateOrder.STOP_FIRST}
        web = an_update(replicas=3, update=policy(**values))

        assert next_step(a_world(web, *OLD)).rollout.batch == (1,)

    def test_and_none_if_none_may(self) -> None:
        values = {"min_healthy": "2", "order": UpdateOrder.STOP_FIRST}
        web = an_update(replicas=3, update=policy(**values))

        step = next_step(a_world(web, OLD[0], OLD[1], a_task(3)))

        assert (step.rollout.batch, step.stalls) == ((3,), True)


class TestWholes:
    """From begin to end, with the leader's other decisions."""

    @pytest.mark.parametrize("order", list(UpdateOrder))
    def test_ends_when_every_slot_has_changed_over(self, order: UpdateOrder) -> None:
        web = an_update(replicas=3, update=policy(order=order))
        world = World(a_world(web, *OLD))

        world.run()

        tasks = [task for task in world.state.tasks_of("web") if task.wanted]
        assert {(task.slot, task.revision) for task in tasks} == {(1, 2), (2, 2), (3, 2)}
        assert of(world.state).state is RolloutState.COMPLETE
        assert world.state.services["web"].revisions[1].completed_at == world.now

    def test_the_old_task_goes_on_until_its_batch_was_watched(self) -> None:
        web = an_update(replicas=1, update=policy(monitor=timedelta(seconds=5)))
        world = World(a_world(web, OLD[0]))
        for _ in range(6):
            world.decide()
            world.work()
        assert world.state.tasks[OLD[0].id].wanted

        world.run()

        assert OLD[0].id in world.state.tasks
        assert not world.state.tasks[OLD[0].id].wanted

    def test_a_bad_revision_goes_back_and_takes_nothing_with_it(self) -> None:
        web = an_update(replicas=3, update=policy(parallelism="2"))
        world = World(a_world(web, *OLD))
        world.is_bad = lambda task: task.revision == 2

        world.run()

        ended = of(world.state)
        assert (ended.state, ended.failed) == (RolloutState.ROLLED_BACK, True)
        assert ended.reason == ("task web.2 on w2 failed once: exit code 1 (with 1 other of 3)")
        assert all(world.state.tasks[task.id] == task for task in OLD)
        service = world.state.services["web"]
        assert (service.revision, service.spec.image) == (1, "registry.example/web:1")
        assert service.revisions[1].reason == ended.reason

    def test_one_that_turns_bad_in_the_middle_goes_back_too(self) -> None:
        web = an_update(replicas=3)
        world = World(a_world(web, *OLD))
        world.is_bad = lambda task: task.revision == 2 and task.slot == 3

        world.run()

        tasks = [task for task in world.state.tasks_of("web") if task.wanted]
        assert {(task.slot, task.revision) for task in tasks} == {(1, 1), (2, 1), (3, 1)}
        assert of(world.state).state is RolloutState.ROLLED_BACK

    def test_scaling_on_the_way_is_part_of_it(self) -> None:
        web = an_update(replicas=3)
        world = World(a_world(web, *OLD))
        world.decide()
        service = world.state.services["web"]
        spec = replace(service.spec, replicas=5)

        world.apply(PutService(spec=spec, expected_version=service.version, now=world.now))
        world.decide()
        created = [task.revision for task in world.state.tasks_of("web") if task.slot > 3]
        world.run()

        assert created == [1, 1]
        tasks = [task for task in world.state.tasks_of("web") if task.wanted]
        assert sorted((task.slot, task.revision) for task in tasks) == [(n, 2) for n in range(1, 6)]

    def test_slots_that_came_with_the_change_begin_with_the_new_revision(self) -> None:
        world = World(a_world(an_update(replicas=5, rollout={"slots_before": 3}), *OLD))

        world.decide()
        created = sorted((t.slot, t.revision) for t in world.state.tasks_of("web") if t.slot > 3)
        world.run()

        assert created == [(4, 2), (5, 2)]
        ended = sorted((task.slot, task.revision) for task in world.state.tasks_of("web"))
        assert ended == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (4, 2), (5, 2)]
        assert of(world.state).state is RolloutState.COMPLETE

    def test_but_not_while_it_is_paused(self) -> None:
        paused = {"slots_before": 2, "batch": (1,), "state": RolloutState.PAUSED}
        world = World(a_world(an_update(replicas=3, rollout=paused), *OLD[:2]))

        world.run()

        assert [t.revision for t in world.state.tasks_of("web") if t.slot == 3] == [1]

    def test_and_they_go_back_with_the_others(self) -> None:
        world = World(a_world(an_update(replicas=5, rollout={"slots_before": 3}), *OLD))
        world.is_bad = lambda task: task.revision == 2 and task.slot == 5

        world.run()

        tasks = [task for task in world.state.tasks_of("web") if task.wanted]
        assert sorted((task.slot, task.revision) for task in tasks) == [(n, 1) for n in range(1, 6)]
        assert of(world.state).state is RolloutState.ROLLED_BACK

    def test_a_service_that_lost_a_node_can_be_updated(self) -> None:
        web = an_update(replicas=3, placement=Placement(max_per_node=1))
        world = World(a_world(web, *OLD[:2], a_task(3), nodes=(a_node("w1"), a_node("w2"))))

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE

    def test_a_fix_does_not_wait_for_what_is_broken(self) -> None:
        """The broken tasks have all the room that there is."""
        reserved = Resources(reservations=ResourceReservations(memory=Bytes(4 * GIB)))
        web = an_update(replicas=3, resources=reserved)
        broken = [
            a_task(n, f"w{n}", spec=web.spec, state=RESTARTING, failures=3) for n in (1, 2, 3)
        ]
        world = World(a_world(web, *broken))

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE


class TestBatchesWithoutRoom:
    """Start first, and not enough room for all new tasks of a batch beside the old ones."""

    RESERVED = Resources(reservations=ResourceReservations(memory=Bytes(2 * GIB)))

    def world(self, *, memory: int = 4, **values: Any) -> World:
        """Five old tasks, and room for one more with 4 GiB on each of three nodes."""
        web = an_update(
            replicas=5, resources=self.RESERVED, update=policy(parallelism="100%", **values)
        )
        places = zip(range(1, 6), ("w1", "w1", "w2", "w2", "w3"), strict=True)
        old = [a_task(slot, node, spec=web.spec) for slot, node in places]
        small = replace(a_node("w3").description, memory=Bytes(memory * GIB))
        nodes = (a_node("w1"), a_node("w2"), replace(a_node("w3"), description=small))
        return World(a_world(web, *old, nodes=nodes))

    def test_slots_that_are_done_make_room_for_the_others(self) -> None:
        world = self.world()
        served: list[int] = []
        world.on_decision = lambda before, after: served.append(
            len({task.slot for task in after.tasks_of("web") if task.wanted and task.ready})
        )

        world.run()

        tasks = [task for task in world.state.tasks_of("web") if task.wanted]
        assert sorted((task.slot, task.revision) for task in tasks) == [(n, 2) for n in range(1, 6)]
        assert (of(world.state).state, of(world.state).batches) == (RolloutState.COMPLETE, 1)
        assert min(served) == 5

    def test_they_are_watched_before_they_leave_the_batch(self) -> None:
        world = self.world(monitor=timedelta(seconds=5))
        for _ in range(6):
            world.decide()
            world.work()
        assert of(world.state).batch == (1, 2, 3, 4, 5)

        watching = next_step(world.state, 4.9)
        over = next_step(world.state, 5)

        assert watching == Step(
            rollout=of(world.state),
            wake_at=at(5),
            waits_for="what has room of batch 1 is ready, and watched for 5s",
        )
        assert over.rollout == replace(
            of(world.state), batch=(2, 3, 4, 5), ready_at=None, progress_at=at(5)
        )

    def test_one_that_fails_turns_all_back_while_others_wait_for_room(self) -> None:
        world = self.world()
        world.is_bad = lambda task: task.revision == 2 and task.slot == 3

        world.run()

        tasks = [task for task in world.state.tasks_of("web") if task.wanted]
        assert sorted((task.slot, task.revision) for task in tasks) == [(n, 1) for n in range(1, 6)]
        assert of(world.state).state is RolloutState.ROLLED_BACK

    def test_without_room_for_one_it_waits_until_the_deadline(self) -> None:
        world = self.world(memory=2)

        world.run()

        step = next_step(world.state, 0)
        assert (step.rollout.batch, step.stalls) == ((1, 2, 3, 4, 5), True)
        assert step.waits_for == (
            "batch 1: 0 of 5 tasks of revision 2 are ready; web.1 is pending: no node has 2 GiB of "
            "memory free (3 of 3)"
        )


class TestFailures:
    """What is found bad, and what then happens."""

    def step(self, *tasks: Task, **values: Any) -> Step:
        batch = {"batch": (1, 2), "batches": 1}
        web = an_update(replicas=3, update=policy(**values), rollout=batch)
        return next_step(a_world(web, *OLD, *tasks))

    @pytest.mark.parametrize(
        "status",
        [
            {"state": RESTARTING, "failures": 1},
            {"state": FAILED, "failures": 1},
            {"health": Health.UNHEALTHY},
        ],
        ids=["restarts", "failed for good", "unhealthy"],
    )
    @pytest.mark.parametrize(
        ("action", "state"),
        [
            (FailureAction.ROLLBACK, RolloutState.ROLLING_BACK),
            (FailureAction.PAUSE, RolloutState.PAUSED),
            (FailureAction.CONTINUE, RolloutState.RUNNING),
        ],
    )
    def test_the_policy_says_what_follows(
        self, action: FailureAction, state: RolloutState, status: dict[str, Any]
    ) -> None:
        step = self.step(new(1, **status), new(2), on_failure=action)

        assert step.rollout.state is state
        assert bool(step.rollout.reason) is (state is not RolloutState.RUNNING)

    def test_the_reason_has_the_last_line_of_the_log(self) -> None:
        bad = new(1, state=RESTARTING, failures=3, message="exit code 1", last_log="KeyError: X")

        assert self.step(bad).rollout.reason == (
            "task web.1 on w1 failed 3 times: exit code 1; last log line: KeyError: X"
        )

    def test_a_few_may_fail(self) -> None:
        bad = new(1, state=RESTARTING, failures=1)

        assert self.step(bad, new(2), max_failure_ratio=0.4).rollout.batch == (3,)
        assert self.step(bad, new(2), max_failure_ratio=0.3).rollout.backwards

    def test_a_task_that_was_lost_says_nothing(self) -> None:
        lost = new(1, state=TaskState.LOST, failures=2)

        assert self.step(lost, new(2)).rollout.state is RolloutState.RUNNING

    def test_what_failed_before_it_was_resumed_is_forgiven(self) -> None:
        bad = new(1, state=RESTARTING, failures=1)
        values = {"batch": (1,), "resumed_at": at(60)}
        web = an_update(replicas=3, rollout=values)

        assert next_step(a_world(web, *OLD, bad)).rollout.state is RolloutState.RUNNING

    def test_no_progress_is_bad_in_the_end(self) -> None:
        deadline = timedelta(seconds=30)
        waits = new(1, "", message="no node has 8 GiB of memory free (3 of 3)")
        web = an_update(
            replicas=3,
            update=policy(progress_deadline=deadline),
            rollout={"batch": (1,), "batches": 1, "progress_at": at(80)},
        )
        state = a_world(web, *OLD, waits)

        assert next_step(state, 109).wake_at == at(110)
        assert next_step(state, 110).rollout.reason == (
            "no progress for 30s: batch 1: 0 of 1 tasks of revision 2 are ready; web.1 is pending: "
            "no node has 8 GiB of memory free (3 of 3)"
        )

    def test_where_there_is_no_way_back_it_waits_for_people(self) -> None:
        web = an_update(
            replicas=1, before=2, rollout={"from_revision": 2, "batch": (1,)}, revision=2
        )
        web = replace(web, revisions=web.revisions[1:])

        step = next_step(a_world(web, new(1, state=FAILED)))

        assert step.rollout.state is RolloutState.PAUSED


class TestPause:
    """Everything stays as it is."""

    def test_no_slot_begins_and_none_ends(self) -> None:
        paused = {"batch": (1,), "state": RolloutState.PAUSED}
        world = World(a_world(an_update(replicas=3, rollout=paused), *OLD, new(1)))

        world.run()

        assert all(task.wanted for task in world.state.tasks_of("web"))
        assert len(world.state.tasks) == 4

    def test_a_slot_that_loses_its_task_gets_one_of_the_revision_before(self) -> None:
        paused = {"batch": (1,), "state": RolloutState.PAUSED}
        world = World(a_world(an_update(replicas=3, rollout=paused), *OLD[:2]))

        world.run()

        assert sorted((t.slot, t.revision) for t in world.state.tasks_of("web")) == [
            (1, 1),
            (2, 1),
            (3, 1),
        ]
