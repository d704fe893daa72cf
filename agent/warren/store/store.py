"""`Store`: the replicated `ClusterState`, as the manager's event loop sees it.

Turns commands into log entries and log entries into states. The engine applies entries in its own
thread; `_Replica` there holds the state and tells the loop of the newest one, at most once per turn
of the loop. Nothing here decides anything: `state/apply.py` does.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from warren.api import convert, status, warren_pb2
from warren.model.errors import DeadlineExceeded, OutcomeUnknown
from warren.state import apply, maps, versions
from warren.state.cluster import ClusterState
from warren.state.commands import Applied, Command, Outcome, Rejected
from warren.store.log import LogMember, LogMetrics, LogStatus, ReplicatedLog
from warren.store.watch import Watch

logger = logging.getLogger(__name__)

PIECE_OBJECTS = 50
"""In a piece of a snapshot: about a millisecond's work."""
PIECE_VALUES = 2
"""The same of secrets and configs, which may have megabytes."""
_MAPS = ("nodes", "services", "tasks", "tokens", "secrets", "configs", "volumes")
"""The fields of a state that grow with the cluster."""
PROPOSE_TIMEOUT = timedelta(seconds=10)
BARRIER_TIMEOUT = timedelta(seconds=5)


class Store:
    """The replicated state and the way to change it."""

    def __init__(self, log: ReplicatedLog) -> None:
        self._log = log
        self._replica = _Replica()
        self._state = self._replica.state
        self._status = log.status()
        self._changes = Watch(0)

    async def start(self) -> None:
        """Start the engine; what it had on disk is in `state` once a leader has spoken."""
        loop = asyncio.get_running_loop()
        self._replica.tell = lambda: _call_soon(loop, self._publish)
        self._log.on_change(self._publish_status)
        await self._log.start(self._replica)
        self._publish()
        self._publish_status()

    async def stop(self) -> None:
        """Stop the engine."""
        await self._log.stop()

    @property
    def state(self) -> ClusterState:
        """The newest state applied here. On a follower, or without `barrier`, it may be old."""
        return self._state

    @property
    def status(self) -> LogStatus:
        """What the engine knows of leader and members."""
        return self._status

    @property
    def changes(self) -> Watch[int]:
        """Set at each change of `state` or `status`; its value is the newest index."""
        return self._changes

    async def propose(
        self, command: Command, timeout: timedelta = PROPOSE_TIMEOUT, *, key: str = ""
    ) -> Outcome:
        """Commit `command`. `state` includes it when this returns. Raises as the engine does.

        After OutcomeUnknown it may have been done or not: propose it again with the same `key`,
        which may be done through another manager, and it takes effect once.
        """
        data = convert.command_to_bytes(command)
        version = versions.version_of(command)
        try:
            done = await self._log.propose(data, timeout, key=key, version=version)
            outcome = convert.outcome_from_bytes(done)
        except DeadlineExceeded as error:
            message = f"{error.message}: whether the change was made is unknown"
            raise OutcomeUnknown(message) from error
        self._publish()
        return outcome

    async def commit(self, command: Command, *, key: str = "") -> Applied:
        """`propose`, with a rejection raised as the error that it names."""
        outcome = await self.propose(command, key=key)
        if isinstance(outcome, Rejected):
            raise status.error_named(outcome.reason, outcome.message)
        return outcome

    async def barrier(self) -> ClusterState:
        """The state with everything that was acknowledged before this call."""
        await self._log.read_barrier(BARRIER_TIMEOUT)
        self._publish()
        return self.state

    async def add_member(self, member: LogMember, timeout: timedelta = PROPOSE_TIMEOUT) -> None:
        """Make a manager a member of the log that counts."""
        await self._log.add_member(member, timeout)

    async def demote_member(self, node_id: str, timeout: timedelta = PROPOSE_TIMEOUT) -> None:
        """Let a manager count no more; it may be added again."""
        await self._log.demote_member(node_id, timeout)

    async def remove_member(self, node_id: str, timeout: timedelta = PROPOSE_TIMEOUT) -> None:
        """End a manager's membership of the log for good."""
        await self._log.remove_member(node_id, timeout)

    async def metrics(self) -> LogMetrics:
        """Figures of the log."""
        return await self._log.metrics()

    async def transfer_leadership(self, to: str = "", timeout: timedelta = PROPOSE_TIMEOUT) -> None:
        """Hand the lead to node `to`, or to whoever has most."""
        await self._log.transfer_leadership(timeout, to)

    def wake(self) -> None:
        """Have everybody look again who waits for changes: something beside the state is new."""
        self._changes.set(self._state.index)

    def _publish(self) -> None:
        self._replica.told = False
        if self._replica.state is not self._state:
            self._state = self._replica.state
            self._changes.set(self._state.index)

    def _publish_status(self) -> None:
        newest = self._log.status()
        if newest != self._status:
            self._status = newest
            self._changes.set(self._state.index)


class _Replica:
    """The state machine: lives in the engine's thread, but for reads of `state`.

    A state is immutable and replaced by one assignment, so reading it needs no lock.
    """

    def __init__(self) -> None:
        self.state = ClusterState()
        self.tell: Callable[[], None] = lambda: None
        self.told = False

    def apply(self, command: bytes) -> bytes:
        try:
            self.state, outcome = apply.apply(self.state, convert.command_from_bytes(command))
        except Exception:
            # The same on every manager, as `apply` and the bytes are; raising would stop them all.
            logger.exception("a command in the log could not be applied; it is skipped")
            self.state = replace(self.state, index=self.state.index + 1)
            outcome = Rejected(
                index=self.state.index, reason="InvalidInput", message="malformed command"
            )
        self._tell()
        return convert.outcome_to_bytes(outcome)

    def snapshot(self) -> Iterator[bytes]:
        return pieces(self.state)

    def restore(self, snapshot: bytes) -> None:
        message = warren_pb2.ClusterState.FromString(snapshot)
        state = convert.from_message(message, ClusterState)
        # Now, and not in the way of the first write.
        large: dict[str, Any] = {name: maps.large(getattr(state, name)) for name in _MAPS}
        self.state = replace(state, **large)
        self._tell()

    def _tell(self) -> None:
        if not self.told:
            self.told = True
            self.tell()


def pieces(state: ClusterState) -> Iterator[bytes]:
    """The state's message, a few objects at a time: protobuf joins what is concatenated."""
    none: dict[str, Any] = {name: {} for name in _MAPS}
    yield _bytes(replace(state, **none))  # whatever is not in a piece of its own
    for name in _MAPS:
        objects = maps.ordered(getattr(state, name))
        count = PIECE_VALUES if name in ("secrets", "configs") else PIECE_OBJECTS
        while some := dict(itertools.islice(objects, count)):
            yield _bytes(replace(ClusterState(), **{name: some}))  # type: ignore[arg-type]


def _bytes(state: ClusterState) -> bytes:
    data: bytes = convert.to_message(state).SerializeToString(deterministic=True)
    return data


def _call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """From the engine's thread; a loop that has ended needs no news."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
