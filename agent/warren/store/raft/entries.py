"""Entries and the log of them, as one member holds it in memory.

The decisions in `elections`, `replication` and `snapshots` read a log through `LogView`; only
`node.py` changes one, as their effects say, and writes the same to the journal. The log also knows
the members: Raft counts a change of members from when its entry is in the log, committed or not, so
they follow each append and each truncation.
"""

from collections.abc import Sequence
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple, Protocol

from warren.store.raft import members
from warren.store.raft.members import Configuration


class Kind(IntEnum):
    """What an entry's data is."""

    COMMAND = 0
    """The state machine's bytes."""
    NOTHING = 1
    """A new leader's first entry: what is committed before it can be counted after it."""
    MEMBERS = 2
    """A `Configuration`, whole."""


class Entry(NamedTuple):
    """A place in the log. A tuple, as a busy leader makes thousands of them a second."""

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    term: int
    kind: int
    data: bytes


class LogView(Protocol):
    """What decisions may ask of the log."""

    @property
    def base_index(self) -> int:
        """The entry before the first one held; its term is known, its data is not."""

    @property
    def last_index(self) -> int:
        """The newest entry; `base_index` when none is held."""

    @property
    def last_term(self) -> int:
        """Term of the newest entry."""

    @property
    def configuration(self) -> Configuration:
        """The members, as the newest entry about them says."""

    @property
    def configuration_index(self) -> int:
        """Where that entry is; 0 when the log knows no members."""

    def term_at(self, index: int) -> int | None:
        """Term of an entry, or None outside of the log."""

    def may_count(self, node_id: str, commit: int) -> bool:
        """By some configuration that holds, or may yet: the committed one, and those after it."""

    def slice(self, first: int, *, count: int, size_bytes: int) -> tuple[Entry, ...]:
        """Entries from `first` on: no more than `count`, or `size_bytes` but for the first."""

    def size_between(self, after: int, last: int) -> int:
        """Bytes of data in the entries after `after`, up to and with `last`."""


class Log:
    """The log in memory. Implements `LogView`."""

    def __init__(self) -> None:
        self.base_index = 0
        self.base_term = 0
        self._entries: list[Entry] = []
        self._ends: list[int] = []
        """Running total of data bytes: makes `size_between` one subtraction."""
        self._configurations: list[tuple[int, Configuration]] = [(0, Configuration())]
        """Oldest first; the first is that of the snapshot, and cannot be truncated away."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def last_index(self) -> int:
        return self.base_index + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.base_term

    @property
    def configuration(self) -> Configuration:
        return self._configurations[-1][1]

    @property
    def configuration_index(self) -> int:
        return self._configurations[-1][0]

    def configuration_at(self, index: int) -> Configuration:
        """The members as of `index`, for a snapshot taken there."""
        return next(c for at, c in reversed(self._configurations) if at <= index)

    def may_count(self, node_id: str, commit: int) -> bool:
        return any(node_id in c.voters for c in self.possible_configurations(commit))

    def possible_configurations(self, commit: int) -> list[Configuration]:
        """Those that hold, or may yet: the committed one, and those after it. Newest first."""
        found = []
        for at, configuration in reversed(self._configurations):
            found.append(configuration)
            if at <= commit:
                break
        return found

    def term_at(self, index: int) -> int | None:
        position = index - self.base_index - 1
        if position == -1:
            return self.base_term
        if 0 <= position < len(self._entries):
            return self._entries[position].term
        return None

    def entry(self, index: int) -> Entry:
        """The entry at an index that is in the log."""
        position = index - self.base_index - 1
        assert position >= 0
        return self._entries[position]

    def slice(self, first: int, *, count: int, size_bytes: int) -> tuple[Entry, ...]:
        start = first - self.base_index - 1
        assert start >= 0
        stop = min(start + count, len(self._entries))
        if start >= stop:
            return ()
        before = self._ends[start - 1] if start else 0
        if self._ends[stop - 1] - before > size_bytes:
            stop = start + 1
            while self._ends[stop] - before <= size_bytes:
                stop += 1
        return tuple(self._entries[start:stop])

    def size_between(self, after: int, last: int) -> int:
        return self._end_of(last) - self._end_of(after)

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow the last one."""
        end = self._ends[-1] if self._ends else 0
        for entry in entries:
            assert entry.index == self.base_index + len(self._entries) + 1, "a gap in the log"
            end += len(entry.data)
            self._entries.append(entry)
            self._ends.append(end)
            if entry.kind == Kind.MEMBERS:
                self._configurations.append((entry.index, members.from_bytes(entry.data)))

    def truncate(self, first: int) -> None:
        """Forget the entries from `first` on, and the members that they named."""
        position = first - self.base_index - 1
        assert position >= 0
        del self._entries[position:]
        del self._ends[position:]
        while len(self._configurations) > 1 and self._configurations[-1][0] >= first:
            self._configurations.pop()

    def restart(self, index: int, term: int, configuration: Configuration) -> None:
        """Hold nothing but the knowledge that a snapshot stands at `index`."""
        self.base_index, self.base_term = index, term
        self._entries, self._ends = [], []
        self._configurations = [(index, configuration)]

    def compact(self, base: int, snapshot: tuple[int, Configuration]) -> None:
        """Forget the entries up to and with `base`, which `snapshot` covers."""
        index, configuration = snapshot
        assert base <= index
        newer = [known for known in self._configurations if known[0] > index]
        self._configurations = [(index, configuration), *newer]
        if base <= self.base_index:
            return
        self.base_term = self.entry(base).term
        count = base - self.base_index
        gone = self._ends[count - 1]
        del self._entries[:count]
        self._ends = [end - gone for end in self._ends[count:]]
        self.base_index = base

    def is_sound(self) -> bool:
        """Terms never fall and indexes have no gap: checked after each recovery."""
        terms = [self.base_term, *(entry.term for entry in self._entries)]
        return all(before <= after for before, after in pairwise(terms))

    def _end_of(self, index: int) -> int:
        position = index - self.base_index - 1
        return self._ends[min(position, len(self._ends) - 1)] if position >= 0 and self._ends else 0
