"""Snapshots: what a follower takes from the pieces that it is sent, and what a file must be."""

import pytest
from warren.model.errors import FailedPrecondition
from warren.store.raft import snapshots
from warren.store.raft.compaction import Limits
from warren.store.raft.members import Configuration, Member
from warren.store.raft.messages import SnapshotAnswer, SnapshotChunk
from warren.store.raft.raft_state import (
    Decision,
    Follower,
    Incoming,
    Install,
    KeepChunk,
    Raft,
    Send,
    Timing,
)
from warren.store.raft.snapshot_files import Meta, SnapshotFiles
from warren.testing.raft_simulation_disk import SimulatedDisk
from warren.testing.raft_simulation_world import World

from tests.simulation.raft import levers

META = Meta(
    index=7, term=2, configuration=Configuration(members=(Member(node_id="n1", address="n1:1"),))
)


def test_pieces_of_one_file_follow_each_other() -> None:
    first = _receive(_follower(), _chunk(offset=0))
    second = _receive(first.raft, _chunk(offset=4))

    assert first.effects == (KeepChunk(offset=0, data=b"abcd", first=True), _held(4))
    assert second.effects == (
        KeepChunk(offset=4, data=b"abcd", first=False),
        Install(sender="n1", index=7, term=2, round=3),
    )


def test_a_piece_that_is_not_the_next_one_is_asked_for_again() -> None:
    first = _receive(_follower(), _chunk(offset=0))

    assert _receive(first.raft, _chunk(offset=0)).effects == (_held(4),)
    assert _receive(_follower(), _chunk(offset=4)).effects == (_held(0),)


@pytest.mark.parametrize(
    "other", [{"leader": "n3"}, {"term": 4}, {"index": 6}, {"size": 9}], ids=lambda o: next(iter(o))
)
def test_a_piece_of_another_file_does_not_continue_this_one(other: dict[str, int | str]) -> None:
    mine = {"leader": "n1", "term": 5, "index": 7, "size": 8, "offset": 4, **other}
    raft = _follower(Incoming(**mine))  # type: ignore[arg-type]

    assert _receive(raft, _chunk(offset=4)).effects == (_held(0),)


def test_a_file_that_was_changed_on_the_way_is_not_installed() -> None:
    world, file = _world_and_snapshot()
    node = world.processes["n3"].node
    damaged = file[:40] + b"?" + file[41:]

    _send_file(world, "n3", damaged)

    assert (node.newest_snapshot.index, node.applied) == (0, 0)
    assert node.raft.commit == 0


def test_what_follows_an_installed_snapshot_stays_in_the_log() -> None:
    world, file = _world_and_snapshot()
    node = world.processes["n3"].node
    last = node.log.last_index

    _send_file(world, "n3", file)

    assert node.applied == world.processes["n1"].node.newest_snapshot.index < last
    assert node.log.last_index == last


def test_a_written_snapshot_is_read_again_and_one_before_it_is_kept() -> None:
    disk = SimulatedDisk()
    files = SnapshotFiles(disk, "c1")
    files.open()
    for index in (3, 5, 7):
        meta = Meta(index=index, term=2, configuration=META.configuration)
        files.publish(files.write(meta, iter([b"state ", b"%d" % index])))

    again = SnapshotFiles(disk, "c1")
    state = again.open()

    assert state == b"state 7"
    assert (again.newest.index, again.newest.term) == (7, 2)
    assert again.newest.configuration == META.configuration
    assert len(disk.names()) == 2


def test_a_truncated_snapshot_is_refused_and_the_one_before_it_named() -> None:
    disk = SimulatedDisk()
    files = SnapshotFiles(disk, "c1")
    files.open()
    for index in (3, 7):
        meta = Meta(index=index, term=2, configuration=META.configuration)
        files.publish(files.write(meta, iter([b"state"])))
    newest = disk.names()[-1]
    disk.truncate(newest, disk.size(newest) - 5)

    with pytest.raises(FailedPrecondition, match=f"{newest} is damaged, and this manager must not"):
        SnapshotFiles(disk, "c1").open()


def test_another_clusters_snapshot_is_refused() -> None:
    disk = SimulatedDisk()
    files = SnapshotFiles(disk, "c1")
    files.open()
    files.publish(files.write(META, iter([b"state"])))

    with pytest.raises(FailedPrecondition, match="another cluster's data directory"):
        SnapshotFiles(disk, "c2").open()


def _follower(incoming: Incoming | None = None) -> Raft:
    role = Follower(leader=incoming.leader if incoming else "n1", incoming=incoming)
    if incoming is not None and incoming.leader != "n1":
        role = Follower(leader="n1", incoming=incoming)
    return Raft(me="n2", timing=Timing(), term=5, role=role)


def _chunk(*, offset: int) -> SnapshotChunk:
    return SnapshotChunk(term=5, index=7, last_term=2, size=8, offset=offset, data=b"abcd", round=3)


def _receive(raft: Raft, chunk: SnapshotChunk) -> Decision:
    return snapshots.receive_chunk(raft, "n1", chunk, 10.0, 0.5)


def _held(offset: int) -> Send:
    return Send(to="n1", message=SnapshotAnswer(term=5, index=7, offset=offset, round=3))


def _world_and_snapshot() -> tuple[World, bytes]:
    """n3 has the log and has not heard what is committed; n1 has a snapshot, in full."""
    world = levers.a_world(limits=Limits(snapshot_entries=20, tail_entries=0))
    levers.write(world, "n1", "op", 15)
    world.run(0.5)
    levers.write(world, "n1", "more", 25)
    world.run(0.002)
    world.run(1.0, lambda: world.processes["n3"].node.applied >= 40)
    levers.write(world, "n1", "tail", 5)
    world.run(1.0, lambda: world.processes["n3"].node.durable >= 46)
    world.crash("n3")
    world.run(1.0)
    for other in ("n1", "n2"):
        world.network.block("n3", other)
    disk = world.disk("n3")
    for name in disk.names():
        if name.startswith("snapshot"):
            disk.remove(name)
    world.start("n3")
    node = world.processes["n1"].node
    assert node.newest_snapshot.index
    return world, node._files.chunk(0, node.newest_snapshot.size_bytes)


def _send_file(world: World, to: str, file: bytes) -> None:
    leader = world.processes["n1"].node
    chunk = SnapshotChunk(
        term=leader.raft.term,
        index=leader.newest_snapshot.index,
        last_term=leader.newest_snapshot.term,
        size=len(file),
        offset=0,
        data=file,
        round=0,
    )
    node = world.processes[to].node
    node.meet(leader.hello())
    node.receive("n1", chunk, world.now)
