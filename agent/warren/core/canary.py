"""STEP: some new tasks beside the old have a share of the traffic, and more and more of it. Part of
`rollout.py`.

The law: a step's weight is given in one step of the log, when all of its tasks are ready, and is
exact, however many tasks there are. What follows the last step is REPLACE, for the slots that have
no new task yet; the share never gets smaller on the way.
"""

from dataclasses import replace

from warren.core import failures, rolling
from warren.core.situation import Situation, Step
from warren.model.rollouts import Rollout, RolloutPhase, RolloutState
from warren.model.units import format_duration


def step(now_is: Situation) -> Step:
    """The next step within the phase."""
    rollout = now_is.rollout
    share = failures.share(rollout)
    batch = now_is.numbers[: failures.canaries(rollout, now_is.replicas)]
    if rollout.batch != batch:
        return Step(rollout=replace(rollout, batch=batch, ready_at=None))
    if not rolling.all_passed(now_is, batch):
        told = f"step {rollout.step}: {now_is.ready_text(batch)}{rolling.obstacle(now_is)}"
        stalls = rollout.state is not RolloutState.WAITING
        return Step(rollout=replace(rollout, ready_at=None), stalls=stalls, waits_for=told)
    if rollout.weight != share or rollout.ready_at is None:
        given = failures.has_share(rollout)
        ready = replace(
            rollout,
            weight=share,
            weight_at=rollout.weight_at if given else now_is.now,
            ready_at=now_is.now,
        )
        return Step(rollout=now_is.progressed(ready))
    if rollout.state is RolloutState.WAITING:
        return Step(rollout=rollout, waits_for=_waits(rollout))
    return _watched(now_is)


def _watched(now_is: Situation) -> Step:
    """The step has its share: for how long, and is it good?"""
    rollout = now_is.rollout
    plan = rollout.policy.steps[rollout.step - 1]
    assert rollout.weight_at is not None, "it has its share"
    assert rollout.ready_at is not None, "its tasks are ready"
    over = max(rollout.weight_at + plan.duration, rollout.ready_at + rollout.policy.monitor)
    if plan.manual and not now_is.followed:
        return now_is.following(f"step {rollout.step}: {plan.weight} % of the traffic")
    if plan.manual:
        waiting = replace(rollout, state=RolloutState.WAITING)
        return Step(rollout=waiting, waits_for=_waits(waiting))
    if over > now_is.now:
        duration = format_duration(max(plan.duration, rollout.policy.monitor))
        told = f"step {rollout.step}: {plan.weight} % of the traffic for {duration}"
        return Step(rollout=rollout, wake_at=over, waits_for=told)
    good = {record.name for record in rollout.analyses if record.good and not record.bad}
    for name, _ in failures.analyses(rollout):
        if name not in good:
            told = f"step {rollout.step}: waits for {name}"
            return Step(rollout=rollout, stalls=True, waits_for=told)
    return Step(rollout=further(now_is))


def _waits(rollout: Rollout) -> str:
    return f"step {rollout.step}: waits for promote"


def further(now_is: Situation) -> Rollout:
    """At the next step, or at the end of them."""
    rollout = now_is.rollout
    common = replace(rollout, state=RolloutState.RUNNING, ready_at=None, analyses=())
    if rollout.step < len(rollout.policy.steps):
        return now_is.progressed(replace(common, step=rollout.step + 1))
    return finishing(now_is)


def finishing(now_is: Situation) -> Rollout:
    """No more steps: the rest is replaced."""
    rollout = replace(
        now_is.rollout,
        state=RolloutState.RUNNING,
        phase=RolloutPhase.REPLACE,
        batch=(),
        ready_at=None,
        next_at=None,
        analyses=(),
    )
    return now_is.progressed(rollout)
