"""The laws of the log, checked after every turn of every member of a simulation.

At most one leader per term; entries of the same place and term are the same, and so are those
before them; what is committed never changes, and every later leader has it; the same place in the
log makes the same state everywhere; what was acknowledged is there, once; a read sees every write
that was acknowledged before it began.
"""

from typing import Protocol

from warren.store.raft.entries import Entry, Log
from warren.store.raft.raft_state import Leader, Raft


class Violation(Exception):
    """A law does not hold. The simulation ends, and its seed is a bug report."""


class Watched(Protocol):
    """A member, as far as the laws concern it."""

    @property
    def raft(self) -> Raft:
        """Its state."""

    @property
    def log(self) -> Log:
        """Its log."""


class Checks:
    """What was seen so far."""

    def __init__(self) -> None:
        self.leaders: dict[int, str] = {}
        self.entries: dict[tuple[int, int], tuple[int, Entry]] = {}
        """(index, term): term of the entry before, and the entry."""
        self.committed: dict[int, tuple[Entry, int]] = {}
        """Index: the entry, and a term in which it was known to be committed."""
        self.states: dict[int, str] = {}
        """Commands applied: digest of the state after them."""
        self.acknowledged: dict[str, int] = {}
        """Operation: number of commands applied when it was acknowledged."""
        self.acknowledged_last = 0
        self.reads = 0

    def turn(self, who: str, node: Watched, seen: "Seen") -> None:
        """After a turn of `who`."""
        raft = node.raft
        if isinstance(raft.role, Leader) and seen.led_term != raft.term:
            seen.led_term = raft.term
            self._new_leader(who, node)
        self._entries(who, node.log, seen)
        self._commits(who, node, seen)

    def applied(self, who: str, count: int, digest: str) -> None:
        """`who` has applied `count` commands; `digest` is of all of them."""
        if self.states.setdefault(count, digest) != digest:
            raise Violation(f"{who} has another state than others after {count} commands")

    def acknowledge(self, operation: str, count: int, has: bool) -> None:
        """A client was told that `operation` is done, by a member that applied `count` commands."""
        if not has:
            raise Violation(f"{operation} was acknowledged and is not in the state")
        self.acknowledged[operation] = count
        self.acknowledged_last = max(self.acknowledged_last, count)

    def read(self, who: str, needed: int, count: int) -> None:
        """`who` answered a read that began when `needed` commands had been acknowledged."""
        self.reads += 1
        if count < needed:
            raise Violation(f"{who} answered a read with {count} commands; {needed} were promised")

    def final(self, histories: dict[str, tuple[str, ...]]) -> None:
        """At the end, after everything healed: the operations that each member applied."""
        reference = max(histories.values(), key=len)
        for who, history in histories.items():
            if history != reference:
                raise Violation(f"{who} ended with another history than the others")
        if len(set(reference)) != len(reference):
            raise Violation("an operation was applied twice")
        lost = sorted(self.acknowledged.keys() - set(reference))
        if lost:
            raise Violation(f"{len(lost)} acknowledged operations are lost, the first is {lost[0]}")

    def _new_leader(self, who: str, node: Watched) -> None:
        term, log = node.raft.term, node.log
        if self.leaders.setdefault(term, who) != who:
            raise Violation(f"{who} and {self.leaders[term]} both lead term {term}")
        for index, (entry, known_in) in self.committed.items():
            if known_in < term and index > log.base_index and log.term_at(index) != entry.term:
                raise Violation(f"{who} leads term {term} without committed entry {index}")

    def _entries(self, who: str, log: Log, seen: "Seen") -> None:
        index = log.last_index
        while index > log.base_index:
            entry = log.entry(index)
            if (index, entry.term) in seen.entries:
                return
            before = log.term_at(index - 1)
            assert before is not None
            known = self.entries.setdefault((index, entry.term), (before, entry))
            if known != (before, entry):
                raise Violation(f"{who} has another entry {index} of term {entry.term}")
            seen.entries.add((index, entry.term))
            index -= 1

    def _commits(self, who: str, node: Watched, seen: "Seen") -> None:
        log, commit = node.log, node.raft.commit
        if commit < seen.commit:
            raise Violation(f"{who} went back from commit {seen.commit} to {commit}")
        for index in range(max(seen.commit, log.base_index) + 1, commit + 1):
            entry = log.entry(index)
            known = self.committed.get(index)
            if known is None or known[1] > node.raft.term:
                self.committed[index] = (entry, node.raft.term)
            if known is not None and known[0] != entry:
                raise Violation(f"{who} commits another entry {index} than was committed before")
        seen.commit = commit


class Seen:
    """What was checked of one member since it started."""

    def __init__(self) -> None:
        self.entries: set[tuple[int, int]] = set()
        self.commit = 0
        self.led_term = 0
