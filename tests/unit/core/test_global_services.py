"""Global services: one task on each node that may have it, in every decision about them."""

from dataclasses import replace
from typing import Any

import pytest
from warren.core import scheduler, services, views
from warren.core.reconcile import Reconciliation
from warren.model.errors import InvalidInput
from warren.model.nodes import Availability, Node, NodeRole, NodeState
from warren.model.rollouts import (
    CanaryStep,
    Strategy,
    UpdateOrder,
    UpdatePolicy,
)
from warren.model.services import (
    Bytes,
    Placement,
    ServiceMode,
    template_of,
)
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.state import commands as c
from warren.testing.builders import (
    GIB,
    a_node,
    a_node_task,
    a_service,
    a_spec,
    a_state,
    at,
    counting_ids,
)

from tests.unit.core.global_kit import (
    ALONE,
    GLOBAL,
    HOST_PORT,
    OLD,
    THREE,
    a_global,
    changed,
    in_state,
    made_available,
    places,
    reserving,
    settled,
)
from tests.unit.core.rollout_kit import World


class TestNodes:
    """Which nodes have a task."""

    def test_each_ready_one_gets_a_task_that_has_its_name(self) -> None:
        state = settled(a_state(nodes=THREE, services=[a_global()]))

        assert places(state) == {
            "web.w1": "running w1",
            "web.w2": "running w2",
            "web.w3": "running w3",
        }

    def test_a_task_is_made_for_its_node(self) -> None:
        world = World(a_state(nodes=(a_node("w7"),), services=[a_global()]))
        world.decide()

        (task,) = world.state.tasks.values()

        assert task == Task(
            id="web-7-00001",
            service="web",
            slot=7,
            node="w7",
            node_id="w7",
            revision=1,
            template=template_of(a_spec()),
            created_at=at(0),
            version=task.version,
            status=TaskStatus(state=TaskState.ASSIGNED, since=at(0)),
        )

    @pytest.mark.parametrize(
        "node",
        [
            a_node("w2", state=NodeState.DOWN),
            a_node("w2", state=NodeState.UNKNOWN),
            a_node("w2", availability=Availability.DRAIN),
            a_node("w2", availability=Availability.PAUSE),
            a_node("w2", roles=(NodeRole.MANAGER,)),
            a_node("w2", labels={"disk": "spinning"}),
            a_node("w2", architecture="aarch64", labels={"disk": "ssd"}),
        ],
        ids=["down", "unknown", "drained", "paused", "no worker", "label", "architecture"],
    )
    def test_one_that_may_not_have_it_has_none(self, node: Node) -> None:
        constraints = ("node.labels.disk == ssd", "node.arch == amd64")
        web = a_global(placement=Placement(constraints=constraints))
        nodes = (a_node("w1", labels={"disk": "ssd"}), node)

        state = a_state(nodes=nodes, services=[web])
        world = World(state)
        world.decide()

        assert [task.name for task in world.state.tasks.values()] == ["web.w1"]

    def test_one_that_joins_wakes_a_service_at_rest(self) -> None:
        web = replace(a_global(), vip="10.92.0.1")
        state = a_state(nodes=THREE[:2], services=[web], tasks=OLD[:2])
        kept, ids = Reconciliation(), counting_ids()
        contacts = dict.fromkeys(("w1", "w2", "w3"), at(100))
        assert kept.decide(state, at(100), ids, contacts).commands == ()
        assert kept.looks_at == ()

        joined = replace(state, nodes={**state.nodes, "w3": THREE[2]}, index=101)
        decision = kept.decide(joined, at(100), ids, contacts)

        created = [each.task for each in decision.commands if isinstance(each, c.CreateTask)]
        assert [task.name for task in created] == ["web.w3"]

    def test_one_that_is_drained_loses_it_and_no_other_gets_one(self) -> None:
        state = a_state(nodes=THREE, services=[a_global(ports=HOST_PORT)], tasks=OLD)

        world = World(made_available(state, "w2", Availability.DRAIN))
        world.decide()

        assert places(world.state) == {"web.w1": "running w1", "web.w3": "running w3"}
        assert world.state.tasks["web-2-r1"].desired is DesiredState.DRAINING

    def test_one_that_returns_from_being_drained_has_one_again(self) -> None:
        state = a_state(nodes=THREE, services=[a_global()], tasks=OLD)
        drained = settled(made_available(state, "w2", Availability.DRAIN))

        state = settled(made_available(drained, "w2", Availability.ACTIVE))

        assert places(state)["web.w2"] == "running w2"
        assert len(places(state)) == 3

    def test_a_task_on_a_node_that_is_down_is_replaced_nowhere(self) -> None:
        state = a_state(nodes=THREE, services=[a_global()], tasks=OLD)
        world = World(in_state(state, "w2", NodeState.DOWN))
        contacts = {"w1": at(100), "w3": at(100)}

        decision = Reconciliation().decide(world.state, at(100), counting_ids(), contacts)
        world.apply(c.Batch(commands=decision.commands))

        assert world.state.tasks["web-2-r1"].status.state is TaskState.LOST
        assert places(world.state) == {"web.w1": "running w1", "web.w3": "running w3"}
        status = views.service_status(
            world.state, world.state.services["web"], tuple(world.state.tasks.values())
        )
        assert (status.desired, status.running) == (2, 2)

    def test_one_that_is_paused_keeps_what_it_has(self) -> None:
        state = a_state(nodes=THREE, services=[a_global()], tasks=OLD)

        state = settled(made_available(state, "w2", Availability.PAUSE))

        assert places(state)["web.w2"] == "running w2"
        status = views.service_status(state, state.services["web"], tuple(state.tasks.values()))
        assert (status.desired, status.running, status.warnings) == (3, 3, ())

    def test_that_there_is_none_is_a_warning(self) -> None:
        web = a_global(placement=Placement(constraints=("node.labels.disk == ssd",)))

        status = views.service_status(a_state(nodes=THREE, services=[web]), web, ())

        assert status.warnings == (
            "it has no task: no node meets node.labels.disk == ssd (3 of 3)",
        )

    def test_one_whose_label_goes_loses_it(self) -> None:
        web = a_global(placement=Placement(constraints=("node.labels.zone == north",)))
        north = tuple(a_node(f"w{n}", labels={"zone": "north"}) for n in (1, 2))
        state = a_state(nodes=north, services=[web], tasks=OLD[:2])

        state = settled(changed(state, "w2", spec=replace(state.nodes["w2"].spec, labels={})))

        assert places(state) == {"web.w1": "running w1"}

    def test_two_tasks_on_a_node_are_one_too_many(self) -> None:
        twice = replace(a_node_task("w1"), id="web-1-twice")
        state = a_state(nodes=THREE[:1], services=[a_global()], tasks=[a_node_task("w1"), twice])

        assert len(places(settled(state))) == 1

    def test_a_host_that_takes_the_place_of_another_is_not_held_to_what_failed_there(self) -> None:
        """It joined under the name and with the number of one that was removed."""
        failed = replace(
            a_node_task("w1"),
            node_id="gone",
            status=TaskStatus(state=TaskState.FAILED, since=at(0)),
        )
        state = a_state(nodes=THREE[:1], services=[a_global()], tasks=[failed])

        assert places(settled(state)) == {"web.w1": "running w1"}


