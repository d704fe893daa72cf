"""How a rollout goes: the state machine of which every step is in the log.

    state         phase      event                                        becomes
    RUNNING       REPLACE    batch ready, and watched for `monitor`       next batch, after `delay`
    RUNNING       REPLACE    every slot has the new revision, no other    `ending`
    RUNNING       SURGE      room for all: all start; ready, watched      TRIAL, or as if tried
    RUNNING       TRIAL      smoke check good                             SWITCHED, or WAITING
    RUNNING       SWITCHED   `grace_period` over                          REPLACE
    RUNNING       STEP       its tasks ready                              the step's weight
    RUNNING       STEP       duration over, analyses good                 next STEP, or REPLACE
    RUNNING       STEP       manual                                       WAITING
    WAITING       any        promote (`acts.py`)                          RUNNING, one step further
    RUNNING, WAITING         pause                                        PAUSED, in the same phase
    PAUSED        any        resume                                       RUNNING, in the same phase
    not ended     any        abort                                        ROLLING_BACK
    RUNNING, WAITING         found bad                                    as `on_failure` says
    ROLLING_BACK  any        only tasks of `from_revision` are left       `ending`
    `ending`                 all nodes follow                             COMPLETE, ROLLED_BACK
    not ended     any        another change of the template (`apply`)     SUPERSEDED

All nodes follow a step when those that are there have carried it, or after `drain_timeout`: what is
said to be over is over for whoever asks any of them.

REPLACE is in `rolling.py`, SURGE to SWITCHED in `blue_green.py`, STEP in `canary.py`. Which
revision a slot has meanwhile is in `wishes.py`; `orchestrator.py` sees to it. Nothing is remembered
but in the state: a new leader takes the next step from the same data, and repeats none.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import assert_never

from warren.core import blue_green, canary, failures, index, names, rolling, situation
from warren.core.decisions import Decision, earliest
from warren.core.index import Services
from warren.core.situation import Situation, Step
from warren.model.rollouts import FailureAction, Rollout, RolloutPhase, RolloutState
from warren.state.cluster import ClusterState
from warren.state.commands import SetRollout

_STEPS_MAX = 50
"""At one moment; far more than any chain of steps that needs no time and no task."""


def decide(
    state: ClusterState,
    now: datetime,
    carried: Mapping[str, int],
    unheard: Collection[str] = (),
    among: Services | None = None,
) -> Decision:
    """The next step of every rollout, or of those of the services `among`.

    `carried`: up to which index of the log each node's rules are as it was told, by node id.
    """
    among = index.every_service(state) if among is None else among
    commands: list[SetRollout] = []
    wake_ups: list[datetime | None] = []
    awaits: set[int] = set()
    for name, tasks in sorted(among.items()):
        service = state.services.get(name)
        before = service.live_rollout if service is not None else None
        if service is None or before is None or service.removing:
            continue
        step = advance(situation.of(state, service, tasks.values(), now, unheard, carried))
        if step.rollout != before:
            command = SetRollout(
                service=name, rollout=step.rollout, expected_version=before.version, now=now
            )
            commands.append(command)
        elif step.awaits:
            awaits.add(before.version)
        wake_ups.append(step.wake_at)
    return Decision(commands=tuple(commands), wake_at=earliest(wake_ups), awaits=frozenset(awaits))


def advance(now_is: Situation) -> Step:
    """All steps that can be taken now, as one."""
    for _ in range(_STEPS_MAX):
        step = next_step(now_is)
        turned = step.rollout.backwards and not now_is.rollout.backwards
        if step.rollout == now_is.rollout or turned or not step.rollout.live:
            return step
        now_is = replace(now_is, rollout=step.rollout)
    raise AssertionError(f"rollout {now_is.rollout.id} goes round in circles")


def next_step(now_is: Situation) -> Step:
    """One step; the same rollout, if there is none to take."""
    rollout = now_is.rollout
    match rollout.state:
        case RolloutState.RUNNING | RolloutState.WAITING:
            return _forwards(now_is)
        case RolloutState.PAUSED:
            return Step(rollout=rollout, waits_for="paused: waits until it is resumed")
        case RolloutState.ROLLING_BACK:
            return _backwards(now_is)
        case RolloutState.COMPLETE | RolloutState.ROLLED_BACK | RolloutState.SUPERSEDED:
            return Step(rollout=rollout)
        case _:
            assert_never(rollout.state)


def _forwards(now_is: Situation) -> Step:
    rollout = now_is.rollout
    ignores = rollout.policy.on_failure is FailureAction.CONTINUE
    trouble = "" if ignores else failures.found_bad(now_is)
    if trouble:
        return Step(rollout=found_bad(rollout, trouble, now_is.now))
    if rollout.phase is not RolloutPhase.REPLACE and _nothing_to_keep(now_is):
        return Step(rollout=canary.finishing(now_is))
    step = _of_phase(now_is)
    if step.rollout != rollout or not step.stalls or ignores:
        return step
    trouble = failures.stalled(now_is, step.waits_for)
    if trouble:
        return Step(rollout=found_bad(rollout, trouble, now_is.now))
    return replace(step, wake_at=earliest((step.wake_at, now_is.deadline)))


def _nothing_to_keep(now_is: Situation) -> bool:
    """A set beside another needs another: there are no tasks, or none of the old is ready, when it
    begins or while it has no place and no traffic. A fix must not wait for the room that what is
    broken takes."""
    if not now_is.replicas:
        return True
    if now_is.serves_old:
        return False
    return not now_is.rollout.batch or not (now_is.rollout.weight or now_is.room.free)


def _of_phase(now_is: Situation) -> Step:
    match now_is.rollout.phase:
        case RolloutPhase.REPLACE:
            return rolling.step(now_is)
        case RolloutPhase.SURGE | RolloutPhase.TRIAL | RolloutPhase.SWITCHED:
            return blue_green.step(now_is)
        case RolloutPhase.STEP:
            return canary.step(now_is)
        case _:
            assert_never(now_is.rollout.phase)


def found_bad(rollout: Rollout, reason: str, now: datetime) -> Rollout:
    """What the policy makes of a bad revision. Where there is no way back, it waits for people."""
    no_way_back = rollout.from_revision == rollout.to_revision
    if rollout.policy.on_failure is FailureAction.PAUSE or no_way_back:
        return replace(rollout, state=RolloutState.PAUSED, reason=reason, failed=True)
    return replace(turned_back(rollout, reason, now), failed=True)


def turned_back(rollout: Rollout, reason: str, now: datetime) -> Rollout:
    """On its way to the revision before. A set that is beside another loses its traffic at once."""
    beside = rollout.phase is not RolloutPhase.REPLACE
    return replace(
        rollout,
        state=RolloutState.ROLLING_BACK,
        reason=reason,
        batch=(),
        ready_at=None,
        next_at=None,
        weight=0 if beside else None,
        weight_at=now if beside else None,
        progress_at=now,
        analyses=(),
    )


def _backwards(now_is: Situation) -> Step:
    """Tasks of the revision before are created, and the others stopped, as fast as may be."""
    rollout = now_is.rollout
    others = sum(len(slot.outdated(rollout.from_revision)) for slot in now_is.slots)
    missing = [slot for slot in now_is.slots if not slot.wanted and not slot.final]
    if not others and not missing:
        return rolling.ending(now_is, RolloutState.ROLLED_BACK)
    left = names.count(others, "task")
    told = f"rolling back: {left} of revision {now_is.new} left"
    return Step(rollout=replace(rollout, ready_at=None), waits_for=told)
