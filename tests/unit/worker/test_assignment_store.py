"""The assignment on disk: changes are cheap, crashes harmless, and damage is found."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from warren.core.assignment import apply_delta, sharing
from warren.model.assignments import Assignment, AssignmentDelta, Endpoint, Peer, ServiceTraffic
from warren.model.services import Port
from warren.state import maps
from warren.worker.assignment_store import AssignmentStore

from tests.unit.worker.worker_kit import a_task, an_assignment, stopped

PEER = Peer(
    node_id="node-2",
    name="w2",
    public_key="key",
    endpoint="10.77.0.22:51820",
    address="10.86.0.5",
    subnet="10.88.2.0/24",
)


def traffic(name: str, address: str = "10.88.1.2") -> ServiceTraffic:
    endpoint = Endpoint(address=address, task_id=f"{name}-1", node_id="node-1", slot=1)
    return ServiceTraffic(name=name, ports=(Port(target=80),), endpoints=(endpoint,))


def assigned(services: int = 3) -> Assignment:
    known = {name: traffic(name) for name in (f"s{number}" for number in range(services))}
    whole = replace(
        an_assignment(a_task(1), a_task(2), managers=("10.77.0.11:7443",)),
        peers=(PEER,),
        services=known,
    )
    return sharing(None, whole)


def loaded(path: Path) -> Assignment | None:
    store = AssignmentStore(path)
    assignment = store.load()
    store.close()
    return assignment


def saved(path: Path, *assignments: Assignment) -> None:
    store = AssignmentStore(path)
    for assignment in assignments:
        store.save(assignment)
    store.close()


def test_an_assignment_is_kept_for_root_alone(tmp_path: Path) -> None:
    path = tmp_path / "worker/assignment.db"
    store = AssignmentStore(path)

    store.save(assigned(maps.LARGE + 5))
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "worker").iterdir()}
    store.close()

    assert loaded(path) == assigned(maps.LARGE + 5)
    assert set(modes) == {"assignment.db", "assignment.db-wal", "assignment.db-shm"}
    assert set(modes.values()) == {0o600}


def test_a_change_is_kept_as_what_it_changes(tmp_path: Path) -> None:
    before = assigned(1000)
    delta = AssignmentDelta(
        base=1,
        index=2,
        services=(traffic("s3", "10.88.1.9"), traffic("new")),
        services_gone=("s4",),
        tasks=(stopped(a_task(2)), a_task(3)),
        tasks_gone=(a_task(1).id,),
        peers_gone=("node-2",),
    )
    after = apply_delta(before, delta)
    store = AssignmentStore(tmp_path / "assignment.db")
    store.save(before)
    assert store._database is not None
    rows = store._database.total_changes

    store.save(after)

    assert store._database.total_changes - rows == 8, "seven pieces and the head"
    store.close()
    assert loaded(tmp_path / "assignment.db") == after


def test_going_on_from_disk_writes_nothing_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "assignment.db"
    saved(path, assigned(1000))
    store = AssignmentStore(path)
    kept = store.load()

    store.save(sharing(kept, replace(assigned(1000), index=9)))

    assert store._database is not None
    assert store._database.total_changes == 1, "the head, for its index"
    store.close()
    assert loaded(path) == replace(assigned(1000), index=9)


def test_without_a_file_there_is_no_assignment(tmp_path: Path) -> None:
    assert loaded(tmp_path / "assignment.db") is None
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_committed_is_as_if_it_had_never_begun(tmp_path: Path) -> None:
    """Killed between two writes of a save: SQLite goes back when the file is next opened."""
    path = tmp_path / "assignment.db"
    saved(path, assigned())
    killed = sqlite3.connect(path, isolation_level=None)
    killed.execute("BEGIN IMMEDIATE")
    killed.execute("DELETE FROM pieces")
    killed.close()

    assert loaded(path) == assigned()


def scribble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xff" * 3996
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def flip(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("UPDATE pieces SET data = x'ffff' WHERE kind = 'service'")
    database.commit()
    database.close()


def age(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()


@pytest.mark.parametrize(
    "damage", [scribble, truncate, flip, age, lambda path: path.write_bytes(b"no database at all")]
)
def test_a_damaged_file_is_told_and_begun_afresh(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "assignment.db"
    saved(path, assigned())
    damage(path)

    store = AssignmentStore(path)
    kept = store.load()
    store.save(assigned())
    store.close()

    assert kept is None
    assert loaded(path) == assigned()
    (warning,) = caplog.messages
    assert "assignment.db is damaged, starting afresh" in warning
    assert "Until a manager answers, what runs goes on, but no task is checked" in warning


def test_a_disk_that_refuses_is_told_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "worker"
    blocked.write_text("a file where a directory should be")
    store = AssignmentStore(blocked / "assignment.db")

    store.save(assigned())
    store.save(replace(assigned(), index=2))
    blocked.unlink()
    store.save(replace(assigned(), index=3))
    store.close()

    assert [message for message in caplog.messages if "cannot keep" in message] == caplog.messages
    assert len(caplog.messages) == 1
    assert loaded(blocked / "assignment.db") == replace(assigned(), index=3)
