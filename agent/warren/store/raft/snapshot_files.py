"""Snapshot files: written whole or not at all, checked whenever they are read, one older kept.

`snapshot-<index>-<term>`: the length of a header, the header, the state machine's bytes, and the
SHA-256 of all that. A file gets its name only after its bytes are synced. Members send each other
these files as they are. What is damaged is refused with instructions and never passed over: a
member that started from an empty state would order every service to stop.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from warren.model.errors import FailedPrecondition
from warren.store.raft import members, raft_pb2
from warren.store.raft.disks import Disk, File
from warren.store.raft.members import Configuration

FORMAT = 1
KEPT = 2
SYNC_BYTES = 2 << 20
"""Written at once: the journal's own syncs wait for what the disk has to write before them."""
INCOMING = "incoming.tmp"
_OWN = "snapshot.tmp"
_LENGTH = struct.Struct("<I")
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What a snapshot is of. The one before any entry has index 0 and no file."""

    index: int = 0
    term: int = 0
    configuration: Configuration = Configuration()
    size_bytes: int = 0


class SnapshotFiles:
    """The snapshots in a member's directory."""

    def __init__(self, disk: Disk, cluster_id: str) -> None:
        self._disk = disk
        self._cluster_id = cluster_id
        self._incoming: File | None = None
        self.newest = Meta()

    def open(self) -> bytes:
        """Find the newest, check it, and answer the state in it; b"" when there is none.

        FailedPrecondition, in one line, when it is damaged.
        """
        for name in self._disk.names():
            if name in (INCOMING, _OWN):
                self._disk.remove(name)
        names = _names(self._disk)
        if not names:
            return b""
        data = self._disk.read(names[-1])
        parsed = _parse(data)
        if parsed is None:
            raise FailedPrecondition(_advice(names[-1], names[:-1]))
        header, state = parsed
        if header.cluster_id != self._cluster_id:
            raise FailedPrecondition(
                f"{names[-1]} belongs to cluster {header.cluster_id}, and this node to "
                f"{self._cluster_id}: this is another cluster's data directory"
            )
        if header.format != FORMAT:
            raise FailedPrecondition(f"{names[-1]} has format {header.format}; this one {FORMAT}")
        self.newest = _meta(header, len(data))
        return state

    def write(self, meta: Meta, state: Iterable[bytes]) -> Meta:
        """Make a snapshot durable. Runs beside the member: it touches only its own two names."""
        header = raft_pb2.SnapshotHeader(
            format=FORMAT,
            cluster_id=self._cluster_id,
            index=meta.index,
            term=meta.term,
            configuration=members.to_message(meta.configuration),
        ).SerializeToString()
        file = self._disk.create(_OWN)
        try:
            size = _write_digested(file, _LENGTH.pack(len(header)) + header, state)
            file.sync()
        finally:
            file.close()
        return _meta(raft_pb2.SnapshotHeader.FromString(header), size)

    def publish(self, meta: Meta) -> None:
        """Give what `write` wrote its name; the oldest goes."""
        if meta.index <= self.newest.index:
            self._disk.remove(_OWN)
            return
        self._take_name(_OWN, meta)

    def keep_chunk(self, offset: int, data: bytes, *, first: bool) -> None:
        """Write a piece of another member's snapshot."""
        if first:
            self.drop_incoming()
            self._incoming = self._disk.create(INCOMING)
        assert self._incoming is not None, offset
        self._incoming.write(data)

    def finish_incoming(self, index: int, term: int) -> tuple[Meta, bytes] | None:
        """Check what was received and make it the newest. None: it is not what was announced."""
        assert self._incoming is not None
        self._incoming.sync()
        self.drop_incoming()
        data = self._disk.read(INCOMING)
        parsed = _parse(data)
        if parsed is None or (parsed[0].index, parsed[0].term) != (index, term):
            self._disk.remove(INCOMING)
            return None
        header, state = parsed
        if header.cluster_id != self._cluster_id or header.format != FORMAT:
            self._disk.remove(INCOMING)
            return None
        meta = _meta(header, len(data))
        self._take_name(INCOMING, meta)
        return meta, state

    def drop_incoming(self) -> None:
        """Close what was being received."""
        if self._incoming is not None:
            self._incoming.close()
            self._incoming = None

    def chunk(self, offset: int, size: int) -> bytes:
        """A piece of the newest file."""
        return self._disk.read_at(_name(self.newest), offset, size)

    def state(self) -> bytes:
        """The state in the newest file; b"" when there is none."""
        if not self.newest.index:
            return b""
        parsed = _parse(self._disk.read(_name(self.newest)))
        if parsed is None:
            raise FailedPrecondition(_advice(_name(self.newest), []))
        return parsed[1]

    def _take_name(self, temporary: str, meta: Meta) -> None:
        self._disk.rename(temporary, _name(meta))
        self._disk.sync_names()
        self.newest = meta
        for name in _names(self._disk)[:-KEPT]:
            self._disk.remove(name)


def _name(meta: Meta) -> str:
    return f"snapshot-{meta.index:016d}-{meta.term:08d}"


def _names(disk: Disk) -> list[str]:
    """Oldest first."""
    return [name for name in disk.names() if name.startswith("snapshot-")]


def _meta(header: raft_pb2.SnapshotHeader, size_bytes: int) -> Meta:
    return Meta(
        index=header.index,
        term=header.term,
        configuration=members.from_message(header.configuration),
        size_bytes=size_bytes,
    )


def _write_digested(file: File, head: bytes, state: Iterable[bytes]) -> int:
    digest = hashlib.sha256(head)
    file.write(head)
    size = synced = len(head)
    for piece in state:
        digest.update(piece)
        file.write(piece)
        size += len(piece)
        if size - synced > SYNC_BYTES:
            file.sync()
            synced = size
    file.write(digest.digest())
    return size + _DIGEST_BYTES


def _parse(data: bytes) -> tuple[raft_pb2.SnapshotHeader, bytes] | None:
    """Header and state of a file; None when it is damaged."""
    if len(data) < _LENGTH.size + _DIGEST_BYTES:
        return None
    body = memoryview(data)[:-_DIGEST_BYTES]
    if hashlib.sha256(body).digest() != data[-_DIGEST_BYTES:]:
        return None
    start = _LENGTH.size + _LENGTH.unpack_from(data)[0]
    try:
        header = raft_pb2.SnapshotHeader.FromString(bytes(body[_LENGTH.size : start]))
    except DecodeError:
        return None
    return header, bytes(body[start:])


def _advice(name: str, older: list[str]) -> str:
    remedy = "remove the node from the cluster and join its host anew"
    if older:
        remedy = f"{older[-1]} is the one before it: restore the file, or {remedy}"
    return f"{name} is damaged, and this manager must not start without it: {remedy}"
