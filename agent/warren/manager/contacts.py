"""When each worker was last heard: on the leader only, in memory only, never through Raft."""

from collections.abc import Mapping
from datetime import datetime

from warren.store.watch import Watch


class Contacts:
    """Written by the dispatcher, read by the reconciler."""

    def __init__(self) -> None:
        self._times: dict[str, datetime] = {}
        self.news: Watch[str] = Watch("")
        """Set to a node's id when it is heard while the reconciler takes it for away."""

    def reset(self, times: Mapping[str, datetime]) -> None:
        """What a new leader assumes."""
        self._times = dict(times)

    def hear(self, node_id: str, now: datetime, *, is_news: bool) -> None:
        """A worker said something. `is_news`: it may make the node ready."""
        self._times[node_id] = now
        if is_news:
            self.news.set(node_id)

    def times(self) -> Mapping[str, datetime]:
        """By node id; the caller may keep it."""
        return dict(self._times)
