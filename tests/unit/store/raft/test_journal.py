"""The journal: what it promises after a crash, and what it refuses to go on from."""

import random

import pytest
from warren.model.errors import FailedPrecondition
from warren.store.raft import journal
from warren.store.raft.entries import Entry, Kind
from warren.store.raft.journal import Content, Identity, Journal, open_journal
from warren.store.raft.trust import Witness
from warren.testing.raft_simulation_disk import SimulatedDisk

ME = Identity(cluster_id="c1", node_id="n1")


def test_what_was_synced_survives_a_power_loss() -> None:
    for seed in range(200):
        disk = SimulatedDisk()
        written, _ = _open(disk)
        written.save_state(3, "n2")
        written.append(_entries(1, 10))
        written.sync()
        written.append(_entries(11, 14))
        _write_without_sync(written)

        disk.lose_power(random.Random(seed))
        _, content = _open(disk)

        assert (content.term, content.vote) == (3, "n2")
        assert content.entries[:10] == list(_entries(1, 10))
        assert content.entries == list(_entries(1, 14))[: len(content.entries)]


def test_a_log_continues_after_a_torn_end() -> None:
    for seed in range(200):
        disk = SimulatedDisk()
        written, _ = _open(disk)
        written.append(_entries(1, 3))
        written.sync()
        written.append(_entries(4, 9))
        _write_without_sync(written)
        disk.lose_power(random.Random(seed))
        again, content = _open(disk)
        again.append(_entries(content.last_index + 1, 20))
        again.sync()

        disk.lose_power(random.Random(seed))
        _, content = _open(disk)

        assert content.entries == list(_entries(1, 20))


def test_what_was_read_at_the_start_stays_even_if_it_was_never_synced_before() -> None:
    disk = SimulatedDisk()
    killed, _ = _open(disk)
    killed.append(_entries(1, 9))
    _write_without_sync(killed)
    _, promised = _open(disk)
    assert promised.last_index == 9

    disk.lose_power(random.Random(1))
    _, content = _open(disk)

    assert content.last_index == 9


def test_damage_where_it_was_synced_is_refused_and_left_as_it_is() -> None:
    disk = SimulatedDisk()
    written, _ = _open(disk)
    for first in range(1, 30, 3):
        written.append(_entries(first, first + 2))
        written.sync()
    disk.damage("journal-00000001", 300)
    before = disk.read("journal-00000001")

    with pytest.raises(FailedPrecondition, match=r"damaged at byte \d+, before what was synced"):
        _open(disk)

    assert disk.read("journal-00000001") == before


def test_damage_in_an_older_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FILE_BYTES", 500)
    disk = SimulatedDisk()
    written, _ = _open(disk)
    for first in range(1, 90, 3):
        written.append(_entries(first, first + 2))
        written.sync()
    disk.damage("journal-00000002", 300)

    with pytest.raises(FailedPrecondition, match="journal-00000002 is damaged at byte"):
        _open(disk)


def test_a_missing_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FILE_BYTES", 500)
    disk = SimulatedDisk()
    written, _ = _open(disk)
    for first in range(1, 90, 3):
        written.append(_entries(first, first + 2))
        written.sync()
    disk.remove("journal-00000002")

    with pytest.raises(FailedPrecondition, match="journal-00000002 is missing"):
        _open(disk)


def test_another_clusters_files_are_refused() -> None:
    disk = SimulatedDisk()
    _open(disk)

    with pytest.raises(FailedPrecondition, match="this is another cluster's data directory"):
        open_journal(disk, Identity(cluster_id="c2", node_id="n1"), "d2")


def test_another_nodes_files_are_refused() -> None:
    disk = SimulatedDisk()
    _open(disk)

    with pytest.raises(FailedPrecondition, match="belongs to node n1, and this is n2"):
        open_journal(disk, Identity(cluster_id="c1", node_id="n2"), "d2")


def test_the_disk_keeps_its_first_name() -> None:
    disk = SimulatedDisk()
    open_journal(disk, ME, "first")

    _, content = open_journal(disk, ME, "second")

    assert content.disk_id == "first"


def test_truncation_and_restart_are_remembered() -> None:
    disk = SimulatedDisk()
    written, _ = _open(disk)
    written.append(_entries(1, 9))
    written.truncate(5, 1)
    written.append((Entry(5, 2, Kind.COMMAND, b"other"),))
    written.sync()
    _, content = _open(disk)
    assert content.entries == [*_entries(1, 4), Entry(5, 2, Kind.COMMAND, b"other")]

    again, _ = _open(disk)
    again.restart(100, 7)
    again.append((Entry(101, 7, Kind.COMMAND, b"x"),))
    again.sync()
    _, content = _open(disk)

    assert (content.base_index, content.base_term) == (100, 7)
    assert content.entries == [Entry(101, 7, Kind.COMMAND, b"x")]


def test_truncation_to_before_the_oldest_file_that_is_left_is_understood() -> None:
    disk = SimulatedDisk()
    written, _ = _open(disk)
    written.append([Entry(n, 1, Kind.COMMAND, b"x" * 200) for n in range(1, 41)])
    written.roll()
    written.truncate(31, 1)
    written.append([Entry(n, 2, Kind.COMMAND, b"y") for n in range(31, 60)])
    written.sync()
    written.compact(50)

    _, content = _open(disk)

    assert disk.names() == ("journal-00000002",)
    assert (content.base_index, content.base_term) == (30, 1)
    assert [entry.index for entry in content.entries] == list(range(31, 60))


def test_witnesses_move_on_to_the_next_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FILE_BYTES", 300)
    disk = SimulatedDisk()
    written, _ = _open(disk)
    witness = Witness(node_id="n2", disk_id="d2", term=4, index=20)
    written.witness(witness)
    for first in range(1, 60, 3):
        written.append(_entries(first, first + 2))
        written.sync()
    written.compact(50)
    assert "journal-00000001" not in disk.names()

    _, content = _open(disk)

    assert content.witnesses == {"n2": witness}
    assert content.last_index == 60


def _open(disk: SimulatedDisk) -> tuple[Journal, Content]:
    return open_journal(disk, ME, "d1")


def _entries(first: int, last: int) -> tuple[Entry, ...]:
    return tuple(Entry(n, 1, Kind.COMMAND, f"command {n}".encode()) for n in range(first, last + 1))


def _write_without_sync(written: Journal) -> None:
    """As a process that is killed between its write and its sync."""
    file = written._file
    assert file is not None
    file.write(journal._framed(tuple(written._pending), written._size))
