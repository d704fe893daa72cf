"""What directed scenarios do with a simulated cluster."""

from warren.store.idempotency import proposal
from warren.store.raft.compaction import Limits
from warren.store.raft.raft_state import Leader
from warren.testing.raft_simulation_world import Plan, Process, World


def a_world(seed: int = 1, *, members: int = 3, limits: Limits | None = None) -> World:
    """A cluster with n1 as its leader, and little chance in its network."""
    limits = limits or Limits(snapshot_entries=10_000)
    world = World(Plan(seed=seed, members=members, limits=limits))
    world.retries = False
    lead(world, "n1")
    return world


def lead(world: World, node_id: str) -> None:
    """Make a member the leader."""
    for _ in range(20):
        node = world.processes[node_id].node
        if world.leader() == node_id and node.leads:
            return
        if not isinstance(node.raft.role, Leader):
            elect(world, node_id)
        world.run(0.3)
    raise AssertionError(f"{node_id} does not come to lead")


def elect(world: World, node_id: str) -> None:
    """Let a member ask for votes now."""
    process = world.processes[node_id]
    world.run_process(process, lambda: process.node.force_election(world.now))
    world.wake(process)


def write(world: World, node_id: str, name: str, count: int = 1, *, size: int = 0) -> list[str]:
    """Write a few operations through a member."""
    names = [f"{name}-{number}" for number in range(count)]
    for operation in names:
        world.write(node_id, operation, size=size)
    return names


def isolate(world: World, node_id: str, *but: str) -> None:
    """Cut a member off from all but a few."""
    for other in world.ids:
        if other != node_id and other not in but:
            world.network.block(node_id, other)


def rejoin(world: World, node_id: str) -> None:
    """Undo `isolate`."""
    for other in world.ids:
        if other != node_id:
            world.network.unblock(node_id, other)


def acknowledged(world: World, operations: list[str]) -> int:
    """How many of them clients were told are done."""
    return sum(operation in world.checks.acknowledged for operation in operations)


def last(process: Process) -> int:
    """The end of a member's log."""
    return process.node.log.last_index


def wait_leader(world: World, *, other_than: str = "", seconds: float = 5.0) -> str:
    """Run until somebody (else) leads."""

    def is_there() -> bool:
        return world.leader() not in (None, other_than)

    assert world.run(seconds, is_there), "nobody leads"
    leader = world.leader()
    assert leader is not None
    return leader


def command(operation: str) -> bytes:
    """As it goes into the log."""
    return proposal(operation.encode(), key=operation)
