"""The last assignment on disk, so that everything goes on with no manager reachable.

A small database rather than a file: a change writes what it changes, not all that the node knows.
Each save is one transaction; a crash in the middle leaves the state before it. A power cut may
also cost the last moments, as commits do not wait for the disk: managers tell them again. What
cannot be read is thrown away as a whole. Holds secrets, hence the mode.
"""

import logging
import os
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from warren.api import convert, warren_pb2
from warren.model.assignments import Assignment, Peer, ServiceTraffic
from warren.model.errors import InvalidInput
from warren.model.tasks import Task
from warren.state import maps

log = logging.getLogger(__name__)

_LAYOUT = 1
_HEAD = "head"
_CREATE = f"""
CREATE TABLE pieces (
  kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL,
  PRIMARY KEY (kind, key)
) WITHOUT ROWID;
PRAGMA user_version = {_LAYOUT};
"""
T = TypeVar("T")
_Changes = Iterator[tuple[str, str, object | None]]
"""Kind, key, and the piece, or None where it is gone."""


class _Damaged(Exception):
    """The file is not what was written; says why."""


class AssignmentStore:
    """Opened once, by the worker."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._saved: Assignment | None = None
        self._refused = False

    def load(self) -> Assignment | None:
        """The assignment, or None if there is none that can be read."""
        if not self._path.exists():
            return None
        try:
            self._saved = self._read()
        except (_Damaged, sqlite3.Error, OSError) as error:
            log.warning(
                "%s is damaged, starting afresh: %s. Until a manager answers, what runs goes on, "
                "but no task is checked or restarted, and addresses and names stay as they are",
                self._path,
                error,
            )
            self._begin_afresh()
        return self._saved

    def save(self, assignment: Assignment) -> None:
        """Keep it. A disk that refuses costs the memory of it, not the tasks."""
        if assignment is self._saved:
            return
        try:
            self._write(assignment)
        except (sqlite3.Error, OSError) as error:
            if not self._refused:
                log.warning("cannot keep the assignment: %s", error)
            self._refused = True
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(
                error, sqlite3.OperationalError
            ):
                self._begin_afresh()
        else:
            self._saved = assignment
            self._refused = False

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _open(self) -> sqlite3.Connection:
        if self._database is not None:
            return self._database
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives its other files the mode of this one.
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        database = sqlite3.connect(self._path, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            (layout,) = database.execute("PRAGMA user_version").fetchone()
            if layout == 0:
                database.executescript(f"BEGIN; {_CREATE} COMMIT;")
            elif layout != _LAYOUT:
                raise _Damaged(f"it has layout {layout}, not {_LAYOUT}")
        except BaseException:
            database.close()
            raise
        self._database = database
        return database

    def _begin_afresh(self) -> None:
        self.close()
        self._saved = None
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    # ---- reading

    def _read(self) -> Assignment | None:
        database = self._open()
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise _Damaged(verdict)
        pieces: dict[str, dict[str, bytes]] = {}
        for kind, key, data, checksum in database.execute("SELECT * FROM pieces"):
            if zlib.crc32(data) != checksum:
                raise _Damaged(f"the checksum of {kind} {key} is wrong")
            pieces.setdefault(kind, {})[key] = data
        if _HEAD not in pieces:
            return None
        try:
            return _put_together(pieces)
        except (InvalidInput, DecodeError) as error:
            raise _Damaged(str(error)) from error

    # ---- writing

    def _write(self, assignment: Assignment) -> None:
        database = self._open()
        database.execute("BEGIN IMMEDIATE")
        try:
            if self._saved is None:
                database.execute("DELETE FROM pieces")
            for kind, key, piece in _changes(self._saved, assignment):
                if piece is None:
                    database.execute("DELETE FROM pieces WHERE kind = ? AND key = ?", (kind, key))
                else:
                    data = convert.to_message(piece).SerializeToString()
                    row = (kind, key, data, zlib.crc32(data))
                    database.execute("INSERT OR REPLACE INTO pieces VALUES (?, ?, ?, ?)", row)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def _put_together(pieces: Mapping[str, Mapping[str, bytes]]) -> Assignment:
    def read(kind: str, message: Any, type_: type[T]) -> dict[str, T]:
        read_one: Mapping[str, Message] = {
            key: message.FromString(data) for key, data in pieces.get(kind, {}).items()
        }
        return {key: convert.from_message(one, type_) for key, one in read_one.items()}

    head = read(_HEAD, warren_pb2.Assignment, Assignment)[""]
    peers = read("peer", warren_pb2.Peer, Peer).values()
    tasks = read("task", warren_pb2.Task, Task)
    return replace(
        head,
        peers=tuple(sorted(peers, key=lambda peer: peer.name)),
        tasks=tuple(tasks[task_id] for task_id in sorted(tasks)),
        services=maps.large(read("service", warren_pb2.ServiceTraffic, ServiceTraffic)),
    )


def _changes(before: Assignment | None, after: Assignment) -> _Changes:
    yield _HEAD, "", replace(after, tasks=(), peers=(), services={})
    yield from _differences("service", before.services if before else {}, after.services)
    yield from _differences("task", _tasks(before), _tasks(after))
    yield from _differences("peer", _peers(before), _peers(after))


def _differences(kind: str, before: Mapping[str, T], after: Mapping[str, T]) -> _Changes:
    for key in maps.changed_keys(before, after):
        value = after.get(key)
        if before.get(key) != value:
            yield kind, key, value


def _tasks(assignment: Assignment | None) -> Mapping[str, Task]:
    return {task.id: task for task in assignment.tasks} if assignment else {}


def _peers(assignment: Assignment | None) -> Mapping[str, Peer]:
    return {peer.node_id: peer for peer in assignment.peers} if assignment else {}
