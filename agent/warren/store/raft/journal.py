"""The journal: everything a member promised, on its disk before the promise leaves the node.

Files `journal-<number>`, each begun with a header that says whose it is and where the log stood, so
that the oldest can be deleted when a snapshot covers them. A record is length, CRC-32 and payload,
padded to eight bytes; the CRC also covers the record's place, so that stray copies do not count.
Appended only: what is truncated is truncated by a record.

Each batch begins with a `MARK` that says how far the file was synced before. That tells damage from
a crash: a bad record that no later mark vouches for was never promised, and is cut; one that was
synced is a fault of the disk, and the member refuses to start rather than forget it.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from google.protobuf.message import DecodeError

from warren.model.errors import FailedPrecondition
from warren.store.raft import raft_pb2
from warren.store.raft.disks import Disk, File
from warren.store.raft.entries import Entry
from warren.store.raft.trust import Witness

FORMAT = 1
FILE_BYTES = 16 << 20
"""A file that is larger than this is followed by a new one."""


class Record(IntEnum):
    """First byte of a payload."""

    HEADER = 1
    MARK = 2
    STATE = 3
    ENTRY = 4
    TRUNCATE = 5
    RESTART = 6
    WITNESS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose log it is."""

    cluster_id: str
    node_id: str
    disk_id: str = ""
    """Made with the first file, and found in all that follow."""


@dataclass(slots=True, kw_only=True)
class Content:
    """What the files say, as far as it was durable."""

    term: int = 0
    vote: str | None = None
    base_index: int = 0
    base_term: int = 0
    entries: list[Entry] = field(default_factory=list)
    witnesses: dict[str, Witness] = field(default_factory=dict)
    disk_id: str = ""

    @property
    def last_index(self) -> int:
        """Index of the newest entry."""
        return self.base_index + len(self.entries)

    @property
    def last_term(self) -> int:
        """Term of the newest entry."""
        return self.entries[-1].term if self.entries else self.base_term

    def truncate(self, first: int, last_term: int) -> None:
        """Forget entries from `first` on, which may be before the first file that is left."""
        if first <= self.base_index:
            self.base_index, self.base_term = first - 1, last_term
        del self.entries[max(0, first - self.base_index - 1) :]


