"""A simulated cluster, whatever its engine: what schedules do with it, and how ours does it.

The same schedule drives our engine and pysyncobj as it comes (`unmodified/`), over the same network
and with the same judge at the end (`schedules.damage`).
"""

from collections.abc import Callable, Collection
from typing import Protocol

from warren.store.raft.compaction import Limits
from warren.store.raft.members import Change, Step
from warren.store.raft.raft_state import Follower, Leader
from warren.testing.raft_simulation_network import Network
from warren.testing.raft_simulation_world import Killed, Plan, World

from tests.simulation.raft import levers


class Cluster(Protocol):
    """Members n1, n2 and so on."""

    ids: list[str]
    now: float
    network: Network

    @property
    def acknowledged(self) -> Collection[str]:
        """Operations that clients were told are done."""

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, or less if `until` comes true; answers whether it did."""

    def start(self, node_id: str) -> None:
        """Start a process, if it does not run."""

    def crash(self, node_id: str, *, silently: bool = False) -> None:
        """End a process; `silently`: its host does not tell the peers."""

    def wipe(self, node_id: str) -> None:
        """Empty the disk of a process that does not run."""

    def runs(self, node_id: str) -> bool:
        """Whether the process is there."""

    def write(self, node_id: str, operation: str, *, size: int = 0) -> None:
        """A client writes through a member."""

    def add_member(self, node_id: str) -> None:
        """An operator asks n1 for one more member, whose host may not be there."""

    def member_ids(self) -> frozenset[str]:
        """As the leader has it."""

    def leader(self) -> str | None:
        """Who leads the newest term."""

    def leads(self, node_id: str) -> bool:
        """Whether a member takes itself for the leader."""

    def elect(self, node_id: str) -> None:
        """Let a member ask for votes now."""

    def term(self, node_id: str) -> int:
        """Of a member."""

    def bounds(self, node_id: str) -> tuple[int, int]:
        """First and last entry of a member's log; (0, 0): it holds not even a beginning."""

    def committed(self, node_id: str) -> int:
        """As far as a member knows."""

    def applied(self, node_id: str) -> int:
        """Index of the last entry that a member applied."""

    def operations(self, node_id: str) -> list[str]:
        """What a member applied, in order."""

    def receives_snapshot(self, node_id: str) -> bool:
        """Whether a member has a part of a snapshot."""

    def kill_when_snapshot_is_named(self, *node_ids: str) -> set[str]:
        """Kill each of these once, when its next snapshot has its name; answers who died so far."""

    def kill_while_compacting(self, node_id: str) -> set[str]:
        """Kill it in the middle of its next compaction; answers who died so far."""


class Ours(World):
    """Our engine."""

    def __init__(
        self,
        seed: int = 1,
        *,
        members: int = 3,
        snapshot_entries: int = 10_000,
        snapshot_seconds: tuple[float, float] = (0.001, 0.2),
    ) -> None:
        limits = Limits(snapshot_entries=snapshot_entries, tail_entries=0)
        super().__init__(
            Plan(seed=seed, members=members, limits=limits, snapshot_seconds=snapshot_seconds)
        )
        self.retries = False
        levers.lead(self, "n1")

    @property
    def acknowledged(self) -> Collection[str]:
        return self.checks.acknowledged

    def wipe(self, node_id: str) -> None:
        self.disk(node_id).wipe()

    def runs(self, node_id: str) -> bool:
        return node_id in self.processes

    def add_member(self, node_id: str) -> None:
        process = self.processes["n1"]
        wish = Change(step=Step.ADD, node_id=node_id, address=f"{node_id}:1")
        until = self.now + 2.0
        self._submit(
            process,
            lambda now: process.node.change(wish, now, until, lambda _answer: None),
            lambda _answer: None,
        )

    def leads(self, node_id: str) -> bool:
        return isinstance(self.processes[node_id].node.raft.role, Leader)

    def elect(self, node_id: str) -> None:
        levers.elect(self, node_id)

    def term(self, node_id: str) -> int:
        return self.processes[node_id].node.raft.term

    def bounds(self, node_id: str) -> tuple[int, int]:
        log = self.processes[node_id].node.log
        return log.base_index, log.last_index

    def committed(self, node_id: str) -> int:
        return self.processes[node_id].node.raft.commit

    def applied(self, node_id: str) -> int:
        return self.processes[node_id].node.applied

    def operations(self, node_id: str) -> list[str]:
        return self.processes[node_id].history.operations

    def receives_snapshot(self, node_id: str) -> bool:
        role = self.processes[node_id].node.raft.role
        return isinstance(role, Follower) and role.incoming is not None

    def kill_when_snapshot_is_named(self, *node_ids: str) -> set[str]:
        return self._kill_at("renamed snapshot", node_ids)

    def kill_while_compacting(self, node_id: str) -> set[str]:
        return self._kill_at("remove journal", [node_id])

    def _kill_at(self, step: str, node_ids: Collection[str]) -> set[str]:
        died: set[str] = set()
        self.power_share = 0.0
        for node_id in node_ids:

            def fail(where: str, node_id: str = node_id) -> None:
                if where == step and node_id not in died:
                    died.add(node_id)
                    raise Killed(step)

            self.disk(node_id).failpoint = fail
        return died
