"""A `ReplicatedLog` of one node, in memory: for unit tests of everything above the engine.

Held to the same contract as the real engines by `tests/contract/test_log.py`. A test may take the
lead away and give it back, or make the next proposals fail, as a real cluster would.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from warren.model.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    Unavailable,
    WarrenError,
)
from warren.store.log import LogMember, LogMetrics, LogStatus, MemberMetrics, StateMachine


class FakeLog:
    """Commits at once. `snapshot` and `entries` are what a disk would hold."""

    def __init__(
        self,
        address: str = "10.86.0.1:7445",
        entries: tuple[bytes, ...] = (),
        *,
        node_id: str = "m1",
        snapshot: bytes = b"",
        leads: bool = True,
    ) -> None:
        self._snapshot = snapshot
        self.entries = list(entries)
        self.failures: list[WarrenError] = []
        """Raised by the next proposals, one each."""
        self.known_version = 1_000
        """Of the command set: the newest that all members know."""
        self._address = address
        self._machine: StateMachine | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._node_id = node_id
        self._outcomes: dict[str, bytes] = {}
        self._status = LogStatus(
            members=(address,),
            reachable=frozenset({address}),
            roster=(LogMember(node_id=node_id, address=address),),
        )
        self._leads_at_start = leads

    async def start(self, machine: StateMachine) -> None:
        self._machine = machine
        if self._snapshot:
            machine.restore(self._snapshot)
        for entry in self.entries:
            machine.apply(entry)
        if self._leads_at_start:
            self.lead()

    async def stop(self) -> None:
        self._machine = None

    async def propose(
        self, command: bytes, timeout: timedelta, *, key: str = "", version: int = 1
    ) -> bytes:
        machine = self._require_lead()
        if self.failures:
            raise self.failures.pop(0)
        if version > self.known_version:
            raise FailedPrecondition("not all managers are upgraded yet")
        if key and key in self._outcomes:
            return self._outcomes[key]
        self.entries.append(command)
        outcome = machine.apply(command)
        if key:
            self._outcomes[key] = outcome
        return outcome

    async def read_barrier(self, timeout: timedelta) -> None:
        self._require_lead()

    def status(self) -> LogStatus:
        return self._status

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def metrics(self) -> LogMetrics:
        count = len(self.entries)
        return LogMetrics(
            node_id=self._node_id,
            term=self._status.term,
            last_index=count,
            commit_index=count,
            applied_index=count,
            snapshot_index=0,
            snapshot_bytes=len(self._snapshot),
            journal_bytes=sum(map(len, self.entries)),
            sync_p50=timedelta(),
            sync_p99=timedelta(),
            elections_won=self._status.term,
            snapshots_written=0,
            members=tuple(self._seen(member, count) for member in self._status.roster),
        )

    @staticmethod
    def _seen(member: LogMember, count: int) -> MemberMetrics:
        return MemberMetrics(
            node_id=member.node_id,
            address=member.address,
            voter=member.voter,
            match_index=count,
            lag_entries=0,
            silent_for=timedelta(),
        )

    async def snapshot(self, timeout: timedelta) -> bytes:
        return b"".join(self._require_lead().snapshot())

    async def transfer_leadership(self, timeout: timedelta, to: str = "") -> None:
        if not self._status.is_leader:
            return
        others = [m for m in self._status.roster if m.node_id != self._node_id]
        heir = next((m for m in others if m.node_id == to or not to), None)
        if heir is None:
            raise Unavailable("no other manager is ready to lead")
        self.follow(heir.address)

    async def add_member(self, member: LogMember, timeout: timedelta) -> None:
        self._require_lead()
        others = [m for m in self._status.roster if m.node_id != member.node_id]
        self._set_roster([*others, member])

    async def demote_member(self, node_id: str, timeout: timedelta) -> None:
        self._require_lead()
        self._set_roster(
            [replace(m, voter=m.voter and m.node_id != node_id) for m in self._status.roster]
        )

    async def remove_member(self, node_id: str, timeout: timedelta) -> None:
        self._require_lead()
        self._set_roster([m for m in self._status.roster if m.node_id != node_id])

    def lead(self) -> None:
        """Win an election."""
        self._change(leader=self._address, is_leader=True, term=self._status.term + 1)

    def follow(self, leader: str | None) -> None:
        """Lose the lead to `leader`, or to nobody."""
        term = self._status.term + 1
        reachable = self._status.reachable | ({leader} if leader else set())
        self._change(leader=leader, is_leader=False, term=term, reachable=reachable)

    def seat(self, *members: LogMember, away: tuple[str, ...] = ()) -> None:
        """Make these the members, all but those of the node ids `away` in contact."""
        self._set_roster(list(members))
        self._change(reachable=frozenset(m.address for m in members if m.node_id not in away))

    def fail_next(self, *, outcome_unknown: bool = False) -> None:
        """Make the next proposal fail, without committing it."""
        error = DeadlineExceeded("no majority") if outcome_unknown else Unavailable("no leader")
        self.failures.append(error)

    def _set_roster(self, roster: list[LogMember]) -> None:
        members = tuple(sorted(member.address for member in roster))
        by_id = tuple(sorted(roster, key=lambda member: member.node_id))
        self._change(members=members, roster=by_id)

    def _require_lead(self) -> StateMachine:
        if self._machine is None or not self._status.is_leader:
            raise Unavailable("this manager does not lead")
        return self._machine

    def _change(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]
        for callback in self._callbacks:
            callback()
