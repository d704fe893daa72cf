"""Rollouts that users, failures and losses interfere with, at every step."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warren.core import acts, situation, updates
from warren.model.rollouts import (
    CanaryStep,
    Rollout,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdateOrder,
    UpdatePolicy,
)
from warren.model.tasks import TaskState
from warren.state import apply_rollouts
from warren.state.cluster import ClusterState
from warren.state.commands import PutService, SetRollout
from warren.testing import simulation_laws
from warren.testing.builders import a_task, an_update

from tests.unit.core.rollout_kit import World, a_world, of

STEPS = (CanaryStep(weight=10, duration=timedelta(seconds=5)), CanaryStep(weight=60))
ENDED = (RolloutState.COMPLETE, RolloutState.ROLLED_BACK)
Interference = Callable[[World], None]


def a_life(
    strategy: Strategy, order: UpdateOrder = UpdateOrder.START_FIRST, **values: str
) -> World:
    policy = UpdatePolicy(
        strategy=strategy,
        order=order,
        steps=STEPS,
        monitor=timedelta(seconds=1),
        grace_period=timedelta(seconds=5),
        **values,  # type: ignore[arg-type]
    )
    phase = apply_rollouts.first_phase(policy)
    rollout = {
        "phase": phase,
        "step": int(phase is RolloutPhase.STEP),
        "weight": None if phase is RolloutPhase.REPLACE else 0,
    }
    web = an_update(replicas=4, update=policy, rollout=rollout)
    world = World(a_world(web, *(a_task(n, f"w{n % 3 + 1}") for n in (1, 2, 3, 4))))
    world.on_decision = hold_to_the_laws
    return world


def hold_to_the_laws(before: ClusterState, after: ClusterState) -> None:
    """After each decision."""
    broken = (
        *simulation_laws.needless_stops(before, after),
        *simulation_laws.capacity(before, after),
        *simulation_laws.parallelism(before, after),
        *simulation_laws.ends(after),
    )
    assert not broken, broken


def act(world: World, change: Callable[[situation.Situation], Rollout]) -> None:
    service = world.state.services["web"]
    now_is = situation.of(world.state, service, world.state.tasks_of("web"), world.now)
    after = change(now_is)
    version = now_is.rollout.version
    command = SetRollout(service="web", rollout=after, expected_version=version, now=world.now)
    if after != now_is.rollout:
        world.apply(command)


def abort(world: World) -> None:
    if of(world.state).live:
        act(world, lambda now_is: acts.abort(now_is, "ann"))


def pause_for_a_while(world: World) -> None:
    if of(world.state).live and not of(world.state).backwards:
        act(world, lambda now_is: acts.pause(now_is, "ann"))
        world.run()
        act(world, acts.resume)


def supersede(world: World) -> None:
    service = world.state.services["web"]
    spec = replace(service.spec, image="third")
    command = updates.change(
        service, spec, expected_version=service.version, new_id="y", by="ann", now=world.now
    )
    world.apply(command)


def scale(replicas: int) -> Interference:
    def interfere(world: World) -> None:
        service = world.state.services["web"]
        spec = replace(service.spec, replicas=replicas)
        world.apply(PutService(spec=spec, expected_version=service.version, now=world.now))

    return interfere


def lose_a_task(world: World) -> None:
    """With its node, which is back at once."""
    task = next((t for t in world.state.tasks_of("web") if t.wanted and t.node_id), None)
    if task is not None:
        lost = replace(task, status=replace(task.status, state=TaskState.LOST, address=""))
        world.state = replace(world.state, tasks={**world.state.tasks, task.id: lost})


INTERFERENCES: dict[str, Interference] = {
    "abort": abort,
    "pause": pause_for_a_while,
    "supersede": supersede,
    "scale up": scale(7),
    "scale down": scale(2),
    "scale to nothing": scale(0),
    "lose a task": lose_a_task,
}


@pytest.mark.parametrize("name", INTERFERENCES)
@pytest.mark.parametrize("order", list(UpdateOrder))
@pytest.mark.parametrize("strategy", list(Strategy))
def test_comes_to_its_end_whatever_happens_at_whichever_step(
    strategy: Strategy, order: UpdateOrder, name: str
) -> None:
    for step in count():
        world = a_life(strategy, order, parallelism="2")
        if not _so_far(world, step):
            break
        INTERFERENCES[name](world)
        if name == "lose a task":
            world.on_decision = lambda before, after: None

        world.run()

        ended = of(world.state)
        assert ended.state in ENDED, (step, ended)
        _check_settled(world.state)
    assert step > 5


def _so_far(world: World, step: int) -> bool:
    """Until so many things were decided or done; False: there were fewer."""
    done = 0
    while done < step:
        before = world.state.index, world.now
        if not (world.decide() or world.work()):
            live = world.state.services["web"].live_rollout
            if live is None:
                return False
            world.run(1)
            if (world.state.index, world.now) == before:
                return False
        done += 1
    return True


def _check_settled(state: ClusterState) -> None:
    """One ready task of the service's revision in each slot, and nothing else that is wanted."""
    service = state.services["web"]
    wanted = sorted((t.slot, t.revision, t.ready) for t in state.tasks_of("web") if t.wanted)
    replicas = service.spec.replicas
    assert wanted == [(slot, service.revision, True) for slot in range(1, replicas + 1)]


@settings(max_examples=60, deadline=None)
@given(
    strategy=st.sampled_from(Strategy),
    order=st.sampled_from(UpdateOrder),
    parallelism=st.sampled_from(["1", "3", "50%", "100%"]),
    min_healthy=st.sampled_from(["", "1", "50%"]),
    bad=st.sets(st.integers(1, 4)),
)
def test_a_revision_of_which_some_tasks_are_bad_is_gone_in_the_end(
    strategy: Strategy, order: UpdateOrder, parallelism: str, min_healthy: str, bad: set[int]
) -> None:
    world = a_life(strategy, order, parallelism=parallelism, min_healthy=min_healthy)
    world.is_bad = lambda task: task.revision == 2 and task.slot in bad

    world.run()

    ended = of(world.state)
    assert ended.state is (RolloutState.ROLLED_BACK if bad else RolloutState.COMPLETE)
    _check_settled(world.state)
