"""Virtual time: what is to happen, in order, as fast as it can be computed."""

import heapq
from collections.abc import Callable

BEGAN = 1000.0
"""What the clock shows at first."""


class Timeline:
    """A clock that jumps from one event to the next."""

    def __init__(self) -> None:
        self.now = BEGAN
        self.events = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def at(self, when: float, event: Callable[[], None]) -> None:
        """Let something happen."""
        self._count += 1
        heapq.heappush(self._queue, (when, self._count, event))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, or less if `until` comes true; answers whether it did."""
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            when, _, event = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            event()
            self.events += 1
            if until is not None and until():
                return True
        self.now = max(self.now, end)
        return until is not None and until()
