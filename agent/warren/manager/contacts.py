"""When each worker was last heard: on the leader only, in memory only, never through Raft.

Measured by a clock that nobody sets: when the leader's time of day jumps, by a wrong time server or
a person, no node falls silent for that, and none that is silent is spared.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from warren.store.watch import Watch


class Contacts:
    """Written by the dispatcher, read by the reconciler."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._heard_at: dict[str, float] = {}
        self.news: Watch[str] = Watch("")
        """Set to a node's id when it is heard while the reconciler takes it for away."""

    def reset(self, node_ids: Iterable[str]) -> None:
        """What a new leader assumes: these were heard now."""
        self._heard_at = dict.fromkeys(node_ids, self._monotonic())

    def hear(self, node_id: str, *, is_news: bool) -> None:
        """A worker said something. `is_news`: it may make the node ready."""
        self._heard_at[node_id] = self._monotonic()
        if is_news:
            self.news.set(node_id)

    def times(self, now: datetime) -> Mapping[str, datetime]:
        """By node id, as seen from `now`: a silence is as long as it was, whatever clocks did."""
        passed = self._monotonic()
        return {
            node_id: now - timedelta(seconds=passed - heard_at)
            for node_id, heard_at in self._heard_at.items()
        }
