"""Which tasks are created and stopped, slot by slot."""

from dataclasses import replace
from typing import Any

import pytest
from warren.core import orchestrator
from warren.core.decisions import Decision
from warren.model.nodes import Availability, Node, NodeRole
from warren.model.rollouts import UpdateOrder, UpdatePolicy
from warren.model.services import (
    Bytes,
    Placement,
    Port,
    PortMode,
    ResourceReservations,
    Resources,
    Service,
    template_of,
)
from warren.model.tasks import DesiredState, Health, Task, TaskState, TaskStatus
from warren.state.cluster import ClusterState
from warren.state.commands import Command, CreateTask, SetTaskDesired, SetTaskStatus
from warren.testing.builders import (
    GIB,
    NOON,
    a_node,
    a_service,
    a_state,
    a_task,
    an_update,
    at,
    counting_ids,
)

RUNNING, FAILED, COMPLETE = TaskState.RUNNING, TaskState.FAILED, TaskState.COMPLETE
THREE = (a_node("w1"), a_node("w2"), a_node("w3"))


def decide(state: ClusterState) -> Decision:
    return orchestrator.decide(state, at(100), counting_ids())


def create(service: Service, slot: int, number: int = 1) -> CreateTask:
    return CreateTask(
        task=Task(
            id=f"{service.spec.name}-{slot}-{number:05}",
            service=service.spec.name,
            slot=slot,
            revision=service.revision,
            template=template_of(service.spec),
            created_at=at(100),
            status=TaskStatus(state=TaskState.PENDING, since=at(100)),
        )
    )


def stop(task: Task) -> SetTaskDesired:
    return SetTaskDesired(task_id=task.id, desired=DesiredState.STOPPED)


def drain(task: Task) -> SetTaskDesired:
    return SetTaskDesired(task_id=task.id, desired=DesiredState.DRAINING, now=at(100))


def test_creates_a_task_for_each_empty_slot() -> None:
    web = a_service(replicas=3)
    state = a_state(nodes=THREE, services=[web], tasks=[a_task(2, "w1")])

    decision = decide(state)

    assert decision == Decision(commands=(create(web, 1, 1), create(web, 3, 2)))


def test_leaves_a_service_alone_that_is_as_it_should_be() -> None:
    tasks = [a_task(1, "w1"), a_task(2, "w2", state=TaskState.RESTARTING, failures=2)]
    state = a_state(nodes=THREE, services=[a_service(replicas=2)], tasks=tasks)

    assert decide(state) == Decision()


def test_an_id_that_is_taken_is_not_used_again() -> None:
    web = a_service(replicas=2)
    state = a_state(services=[web], tasks=[a_task(1, "w1", id="web-2-00001", state=RUNNING)])

    assert decide(state) == Decision(commands=(create(web, 2, 2),))


def test_scaling_down_stops_the_highest_slots() -> None:
    tasks = [a_task(slot, "w1") for slot in (1, 2, 3, 4)]
    state = a_state(nodes=THREE, services=[a_service(replicas=2)], tasks=tasks)

    assert decide(state) == Decision(commands=(stop(tasks[3]), stop(tasks[2])))


def test_a_task_without_a_node_ends_at_once_when_it_is_stopped() -> None:
    task = a_task(1, message="no node has 8 GiB of memory free (3 of 3)")
    state = a_state(nodes=THREE, services=[a_service(replicas=0)], tasks=[task])

    ended = replace(task.status, state=TaskState.STOPPED, since=at(100))
    expected: tuple[Command, ...] = (stop(task), SetTaskStatus(task_id=task.id, status=ended))
    assert decide(state) == Decision(commands=expected)


def test_removing_a_service_stops_all_its_tasks() -> None:
    tasks = [a_task(1, "w1"), a_task(2, "w2", revision=2)]
    state = a_state(services=[a_service(replicas=2, removing=True)], tasks=tasks)

    assert decide(state) == Decision(commands=(stop(tasks[1]), stop(tasks[0])))


@pytest.mark.parametrize("ended", [TaskState.LOST, TaskState.STOPPED])
def test_a_task_that_was_lost_is_replaced(ended: TaskState) -> None:
    web = a_service()
    state = a_state(services=[web], tasks=[a_task(1, "w1", state=ended)])

    assert decide(state) == Decision(commands=(create(web, 1),))