class TestPlaces:
    """A task waits for its node, and says for what."""

    def test_no_other_node_is_taken_for_one_that_is_full(self) -> None:
        nodes = (a_node("w1"), a_node("w2", memory=GIB))
        web = a_global(resources=reserving(2 * GIB))

        state = settled(a_state(nodes=nodes, services=[web]))

        assert places(state) == {"web.w1": "running w1", "web.w2": "pending"}
        (pending,) = (t for t in state.tasks.values() if t.status.state is TaskState.PENDING)
        assert pending.status.message == "w2 has less than 2 GiB of memory free"
        status = views.service_status(state, web, tuple(state.tasks.values()))
        assert status.reason == (
            "1 of 2 tasks run; web.w2 is pending: w2 has less than 2 GiB of memory free"
        )

    def test_every_filter_that_refuses_is_named(self) -> None:
        web = a_global(resources=reserving(8 * GIB), ports=HOST_PORT)
        other = a_service("db", ports=HOST_PORT)
        held = replace(a_node_task("w1", service="db"), node="")
        pending = replace(
            a_node_task("w1"), node_id="", status=TaskStatus(state=TaskState.PENDING, since=at(0))
        )
        state = a_state(nodes=THREE[:1], services=[web, other], tasks=[held, pending])

        (command,) = scheduler.decide(state, at(100)).commands

        assert isinstance(command, c.SetTaskStatus)
        assert command.status.message == (
            "w1 has port 80/tcp taken, has less than 8 GiB of memory free"
        )

    def test_it_is_placed_once_there_is_room(self) -> None:
        nodes = (a_node("w1", memory=GIB),)
        web = a_global(resources=reserving(2 * GIB))
        full = settled(a_state(nodes=nodes, services=[web]))

        roomy = replace(full.nodes["w1"].description, memory=Bytes(4 * GIB))

        assert places(settled(changed(full, "w1", description=roomy))) == {"web.w1": "running w1"}


