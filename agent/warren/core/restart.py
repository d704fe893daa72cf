"""Whether and when an ended attempt is followed by another: the restart policy of a task, applied.

Called by `core/task.py` at the end of each attempt. The history is data that the worker keeps on
disk, so that restarting the agent resets neither the count nor the backoff.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from warren.model.services import RestartCondition, RestartPolicy
from warren.model.units import format_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the policy must remember of a task's attempts on this node."""

    failures: int = 0
    """Ended or refused starts in a row, without a run longer than the window."""
    restarts: tuple[datetime, ...] = ()
    """Ends that were followed by another start, within the window, oldest first. Kept only for a
    policy that limits attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The end of one attempt. A refused start ran for no time and did not succeed."""

    at: datetime
    ran_for: timedelta = timedelta()
    succeeded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Start once more at `at`."""

    at: datetime
    history: History


@dataclass(frozen=True, slots=True, kw_only=True)
class Enough:
    """The task has ended for good. `reason` is empty where the policy wants no restart at all."""

    history: History
    reason: str = ""


def decide(policy: RestartPolicy, history: History, ending: Ending) -> Again | Enough:
    """What follows `ending`. The history in the answer includes it."""
    if ending.ran_for > policy.window:
        history = History()
    failures = history.failures + 1
    recent = tuple(at for at in history.restarts if ending.at - at < policy.window)
    if not _wants_restart(policy.condition, succeeded=ending.succeeded):
        return Enough(history=History(failures=failures, restarts=recent))
    if policy.max_attempts and len(recent) >= policy.max_attempts:
        reason = f"gave up after {_restarts(len(recent))} within {format_duration(policy.window)}"
        return Enough(history=History(failures=failures, restarts=recent), reason=reason)
    restarts = (*recent, ending.at) if policy.max_attempts else ()
    return Again(
        at=ending.at + delay_after(policy, failures),
        history=History(failures=failures, restarts=restarts),
    )


def delay_after(policy: RestartPolicy, failures: int) -> timedelta:
    """How long to wait after that many failures in a row: delay, delay times backoff, …"""
    assert failures > 0
    try:
        seconds = policy.delay.total_seconds() * float(policy.backoff) ** (failures - 1)
    except OverflowError:
        return policy.max_delay if policy.delay else timedelta()
    return min(timedelta(seconds=min(seconds, 10**9)), policy.max_delay)


def _wants_restart(condition: RestartCondition, *, succeeded: bool) -> bool:
    match condition:
        case RestartCondition.ANY:
            return True
        case RestartCondition.ON_FAILURE:
            return not succeeded
        case RestartCondition.NONE:
            return False


def _restarts(count: int) -> str:
    return "1 restart" if count == 1 else f"{count} restarts"
