"""A clock that only moves when it is told to."""

from datetime import datetime, timedelta

from warren.testing.builders import NOON


class ManualClock:
    """`clock.now` is passed where a program takes a clock."""

    def __init__(self, start: datetime = NOON) -> None:
        self._now = start

    def now(self) -> datetime:
        """The time it was set to."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Let time pass; never backwards."""
        assert by >= timedelta(), "a clock does not run backwards"
        self._now += by
        return self._now
