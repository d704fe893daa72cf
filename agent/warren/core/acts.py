"""What users have a rollout do: promote, pause, resume, abort. Pure; called by the API.

Each answers the rollout as it then is, or the same one if it is so already. FailedPrecondition says
what stands against it. What a user begins (a rollback to an earlier revision) is in `updates.py`.
"""

from dataclasses import replace

from warren.core import blue_green, canary, rollout
from warren.core.situation import Situation
from warren.model.errors import FailedPrecondition, NotFound
from warren.model.rollouts import Rollout, RolloutPhase, RolloutState, Strategy
from warren.model.services import Service


def find(service: Service, rollout_id: str) -> Rollout:
    """The rollout of that id, or the newest. NotFound if it is not known (any more)."""
    name = service.spec.name
    if not service.rollouts:
        raise NotFound(f"{name} has no rollout")
    if not rollout_id:
        return service.rollouts[-1]
    found = next((each for each in service.rollouts if each.id == rollout_id), None)
    if found is None:
        raise NotFound(f"{name} has no rollout {rollout_id}, or it was too long ago")
    return found


def promote(now_is: Situation, *, step: int = 0, full: bool = False) -> Rollout:
    """One step further, or (`full`) to where nobody needs to promote any more.

    `step`: only from that step of a canary; is it further already, nothing changes.
    """
    before = now_is.rollout
    if before.policy.strategy is Strategy.ROLLING:
        raise FailedPrecondition(f"{_subject(now_is)} is rolling: it needs no promotion")
    if before.state is RolloutState.COMPLETE or (before.live and _is_past(before, step)):
        return before
    _require_live(now_is)
    if before.state is RolloutState.ROLLING_BACK:
        raise FailedPrecondition(f"{_subject(now_is)} is rolling back: {before.reason}")
    if before.state is RolloutState.PAUSED:
        raise FailedPrecondition(f"{_subject(now_is)} is paused: resume it first")
    if step > before.step:
        raise FailedPrecondition(f"{_subject(now_is)} is at step {before.step}, not {step} yet")
    if not before.batch or not now_is.all_done(before.batch):
        ready = now_is.ready_text(before.batch or blue_green.everything(now_is))
        raise FailedPrecondition(f"{_subject(now_is)} cannot be promoted yet: {ready}")
    if before.phase is not RolloutPhase.STEP:
        return blue_green.switched(now_is)
    return canary.finishing(now_is) if full else canary.further(now_is)


def _is_past(before: Rollout, step: int) -> bool:
    """It needs no promotion any more, or that of the step is over."""
    if before.backwards:
        return False
    if before.phase in (RolloutPhase.SWITCHED, RolloutPhase.REPLACE):
        return True
    return 0 < step < before.step


def pause(now_is: Situation, by: str) -> Rollout:
    """Everything stays as it is, the traffic, too."""
    before = _require_live(now_is)
    if before.state is RolloutState.PAUSED:
        return before
    if before.state is RolloutState.ROLLING_BACK:
        raise FailedPrecondition(f"{_subject(now_is)} is rolling back: it cannot be paused")
    return replace(before, state=RolloutState.PAUSED, reason=f"paused by {by}", failed=False)


def resume(now_is: Situation) -> Rollout:
    """On it goes; what has failed so far is forgiven, and the deadline begins anew."""
    before = _require_live(now_is)
    if before.state is not RolloutState.PAUSED:
        return before
    return replace(
        before,
        state=RolloutState.RUNNING,
        reason="",
        failed=False,
        resumed_at=now_is.now,
        progress_at=now_is.now,
        analyses=(),
    )


def abort(now_is: Situation, by: str, reason: str = "") -> Rollout:
    """Back to the revision before."""
    before = now_is.rollout
    if before.backwards:
        return before
    _require_live(now_is)
    if before.from_revision == before.to_revision:
        raise FailedPrecondition(f"{_subject(now_is)} has no revision before to go back to")
    told = f"aborted by {by}" + (f": {reason}" if reason else "")
    return rollout.turned_back(replace(before, failed=False), told, now_is.now)


def _require_live(now_is: Situation) -> Rollout:
    before = now_is.rollout
    if before.live:
        return before
    why = f": {before.reason}" if before.reason else ""
    state = before.state.value.replace("_", " ")
    raise FailedPrecondition(f"{_subject(now_is)} has ended: {state}{why}")


def _subject(now_is: Situation) -> str:
    return f"rollout {now_is.rollout.id} of {now_is.service.spec.name}"
