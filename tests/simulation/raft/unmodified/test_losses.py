"""S1 to S16 of docs/raft.md: what loses data shows in pysyncobj as it comes, and not in our engine.

One schedule drives both where both can be driven by it. Where the library's own files, messages or
sockets are the point, the test is about the library alone, and names the one that is about ours.
"""

import pickle
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from warren.store.raft import snapshots

from tests.simulation.raft import schedules
from tests.simulation.raft.clusters import Ours
from tests.simulation.raft.unmodified.conftest import Make
from tests.simulation.raft.unmodified.library import Peer
from tests.simulation.raft.unmodified.sockets import Alone

# The library forgets to close the file with its term and vote after reading it.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

SEND_AT_ONCE = {"appendEntriesUseBatch": False}
"""The library's option for those who cannot wait 100 ms for a write."""


def test_s1_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    theirs, ours = unmodified(2, snapshot_entries=20), Ours(2, snapshot_entries=20)

    assert schedules.confirm_by_snapshot(theirs) == 20
    assert schedules.damage(theirs) == {"lost"}

    assert schedules.confirm_by_snapshot(ours) == 0
    assert schedules.damage(ours) == set()


def test_s2_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    theirs, ours = unmodified(appendEntriesBatchSizeBytes=3000, **SEND_AT_ONCE), Ours()

    assert schedules.repeat_appends(theirs) > 0
    assert schedules.damage(theirs) == {"lost"}

    assert schedules.repeat_appends(ours) == 0
    assert schedules.damage(ours) == set()


def test_s3_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    options: dict[str, Any] = {"snapshot_entries": 300, "snapshot_seconds": (0.02, 0.02)}

    assert schedules.send_old_snapshot(unmodified(**options, **SEND_AT_ONCE)) > 0

    ours = Ours(**options)
    assert schedules.send_old_snapshot(ours) == 0
    assert schedules.damage(ours) == set()


def test_s4_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    theirs, ours = unmodified(members=5), Ours(members=5)

    assert schedules.count_stale_answers(theirs) > 0
    assert schedules.damage(theirs) == {"lost", "diverged"}

    assert schedules.count_stale_answers(ours) == 0
    assert schedules.damage(ours) == set()


def test_s5_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    options: dict[str, Any] = {"snapshot_entries": 300, "snapshot_seconds": (0.4, 0.4)}
    theirs, ours = unmodified(**options, **SEND_AT_ONCE), Ours(**options)

    assert schedules.kill_all_at_snapshot(theirs) == 3
    assert schedules.damage(theirs) == {"lost"}

    assert schedules.kill_all_at_snapshot(ours) == 3
    assert schedules.damage(ours) == set()


def test_s6_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    options: dict[str, Any] = {"snapshot_entries": 300, "snapshot_seconds": (0.4, 0.4)}
    theirs, ours = unmodified(5, **options, **SEND_AT_ONCE), Ours(5, **options)

    assert schedules.kill_in_compaction(theirs) > 0
    assert schedules.damage(theirs, down=("n1",)) == {"lost"}

    assert schedules.kill_in_compaction(ours) == 0
    assert schedules.damage(ours, down=("n1",)) == set()


def test_s7_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    options: dict[str, Any] = {"snapshot_entries": 20, "snapshot_seconds": (2.0, 2.0)}

    assert schedules.outlive_parent(unmodified(**options)) > 0

    ours = Ours(**options)
    assert schedules.outlive_parent(ours) == 0
    assert schedules.damage(ours) == set()


def test_s8_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    options: dict[str, Any] = {"snapshot_entries": 50, "snapshot_seconds": (0.05, 0.1)}
    theirs, ours = unmodified(2, **options, **SEND_AT_ONCE), Ours(2, **options)

    assert schedules.outrun_a_slow_follower(theirs) == 1
    theirs.run(1.0)
    assert theirs.errors["IndexError"] > 0

    assert schedules.outrun_a_slow_follower(ours) == 0
    assert schedules.damage(ours) == set()


def test_s9_shows_in_unmodified_pysyncobj(unmodified: Make, tmp_path: Path) -> None:
    """The file with the commit index reached the disk, and the last pages of the journal did not.

    Ours: `test_s9_after_a_power_loss_nothing_is_applied_that_is_not_committed`.
    """
    theirs = unmodified()
    schedules.write(theirs, "n1", "op", 100)
    theirs.run(3.0)
    for node_id in theirs.ids:
        theirs.crash(node_id)
    _cut_journal(tmp_path / "n1.journal", 40)
    theirs.start("n1")
    raft = theirs.processes["n1"].raft
    last, term = theirs.bounds("n1")[1], theirs.term("n1") + 1

    def entry(number: int) -> tuple[bytes, int, int]:
        command = pickle.dumps((raft._methodToID["put_v0"], (f"uncommitted-{number}",)))
        return b"\0" + command, last + 1 + number, term

    raft._SyncObj__onMessageReceived(
        Peer("n2"),
        {
            "type": "append_entries",
            "term": term,
            "commit_index": 1,
            "entries": [entry(number) for number in range(50)],
            "prevLogIdx": last,
            "prevLogTerm": theirs.processes["n1"].log[-1][2],
        },
    )
    theirs.run(0.5)

    assert last == 40
    assert sum(o.startswith("uncommitted") for o in theirs.operations("n1")) == 50


def test_s10_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    theirs, ours = unmodified(), Ours()

    assert schedules.add_two_at_once(theirs) == 10
    assert schedules.damage(theirs) == {"lost", "diverged"}

    assert schedules.add_two_at_once(ours) == 0
    assert schedules.damage(ours) == set()