class Journal:
    """Open for appending. Nothing is durable before `sync`."""

    def __init__(self, disk: Disk, identity: Identity, content: Content) -> None:
        """Use `open_journal`."""
        self._disk = disk
        self._identity = identity
        self._files: list[tuple[int, int, int]] = []
        """(number, last index when it was begun, bytes), oldest first."""
        self._file: File | None = None
        self._pending: list[bytes] = []
        self._size = 0
        self._synced = 0
        self.term, self.vote = content.term, content.vote
        self.last_index, self.last_term = content.last_index, content.last_term
        self._begin_at = (content.last_index, content.last_term, content.term, content.vote)
        """Where the log stands on disk: what the header of a new file says."""
        self.witnesses = dict(content.witnesses)

    @property
    def is_dirty(self) -> bool:
        """Something waits for `sync`."""
        return bool(self._pending)

    @property
    def size_bytes(self) -> int:
        """Of all files."""
        return sum(size for _, _, size in self._files[:-1]) + self._size

    def save_state(self, term: int, vote: str | None) -> None:
        """Remember term and vote."""
        self.term, self.vote = term, vote
        self._pending.append(_state(term, vote))

    def append(self, entries: Sequence[Entry]) -> None:
        """Remember entries that follow the last one."""
        self._pending.extend(
            _ENTRY.pack(Record.ENTRY, kind, index, term) + data
            for index, term, kind, data in entries
        )
        self.last_index, self.last_term = entries[-1].index, entries[-1].term

    def truncate(self, first: int, last_term: int) -> None:
        """Remember that entries from `first` on are gone; the last left is of `last_term`."""
        self._pending.append(_PLACE.pack(Record.TRUNCATE, first, last_term))
        self.last_index, self.last_term = first - 1, last_term

    def restart(self, index: int, term: int) -> None:
        """Remember that the log begins anew after a snapshot."""
        self._pending.append(_PLACE.pack(Record.RESTART, index, term))
        self.last_index, self.last_term = index, term

    def witness(self, witness: Witness) -> None:
        """Remember what a peer acknowledged; it may ride along with what is synced anyway."""
        self.witnesses[witness.node_id] = witness
        self._pending.append(bytes([Record.WITNESS]) + _witness(witness).SerializeToString())

    def forget_witness(self, node_id: str) -> None:
        """The peer is no member any more. Takes effect on disk with the next file."""
        self.witnesses.pop(node_id, None)

    def sync(self) -> None:
        """Write and sync what waits: one write and one fdatasync, however much it is."""
        if not self._pending:
            return
        if self._size >= FILE_BYTES:
            self._begin_file()
        assert self._file is not None
        self._write(self._file)

    def compact(self, index: int) -> None:
        """Delete the files whose entries are all at `index` or before. The newest always stays."""
        keep = 0
        while keep + 1 < len(self._files) and self._files[keep + 1][1] <= index:
            keep += 1
        for number, _, _ in self._files[:keep]:
            self._disk.remove(_name(number))
        if keep:
            self._disk.sync_names()
            del self._files[:keep]

    def roll(self) -> None:
        """Begin a new file, so that `compact` can let go of this one later."""
        self.sync()
        if self._size > _ROLL_BYTES:
            self._begin_file()

    def close(self) -> None:
        """Let go of the file; what waits is not written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def adopt(self, files: list[tuple[int, int, int]]) -> None:
        """Continue these files, which were read and are sound."""
        self._files = files
        if files:
            number, _, size = files[-1]
            self._file = self._disk.extend(_name(number))
            # What a killed process wrote may be read here and still not be on the disk.
            self._file.sync()
            self._size = self._synced = size

    def _write(self, file: File) -> None:
        mark = _MARK.pack(Record.MARK, self._synced)
        data = _framed((mark, *self._pending), self._size)
        file.write(data)
        file.sync()
        self._size += len(data)
        self._synced = self._size
        self._pending.clear()
        self._begin_at = (self.last_index, self.last_term, self.term, self.vote)

    def _begin_file(self) -> None:
        """The new file takes its name only when its header is durable."""
        number = self._files[-1][0] + 1 if self._files else 1
        temporary = f"{_name(number)}.tmp"
        file = self._disk.create(temporary)
        header = bytes([Record.HEADER]) + self._header(number).SerializeToString()
        data = _framed((header,), 0)
        try:
            file.write(data)
            file.sync()
            self._disk.rename(temporary, _name(number))
            self._disk.sync_names()
        except BaseException:
            file.close()
            raise
        if self._file is not None:
            self._file.close()
            self._files[-1] = (*self._files[-1][:2], self._size)
        self._files.append((number, self._begin_at[0], len(data)))
        self._file, self._size, self._synced = file, len(data), len(data)

    def _header(self, number: int) -> raft_pb2.JournalHeader:
        last_index, last_term, term, vote = self._begin_at
        return raft_pb2.JournalHeader(
            format=FORMAT,
            cluster_id=self._identity.cluster_id,
            node_id=self._identity.node_id,
            disk_id=self._identity.disk_id,
            number=number,
            term=term,
            vote=vote or "",
            last_index=last_index,
            last_term=last_term,
            witnesses=[_witness(w) for w in self.witnesses.values()],
        )


def open_journal(disk: Disk, identity: Identity, new_disk_id: str) -> tuple[Journal, Content]:
    """Read what is there, cut a torn end, and go on; or begin the first file.

    FailedPrecondition, in one line: the files are another node's or cluster's, or are damaged where
    they were durable. Nothing is changed then.
    """
    disk.sync_names()
    names = [name for name in disk.names() if name.startswith("journal-")]
    numbers = [int(name[8:]) for name in names if name[8:].isdigit()]
    content = Content(disk_id=new_disk_id)
    files: list[tuple[int, int, int]] = []
    for number in numbers:
        if files and number != files[-1][0] + 1:
            raise FailedPrecondition(f"{_name(files[-1][0] + 1)} is missing; {_WHAT_TO_DO}")
        data = disk.read(_name(number))
        end = _read_file(_name(number), data, identity, content, is_first=not files)
        if end < len(data):
            _refuse_damage(_name(number), data, end, is_last=number == numbers[-1])
            disk.truncate(_name(number), end)
        files.append((number, _begun_at(data), end))
    for name in names:
        if name.endswith(".tmp"):
            disk.remove(name)
    identity = Identity(
        cluster_id=identity.cluster_id, node_id=identity.node_id, disk_id=content.disk_id
    )
    journal = Journal(disk, identity, content)
    journal.adopt(files)
    if not files:
        journal._begin_file()
    return journal, content


_WHAT_TO_DO = (
    "this manager must not go on from it: keep the directory, remove the node from the cluster "
    "and join its host anew"
)
_FRAME = struct.Struct("<II")
_PLACE = struct.Struct("<BQQ")
_ENTRY = struct.Struct("<BBQQ")
_MARK = struct.Struct("<BQ")
_STATE = struct.Struct("<BQ")
_ROLL_BYTES = 1 << 12
_RECORD_BYTES_MAX = 64 << 20


def _name(number: int) -> str:
    return f"journal-{number:08d}"


def _state(term: int, vote: str | None) -> bytes:
    return _STATE.pack(Record.STATE, term) + (vote or "").encode()


def _witness(witness: Witness) -> raft_pb2.Witness:
    return raft_pb2.Witness(
        node_id=witness.node_id,
        disk_id=witness.disk_id,
        term=witness.term,
        index=witness.index,
    )


def _framed(payloads: Sequence[bytes], offset: int) -> bytes:
    """Records as they stand in a file from `offset` on."""
    parts: list[bytes] = []
    for payload in payloads:
        size = len(payload)
        padding = -size % 8
        crc = zlib.crc32(payload, (offset ^ size) & 0xFFFFFFFF)
        parts.append(_FRAME.pack(size, crc) + payload + b"\0" * padding)
        offset += 8 + size + padding
    return b"".join(parts)


def _record_at(data: bytes, offset: int) -> bytes | None:
    """The payload of a sound record at `offset`, or None."""
    if offset + 8 > len(data):
        return None
    size, crc = _FRAME.unpack_from(data, offset)
    end = offset + 8 + size
    if size == 0 or size > _RECORD_BYTES_MAX or end + -size % 8 > len(data):
        return None
    payload = data[offset + 8 : end]
    return payload if zlib.crc32(payload, (offset ^ size) & 0xFFFFFFFF) == crc else None


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Sound records from the start: (where the record ends, payload)."""
    offset = 0
    while (payload := _record_at(data, offset)) is not None:
        offset += 8 + len(payload) + -len(payload) % 8
        yield offset, payload


