"""`ReplicatedLog`: what the store asks of an engine, and all that the program knows of one.

An engine orders byte strings among the managers and gives each committed one to the state machine,
in the same order everywhere. Engines: `raft/engine.py`, and the verified single-node fake
`testing/fake_log.py`; `tests/contract/test_log.py` holds both to this contract. Addresses are mesh
`address:port`. Engines may use threads; methods here are called from the event loop, and
callbacks and futures come back to it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


class StateMachine(Protocol):
    """What the log drives. `apply` and `restore` are called by one thread, never by two at once."""

    def apply(self, command: bytes) -> bytes:
        """Take a committed command and answer its outcome. Must not raise: it would stop all."""

    def snapshot(self) -> Iterator[bytes]:
        """The whole state, captured now, in pieces that are made as they are asked for.

        The pieces are taken by another thread while commands are applied, so the state must be
        immutable or copied.
        """

    def restore(self, snapshot: bytes) -> None:
        """Become the state whose pieces, joined, are `snapshot`; b"": before any command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMember:
    """A manager, as a member of the log."""

    node_id: str
    address: str
    voter: bool = True
    """It counts for majorities; False while it catches up, or after a demotion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatus:
    """What an engine knows of itself and its cluster at a moment; it may be out of date."""

    leader: str | None = None
    """Raft address of the leader, as far as known."""
    is_leader: bool = False
    """This engine leads, and everything committed before its term is applied here."""
    term: int = 0
    members: tuple[str, ...] = ()
    """Raft addresses of all members, this one included, sorted."""
    reachable: frozenset[str] = frozenset()
    """Members that count and are in contact with this one, itself included."""
    roster: tuple[LogMember, ...] = ()
    """The same members, by node id."""
    trouble: str = ""
    """Why this engine takes no part, in one line: its disk is full, or its peers refuse it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberMetrics:
    """A member, as the leader sees it. On a follower, only of itself."""

    node_id: str
    address: str
    voter: bool
    match_index: int
    """Its log is the leader's up to here, durably."""
    lag_entries: int
    silent_for: timedelta
    """Since it last answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMetrics:
    """Figures of an engine."""

    node_id: str
    term: int
    last_index: int
    commit_index: int
    applied_index: int
    snapshot_index: int
    snapshot_bytes: int
    journal_bytes: int
    sync_p50: timedelta
    """Of the last thousand syncs of the journal."""
    sync_p99: timedelta
    elections_won: int
    snapshots_written: int
    members: tuple[MemberMetrics, ...] = ()


class ReplicatedLog(Protocol):
    """An engine."""

    async def start(self, machine: StateMachine) -> None:
        """Restore what is on disk, then take part.

        FailedPrecondition: what is on disk must not be used. Unavailable: not now, as another
        process uses it, or the address.
        """

    async def stop(self) -> None:
        """Leave the network and let go of files; membership stays."""

    async def propose(
        self, command: bytes, timeout: timedelta, *, key: str = "", version: int = 1
    ) -> bytes:
        """Commit `command` and answer its outcome, once it is applied here.

        Unavailable: not committed, and it never will be (no leader here, or it lost the lead).
        DeadlineExceeded: whether it was, or will be, committed is unknown; propose it again with
        the same `key`, through whichever member leads, and it is applied once: the answer is the
        first one's outcome. Keys are remembered for the last 10,000 commands that had one.
        FailedPrecondition: a member does not know `version` of the command set yet.
        """

    async def read_barrier(self, timeout: timedelta) -> None:
        """After this, the state here holds every command whose proposer had its answer before.

        Unavailable when this engine does not lead; DeadlineExceeded when it cannot prove it does.
        """

    def status(self) -> LogStatus:
        """The latest known; without waiting."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in the event loop, after each change of `status()`."""

    async def metrics(self) -> LogMetrics:
        """Figures for people and monitors."""

    async def snapshot(self, timeout: timedelta) -> bytes:
        """The state with everything that was acknowledged before, for a backup. Leader only."""

    async def transfer_leadership(self, timeout: timedelta, to: str = "") -> None:
        """Hand the lead to node `to`, or to the member that has most; return when it is gone.

        Unavailable when nobody could take it; this engine leads on. Not leading: nothing to do.
        """

    async def add_member(self, member: LogMember, timeout: timedelta) -> None:
        """Make a manager a member, on the leader only: a learner, then, caught up, a voter.

        FailedPrecondition: refused, and why. DeadlineExceeded: it has not caught up yet and goes on
        learning; call again. Already a member that counts: nothing to do.
        """

    async def demote_member(self, node_id: str, timeout: timedelta) -> None:
        """Let a member learn on without counting, on the leader only."""

    async def remove_member(self, node_id: str, timeout: timedelta) -> None:
        """End a membership for good, on the leader only. Not a member: nothing to do."""
