"""Whom a rollout leads to its new tasks, when, and what of it is refused."""

from dataclasses import replace
from typing import Any

import pytest
from warren.core import assignment, endpoints, plan, services
from warren.model.assignments import PinnedSources, ServiceTraffic
from warren.model.checks import HttpCheck
from warren.model.errors import InvalidInput
from warren.model.rollouts import (
    Analysis,
    AnalysisRecord,
    CanaryStep,
    Pin,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdatePolicy,
)
from warren.model.services import Affinity, Port
from warren.model.tasks import Health, TaskState
from warren.state import apply_rollouts
from warren.state.cluster import ClusterState
from warren.testing.builders import NOON, a_node, a_spec, a_state, a_task, an_update, at

from tests.unit.core.rollout_kit import World, a_world, next_step, of

PIN = Pin(sources=("192.0.2.0/24", "10.0.0.7"))
PINNED = PinnedSources(networks=("10.0.0.7/32", "192.0.2.0/24"), revision=2)
STEPS = (CanaryStep(weight=0, manual=True), CanaryStep(weight=50))
OLD, NEW = a_task(1, "w1", address="10.88.1.2"), a_task(1, "w1", revision=2, address="10.88.1.3")


def policy(strategy: Strategy = Strategy.CANARY, **values: Any) -> UpdatePolicy:
    steps = STEPS if strategy is Strategy.CANARY else ()
    return UpdatePolicy(**{"strategy": strategy, "steps": steps, "pin": PIN, **values})


def on_trial(update: UpdatePolicy, **rollout: Any) -> ClusterState:
    phase = apply_rollouts.first_phase(update)
    begun = {"phase": phase, "step": int(phase is RolloutPhase.STEP), "weight": 0, "batch": (1,)}
    web = an_update(
        replicas=1,
        update=update,
        rollout={**begun, **rollout},
        ports=(Port(target=80),),
        affinity=Affinity.SOURCE,
    )
    return a_state(nodes=[a_node("w1")], services=[web], tasks=[OLD, NEW])


def traffic(state: ClusterState) -> ServiceTraffic:
    return assignment.begin(state).of("w1").services["web"]


def leads(state: ClusterState) -> tuple[PinnedSources | None, list[str]]:
    """Who is pinned, and to which tasks."""
    web = traffic(state)
    return web.pin, [each.task_id for each in web.endpoints if each.pinned]


NOBODY: tuple[None, list[str]] = (None, [])
TO_NEW = (PINNED, ["web-1-r2"])


@pytest.mark.parametrize("weight", [0, 10, 100])
def test_a_canary_leads_them_to_its_new_tasks_at_any_weight(weight: int) -> None:
    assert leads(on_trial(policy(), weight=weight)) == TO_NEW


def test_a_canary_leads_them_there_until_the_rest_is_replaced() -> None:
    replaces = {"phase": RolloutPhase.REPLACE, "weight": 50}

    assert leads(on_trial(policy(), **replaces)) == TO_NEW
    assert leads(on_trial(policy(), **replaces, state=RolloutState.COMPLETE)) == NOBODY


def test_a_canary_that_leads_to_what_was_there_before_is_no_trial() -> None:
    """A change that takes back another one that is under way has no steps."""
    assert leads(on_trial(policy(), phase=RolloutPhase.REPLACE, weight=None)) == NOBODY


@pytest.mark.parametrize("phase", [RolloutPhase.SURGE, RolloutPhase.TRIAL])
@pytest.mark.parametrize("state", [RolloutState.RUNNING, RolloutState.WAITING, RolloutState.PAUSED])
def test_a_set_is_theirs_before_the_switch(phase: RolloutPhase, state: RolloutState) -> None:
    assert leads(on_trial(policy(Strategy.BLUE_GREEN), phase=phase, state=state)) == TO_NEW


@pytest.mark.parametrize("phase", [RolloutPhase.SWITCHED, RolloutPhase.REPLACE])
def test_a_set_that_has_all_traffic_is_everybodys(phase: RolloutPhase) -> None:
    assert leads(on_trial(policy(Strategy.BLUE_GREEN), phase=phase, weight=100)) == NOBODY


@pytest.mark.parametrize("strategy", [Strategy.CANARY, Strategy.BLUE_GREEN])
def test_what_turned_back_is_nobodys(strategy: Strategy) -> None:
    assert leads(on_trial(policy(strategy), state=RolloutState.ROLLING_BACK)) == NOBODY


def test_without_a_pin_nodes_are_told_what_they_always_were() -> None:
    web = traffic(on_trial(policy(pin=None, steps=STEPS[1:])))

    assert web.pin is None
    assert not any(each.pinned for each in web.endpoints)