@pytest.mark.parametrize("ended", [FAILED, COMPLETE])
def test_a_task_that_ended_for_good_leaves_its_slot_empty(ended: TaskState) -> None:
    state = a_state(services=[a_service()], tasks=[a_task(1, "w1", state=ended)])

    assert decide(state) == Decision()


@pytest.mark.parametrize("ended", [FAILED, COMPLETE])
def test_a_new_revision_fills_a_slot_that_was_left_empty(ended: TaskState) -> None:
    web = a_service(revision=2)
    state = a_state(services=[web], tasks=[a_task(1, "w1", state=ended)])

    assert decide(state) == Decision(commands=(create(web, 1),))


def test_scaling_down_and_up_tries_a_failed_slot_again() -> None:
    failed = a_task(2, "w1", state=FAILED)
    down = a_state(services=[a_service(replicas=1)], tasks=[a_task(1, "w1"), failed])
    assert decide(down) == Decision(commands=(stop(failed),))

    web = a_service(replicas=2)
    stopped = replace(failed, desired=DesiredState.STOPPED)
    up = a_state(services=[web], tasks=[a_task(1, "w1"), stopped])
    assert decide(up) == Decision(commands=(create(web, 2),))


FIRST = {"batch": (1,), "batches": 1}
"""Of a rollout: the first slot is to change over."""


class TestExclusivePlaces:
    """Where two tasks of the service cannot be on a node, the old may have to go first."""

    port = Port(target=80, published=8080, mode=PortMode.HOST)

    def test_a_host_port_that_is_taken_on_every_node_is_freed_first(self) -> None:
        web = an_update(replicas=3, rollout=FIRST, ports=(self.port,))
        old = [a_task(1, "w1"), a_task(2, "w2"), a_task(3, "w3")]

        decision = decide(a_state(nodes=THREE, services=[web], tasks=old))

        assert decision == Decision(commands=(drain(old[0]), create(web, 1)))

    def test_the_new_task_starts_first_where_a_node_is_free(self) -> None:
        web = an_update(replicas=2, rollout=FIRST, ports=(self.port,))
        old = [a_task(1, "w1"), a_task(2, "w2")]

        decision = decide(a_state(nodes=THREE, services=[web], tasks=old))

        assert decision == Decision(commands=(create(web, 1),))

    def test_a_port_that_is_about_to_be_free_counts_as_free(self) -> None:
        web = an_update(replicas=3, rollout={"batch": (2,)}, ports=(self.port,))
        stopping = a_task(1, "w1", state=TaskState.STOPPING, desired=DesiredState.STOPPED)
        tasks = [stopping, a_task(1, "w4", revision=2), a_task(2, "w2"), a_task(3, "w3")]

        decision = decide(a_state(nodes=[*THREE, a_node("w4")], services=[web], tasks=tasks))

        assert decision == Decision(commands=(create(web, 2),))

    def test_max_per_node_is_as_exclusive_as_a_port(self) -> None:
        web = an_update(replicas=3, rollout=FIRST)
        placement = replace(web.spec.placement, max_per_node=1)
        web = replace(web, spec=replace(web.spec, placement=placement))
        old = [a_task(1, "w1"), a_task(2, "w2"), a_task(3, "w3")]

        decision = decide(a_state(nodes=THREE, services=[web], tasks=old))

        assert decision == Decision(commands=(stop(old[0]), create(web, 1)))

    def test_a_waiting_replacement_gets_its_place_when_the_free_node_is_gone(self) -> None:
        web = an_update(replicas=1, rollout=FIRST, ports=(self.port,))
        old = a_task(1, "w1")

        decision = decide(
            a_state(nodes=[a_node("w1")], services=[web], tasks=[old, a_task(1, revision=2)])
        )

        assert decision == Decision(commands=(drain(old),))

    def test_the_old_task_stays_if_the_new_would_not_fit_in_its_place_either(self) -> None:
        web = an_update(replicas=1, rollout=FIRST, ports=(self.port,))
        reserved = replace(web.spec.resources.reservations, memory=Bytes(8 * GIB))
        resources = replace(web.spec.resources, reservations=reserved)
        web = replace(web, spec=replace(web.spec, resources=resources))

        decision = decide(a_state(nodes=THREE[:1], services=[web], tasks=[a_task(1, "w1")]))

        assert decision == Decision(commands=(create(web, 1),))

    def test_nor_if_it_lacks_memory_and_the_limit_per_node_is_far(self) -> None:
        reserved = ResourceReservations(memory=Bytes(3 * GIB))
        web = an_update(
            replicas=1,
            rollout=FIRST,
            placement=Placement(max_per_node=5),
            resources=Resources(reservations=reserved),
        )
        old = a_task(1, "w1", spec=web.spec)

        decision = decide(a_state(nodes=THREE[:1], services=[web], tasks=[old]))

        assert decision == Decision(commands=(create(web, 1),))

    def test_a_lack_of_memory_alone_never_stops_what_runs(self) -> None:
        web = an_update(replicas=1, rollout=FIRST)
        reserved = replace(web.spec.resources.reservations, memory=Bytes(3 * GIB))
        resources = replace(web.spec.resources, reservations=reserved)
        web = replace(web, spec=replace(web.spec, resources=resources))
        old = a_task(1, "w1", spec=web.spec)
        pending = a_task(1, revision=2)

        state = a_state(nodes=THREE[:1], services=[web], tasks=[old, pending])

        assert decide(state) == Decision()


