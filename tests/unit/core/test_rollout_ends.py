"""A rollout ends, switches and waits only once every node's rules have followed it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from warren.core import acts, rollout_views, situation
from warren.core.decisions import Decision
from warren.core.reconcile import reconcile
from warren.model.nodes import Node, NodeState
from warren.model.rollouts import (
    CanaryStep,
    Rollout,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdateOrder,
    UpdatePolicy,
)
from warren.model.services import Port, Service, template_of
from warren.model.tasks import Task
from warren.state.commands import Batch, PutService, SetRollout
from warren.testing.builders import a_node, a_node_task, a_task, an_update, at

from tests.unit.core.global_kit import GLOBAL
from tests.unit.core.rollout_kit import World, a_world, of
from tests.unit.core.test_global_rollouts import moved

PORTS = (Port(target=80),)
OLD = (a_task(1, "w1"), a_task(2, "w2"))
NEW = (a_task(1, "w1", revision=2, since=at(50)), a_task(2, "w2", revision=2, since=at(50)))
ALL = {"phase": RolloutPhase.SURGE, "weight": 0, "batch": (1, 2)}
RUNNING, COMPLETE = RolloutState.RUNNING, RolloutState.COMPLETE


class Lagging(World):
    """Nodes carry what a test says."""

    carried: Mapping[str, int]
    heard: Collection[str]

    def decision(self) -> Decision:
        contacts = dict.fromkeys(self.heard, self.now)
        return reconcile(self.state, self.now, self.new_id, contacts, self.carried)

    def settle(self) -> Decision:
        """All that can be decided and done at this moment; what it then waits for."""
        while (decision := self.decision()).commands or self.work():
            self.apply(Batch(commands=decision.commands))
        return decision

    def follow(self, *node_ids: str) -> None:
        self.carried = {**self.carried, **dict.fromkeys(node_ids, self.state.index)}


def lagging(web: Service, *tasks: Task, nodes: tuple[Node, ...] = ()) -> Lagging:
    there = nodes or (a_node("w1"), a_node("w2"))
    world = Lagging(a_world(web, *tasks, nodes=there), 100)
    world.carried = {}
    world.heard = [node.id for node in there if node.status.state is NodeState.READY]
    return world


def act(world: World, change: Callable[[situation.Situation], Rollout]) -> None:
    web = world.state.services["web"]
    now_is = situation.of(world.state, web, world.state.tasks_of("web"), world.now)
    version = now_is.rollout.version
    after = change(now_is)
    world.apply(SetRollout(service="web", rollout=after, expected_version=version, now=world.now))


def policy(**values: Any) -> UpdatePolicy:
    return UpdatePolicy(**{"monitor": timedelta(), **values})


def an_end(**values: Any) -> Service:
    """All slots have changed over, and it has not ended yet."""
    return an_update(**{"replicas": 2, "ports": PORTS, "update": policy(), **values})


def test_waits_for_every_node_and_is_woken_by_the_last_of_them() -> None:
    world = lagging(an_end(), *NEW)

    waits = world.settle()
    noted = of(world.state)
    world.follow("w1")
    one = world.settle(), of(world.state)
    world.follow("w2")
    world.settle()

    assert (noted.state, noted.ready_at) == (RUNNING, at(100))
    assert waits == Decision(wake_at=at(103), awaits=frozenset({noted.version}))
    assert one == (waits, noted)
    assert of(world.state) == replace(
        noted, state=COMPLETE, ready_at=None, ended_at=at(100), version=noted.version + 1
    )


def test_what_was_carried_before_the_last_change_is_not_enough() -> None:
    world = lagging(an_end(), *NEW)
    world.follow("w1", "w2")

    world.settle()

    assert of(world.state).state is RUNNING


def test_the_last_old_task_leaves_the_rules_before_the_end() -> None:
    web = an_end(rollout={"batch": (1, 2), "batches": 1})
    world = lagging(web, *OLD, *NEW)

    world.settle()
    noted, draining = of(world.state), [world.state.tasks[task.id] for task in OLD]
    world.follow("w1", "w2")
    world.settle()

    assert noted.state is RUNNING
    assert all(task.draining_since and task.version <= noted.version for task in draining)
    assert of(world.state).state is COMPLETE


def test_with_stop_first_every_node_sends_to_the_new_task_before_the_end() -> None:
    stop_first = policy(order=UpdateOrder.STOP_FIRST)
    web = an_end(update=stop_first, rollout={"batch": (1, 2), "batches": 1})
    starting = [replace(task, status=replace(OLD[0].status, address="")) for task in NEW]
    world = lagging(web, *starting)
    world.follow("w1", "w2")

    waits = world.settle()

    assert (of(world.state).state, waits.wake_at) == (RUNNING, at(103))


def test_a_node_that_does_not_answer_holds_it_for_no_longer_than_drain_timeout() -> None:
    world = lagging(an_end(), *NEW)
    world.settle()
    world.follow("w1")

    world.now = at(102.9)
    assert not world.decision().commands
    world.now = at(103)
    world.settle()

    assert (of(world.state).state, of(world.state).ended_at) == (COMPLETE, at(103))


@pytest.mark.parametrize("w2", [NodeState.DOWN, NodeState.UNKNOWN])
def test_a_node_that_is_not_there_is_not_waited_for(w2: NodeState) -> None:
    world = lagging(an_end(replicas=1), NEW[0], nodes=(a_node("w1"), a_node("w2", state=w2)))
    world.settle()

    world.follow("w1")
    world.settle()

    assert of(world.state).state is COMPLETE


def test_a_new_leader_waits_until_it_has_heard_the_nodes_itself() -> None:
    world = lagging(an_end(), *NEW)
    world.settle()
    world.follow("w1", "w2")

    heard, world.carried = world.carried, {}
    waits = world.decision()
    world.carried = heard
    world.settle()

    assert waits == Decision(wake_at=at(103), awaits=frozenset({world.state.index - 1}))
    assert of(world.state).state is COMPLETE


@pytest.mark.parametrize(
    "world",
    [
        lagging(an_end(ports=()), *NEW),
        lagging(an_end(replicas=0), nodes=(a_node("w1", state=NodeState.DOWN),)),
    ],
    ids=["no traffic", "no node"],
)
def test_where_nobody_is_told_of_it_it_ends_at_once(world: Lagging) -> None:
    world.apply(Batch(commands=world.decision().commands))

    assert (of(world.state).state, of(world.state).ended_at) == (COMPLETE, at(100))


def test_a_way_back_waits_likewise() -> None:
    world = lagging(an_end(rollout={"state": RolloutState.ROLLING_BACK}, revision=2), *OLD)
    world.state = replace(
        world.state, services={"web": replace(world.state.services["web"], revision=1)}
    )

    waits = world.settle()
    noted = of(world.state)
    world.follow("w1", "w2")
    world.settle()

    assert (noted.state, noted.ready_at) == (RolloutState.ROLLING_BACK, at(100))
    assert waits == Decision(wake_at=at(103), awaits=frozenset({noted.version}))
    assert of(world.state).state is RolloutState.ROLLED_BACK


def test_what_changes_meanwhile_is_waited_for_anew() -> None:
    world = lagging(an_end(), *NEW)
    world.settle()
    noted = of(world.state)
    world.follow("w1", "w2")
    web = world.state.services["web"]

    spec = replace(web.spec, replicas=3)
    world.apply(PutService(spec=spec, expected_version=web.version, now=world.now))
    waits = world.settle()
    scaled = of(world.state)
    world.follow("w1", "w2")
    world.settle()

    assert (scaled.state, scaled.batches) == (RUNNING, 1)
    assert scaled.version > noted.version
    assert waits == Decision(wake_at=at(103), awaits=frozenset({scaled.version}))
    assert of(world.state).state is COMPLETE


def test_an_abort_at_the_end_turns_it_back() -> None:
    world = lagging(an_end(), *NEW)
    world.settle()

    act(world, lambda now_is: acts.abort(now_is, "ann"))
    while world.settle().awaits:
        world.follow("w1", "w2")

    assert of(world.state).state is RolloutState.ROLLED_BACK
    assert {task.revision for task in world.state.tasks_of("web") if task.wanted} == {1}


def test_after_a_pause_nodes_have_their_time_again() -> None:
    world = lagging(an_end(), *NEW)
    world.settle()
    act(world, lambda now_is: acts.pause(now_is, "ann"))
    paused = world.settle()
    world.now = at(200)

    act(world, acts.resume)
    waits = world.settle()

    assert paused.awaits == frozenset()
    assert waits == Decision(wake_at=at(203), awaits=frozenset({of(world.state).version}))


def test_a_global_service_leaves_nodes_that_are_to_have_none_before_the_end() -> None:
    nodes = tuple(a_node(f"w{n}", labels={"zone": zone}) for n, zone in ((1, "a"), (2, "b")))
    web = moved(an_update(mode=GLOBAL, ports=PORTS, update=policy()), "a", "b")
    old = a_node_task("w1", spec=web.spec)
    new = replace(a_node_task("w2", spec=web.spec, revision=2), template=template_of(web.spec))
    world = lagging(web, old, new, nodes=nodes)

    world.settle()
    noted = of(world.state)
    world.follow("w1", "w2")
    world.settle()

    assert noted.state is RUNNING
    assert world.state.tasks[old.id].draining_since == at(100)
    assert of(world.state).state is COMPLETE


class TestSwitch:
    """Who deploys blue/green goes on when all nodes have switched."""

    def switching(self, **values: Any) -> Lagging:
        update = policy(strategy=Strategy.BLUE_GREEN, **values)
        return lagging(an_end(update=update, rollout=ALL), *OLD, *NEW)

    def test_is_decided_when_all_nodes_follow(self) -> None:
        world = self.switching()

        waits = world.settle()
        given = of(world.state)
        world.follow("w1", "w2")
        world.settle()
        switched = of(world.state)

        assert (given.phase, given.weight, given.decided) == (RolloutPhase.SWITCHED, 100, False)
        assert waits == Decision(wake_at=at(103), awaits=frozenset({given.version}))
        assert switched == replace(given, ready_at=at(100), version=given.version + 1)
        assert switched.decided

    def test_does_not_prolong_the_grace_period(self) -> None:
        world = self.switching(grace_period=timedelta(seconds=1))

        waits = world.settle()
        world.now = at(101)
        world.settle()

        assert waits.wake_at == at(101)
        assert of(world.state).phase is RolloutPhase.REPLACE

    def test_is_decided_at_once_where_an_older_manager_made_it(self) -> None:
        rollout = {**ALL, "phase": RolloutPhase.SWITCHED, "ready_at": at(60), "weight_at": at(60)}

        (record,) = an_update(update=policy(), rollout=rollout).rollouts

        assert record.decided


def test_a_canary_waits_for_people_when_all_nodes_give_it_its_share() -> None:
    steps = (CanaryStep(weight=50, manual=True),)
    update = policy(strategy=Strategy.CANARY, steps=steps)
    step = {"phase": RolloutPhase.STEP, "step": 1, "weight": 0, "batch": (1,)}
    world = lagging(an_end(update=update, rollout=step), *OLD, NEW[0])

    waits = world.settle()
    given = of(world.state)
    world.follow("w1", "w2")
    world.settle()

    assert (given.state, given.weight) == (RUNNING, 50)
    assert waits == Decision(wake_at=at(103), awaits=frozenset({given.version}))
    assert of(world.state).state is RolloutState.WAITING


def test_whoever_looks_meanwhile_is_told() -> None:
    world = lagging(an_end(), *NEW)
    world.settle()
    web = world.state.services["web"]

    tasks = world.state.tasks_of("web")
    view = rollout_views.view(world.state, web, tasks, world.now, of(world.state))

    assert (view.waiting_for, view.until, view.deadline) == (
        "all tasks are of revision 2: waits until all nodes follow",
        at(103),
        None,
    )