def test_s11_shows_in_unmodified_pysyncobj(port: int, tmp_path: Path) -> None:
    """A heartbeat on a connection that the peer has replaced cuts committed entries off.

    Ours: `test_a_new_connection_of_a_peer_ends_the_old_one`.
    """
    with Alone(port, tmp_path, peers=[f"127.0.0.1:{port + 1}"]) as member:
        first = member.connect(f"127.0.0.1:{port + 1}")
        first.sendall(_framed(_append(1, 0, range(2, 11))))
        member.run(lambda: member.last_index == 10)
        second = member.connect(f"127.0.0.1:{port + 1}")
        second.sendall(_framed(_append(10, 5, range(11, 21), commit=20)))
        member.run(lambda: member.last_index == 20 and member.raft.raftCommitIndex == 20)

        first.sendall(_framed(_append(5, 5, range(0), commit=5)))
        member.run(lambda: member.last_index == 5)
        first.close()
        second.close()


def test_s12_shows_in_unmodified_pysyncobj_and_not_in_ours(
    unmodified: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small pieces and short periods stand for a snapshot that takes longer than a period."""
    theirs = unmodified(2, snapshot_entries=20, logCompactionBatchSize=8, appendEntriesPeriod=0.002)

    assert schedules.break_transfer(theirs) > 0
    assert theirs.logged.counts["failed to load full dump"] > 0

    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 100)
    ours = Ours(2, snapshot_entries=20)
    assert schedules.break_transfer(ours) > 0
    assert ours.processes["n3"].node.newest_snapshot.index > 0
    assert schedules.damage(ours) == set()


def test_s13_shows_in_unmodified_pysyncobj(port: int, tmp_path: Path) -> None:
    """Somebody who says that he only wants to read becomes the leader of a million terms.

    Ours: `test_s13_a_stranger_is_not_obeyed`, and all of `test_log_strangers.py`.
    """
    with Alone(port, tmp_path) as member:
        stranger = member.connect("readonly")
        stranger.sendall(_framed({**_append(1, 0, range(0)), "term": 1_000_000}))

        member.run(lambda: member.raft.raftCurrentTerm == 1_000_000)
        assert member.raft._getLeader().id == "0"
        stranger.close()


def test_s14_shows_in_unmodified_pysyncobj(unmodified: Make) -> None:
    """What a process that died had asked for is reported to the next one as its own.

    Ours: `test_s14_an_answer_for_a_dead_process_answers_nobody`.
    """
    theirs = unmodified()
    schedules.isolate(theirs, "n3")
    schedules.write(theirs, "n1", "op", 5)
    theirs.run(0.3)
    theirs.network.unblock("n1", "n3")
    theirs.elect("n3")  # it lacks entries and cannot win; n1 takes the new term, and leads no more
    assert theirs.run(1.0, lambda: not theirs.leads("n1"))
    theirs.write("n2", "of the dead")
    theirs.run(0.01)
    theirs.crash("n2")
    theirs.start("n2")
    theirs.network.connect("n1", "n2")
    theirs.elect("n1")
    new = theirs.processes["n2"].raft
    assert theirs.run(1.0, lambda: new._getLeader() is not None)
    theirs.write("n2", "of the living")
    theirs.run(0.5)

    place = theirs.operations("n1").index("of the dead")
    outcome_of_another = theirs.results["of the living"][0]
    assert "of the living" in theirs.acknowledged
    assert outcome_of_another == _index(theirs, place)


def test_s15_shows_in_unmodified_pysyncobj(unmodified: Make) -> None:
    """A member that lacks a command set skips the switch to it, and counts one entry too few.

    Ours: `test_s15_a_member_that_is_too_old_for_a_command_stops_before_it`.
    """
    theirs = unmodified(newer=("n1", "n2"))
    theirs.processes["n1"].raft.setCodeVersion(1)
    schedules.write(theirs, "n1", "op", 5)
    theirs.run(1.0)

    history = theirs.operations("n3")
    assert len(history) > len(set(history))
    assert theirs.operations("n2") == [f"op-{number}" for number in range(5)]


def test_s16_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    theirs, ours = unmodified(), Ours()

    assert schedules.return_wiped(theirs)
    assert "lost" in schedules.damage(theirs)

    assert not schedules.return_wiped(ours)
    assert ours.stopped.keys() == {"n3"}
    assert schedules.damage(ours) == set()


def _index(theirs: Any, place: int) -> int:
    """The entry of the operation at a place of n1's history, which no snapshot has shortened."""
    log = theirs.processes["n1"].log
    commands = [e[1] for e in log if e[0][:1] == b"\0"]
    return int(commands[place])


def _cut_journal(file: Path, count: int) -> None:
    """Leave the first entries: as many records, and the head that says where they end."""
    data = bytearray(file.read_bytes())
    end = 40
    for _ in range(count):
        end += struct.unpack_from("<I", data, end)[0] + 8
    struct.pack_into("<I", data, 36, end)
    file.write_bytes(bytes(data))


def _append(previous: int, term: int, indices: range, *, commit: int = 1) -> dict[str, Any]:
    """A leader's message in term 5."""
    put = [(b"\0" + pickle.dumps((0, (str(i), ""))), i, 5) for i in indices]
    return {
        "type": "append_entries",
        "term": 5,
        "commit_index": commit,
        "entries": put,
        "prevLogIdx": previous,
        "prevLogTerm": term,
    }


def _framed(message: Any) -> bytes:
    data = zlib.compress(pickle.dumps(message))
    return struct.pack("i", len(data)) + data
