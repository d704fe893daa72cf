"""When a manager attempts a call again by itself, so that a change of leaders fails no call.

A call that was not done because the lead moved may be repeated as it is. One whose end is unknown
may be, too: all attempts of a call carry one key, and the log applies it once. What cannot be
repeated (a command run in a task) is told as it is. Pure; `rpc.py` waits and calls.
"""

from warren.model.errors import (
    DeadlineExceeded,
    LeaderMoved,
    OutcomeUnknown,
    Unavailable,
    WarrenError,
)


def as_seen_outside(error: WarrenError, *, leads: bool) -> WarrenError:
    """What a handler's error means to the caller, who does not know that the lead was lost."""
    if isinstance(error, Unavailable) and not leads:
        return LeaderMoved(error.message)
    return error


def is_worth_repeating(error: WarrenError) -> bool:
    """Another attempt may end otherwise, and can do no harm."""
    return isinstance(error, LeaderMoved | OutcomeUnknown)


def at_the_end(error: WarrenError, *, maybe_done: bool) -> WarrenError:
    """The error of the last attempt; one before it may have changed something (`maybe_done`)."""
    if maybe_done and isinstance(error, Unavailable | DeadlineExceeded):
        if isinstance(error, OutcomeUnknown):
            return error
        return OutcomeUnknown(f"{error.message}: whether the change was made is unknown")
    return error
