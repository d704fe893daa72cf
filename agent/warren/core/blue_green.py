"""SURGE, TRIAL, SWITCHED: the whole new set beside the old, then all traffic. Part of `rollout.py`.

The law: no task of the new set is made before there is room for all of them. It gets traffic when
all of it is ready and was found good, in one step of the log, so that each node changes over in one
transaction. The old set is kept, ready, for `grace_period`.
"""

from dataclasses import replace
from datetime import datetime

from warren.core import failures, names, rolling
from warren.core.situation import Situation, Step
from warren.model.rollouts import Rollout, RolloutPhase, RolloutState
from warren.model.units import format_duration


def step(now_is: Situation) -> Step:
    """The next step within the phases."""
    rollout = now_is.rollout
    if rollout.phase is RolloutPhase.SWITCHED:
        return _switched(now_is)
    if not rollout.batch and now_is.replicas:
        return _begun(now_is)
    batch = everything(now_is)
    if rollout.batch != batch:
        return Step(rollout=replace(rollout, batch=batch, ready_at=None))
    if not rolling.all_passed(now_is, batch):
        told = f"new set: {now_is.ready_text(batch)}{rolling.obstacle(now_is)}"
        stalls = rollout.state is not RolloutState.WAITING
        return Step(rollout=replace(rollout, ready_at=None), stalls=stalls, waits_for=told)
    if rollout.ready_at is None:
        return Step(rollout=now_is.progressed(replace(rollout, ready_at=now_is.now)))
    watched = rollout.ready_at + rollout.policy.monitor
    if watched > now_is.now:
        monitor = format_duration(rollout.policy.monitor)
        told = f"the new set is ready, and watched for {monitor}"
        return Step(rollout=rollout, wake_at=watched, waits_for=told)
    if rollout.phase is RolloutPhase.SURGE and rollout.policy.smoke is not None:
        return Step(rollout=now_is.progressed(replace(rollout, phase=RolloutPhase.TRIAL)))
    return _tried(now_is)


def everything(now_is: Situation) -> tuple[int, ...]:
    """All slots."""
    return now_is.numbers


def _begun(now_is: Situation) -> Step:
    """The whole set starts, or nothing."""
    missing = now_is.room.missing(now_is.replicas)
    if missing:
        why = now_is.room.why_not(beside=now_is.replicas)
        places = f"no room for {missing} of {names.count(now_is.replicas, 'new task')}"
        return Step(rollout=now_is.rollout, stalls=True, waits_for=f"{places}: {why}")
    begun = replace(now_is.rollout, batch=everything(now_is))
    return Step(rollout=now_is.progressed(begun))


def _tried(now_is: Situation) -> Step:
    """The set is ready; is it good, and may it have the traffic?"""
    rollout = now_is.rollout
    if rollout.phase is RolloutPhase.TRIAL:
        good = {record.name for record in rollout.analyses if record.good}
        for name, _ in failures.analyses(rollout):
            if name not in good:
                told = f"the new set is ready: waits for {name}"
                return Step(rollout=rollout, stalls=True, waits_for=told)
    if rollout.policy.auto_promote:
        return Step(rollout=switched(now_is))
    told = f"the new set is ready: waits for promote (revision {now_is.new})"
    return Step(rollout=replace(rollout, state=RolloutState.WAITING), waits_for=told)


def switched(now_is: Situation) -> Rollout:
    """All traffic goes to the new set."""
    rollout = replace(
        now_is.rollout,
        state=RolloutState.RUNNING,
        phase=RolloutPhase.SWITCHED,
        weight=100,
        weight_at=now_is.now,
        ready_at=None,
        analyses=(),
    )
    return now_is.progressed(rollout)


def _switched(now_is: Situation) -> Step:
    """New slots, made by scaling, have both revisions, too."""
    rollout = now_is.rollout
    assert rollout.weight_at is not None, "it was switched at some time"
    over = rollout.weight_at + rollout.policy.grace_period
    if over > now_is.now:
        batch = everything(now_is)
        if rollout.batch != batch:
            return Step(rollout=replace(rollout, batch=batch))
        if rollout.ready_at is None:
            return _followed(now_is, over)
        grace = format_duration(rollout.policy.grace_period)
        told = f"all traffic goes to the new set; the old one is kept for {grace}"
        return Step(rollout=rollout, wake_at=over, waits_for=told)
    done = replace(rollout, phase=RolloutPhase.REPLACE, batch=(), ready_at=None)
    return Step(rollout=now_is.progressed(done))


def _followed(now_is: Situation, over: datetime) -> Step:
    """Who waits for the switch waits until no node sends to the old set; its grace does not."""
    if now_is.followed:
        return Step(rollout=replace(now_is.rollout, ready_at=now_is.now))
    step = now_is.following("all traffic goes to the new set")
    return replace(step, wake_at=min(over, now_is.followed_by))
