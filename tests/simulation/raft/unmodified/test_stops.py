"""L1 to L10 of docs/raft.md: what stops a cluster shows in pysyncobj as it comes, not in ours."""

import os
import select
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from pysyncobj import SERIALIZER_STATE
from pysyncobj.serializer import Serializer

from tests.simulation.raft import schedules
from tests.simulation.raft.clusters import Ours
from tests.simulation.raft.unmodified.cluster import POISON
from tests.simulation.raft.unmodified.conftest import Make
from tests.simulation.raft.unmodified.sockets import Alone

# The library forgets to close the file with its term and vote after reading it.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.mark.parametrize("seed", range(5))
def test_l1_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make, seed: int) -> None:
    """The first one who asks for votes finds that asking closes the connections."""
    assert schedules.lose_leader_after_quiet(unmodified(seed)) >= 2
    assert schedules.lose_leader_after_quiet(Ours(seed)) == 1


def test_l2_shows_in_unmodified_pysyncobj(unmodified: Make) -> None:
    """Nothing is done after a command that raises, not even after a restart of everybody.

    Ours: `test_l2_a_command_that_raises_is_answered_and_stops_nobody`.
    """
    theirs = unmodified()
    theirs.write("n1", POISON)
    theirs.run(30.0)
    for node_id in theirs.ids:
        theirs.crash(node_id)

    assert schedules.damage(theirs) == {"stopped"}
    assert theirs.errors["ValueError"] > 1000


def test_l3_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    """One entry back per round, ten rounds a second."""
    assert schedules.replace_long_tail(unmodified()) > 25.0
    assert schedules.replace_long_tail(Ours()) < 1.0


def test_l4_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    options: dict[str, Any] = {"snapshot_entries": 20, "snapshot_seconds": (4.0, 4.0)}

    assert schedules.lag_while_snapshot_is_written(unmodified(**options)) > 10_000
    assert schedules.lag_while_snapshot_is_written(Ours(**options)) < 200


def test_l5_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    assert schedules.return_often(unmodified()) >= 5
    assert schedules.return_often(Ours()) == 0


def test_l6_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    assert schedules.cut_leader_off(unmodified()) > 29.0
    assert schedules.cut_leader_off(Ours()) < 0.6


def test_l7_shows_in_unmodified_pysyncobj(tmp_path: Path) -> None:
    """A forked writer waits for ever for a lock that a thread of its parent held at the fork.

    Ours: `test_l7_writes_go_on_while_a_snapshot_is_written`; there is no fork.
    """
    lock = threading.Lock()

    class Locked:
        def __reduce__(self) -> tuple[type[str], tuple[str]]:
            with lock:
                return str, ("state",)

    serializer = Serializer(str(tmp_path / "dump"), 1 << 16, True, None, None, None)
    with lock:
        serializer.serialize(Locked(), 1)
    child = serializer._Serializer__pid
    end = os.pidfd_open(child)
    try:
        has_ended, _, _ = select.select([end], [], [], 1.0)

        assert not has_ended
        assert serializer.checkSerializing() == (SERIALIZER_STATE.SERIALIZING, 1)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(end)


def test_l8_shows_in_unmodified_pysyncobj(unmodified: Make) -> None:
    """A command on a connection that breaks is answered by nobody, ever.

    Ours: `test_l8_every_request_is_answered_once_by_its_deadline`.
    """
    theirs = unmodified()
    theirs.run(0.5)
    theirs.write("n2", "lost on the way")
    theirs.run(0.00015)
    theirs.network.break_pair("n1", "n2")
    theirs.run(0.2)

    assert schedules.damage(theirs) == set()
    assert theirs.run(120.0) is False
    assert "lost on the way" not in theirs.results
    assert "lost on the way" not in theirs.operations("n1")


def test_l9_shows_in_unmodified_pysyncobj(port: int, tmp_path: Path) -> None:
    """Too many open files, once, and nobody can connect any more.

    Ours: `test_listening_survives_that_nothing_can_be_accepted`.
    """
    with Alone(port, tmp_path) as member:
        server = member.server
        listening = server._TcpServer__socket

        class Full:
            def accept(self) -> None:
                raise OSError(24, "Too many open files")

            def close(self) -> None:
                listening.close()

        member.run(lambda: bool(member.raft._isLeader()))
        server._TcpServer__socket = Full()
        first = socket.create_connection(("127.0.0.1", port))
        member.run(lambda: server._TcpServer__fileno is None)
        first.close()

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))


def test_l10_shows_in_unmodified_pysyncobj_and_not_in_ours(unmodified: Make) -> None:
    assert schedules.add_absent_member(unmodified(members=1)) == 0
    assert schedules.add_absent_member(Ours(members=1)) == 3
