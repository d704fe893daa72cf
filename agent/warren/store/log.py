"""`ReplicatedLog`: what the store asks of an engine, and all that the program knows of one.

An engine orders byte strings among the managers and gives each committed one to the state machine,
in the same order everywhere. Engines: `raft/pysyncobj_log.py`, and the verified single-node fake
`testing/fake_log.py`; `tests/contract/test_log.py` holds both to this contract. Addresses are mesh
`address:port`. Engines may use threads; methods here are called from the event loop, and
callbacks and futures come back to it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


class StateMachine(Protocol):
    """What the log drives. Called by one thread of the engine's, never by two at once."""

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
    """Members in contact with this one, itself included."""


class ReplicatedLog(Protocol):
    """An engine."""

    async def start(self, machine: StateMachine) -> None:
        """Restore what is on disk, then take part. Raises FailedPrecondition when it cannot."""

    async def stop(self) -> None:
        """Leave the network and let go of files; membership stays."""

    async def propose(self, command: bytes, timeout: timedelta) -> bytes:
        """Commit `command` and answer its outcome, once it is applied here.

        Unavailable: not committed, and it never will be (no leader here, or it lost the lead).
        DeadlineExceeded: whether it was, or will be, committed is unknown.
        """

    async def read_barrier(self, timeout: timedelta) -> None:
        """After this, the state here holds every command whose proposer had its answer before.

        Unavailable when this engine does not lead; DeadlineExceeded when it cannot prove it does.
        """

    def status(self) -> LogStatus:
        """The latest known; without waiting."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in the event loop, after each change of `status()`."""

    async def add_member(self, address: str, timeout: timedelta) -> None:
        """Make `address` a member, on the leader only. Already a member: nothing to do.

        Its engine must be listening: from two members on, it counts for the quorum at once.
        """

    async def remove_member(self, address: str, timeout: timedelta) -> None:
        """End the membership of `address`, on the leader only. Not a member: nothing to do."""