def test_a_way_back_has_no_pin() -> None:
    assert apply_rollouts.going_back(policy(Strategy.BLUE_GREEN)).pin is None


def test_networks_within_others_are_told_once() -> None:
    wide = Pin(sources=("10.0.0.0/8", "10.0.0.7", "192.0.2.0/25", "192.0.2.128/25"))

    pin, _ = leads(on_trial(policy(pin=wide)))

    assert pin == replace(PINNED, networks=("10.0.0.0/8", "192.0.2.0/24"))


def test_a_new_task_that_only_its_worker_knows_to_be_ready_is_theirs() -> None:
    starting = replace(NEW, status=replace(NEW.status, state=TaskState.STARTING, address=""))
    state = replace(on_trial(policy()), tasks={OLD.id: OLD, NEW.id: starting})
    told = assignment.begin(state).of("w1")

    known = endpoints.as_known(told, "w1", {NEW.id: NEW.status}, {})["web"]

    assert [(e.task_id, e.pinned) for e in known.endpoints] == [(OLD.id, False), (NEW.id, True)]


def test_a_new_task_that_its_worker_knows_to_be_sick_is_nobodys() -> None:
    told = assignment.begin(on_trial(policy())).of("w1")
    sick = replace(NEW.status, health=Health.UNHEALTHY)

    known = endpoints.as_known(told, "w1", {NEW.id: sick}, {})["web"]

    assert known.endpoints == (replace(traffic(on_trial(policy())).endpoints[0]),)
    assert not any(each.pinned for each in (*known.endpoints, *known.draining))


class TestStepWithoutTraffic:
    """A canary that only pinned sources see."""

    def test_has_one_task_and_its_share_when_that_is_ready(self) -> None:
        step = next_step(on_trial(policy(), batch=()))

        assert step.rollout.batch == (1,)
        assert (step.rollout.weight, step.rollout.weight_at) == (0, at(100))

    def test_takes_its_time(self) -> None:
        update = policy(steps=(replace(STEPS[0], manual=False), STEPS[1]))

        step = next_step(on_trial(update))

        assert (step.rollout.state, step.wake_at) == (RolloutState.RUNNING, at(105))

    def test_is_not_judged_before_its_tasks_are_ready(self) -> None:
        errors = Analysis(name="errors", http=HttpCheck(port=80), retries=1)
        record = AnalysisRecord(name="errors", checked_at=at(90), bad=1)
        starting = replace(NEW, status=replace(NEW.status, state=TaskState.STARTING))
        state = on_trial(policy(analysis=(errors,)), analyses=(record,))

        step = next_step(replace(state, tasks={OLD.id: OLD, NEW.id: starting}))

        assert step.rollout.state is RolloutState.RUNNING

    def test_is_followed_by_the_others(self) -> None:
        update = policy(steps=(CanaryStep(weight=0), CanaryStep(weight=50)))
        web = an_update(
            replicas=3,
            update=update,
            rollout={"phase": RolloutPhase.STEP, "step": 1, "weight": 0},
        )
        world = World(a_world(web, *(a_task(n, f"w{n}") for n in (1, 2, 3))))

        world.run()

        assert of(world.state).state is RolloutState.COMPLETE
        assert {task.revision for task in world.state.tasks.values() if task.wanted} == {2}


@pytest.mark.parametrize(
    ("update", "sentence"),
    [
        (
            policy(Strategy.ROLLING),
            "web.update.pin: is for strategies canary and blue_green, not rolling",
        ),
        (
            policy(pin=Pin(sources=tuple(f"10.0.0.{n}" for n in range(65)))),
            "web.update.pin.sources: are at most 64",
        ),
        (policy(pin=Pin(sources=())), "web.update.pin.sources: must not be empty"),
        (
            policy(pin=Pin(sources=("10.0.0.1", "10.0.0"))),
            "web.update.pin.sources[1]: '10.0.0' is not an IPv4 address or network, "
            "such as 192.0.2.0/24",
        ),
        (
            policy(pin=None),
            "web.update.steps[0].weight: 0 is for a canary with a pin: nobody else would reach it",
        ),
        (
            policy(steps=(STEPS[0], STEPS[0])),
            "web.update.steps[1].weight: 0 is not more than 0 of the step before",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(update: UpdatePolicy, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        services.check(a_spec(update=update), a_state())

    assert str(refused.value) == sentence


def test_what_makes_sense_is_taken() -> None:
    for update in (policy(), policy(Strategy.BLUE_GREEN)):
        services.check(a_spec(update=update), a_state())


def test_a_plan_says_who_is_pinned() -> None:
    lines = plan.lines(plan.of_rollout(on_trial(policy(), batch=()), "web", NOON))

    assert lines[0] == "pin  the new tasks, from the first on, for 192.0.2.0/24, 10.0.0.7"