class TestChecks:
    """What makes no sense is refused, by its field."""

    def test_replicas_are_refused(self) -> None:
        with pytest.raises(InvalidInput) as caught:
            services.merge(None, a_spec(mode=GLOBAL, replicas=3), ("image", "mode", "replicas"))

        assert str(caught.value) == (
            "web.replicas: is for mode replicated: a global service has one task on each node"
        )

    def test_scaling_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match=r"^web\.replicas: is for mode replicated"):
            services.merge(a_spec(mode=GLOBAL), a_spec(replicas=2), ("replicas",))

    @pytest.mark.parametrize(
        ("before", "after"),
        [(ServiceMode.REPLICATED, GLOBAL), (GLOBAL, ServiceMode.REPLICATED)],
    )
    def test_the_mode_is_for_life(self, before: ServiceMode, after: ServiceMode) -> None:
        state = a_state(services=[a_service(mode=before)])

        with pytest.raises(InvalidInput) as caught:
            services.check(a_spec(mode=after), state)

        assert str(caught.value) == (
            f"web.mode: cannot be changed from {before.value}: remove the service, and create it"
        )

    def test_a_floor_that_lets_none_stop_is_refused(self) -> None:
        update = UpdatePolicy(order=UpdateOrder.STOP_FIRST, min_healthy="100%")

        with pytest.raises(InvalidInput) as caught:
            services.check(a_spec(mode=GLOBAL, update=update), a_state())

        assert str(caught.value) == (
            "web.update.min_healthy: 100% leaves none to stop first (order)"
        )

    @pytest.mark.parametrize(
        ("values", "allows"),
        [
            ({"ports": HOST_PORT}, "port 80/tcp in mode host allows"),
            ({"placement": ALONE}, "placement.max_per_node allows"),
        ],
    )
    @pytest.mark.parametrize("strategy", [Strategy.BLUE_GREEN, Strategy.CANARY])
    def test_two_tasks_on_a_node_that_may_have_one_are_refused(
        self, strategy: Strategy, values: dict[str, Any], allows: str
    ) -> None:
        steps = (CanaryStep(weight=10),) if strategy is Strategy.CANARY else ()
        update = UpdatePolicy(strategy=strategy, steps=steps)

        with pytest.raises(InvalidInput) as caught:
            services.check(a_spec(mode=GLOBAL, update=update, **values), a_state())

        assert str(caught.value) == (
            f"web.update.strategy: {strategy.value} has two tasks of a global service on a node, "
            f"and {allows} one"
        )
