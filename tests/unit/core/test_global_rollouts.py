"""Rollouts of global services: node by node, in sets, and as plans tell them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warren.core import filters, plan, services, views
from warren.model.nodes import Availability, NodeState
from warren.model.rollouts import (
    CanaryStep,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdateOrder,
)
from warren.model.services import (
    Placement,
    Service,
    template_of,
)
from warren.model.tasks import TaskState
from warren.state import apply_rollouts
from warren.state import commands as c
from warren.testing.builders import (
    GIB,
    a_node,
    a_node_task,
    a_spec,
    a_state,
    an_update,
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
    made_available,
    places,
    reserving,
    rolling,
    settled,
)
from tests.unit.core.rollout_kit import World, a_world, next_step, of


class TestRolling:
    """Node by node."""

    @pytest.mark.parametrize(
        ("parallelism", "batch"), [("1", (1,)), ("2", (1, 2)), ("50%", (1, 2)), ("9", (1, 2, 3))]
    )
    def test_a_batch_is_a_number_or_a_share_of_the_nodes(
        self, parallelism: str, batch: tuple[int, ...]
    ) -> None:
        web = an_update(mode=GLOBAL, update=rolling(parallelism=parallelism))

        step = next_step(a_world(web, *OLD))

        assert step.rollout == replace(
            of(a_world(web)), batch=batch, batches=1, progress_at=at(100)
        )

    def test_every_node_has_the_new_revision_in_the_end(self) -> None:
        world = World(a_world(an_update(mode=GLOBAL), *OLD))
        served: list[int] = []
        world.on_decision = lambda _, after: served.append(
            len({t.node for t in after.tasks.values() if t.wanted and t.ready})
        )

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE
        assert places(world.state) == {f"web.w{n}": f"running w{n}" for n in (1, 2, 3)}
        assert {task.revision for task in world.state.tasks.values() if task.wanted} == {2}
        assert min(served) == 3, "the new task of a node is there before the old one goes"

    @pytest.mark.parametrize(("parallelism", "lowest"), [("1", 2), ("2", 1)])
    def test_what_a_node_has_once_makes_it_stop_first(self, parallelism: str, lowest: int) -> None:
        """As many at once as the batch has: no other node can help."""
        web = an_update(mode=GLOBAL, placement=ALONE, update=rolling(parallelism=parallelism))
        world = World(a_world(web, *OLD))
        served: list[int] = []
        world.on_decision = lambda _, after: served.append(
            sum(t.wanted and t.ready for t in after.tasks.values())
        )

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE
        assert {task.revision for task in world.state.tasks.values() if task.wanted} == {2}
        assert min(served) == lowest

    def test_a_node_with_room_for_one_task_only_waits_for_nobody_elses(self) -> None:
        """w1 has room for both, and does not stop first; w2 does not, and says so."""
        nodes = (a_node("w1"), a_node("w2", memory=3 * GIB))
        web = an_update(mode=GLOBAL, resources=reserving(2 * GIB), update=rolling(parallelism="2"))
        old = [a_node_task("w1"), a_node_task("w2")]
        old = [replace(each, template=template_of(web.spec)) for each in old]
        world = World(a_world(web, *old, nodes=nodes))

        world.run()

        states = {t.id: t.status.message for t in world.state.tasks.values() if not t.node_id}
        assert list(states.values()) == ["w2 has less than 2 GiB of memory free"]
        assert places(world.state)["web.w1"] == "running w1"

    def test_a_node_whose_task_failed_for_good_does_not_wait_for_its_turn(self) -> None:
        """It would not come: w1 has no room for its new task, and its batch waits."""
        nodes = (a_node("w1", memory=3 * GIB), a_node("w2"))
        web = an_update(mode=GLOBAL, resources=reserving(2 * GIB))
        old = a_node_task("w1", spec=web.spec)
        ended = a_node_task("w2", state=TaskState.FAILED, failures=3)
        world = World(a_world(web, old, ended, nodes=nodes))

        world.run()

        living = [t for t in world.state.tasks.values() if not t.status.state.terminal]
        assert sorted((t.node, t.revision, t.status.state) for t in living) == [
            ("w1", 1, TaskState.RUNNING),
            ("w1", 2, TaskState.PENDING),
            ("w2", 2, TaskState.RUNNING),
        ]
        assert of(world.state).batch == (1,)

    def test_but_it_stays_empty_while_the_rollout_is_paused(self) -> None:
        paused = {"batch": (1,), "state": RolloutState.PAUSED}
        ended = a_node_task("w2", state=TaskState.FAILED, failures=3)
        world = World(a_world(an_update(mode=GLOBAL, rollout=paused), OLD[0], ended, OLD[2]))

        world.run()

        assert [t for t in world.state.tasks.values() if t.node == "w2"] == [ended]

    def test_a_bad_revision_goes_back_on_every_node(self) -> None:
        world = World(a_world(an_update(mode=GLOBAL, update=rolling(parallelism="2")), *OLD))
        world.is_bad = lambda task: task.revision == 2 and task.node == "w2"

        world.run()

        assert of(world.state).state is RolloutState.ROLLED_BACK
        assert of(world.state).reason == "task web.w2 on w2 failed once: exit code 1"
        assert {task.revision for task in world.state.tasks.values() if task.wanted} == {1}
        assert len(places(world.state)) == 3

    def test_a_few_may_fail(self) -> None:
        update = rolling(parallelism="1", max_failure_ratio=0.34)
        world = World(a_world(an_update(mode=GLOBAL, update=update), *OLD))
        world.is_bad = lambda task: task.revision == 2 and task.node == "w2"

        world.run()

        assert of(world.state).state is not RolloutState.ROLLED_BACK
        assert world.state.tasks["web-1-r1"].wanted is False
        assert world.state.tasks["web-3-r1"].wanted is False

    def test_a_node_that_joins_waits_for_its_batch_with_the_old_revision(self) -> None:
        web = an_update(mode=GLOBAL, rollout={"batch": (1,), "batches": 1})
        world = World(a_world(web, *OLD, nodes=(*THREE, a_node("w4"))))

        world.decide()

        assert {t.node: t.revision for t in world.state.tasks.values() if not t.ready} == {
            "w1": 2,
            "w4": 1,
        }
        world.run()
        assert of(world.state).state is RolloutState.COMPLETE
        assert {
            t.node: t.revision for t in world.state.tasks.values() if t.wanted
        } == dict.fromkeys(("w1", "w2", "w3", "w4"), 2)

    def test_a_node_that_leaves_is_not_waited_for(self) -> None:
        web = an_update(mode=GLOBAL, rollout={"batch": (1,), "batches": 1})
        state = made_available(a_world(web, *OLD), "w1", Availability.DRAIN)
        world = World(state)

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE
        assert {t.node: t.revision for t in world.state.tasks.values() if t.wanted} == {
            "w2": 2,
            "w3": 2,
        }

    def test_a_paused_node_is_left_out_until_it_is_active_again(self) -> None:
        state = made_available(a_world(an_update(mode=GLOBAL), *OLD), "w2", Availability.PAUSE)

        state = settled(state)

        assert of(state).state is RolloutState.COMPLETE
        assert {t.node: t.revision for t in state.tasks.values() if t.wanted} == {
            "w1": 2,
            "w2": 1,
            "w3": 2,
        }
        web = replace(state.services["web"], vip="10.92.0.1")
        status = views.service_status(state, web, tuple(state.tasks.values()))
        assert (status.desired, status.converged) == (2, True)
        assert status.warnings == ("node w2 is paused: web.w2 stays at revision 1",)
        state = settled(made_available(state, "w2", Availability.ACTIVE))
        assert {t.revision for t in state.tasks.values() if t.wanted} == {2}

    def test_another_constraint_moves_it_batch_by_batch(self) -> None:
        """The nodes that have it no longer keep theirs until the others have it."""
        nodes = tuple(
            a_node(f"w{n}", labels={"zone": zone}) for n, zone in ((1, "a"), (2, "a"), (3, "b"))
        )
        web = moved(an_update(mode=GLOBAL), "a", "b")
        world = World(a_world(web, *OLD[:2], nodes=nodes))
        served: list[int] = []
        world.on_decision = lambda _, after: served.append(
            sum(t.wanted and t.ready for t in after.tasks.values())
        )

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE
        world.run(1)
        while world.decide() | world.work():
            pass
        assert places(world.state) == {"web.w3": "running w3"}
        assert served[:1] == [2]


def moved(web: Service, before: str, after: str) -> Service:
    """From the nodes of one zone to those of another."""
    placed = [Placement(constraints=(f"node.labels.zone == {zone}",)) for zone in (before, after)]
    kept = tuple(
        replace(each, template=replace(each.template, placement=placement))
        for each, placement in zip(web.revisions, placed, strict=True)
    )
    return replace(web, spec=replace(web.spec, placement=placed[1]), revisions=kept)


class TestSets:
    """A new task beside the old one, on each node, or on some."""

    def test_blue_green_has_both_on_each_node_and_switches_at_once(self) -> None:
        update = rolling(strategy=Strategy.BLUE_GREEN)
        web = an_update(mode=GLOBAL, update=update, rollout={"phase": RolloutPhase.SURGE})
        world = World(a_world(web, *OLD))
        seen: list[tuple[int | None, int]] = []
        world.on_decision = lambda _, after: seen.append(
            (of(after).weight, sum(t.ready and t.revision == 2 for t in after.tasks.values()))
        )

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE
        assert next(new for weight, new in seen if weight == 100) == 3
        assert {
            t.node: t.revision for t in world.state.tasks.values() if t.wanted
        } == dict.fromkeys(("w1", "w2", "w3"), 2)

    def test_blue_green_says_which_node_has_no_room_for_both(self) -> None:
        update = rolling(strategy=Strategy.BLUE_GREEN)
        web = an_update(
            mode=GLOBAL,
            update=update,
            resources=reserving(2 * GIB),
            rollout={"phase": RolloutPhase.SURGE},
        )
        old = [replace(each, template=template_of(web.spec)) for each in OLD]
        nodes = (a_node("w1"), a_node("w2", memory=3 * GIB), a_node("w3"))

        step = next_step(a_world(web, *old, nodes=nodes))

        assert step.stalls
        assert step.waits_for == (
            "no room for 1 of 3 new tasks: w2 has less than 2 GiB of memory free"
        )

    @pytest.mark.parametrize(("weight", "nodes"), [(10, (1,)), (34, (1, 2)), (100, (1, 2, 3))])
    def test_a_canary_is_on_a_share_of_the_nodes(self, weight: int, nodes: tuple[int, ...]) -> None:
        steps = (CanaryStep(weight=weight, manual=True),)
        update = rolling(strategy=Strategy.CANARY, steps=steps)
        begun = {"phase": RolloutPhase.STEP, "step": 1, "weight": 0}
        world = World(a_world(an_update(mode=GLOBAL, update=update, rollout=begun), *OLD))

        world.run()

        assert of(world.state).state is RolloutState.WAITING
        assert of(world.state).weight == weight
        new = [t for t in world.state.tasks.values() if t.wanted and t.revision == 2]
        assert sorted((t.slot, t.node_id) for t in new) == [(n, f"w{n}") for n in nodes]
        assert sum(t.wanted and t.revision == 1 for t in world.state.tasks.values()) == 3


class TestPlans:
    """Told beforehand, node by node."""

    def test_of_a_rolling_update(self) -> None:
        state = a_world(an_update(mode=GLOBAL, update=rolling(parallelism="2")), *OLD)

        told = plan.lines(plan.of_rollout(state, "web", at(100)))

        assert told == (
            "batch 1  node w1  replace (start first)",
            "         node w2  replace (start first)  capacity 3/3",
            "batch 2  node w3  replace (start first)  capacity 3/3",
            "lowest capacity 3/3, at least 3 (min_healthy)",
            "room  cpus 12 of 12, memory 12 GiB of 12 GiB free on 3 nodes: enough",
        )

    def test_of_one_that_stops_first_and_one_that_has_no_place(self) -> None:
        web = an_update(mode=GLOBAL, resources=reserving(2 * GIB), update=rolling(parallelism="3"))
        old = [replace(each, template=template_of(web.spec)) for each in OLD[:2]]
        nodes = (a_node("w1"), a_node("w2", memory=3 * GIB))

        told = plan.lines(plan.of_rollout(a_world(web, *old, nodes=nodes), "web", at(100)))

        assert "         node w2  stays pending: w2 has less than 2 GiB of memory free" in [
            line.split("  capacity")[0] for line in told
        ]
        assert told[-2] == "blocks  w2 has less than 2 GiB of memory free"

    def test_of_a_port_that_a_node_has_once(self) -> None:
        state = a_world(an_update(mode=GLOBAL, ports=HOST_PORT, update=rolling()), *OLD)

        told = plan.lines(plan.of_rollout(state, "web", at(100)))

        assert told[0] == "batch 1  node w1  replace (stop first)  capacity 2/3"

    def test_of_its_creation(self) -> None:
        change = c.PutService(spec=a_spec(mode=GLOBAL), expected_version=0, now=at(100))

        lines, _ = services.plan(a_state(nodes=THREE), change, at(100), counting_ids())

        assert lines == ("node w1  +task", "node w2  +task", "node w3  +task")

    def test_of_its_removal(self) -> None:
        state = a_state(nodes=THREE, services=[a_global()], tasks=OLD)

        lines = services.removal_plan(state, "web", at(100), counting_ids())

        assert lines == ("node w1  -task", "node w2  -task", "node w3  -task")


_EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["join", "drain", "pause", "activate", "down", "up", "remove"]),
        st.integers(1, 5),
        st.integers(0, 6),
    ),
    max_size=12,
)


@given(
    events=_EVENTS,
    strategy=st.sampled_from(list(Strategy)),
    placement=st.sampled_from([Placement(), ALONE]),
    order=st.sampled_from(list(UpdateOrder)),
)
@settings(max_examples=50, deadline=None)
def test_there_is_one_task_on_each_node_that_may_have_it_whatever_happens_during_a_rollout(
    events: list[tuple[str, int, int]],
    strategy: Strategy,
    placement: Placement,
    order: UpdateOrder,
) -> None:
    if placement == ALONE:
        strategy = Strategy.ROLLING
    steps = (CanaryStep(weight=50),) if strategy is Strategy.CANARY else ()
    update = rolling(strategy=strategy, order=order, steps=steps, grace_period=timedelta())
    phase = apply_rollouts.first_phase(update)
    step = int(phase is RolloutPhase.STEP)
    weight = None if phase is RolloutPhase.REPLACE else 0
    begun = {"phase": phase, "step": step, "weight": weight}
    web = an_update(mode=GLOBAL, placement=placement, update=update, rollout=begun)
    world = World(a_world(web, *OLD))

    for what, number, decisions in events:
        happens(world, what, f"w{number}")
        for _ in range(decisions):
            world.decide()
            world.work()
    for node in list(world.state.nodes.values()):
        happens(world, "up", node.id)
        if node.spec.availability is Availability.PAUSE:
            happens(world, "activate", node.id)
    world.run()
    while world.decide() | world.work():
        pass

    assert of(world.state).state is RolloutState.COMPLETE
    needs = filters.static_filters(web.spec)
    usage = filters.usage(world.state, ())
    expected = {u.node.id: (f"web.{u.node.id}", 2) for u in usage if filters.passes_all(needs, u)}
    live = [t for t in world.state.tasks.values() if not t.status.state.terminal]
    assert {task.node_id: (task.name, task.revision) for task in live} == expected
    assert len(live) == len(expected)


def happens(world: World, what: str, name: str) -> None:
    """Nothing, where it makes no sense."""
    node = world.state.nodes.get(name)
    if node is None:
        if what == "join":
            world.apply(c.AddNode(node=a_node(name)))
        return
    status = replace(node.status, since=world.now)
    match what:
        case "drain" | "pause" | "activate":
            words = {"drain": Availability.DRAIN, "pause": Availability.PAUSE}
            spec = replace(node.spec, availability=words.get(what, Availability.ACTIVE))
            world.apply(c.PutNodeSpec(node_id=name, spec=spec, expected_version=node.version))
        case "down":
            world.apply(c.SetNodeStatus(node_id=name, status=replace(status, state=NodeState.DOWN)))
            world.unheard_of.add(name)
        case "up" if node.status.state is not NodeState.READY:
            world.unheard_of.discard(name)
            world.apply(
                c.SetNodeStatus(node_id=name, status=replace(status, state=NodeState.READY))
            )
        case "remove" if len(world.state.nodes) > 1:
            world.apply(c.RemoveNode(node_id=name, now=world.now))
        case _:
            pass
