"""What only the sessions with workers tell: on the leader only, in memory only, never through Raft.

When each worker was last heard, whether it has reported, and up to which index it carries what it
was told. A new leader knows nothing of all that and hears it anew.


Measured by a clock that nobody sets: when the leader's time of day jumps, by a wrong time server or
a person, no node falls silent for that, and none that is silent is spared. What counts is the time
in which the leader could listen: one that stood still, because its host was paused or it had too
much to do, would otherwise find all nodes silent at once, and replace every task.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType

from warren.store.watch import Watch

logger = logging.getLogger(__name__)

_TICK = 0.5
"""Seconds between two signs of life of the leader itself; twice as much is a standstill."""


class Contacts:
    """Written by the dispatcher, read by the reconciler."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._heard_at: dict[str, float] = {}
        self._awake_at: float | None = None
        """When this process last ran for sure; None: it does not lead."""
        self._reported: set[str] = set()
        self._carried: dict[str, int] = {}
        self.news: Watch[str] = Watch("")
        """Set to a node's id when what it said may change what is to be done."""
        self.progress: Watch[str] = Watch("")
        """Set to a node's id when its rules have followed further."""
        self.late_since: dict[tuple[str, datetime], float] = {}
        """By a service's name and creation: since when nodes are late to follow it."""
        self.awaited: frozenset[int] = frozenset()
        """Indexes that something waits for until all carry them. Set by the reconciler."""

    def reset(self, node_ids: Iterable[str]) -> None:
        """What a new leader assumes: these were heard now."""
        self._heard_at = dict.fromkeys(node_ids, self._monotonic())
        self._reported.clear()
        self._carried.clear()
        self.late_since.clear()

    async def run(self) -> None:
        """Until cancelled, while this manager leads."""
        self._awake_at = self._monotonic()
        try:
            while True:
                await asyncio.sleep(_TICK)
                self._note_standstill()
        finally:
            self._awake_at = None

    def hear(self, node_id: str, *, is_news: bool) -> None:
        """A worker said something. `is_news`: it may make the node ready."""
        self._note_standstill()
        self._heard_at[node_id] = self._monotonic()
        if is_news:
            self.news.set(node_id)

    def excuse(self, node_id: str, length: timedelta) -> None:
        """A worker ended in order and will be back: nobody is to miss it for so long."""
        self._heard_at[node_id] = self._monotonic() + length.total_seconds()

    def times(self, now: datetime) -> Mapping[str, datetime]:
        """By node id, as seen from `now`: a silence is as long as it was, whatever clocks did. Who
        is excused was heard in the future."""
        self._note_standstill()
        passed = self._monotonic()
        return {
            node_id: now - timedelta(seconds=passed - heard_at)
            for node_id, heard_at in self._heard_at.items()
        }

    def report(self, node_id: str) -> None:
        """The state has what the worker said of all of its tasks."""
        if node_id not in self._reported:
            self._reported.add(node_id)
            self.news.set(node_id)

    def reported(self) -> frozenset[str]:
        """Nodes of which more is known than what the log of former leaders says."""
        return frozenset(self._reported)

    def carry(self, node_id: str, index: int) -> None:
        """The worker's rules are as it was told up to `index`; less than before is no news."""
        before = self._carried.get(node_id, 0)
        if before < index:
            self._carried[node_id] = index
            self.progress.set(node_id)
            if any(before < awaited <= index for awaited in self.awaited):
                self.news.set(node_id)

    def carried(self) -> Mapping[str, int]:
        """By node id, as it is whenever one looks."""
        return MappingProxyType(self._carried)

    def _note_standstill(self) -> None:
        """Who spoke while nobody listened is not known: that time counts for nobody's silence."""
        if self._awake_at is None:
            return
        now = self._monotonic()
        lost = now - self._awake_at - _TICK
        self._awake_at = now
        if lost > _TICK:
            logger.warning("this manager stood still for %.1f s", lost)
            self._heard_at = {node_id: at + lost for node_id, at in self._heard_at.items()}
