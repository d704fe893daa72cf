"""`ManagerContext`: what every part of a manager works with, made once by `main.py`.

Also the two questions that most parts ask: where the managers are, and which of them leads.
"""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from warren.bootstrap.create import new_id
from warren.bootstrap.node_files import Membership
from warren.config import Config
from warren.core import assignment
from warren.core.managers import Council
from warren.manager.planning import Planning
from warren.model.assignments import ManagerAddress
from warren.model.clusters import Cluster
from warren.model.errors import FailedPrecondition, LeaderMoved
from warren.state.cluster import ClusterState
from warren.store.locking import Keyring
from warren.store.store import Store

TASK_ID_DIGITS = 5
ISOLATED_AFTER = timedelta(seconds=0.1)
"""A connection that ended may be back as soon. Callers are to know within 0.6 s that a leader was
cut off, and it takes half of that to notice."""
MEETING = timedelta(seconds=2)
"""In this time a new leader has met every manager that lives: they call again within 1.5 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerContext:
    """Clock and chance are here, so that tests can put their own."""

    config: Config
    membership: Membership
    """As node.json was when this manager started."""
    store: Store
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[], str] = lambda: new_id(TASK_ID_DIGITS)
    new_call: Callable[[], str] = lambda: secrets.token_hex(16)
    """A name for a call whose caller gave it none."""
    planning: Planning = field(default_factory=Planning)
    keyring: Keyring = field(default_factory=Keyring)
    """What opens the keys of secrets under autolock, once somebody brought it."""

    def managers(self) -> tuple[ManagerAddress, ...]:
        """All managers: by the state, or before there is one, by node.json."""
        state = self.store.state
        if state.cluster is None:
            return self.membership.managers
        spec = state.cluster.spec
        return tuple(assignment.manager_address(spec, node) for node in state.managers())

    def leader(self) -> ManagerAddress | None:
        """The leader, as far as this manager knows."""
        raft = self.store.status.leader
        known = (*self.managers(), *self.membership.managers)
        return next((manager for manager in known if manager.raft == raft), None)

    def leader_id(self) -> str:
        """Node id of the leader, or empty text."""
        leader = self.leader()
        return leader.node_id if leader is not None else ""

    def reachable(self) -> frozenset[str]:
        """Node ids of the managers in Raft contact with this one."""
        status = self.store.status
        return frozenset(m.node_id for m in status.roster if m.address in status.reachable)

    def council(self) -> Council:
        """The managers that count."""
        roster = self.store.status.roster
        return Council(
            voters=frozenset(member.node_id for member in roster if member.voter),
            reachable=self.reachable(),
        )

    async def read(self, *, stale: bool) -> ClusterState:
        """The state with everything acknowledged before this; `stale`: the one that is here."""
        return self.store.state if stale else await self.store.barrier()

    def leads(self) -> bool:
        """This manager leads now."""
        return self.store.status.is_leader

    async def wait_leader(self) -> None:
        """Wait for a leader, this manager or one in contact with it. The caller bounds it."""
        while not self.is_led():
            await self.store.changes.wait_newer(self.store.changes.count)

    async def wait_isolated(self) -> None:
        """Wait until this manager has been without a majority for a moment."""
        while True:
            while self.has_majority():
                await self.store.changes.wait_newer(self.store.changes.count)
            try:
                async with asyncio.timeout(ISOLATED_AFTER.total_seconds()):
                    while not self.has_majority():
                        await self.store.changes.wait_newer(self.store.changes.count)
            except TimeoutError:
                return

    async def wait_met(self, node_id: str) -> None:
        """Wait a moment for contact with all managers but that node.

        Who has just got the lead may not have met all of them, and would count these as missing.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(MEETING.total_seconds()):
                while (council := self.council()).voters - council.reachable - {node_id}:
                    await self.store.changes.wait_newer(self.store.changes.count)

    def has_majority(self) -> bool:
        """This manager and those in contact with it could elect a leader."""
        council = self.council()
        return 2 * len(council.voters & council.reachable) > len(council.voters)

    async def wait_other_leader(self, than: ManagerAddress) -> None:
        """Wait until another leads than that one. The caller bounds it."""
        while not self.is_led() or self.store.status.leader == than.raft:
            await self.store.changes.wait_newer(self.store.changes.count)

    def is_led(self) -> bool:
        """This manager leads, or is in contact with another that does."""
        status = self.store.status
        if status.is_leader:
            return True
        is_other = status.leader not in (None, self.membership.raft_address)
        return is_other and status.leader in status.reachable

    def require_lead(self) -> None:
        """LeaderMoved when this manager does not lead (any more)."""
        if not self.leads():
            raise LeaderMoved("the leader has changed: ask again")


def cluster_of(state: ClusterState) -> Cluster:
    """The cluster of a state that has one: always so, but for the first moments of the first."""
    if state.cluster is None:
        raise FailedPrecondition("the cluster is being created: ask again in a moment")
    return state.cluster
