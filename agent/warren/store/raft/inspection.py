"""What a member's files say while its daemon is stopped, without changing a byte of them.

For an operator who has to choose among the survivors of a cluster that lost its majority. The files
are read by the same code that a starting member runs, so what that would refuse is refused here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from warren.store.raft.background import ThreadJob
from warren.store.raft.disks import Disk, File
from warren.store.raft.entries import Entry
from warren.store.raft.journal import Identity, open_journal
from warren.store.raft.members import Configuration
from warren.store.raft.node import Node, Setup
from warren.store.raft.snapshot_files import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFiles:
    """A member's log as it is on the disk."""

    term: int
    """The newest that it heard of."""
    last_index: int
    last_term: int
    committed_index: int
    """At least so much was committed: what snapshot and witnesses prove. It may be more."""
    base_index: int
    base_term: int
    entries: tuple[Entry, ...]
    """After `base_index`."""
    configuration: Configuration
    snapshot: Meta

    @property
    def rank(self) -> tuple[int, int]:
        """Of two logs of one cluster, the one that ranks higher holds every entry that is committed
        in the other: Raft's own rule for who may lead."""
        return self.last_term, self.last_index


def read(disk: Disk, identity: Identity) -> LogFiles | None:
    """None: there is no log. FailedPrecondition, in one line: it is damaged, or another's."""
    if not has_log(disk):
        return None
    disk = Untouched(disk)
    _, content = open_journal(disk, identity, "")
    node = Node(
        Setup(
            identity=identity,
            address="",
            disk=disk,
            machine=_Nothing(),
            background=ThreadJob,
            chance=lambda: 0.0,
            new_disk_id="",
        ),
        0.0,
    )
    log = node.log
    count = log.last_index - log.base_index
    known = [witness.index for witness in content.witnesses.values()]
    return LogFiles(
        term=node.raft.term,
        last_index=log.last_index,
        last_term=log.last_term,
        committed_index=max((node.newest_snapshot.index, *known)),
        base_index=log.base_index,
        base_term=log.base_term,
        entries=log.slice(log.base_index + 1, count=count, size_bytes=1 << 62) if count else (),
        configuration=log.configuration,
        snapshot=node.newest_snapshot,
    )


def has_log(disk: Disk) -> bool:
    """There are files of a log."""
    return any(name.startswith(("journal-", "snapshot-")) for name in disk.names())


class Untouched:
    """A disk whose files can only be read: what is written to it goes nowhere."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def names(self) -> tuple[str, ...]:
        return self._disk.names()

    def read(self, name: str) -> bytes:
        return self._disk.read(name)

    def read_at(self, name: str, offset: int, size: int) -> bytes:
        return self._disk.read_at(name, offset, size)

    def size(self, name: str) -> int:
        return self._disk.size(name)

    def create(self, name: str) -> File:  # noqa: ARG002 - as the Protocol says
        return _Nowhere()

    def extend(self, name: str) -> File:  # noqa: ARG002
        return _Nowhere()

    def truncate(self, name: str, size: int) -> None:
        """The torn end stays."""

    def rename(self, old: str, new: str) -> None:
        """The old name stays."""

    def remove(self, name: str) -> None:
        """It stays."""

    def sync_names(self) -> None:
        """Nothing changed."""


class _Nowhere:
    def write(self, data: bytes) -> None:
        """Forget it."""

    def sync(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """Nothing is open."""


class _Nothing:
    """A state machine that holds nothing: entries are counted here, not applied."""

    def apply(self, command: bytes) -> bytes:  # noqa: ARG002
        return b""

    def snapshot(self) -> Iterator[bytes]:
        return iter(())

    def restore(self, snapshot: bytes) -> None:
        """Forget it."""
