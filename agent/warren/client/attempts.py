"""One call as a series of attempts, at one manager after another: how long, and how it may end.

All attempts carry the call's name, by which the cluster makes its change once, however many of them
arrive. An attempt has less time than the call, so that a manager that hangs does not use it up.
"""

import time
import uuid
from typing import cast

import grpc

from warren.api import status
from warren.model.errors import (
    DeadlineExceeded,
    OutcomeUnknown,
    Unavailable,
    WarrenError,
)

FIRST_PATIENCE = 1.0
"""Seconds that the first attempt has; after one that was too short, the next has twice as many."""
CHANGES = ("Apply", "Delete", "Create", "Promote", "Pause", "Resume", "Abort", "RollBack")
"""How the names of methods begin that change the cluster."""


class Attempts:
    """The attempts of one call, until `timeout` seconds are over; None: for ever."""

    def __init__(self, method: str, timeout: float | None, *, repeatable: bool) -> None:
        self.method = method
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._repeatable = repeatable
        self._name = uuid.uuid4().hex
        self._count = 0
        self._patience = FIRST_PATIENCE
        self._maybe_done = False
        """An earlier attempt may have changed something."""

    def next_metadata(self) -> tuple[tuple[str, str], ...]:
        """Begin an attempt."""
        self._count += 1
        return (status.CALL_KEY, self._name), (status.ATTEMPT_KEY, str(self._count))

    def left(self) -> float | None:
        """Seconds that the call has left."""
        return None if self._deadline is None else max(0.001, self._deadline - time.monotonic())

    def patience(self) -> float | None:
        """Seconds that the next attempt has."""
        left = self.left()
        if not self._repeatable or left is None:
            return left
        return min(self._patience, left)

    def note(self, error: grpc.RpcError) -> WarrenError:
        """Why an attempt failed."""
        failure = status.error_from_rpc(error)
        if isinstance(failure, DeadlineExceeded):
            self._patience *= 2
        silent = not status.is_from_manager(error) and not never_sent(error)
        self._maybe_done |= silent or isinstance(failure, OutcomeUnknown)
        return failure

    def goes_on(self, error: grpc.RpcError, failure: WarrenError, pause: float) -> bool:
        """There is a point in another attempt, and time for it."""
        if not isinstance(failure, Unavailable | DeadlineExceeded) and not failure.transient:
            return False
        left = self.left()
        if left is not None and left <= pause:
            return False
        return self._repeatable or never_sent(error)

    def told(self, failure: WarrenError) -> WarrenError:
        """The last failure, in what it means for the whole call."""
        changes = self.method.startswith(CHANGES) or not self._repeatable
        lost = isinstance(failure, Unavailable | DeadlineExceeded)
        if not (changes and lost and self._maybe_done) or isinstance(failure, OutcomeUnknown):
            return failure
        what = "the change was made" if self._repeatable else "it was done"
        return OutcomeUnknown(f"{failure.message}: whether {what} is unknown")


def never_sent(error: grpc.RpcError) -> bool:
    """The request cannot have reached a manager: there was no connection."""
    details = cast(grpc.Call, error).details() or ""
    return "failed to connect" in details and not status.is_from_manager(error)
