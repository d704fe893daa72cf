"""The events of this manager: the last thousand that it has seen, in memory.

Runs on every manager, and tells what states say to whoever asks. A manager that was restarted
begins anew: what happened before is in the memory of the others, and in the logs of the daemons.
"""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from warren.core import events
from warren.manager.cluster import ManagerContext
from warren.model.events import Event
from warren.store.watch import Watch

KEPT = 1000


class Numbered(NamedTuple):
    """An event with its number, which grows by one on each manager."""

    number: int
    event: Event


class EventLog:
    """Looks at each change of the state, and keeps what it means."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context
        self._kept: deque[Numbered] = deque(maxlen=KEPT)
        self.newest = Watch(0)
        """Number of the last event."""

    def after(self, number: int) -> Iterator[Numbered]:
        """Events with higher numbers, oldest first, as far as they are kept."""
        return (entry for entry in tuple(self._kept) if entry.number > number)

    async def run(self) -> None:
        """For ever. What was in the log before there was a leader is no news."""
        await self._context.wait_leader()
        store = self._context.store
        before, leader = store.state, self._context.leader()
        while True:
            count = store.changes.count
            after, now = store.state, self._context.now()
            self._keep(*events.derive(before, after, now))
            follows = self._context.leader()
            if follows is not None and follows != leader:
                self._keep(events.leader_changed(after, follows.name, now))
                leader = follows
            before = after
            await store.changes.wait_newer(count)

    def _keep(self, *found: Event) -> None:
        if not found:
            return
        first = self.newest.value + 1
        self._kept.extend(Numbered(first + place, event) for place, event in enumerate(found))
        self.newest.set(first + len(found) - 1)