class TestLeavingNodes:
    """A node that drains, or is no worker any more, keeps its tasks until others run."""

    @pytest.mark.parametrize(
        "leaving",
        [
            a_node("w1", availability=Availability.DRAIN),
            a_node("w1", roles=(NodeRole.MANAGER,)),
        ],
    )
    def test_its_tasks_are_created_elsewhere_all_at_once(self, leaving: Node) -> None:
        web = a_service(replicas=3)
        tasks = [a_task(1, "w1"), a_task(2, "w1"), a_task(3, "w2")]
        nodes = [leaving, a_node("w2")]

        decision = decide(a_state(nodes=nodes, services=[web], tasks=tasks))

        assert decision == Decision(commands=(create(web, 1, 1), create(web, 2, 2)))

    def test_a_task_that_a_user_stops_is_replaced_first(self) -> None:
        web = a_service(replicas=2)
        leaving = replace(a_task(1, "w1"), leaving=True)
        tasks = [leaving, a_task(2, "w2")]
        before = a_state(nodes=THREE, services=[web], tasks=tasks)
        after = a_state(
            nodes=THREE, services=[web], tasks=[*tasks, a_task(1, "w3", id="web-1-new")]
        )

        assert decide(before) == Decision(commands=(create(web, 1),))
        assert decide(after) == Decision(commands=(stop(leaving),))

    def test_its_task_stops_when_the_other_runs(self) -> None:
        nodes = [a_node("w1", availability=Availability.DRAIN), a_node("w2")]
        old = a_task(1, "w1")
        tasks = [old, a_task(1, "w2", id="web-1-new")]

        decision = decide(a_state(nodes=nodes, services=[a_service()], tasks=tasks))

        assert decision == Decision(commands=(stop(old),))

    def test_its_task_goes_on_while_the_other_has_no_place(self) -> None:
        nodes = [a_node("w1", availability=Availability.DRAIN)]
        tasks = [a_task(1, "w1"), a_task(1, id="web-1-new")]

        assert decide(a_state(nodes=nodes, services=[a_service()], tasks=tasks)) == Decision()

    def test_a_node_that_comes_back_from_draining_keeps_one_task_per_slot(self) -> None:
        kept = a_task(1, "w1")
        extra = a_task(1, "w2", id="web-1-new", state=TaskState.STARTING)

        decision = decide(a_state(nodes=THREE, services=[a_service()], tasks=[extra, kept]))

        assert decision == Decision(commands=(stop(extra),))

    @pytest.mark.parametrize(
        ("revision", "min_healthy", "stops"), [(1, "0", True), (1, "1", False), (2, "0", False)]
    )
    def test_only_what_is_outdated_and_may_stop_stops_first(
        self, revision: int, min_healthy: str, *, stops: bool
    ) -> None:
        """Where the order is to stop first; another has its successor first, as ever."""
        policy = UpdatePolicy(order=UpdateOrder.STOP_FIRST, min_healthy=min_healthy)
        web = an_update(update=policy, rollout={"batch": (1,)})
        nodes = [a_node("w1", availability=Availability.DRAIN), a_node("w2")]
        old = a_task(1, "w1", revision=revision)

        decision = decide(a_state(nodes=nodes, services=[web], tasks=[old]))

        assert decision == Decision(commands=(stop(old) if stops else create(web, 1),))

    def test_a_paused_node_keeps_its_tasks(self) -> None:
        nodes = [a_node("w1", availability=Availability.PAUSE)]

        decision = decide(a_state(nodes=nodes, services=[a_service()], tasks=[a_task(1, "w1")]))

        assert decision == Decision()


