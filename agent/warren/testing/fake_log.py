"""A `ReplicatedLog` of one node, in memory: for unit tests of everything above the engine.

Held to the same contract as the real engines by `tests/contract/test_log.py`. A test may take the
lead away and give it back, or make the next proposals fail, as a real cluster would.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from warren.model.errors import DeadlineExceeded, Unavailable, WarrenError
from warren.store.log import LogStatus, StateMachine


class FakeLog:
    """Commits at once. `snapshot` and `entries` are what a disk would hold."""

    def __init__(
        self,
        address: str = "10.86.0.1:7445",
        entries: tuple[bytes, ...] = (),
        *,
        snapshot: bytes = b"",
        leads: bool = True,
    ) -> None:
        self._snapshot = snapshot
        self.entries = list(entries)
        self.failures: list[WarrenError] = []
        """Raised by the next proposals, one each."""
        self._address = address
        self._machine: StateMachine | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._status = LogStatus(members=(address,), reachable=frozenset({address}))
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

    async def propose(self, command: bytes, timeout: timedelta) -> bytes:
        machine = self._require_lead()
        if self.failures:
            raise self.failures.pop(0)
        self.entries.append(command)
        return machine.apply(command)

    async def read_barrier(self, timeout: timedelta) -> None:
        self._require_lead()

    def status(self) -> LogStatus:
        return self._status

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def add_member(self, address: str, timeout: timedelta) -> None:
        self._require_lead()
        self._change(members=tuple(sorted({*self._status.members, address})))

    async def remove_member(self, address: str, timeout: timedelta) -> None:
        self._require_lead()
        self._change(members=tuple(m for m in self._status.members if m != address))

    def lead(self) -> None:
        """Win an election."""
        self._change(leader=self._address, is_leader=True, term=self._status.term + 1)

    def follow(self, leader: str | None) -> None:
        """Lose the lead to `leader`, or to nobody."""
        self._change(leader=leader, is_leader=False, term=self._status.term + 1)

    def fail_next(self, *, outcome_unknown: bool = False) -> None:
        """Make the next proposal fail, without committing it."""
        error = DeadlineExceeded("no majority") if outcome_unknown else Unavailable("no leader")
        self.failures.append(error)

    def _require_lead(self) -> StateMachine:
        if self._machine is None or not self._status.is_leader:
            raise Unavailable("this manager does not lead")
        return self._machine

    def _change(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)  # type: ignore[arg-type]
        for callback in self._callbacks:
            callback()
