"""A log read without touching it, and begun anew from a state or from one survivor's log."""

import random
from dataclasses import replace

import pytest
from warren.model.errors import FailedPrecondition
from warren.store.raft import inspection, members, renewal
from warren.store.raft.entries import Entry, Kind
from warren.store.raft.inspection import LogFiles
from warren.store.raft.journal import Identity, open_journal
from warren.store.raft.members import Configuration, Member
from warren.store.raft.snapshot_files import Meta, SnapshotFiles
from warren.store.raft.trust import Witness
from warren.testing.raft_simulation_disk import SimulatedDisk

ME = Identity(cluster_id="c1", node_id="n1")
THREE = Configuration(
    members=tuple(Member(node_id=f"n{n}", address=f"10.86.0.{n}:1", voter=True) for n in (1, 2, 3)),
    removed=("n0",),
)
ALONE = Configuration(
    members=(Member(node_id="n1", address="10.86.0.1:1", voter=True),), removed=("n0", "n3")
)


def an_entry(index: int, term: int = 2) -> Entry:
    return Entry(index, term, Kind.COMMAND, b"command %d" % index)


def a_disk(last: int = 20, *, snapshot: int = 0, witness: int = 0) -> SimulatedDisk:
    """The log of n1, one of three, with entries of term 2 up to `last`."""
    disk = SimulatedDisk()
    if snapshot:
        files = SnapshotFiles(disk, ME.cluster_id)
        files.publish(files.write(Meta(index=snapshot, term=2, configuration=THREE), [b"state"]))
    journal, _ = open_journal(disk, ME, "disk")
    journal.save_state(2, "n1")
    first = Entry(1, 1, Kind.MEMBERS, members.to_bytes(THREE))
    journal.append((first, *(an_entry(index) for index in range(2, last + 1))))
    if witness:
        journal.witness(Witness(node_id="n2", disk_id="d2", term=2, index=witness))
    journal.sync()
    journal.close()
    return disk


def read(disk: SimulatedDisk, identity: Identity = ME) -> LogFiles:
    found = inspection.read(disk, identity)
    assert found is not None
    return found


def content(disk: SimulatedDisk) -> dict[str, bytes]:
    return {name: disk.read(name) for name in disk.names()}


def continued(source: SimulatedDisk) -> SimulatedDisk:
    target = SimulatedDisk()
    renewal.continue_alone(
        source, read(source), target, ME, "10.86.0.1:1", removed=("n3",), new_disk_id="new"
    )
    return target


def test_a_log_is_read_as_it_stands() -> None:
    found = read(a_disk(20, snapshot=12, witness=15))

    assert (found.term, found.last_index, found.last_term) == (2, 20, 2)
    assert (found.committed_index, found.snapshot.index) == (15, 12)
    assert found.configuration == THREE
    assert found.rank == (2, 20)


def test_a_disk_without_a_log_has_none() -> None:
    assert inspection.read(SimulatedDisk(), ME) is None


def test_reading_changes_nothing_not_even_a_torn_end() -> None:
    disk = a_disk()
    disk.extend("journal-00000001").write(b"torn")
    before = content(disk)

    found = read(disk)

    assert found.last_index == 20
    assert content(disk) == before


def test_damage_is_refused_as_a_starting_member_would() -> None:
    disk = a_disk()
    damaged = bytearray(disk.read("journal-00000001"))
    damaged[3] ^= 1
    disk.create("journal-00000001").write(bytes(damaged))

    with pytest.raises(FailedPrecondition, match="the head of journal-00000001 is damaged"):
        read(disk)


def test_another_clusters_log_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match="belongs to cluster c1, and this node to c2"):
        read(a_disk(), replace(ME, cluster_id="c2"))


def test_more_terms_rank_above_more_entries() -> None:
    longer = replace(read(a_disk(30)), last_term=2)
    newer = replace(read(a_disk(10)), last_term=3)

    assert newer.rank > longer.rank


def test_a_survivor_goes_on_alone_with_everything_it_had() -> None:
    source = a_disk(20, snapshot=12)
    before = content(source)

    found = read(continued(source))

    assert found.entries[:-1] == read(source).entries
    assert found.entries[-1] == Entry(21, 3, Kind.MEMBERS, members.to_bytes(ALONE))
    assert (found.term, found.last_index, found.snapshot.index) == (3, 21, 12)
    assert found.configuration == ALONE
    assert content(source) == before


def test_a_survivor_whose_log_is_a_snapshot_goes_on_alone() -> None:
    source = SimulatedDisk()
    files = SnapshotFiles(source, ME.cluster_id)
    files.publish(files.write(Meta(index=12, term=2, configuration=THREE), [b"state"]))
    journal, _ = open_journal(source, ME, "disk")
    journal.save_state(4, None)
    journal.restart(12, 2)
    journal.sync()

    found = read(continued(source))

    assert (found.base_index, found.last_index, found.term) == (12, 13, 5)
    assert found.configuration == ALONE


def test_a_power_loss_after_it_loses_nothing() -> None:
    for seed in range(50):
        target = continued(a_disk(20, snapshot=12))

        target.lose_power(random.Random(seed))

        assert read(target).last_index == 21


def test_a_state_becomes_the_log_of_one_member() -> None:
    disk = SimulatedDisk()

    renewal.found_from_state(
        disk, ME, "10.86.0.1:1", [b"a", b"b"], removed=("n0", "n1", "n3"), new_disk_id="new"
    )

    found = read(disk)
    assert (found.term, found.last_index, found.last_term, found.snapshot.index) == (1, 1, 1, 1)
    assert found.configuration == ALONE
    assert SnapshotFiles(disk, "c1").open() == b"ab"
