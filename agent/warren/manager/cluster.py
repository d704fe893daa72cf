"""`ManagerContext`: what every part of a manager works with, made once by `main.py`.

Also the two questions that most parts ask: where the managers are, and which of them leads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from warren.bootstrap.create import new_id
from warren.bootstrap.node_files import Membership
from warren.config import Config
from warren.core import assignment
from warren.model.assignments import ManagerAddress
from warren.model.clusters import Cluster
from warren.model.errors import FailedPrecondition, Unavailable
from warren.state.cluster import ClusterState
from warren.store.store import Store

TASK_ID_DIGITS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerContext:
    """Clock and chance are here, so that tests can put their own."""

    config: Config
    membership: Membership
    """As node.json was when this manager started."""
    store: Store
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[], str] = lambda: new_id(TASK_ID_DIGITS)

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
        addresses = self.store.status.reachable
        return frozenset(m.node_id for m in self.managers() if m.raft in addresses)

    def leads(self) -> bool:
        """This manager leads now."""
        return self.store.status.is_leader

    async def wait_leader(self) -> None:
        """Wait until a leader is known, this manager or another. The caller bounds it."""
        status = self.store.status
        while not status.is_leader and (
            status.leader is None or status.leader == self.membership.raft_address
        ):
            await self.store.changes.wait_newer(self.store.changes.count)
            status = self.store.status

    def require_lead(self) -> None:
        """Unavailable when this manager does not lead (any more)."""
        if not self.leads():
            raise Unavailable("the leader has changed: ask again")


def cluster_of(state: ClusterState) -> Cluster:
    """The cluster of a state that has one: always so, but for the first moments of the first."""
    if state.cluster is None:
        raise FailedPrecondition("the cluster is being created: ask again in a moment")
    return state.cluster