def _read_file(
    name: str, data: bytes, identity: Identity, content: Content, *, is_first: bool
) -> int:
    """Take what a file says into `content`; answers where its sound part ends."""
    end = 0
    for end_of_record, payload in _records(data):
        try:
            if end == 0:
                _take_header(name, payload, identity, content, is_first=is_first)
            else:
                _take(payload, content)
        except (DecodeError, UnicodeDecodeError, ValueError, struct.error) as error:
            raise FailedPrecondition(f"{name} holds a record of no known form") from error
        end = end_of_record
    if end == 0:
        raise FailedPrecondition(f"the head of {name} is damaged; {_WHAT_TO_DO}")
    return end


def _take_header(
    name: str, payload: bytes, identity: Identity, content: Content, *, is_first: bool
) -> None:
    if payload[0] != Record.HEADER:
        raise ValueError(payload[0])
    header = raft_pb2.JournalHeader.FromString(payload[1:])
    if header.format != FORMAT:
        raise FailedPrecondition(f"{name} has format {header.format}; this version knows {FORMAT}")
    if header.cluster_id != identity.cluster_id:
        raise FailedPrecondition(
            f"{name} belongs to cluster {header.cluster_id}, and this node to "
            f"{identity.cluster_id}: this is another cluster's data directory"
        )
    if header.node_id != identity.node_id:
        raise FailedPrecondition(
            f"{name} belongs to node {header.node_id}, and this is {identity.node_id}"
        )
    content.disk_id = header.disk_id
    if is_first:
        content.base_index, content.base_term = header.last_index, header.last_term
        content.term, content.vote = header.term, header.vote or None
        for w in header.witnesses:
            content.witnesses[w.node_id] = _from_witness(w)
    elif (header.last_index, header.last_term) != (content.last_index, content.last_term):
        raise FailedPrecondition(
            f"{name} continues entry {header.last_index}, and the file before it ends with "
            f"{content.last_index}; {_WHAT_TO_DO}"
        )


def _take(payload: bytes, content: Content) -> None:
    match payload[0]:
        case Record.ENTRY:
            _, kind, index, term = _ENTRY.unpack_from(payload)
            if index != content.last_index + 1:
                raise ValueError(index)
            content.entries.append(Entry(index, term, kind, payload[_ENTRY.size :]))
        case Record.MARK:
            pass
        case Record.STATE:
            _, content.term = _STATE.unpack_from(payload)
            content.vote = payload[_STATE.size :].decode() or None
        case Record.TRUNCATE:
            content.truncate(*_PLACE.unpack(payload)[1:])
        case Record.RESTART:
            _, content.base_index, content.base_term = _PLACE.unpack(payload)
            content.entries.clear()
        case Record.WITNESS:
            witness = _from_witness(raft_pb2.Witness.FromString(payload[1:]))
            content.witnesses[witness.node_id] = witness
        case kind:
            raise ValueError(kind)


def _from_witness(w: raft_pb2.Witness) -> Witness:
    return Witness(node_id=w.node_id, disk_id=w.disk_id, term=w.term, index=w.index)


def _begun_at(data: bytes) -> int:
    payload = _record_at(data, 0)
    assert payload is not None
    return raft_pb2.JournalHeader.FromString(payload[1:]).last_index


def _refuse_damage(name: str, data: bytes, end: int, *, is_last: bool) -> None:
    """Return only if what is bad from `end` on was never synced."""
    if not is_last:
        raise FailedPrecondition(f"{name} is damaged at byte {end}; {_WHAT_TO_DO}")
    for offset in range(end + 8, len(data) - 8, 8):
        payload = _record_at(data, offset)
        if payload is None or payload[0] != Record.MARK or len(payload) != _MARK.size:
            continue
        if _MARK.unpack(payload)[1] > end:
            raise FailedPrecondition(
                f"{name} is damaged at byte {end}, before what was synced; {_WHAT_TO_DO}"
            )
