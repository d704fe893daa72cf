"""When and how a member replaces the beginning of its log by a snapshot of its own state.

The state is captured in the member's turn, which is cheap as states are immutable, and written
beside it, so that writes go on. The log keeps a tail behind the snapshot: a follower that lags by
seconds is sent entries, not the whole state. Each member draws its own threshold a little, so that
they do not all write at once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from warren.store.raft.entries import Log
from warren.store.raft.snapshot_files import Meta, SnapshotFiles

TAIL_ENTRIES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to write a snapshot."""

    snapshot_entries: int = 5000
    """Applied since the last one, at least."""
    snapshot_entries_max: int = 200_000
    """Applied since the last one, at most; between the two, the log must outgrow the snapshot."""
    tail_entries: int = TAIL_ENTRIES


class Job(Protocol):
    """Work beside the member's turns."""

    def is_done(self) -> bool:
        """It ended, well or not."""

    def result(self) -> Meta:
        """What it made; raises what it raised."""


Background = Callable[[Callable[[], Meta]], Job]
"""Starts work."""


class Compaction:
    """The one snapshot that a member may be writing."""

    def __init__(self, limits: Limits, background: Background, chance: float) -> None:
        self._limits = limits
        self._background = background
        self._factor = 1 + chance / 2
        self._job: Job | None = None

    @property
    def is_running(self) -> bool:
        """A snapshot is being written."""
        return self._job is not None

    def is_due(self, log: Log, newest: Meta, applied: int) -> bool:
        """Enough was applied since the newest snapshot."""
        count = applied - newest.index
        if self._job is not None or count < self._limits.snapshot_entries * self._factor:
            return False
        grown = log.size_between(max(newest.index, log.base_index), applied)
        return grown >= newest.size_bytes or count >= self._limits.snapshot_entries_max

    def begin(self, files: SnapshotFiles, log: Log, applied: int, state: Iterator[bytes]) -> None:
        """Write `state`, which is that after entry `applied`."""
        term = log.term_at(applied)
        assert term is not None
        configuration = log.configuration_at(applied)
        meta = Meta(index=applied, term=term, configuration=configuration)
        self._job = self._background(lambda: files.write(meta, state))

    def finish(self, files: SnapshotFiles) -> bool:
        """Publish a snapshot that is written; answers whether there is a new one."""
        if self._job is None or not self._job.is_done():
            return False
        job, self._job = self._job, None
        before = files.newest.index
        files.publish(job.result())
        return files.newest.index > before

    def base(self, log: Log, newest: Meta) -> int:
        """Up to where the log may forget."""
        return max(log.base_index, newest.index - self._limits.tail_entries)
