"""Managers of two versions of the command set in one cluster, as while it is upgraded.

The simulation checks after every turn that equal places in the log make equal states.
"""

import pytest
from warren.store.idempotency import Remembering, proposal
from warren.store.raft.compaction import Limits
from warren.testing.raft_simulation_world import History, World

from tests.simulation.raft import levers

SOON = Limits(snapshot_entries=15, tail_entries=0)


def upgrade(world: World, node_id: str, version: int = 2) -> None:
    """Restart a member with another version of Warren."""
    world.crash(node_id)
    world.versions[node_id] = version
    world.start(node_id)


def work(world: World, name: str) -> None:
    """Clients of both versions write through whoever leads."""
    for number in range(20):
        leader = world.leader()
        if leader is not None:
            world.write(leader, f"old-{name}-{number}")
            world.write(leader, f"new-{name}-{number}", version=2)
        world.run(0.05)


def acknowledged(world: World, start: str) -> int:
    return sum(operation.startswith(start) for operation in world.checks.acknowledged)


@pytest.mark.parametrize("order", [("n1", "n2", "n3"), ("n3", "n2", "n1"), ("n2", "n1", "n3")])
@pytest.mark.parametrize("seed", range(5))
def test_new_commands_wait_for_the_last_member_and_old_ones_go_on(
    order: tuple[str, ...], seed: int
) -> None:
    """Leader old, leader new, a change of leader in the middle, and snapshots from both."""
    world = levers.a_world(seed, limits=SOON)
    for node_id in order:
        assert acknowledged(world, "new") == 0
        levers.isolate(world, node_id)  # so that it needs a snapshot when it returns
        levers.wait_leader(world, other_than=node_id)
        work(world, f"without-{node_id}")
        levers.rejoin(world, node_id)
        upgrade(world, node_id)
        work(world, f"with-{node_id}")
        levers.lead(world, order[seed % 3])
        work(world, f"after-{node_id}")

    assert world.counts["too new"] > 0
    work(world, "end")
    world.run(1.0)
    assert acknowledged(world, "new-end") == 20
    assert acknowledged(world, "old-end") == 20
    world.settle()


def test_a_member_that_went_back_is_waited_for_again() -> None:
    world = levers.a_world()
    for node_id in world.ids:
        upgrade(world, node_id)
    levers.lead(world, "n1")
    upgrade(world, "n3", version=1)
    world.run(1.0)

    world.write("n1", "new", version=2)

    assert world.counts["too new"] == 1
    world.settle()


def test_s15_a_member_that_is_too_old_for_a_command_stops_before_it() -> None:
    world = levers.a_world()
    for node_id in world.ids:
        upgrade(world, node_id)
    levers.lead(world, "n1")
    world.run(1.0)
    levers.write(world, "n1", "op", 5)
    world.run(0.5)
    world.crash("n3")
    world.write("n1", "new", version=2)
    levers.write(world, "n1", "more", 5)
    world.run(0.5)
    upgrade(world, "n3", version=1)
    world.run(1.0)

    reason = "the log holds a command of version 2 and this manager knows 1: upgrade it"
    assert world.stopped == {"n3": reason}
    world.stopped.clear()
    world.versions["n3"] = 2
    world.settle()
    assert world.processes["n3"].history.operations[:11] == [
        *(f"op-{number}" for number in range(5)),
        "new",
        *(f"more-{number}" for number in range(5)),
    ]


def test_a_member_that_is_too_old_for_a_snapshot_stops_and_goes_on_when_it_is_upgraded() -> None:
    world = levers.a_world(limits=SOON)
    for node_id in world.ids:
        upgrade(world, node_id)
    levers.lead(world, "n1")
    world.run(1.0)
    world.crash("n3")
    world.write("n1", "new", version=2)
    work(world, "meanwhile")
    assert world.processes["n1"].node.log.base_index > 10
    upgrade(world, "n3", version=1)
    world.run(2.0)

    reason = (
        "the snapshot holds the effect of commands of version 2 and this manager knows 1: "
        "upgrade it"
    )
    assert world.stopped == {"n3": reason}
    world.stopped.clear()
    world.start("n3")
    assert world.stopped == {"n3": reason}
    world.stopped.clear()
    world.versions["n3"] = 2
    world.settle()


def test_until_a_new_command_is_in_the_log_both_versions_write_the_same_snapshot() -> None:
    old, new = (Remembering(History(lambda *_: None), version) for version in (1, 2))
    for machine in (old, new):
        machine.apply(proposal(b"one", "key", 1))

    assert b"".join(new.snapshot()) == b"".join(old.snapshot())
    old.restore(b"".join(new.snapshot()))
    new.apply(proposal(b"two", "", 2))
    newer = b"".join(new.snapshot())
    with pytest.raises(Exception, match="upgrade it"):
        old.restore(newer)