def test_two_wanted_tasks_of_a_slot_become_one() -> None:
    older = a_task(1, "w1", id="web-1-a", created_at=NOON)
    younger = a_task(1, "w2", id="web-1-b", created_at=at(1))

    decision = decide(a_state(nodes=THREE, services=[a_service()], tasks=[younger, older]))

    assert decision == Decision(commands=(stop(younger),))


class TestTraffic:
    """Tasks of a service with ports: connections may be open, and more on their way."""

    web = a_service(replicas=1, revision=2, ports=(Port(target=80),))
    old, new = a_task(1, "w1"), a_task(1, "w2", revision=2)

    def decided(self, *tasks: Task, **values: Any) -> Decision:
        web = a_service(ports=(Port(target=80),), **values)
        return decide(a_state(nodes=THREE, services=[web], tasks=tasks))

    def test_a_task_that_may_receive_traffic_is_drained(self) -> None:
        assert self.decided(self.old, replicas=0) == Decision(commands=(drain(self.old),))

    @pytest.mark.parametrize(
        "task",
        [
            a_task(1, "w1", state=TaskState.STARTING),
            a_task(1, "w1", state=TaskState.RESTARTING),
            a_task(1, "w1", health=Health.STARTING),
        ],
        ids=["not running", "between two runs", "not healthy yet"],
    )
    def test_one_that_never_could_is_stopped_at_once(self, task: Task) -> None:
        assert self.decided(task, replicas=0) == Decision(commands=(stop(task),))

    def test_one_that_drains_is_left_to_the_drainer(self) -> None:
        draining = replace(self.old, desired=DesiredState.DRAINING)

        assert self.decided(draining, replicas=0) == Decision()

    def test_the_last_endpoint_stays_until_its_successor_is_ready(self) -> None:
        unproven = a_task(1, "w2", revision=2, health=Health.STARTING)
        healthy = a_task(1, "w2", revision=2, health=Health.HEALTHY)

        assert self.decided(self.old, unproven, revision=2).commands == ()
        assert self.decided(self.old, healthy, revision=2).commands == (drain(self.old),)

    def test_so_it_is_when_its_node_is_drained(self) -> None:
        nodes = [a_node("w1", availability=Availability.DRAIN), a_node("w2")]
        state = a_state(nodes=nodes, services=[self.web], tasks=[])
        old = a_task(1, "w1", revision=2)
        unproven = a_task(1, "w2", revision=2, id="web-1-new", health=Health.STARTING)
        healthy = a_task(1, "w2", revision=2, id="web-1-new", health=Health.HEALTHY)

        before = decide(replace(state, tasks={old.id: old, unproven.id: unproven}))
        after = decide(replace(state, tasks={old.id: old, healthy.id: healthy}))

        assert (before.commands, after.commands) == ((), (drain(old),))

    def test_a_successor_of_which_only_the_log_tells_is_waited_for(self) -> None:
        state = a_state(nodes=THREE, services=[self.web], tasks=[self.old, self.new])

        unheard = orchestrator.decide(state, at(100), counting_ids(), {"w2"})

        assert unheard.commands == ()
        assert decide(state).commands == (drain(self.old),)

    def test_of_two_that_are_ready_the_one_that_was_heard_stays(self) -> None:
        one, other = (a_task(1, node, id=f"web-1-{node}") for node in ("w1", "w2"))
        state = a_state(nodes=THREE, services=[a_service()], tasks=[one, other])

        decisions = [
            orchestrator.decide(state, at(100), counting_ids(), unheard).commands
            for unheard in ({"w1"}, {"w2"}, {"w1", "w2"})
        ]

        assert decisions == [(stop(one),), (stop(other),), ()]
