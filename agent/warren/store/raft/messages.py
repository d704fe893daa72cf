"""What members say to each other, as values, and their form on the wire.

Every message carries the sender's term, so that one from an older term can never be counted in a
newer one. The wire form is a protobuf `Frame`; nothing here is ever unpickled. What cannot be read
is `Malformed`, and ends the connection that it came from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from google.protobuf.message import DecodeError

from warren.store.raft import raft_pb2
from warren.store.raft.entries import Entry

FORMAT = 1
"""Of the wire: members that differ in it do not talk."""


class Malformed(Exception):
    """Bytes that no member of this version sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first words on a connection: who I am and what I have."""

    term: int
    cluster_id: str
    node_id: str
    address: str
    disk_id: str
    """Made with the journal: another one means that the disk was replaced."""
    last_index: int
    last_term: int
    configuration_index: int
    commands_version: int
    clock_ms: int = 0
    """The sender's time of day, since 1970; 0: not said."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteRequest:
    """Asks for a vote in term `sought`; `pre`: asks whether one would be given."""

    term: int
    sought: int
    pre: bool
    last_index: int
    last_term: int
    transfer: bool = False
    """The leader itself asked for this election."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteAnswer:
    """To a `VoteRequest`, naming the term that it sought."""

    term: int
    sought: int
    pre: bool
    granted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """Entries that follow a known one; without entries, a heartbeat. Only a leader sends it."""

    term: int
    previous_index: int
    previous_term: int
    entries: tuple[Entry, ...]
    commit: int
    round: int
    """Answered as it is: proves that the leader was followed after it began this round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """For a follower that is being sent a snapshot: proves the lead and moves nothing."""

    term: int
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendAnswer:
    """What the follower has. Also answers a leader of an older term, which then steps down."""

    term: int
    accepted: bool
    index: int
    """Accepted: the log is the leader's up to here. If not: where to try next; 0: nowhere."""
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotChunk:
    """A piece of a snapshot file."""

    term: int
    index: int
    """Last entry in the snapshot."""
    last_term: int
    """Term of that entry."""
    size: int
    """Bytes of the whole file."""
    offset: int
    data: bytes
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotAnswer:
    """How many bytes of the snapshot at `index` the follower holds."""

    term: int
    index: int
    offset: int
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutNow:
    """The leader hands over: be elected at once."""

    term: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why the sender will not talk to the receiver."""

    term: int
    reason: str
    fatal: bool
    """The receiver's disk cannot be trusted: it must stop, not try again."""


Message = (
    Hello
    | VoteRequest
    | VoteAnswer
    | Append
    | Heartbeat
    | AppendAnswer
    | SnapshotChunk
    | SnapshotAnswer
    | TimeoutNow
    | Refused
)


def encode(message: Message) -> bytes:
    """The frame of a message, without its length."""
    return _frame(message).SerializeToString()


def decode(data: bytes) -> Message | None:
    """The message of a frame; None for a ping, or a kind that this version does not know."""
    try:
        frame = raft_pb2.Frame.FromString(data)
    except DecodeError as error:
        raise Malformed("not a frame of this protocol") from error
    read = _READERS.get(frame.WhichOneof("body") or "")
    return None if read is None else read(frame)


PING = raft_pb2.Frame(ping=raft_pb2.Ping()).SerializeToString()
"""Keeps a connection known to be alive."""


def _frame(message: Message) -> raft_pb2.Frame:
    m, term = message, message.term
    match m:
        case Append():
            return raft_pb2.Frame(term=term, append=_append(m))
        case AppendAnswer():
            body = raft_pb2.AppendAnswer(accepted=m.accepted, index=m.index, round=m.round)
            return raft_pb2.Frame(term=term, append_answer=body)
        case Heartbeat():
            return raft_pb2.Frame(term=term, heartbeat=raft_pb2.Heartbeat(round=m.round))
        case VoteRequest():
            return raft_pb2.Frame(term=term, vote_request=_vote_request(m))
        case VoteAnswer():
            vote = raft_pb2.VoteAnswer(sought=m.sought, pre=m.pre, granted=m.granted)
            return raft_pb2.Frame(term=term, vote_answer=vote)
        case SnapshotChunk():
            return raft_pb2.Frame(term=term, snapshot_chunk=_chunk(m))
        case SnapshotAnswer():
            held = raft_pb2.SnapshotAnswer(index=m.index, offset=m.offset, round=m.round)
            return raft_pb2.Frame(term=term, snapshot_answer=held)
        case TimeoutNow():
            return raft_pb2.Frame(term=term, timeout_now=raft_pb2.TimeoutNow())
        case Hello():
            return raft_pb2.Frame(term=term, hello=_hello(m))
        case Refused():
            refused = raft_pb2.Refused(reason=m.reason, fatal=m.fatal)
            return raft_pb2.Frame(term=term, refused=refused)
        case _:
            assert_never(m)


def _append(m: Append) -> raft_pb2.Append:
    return raft_pb2.Append(
        previous_index=m.previous_index,
        previous_term=m.previous_term,
        commit=m.commit,
        round=m.round,
        entries=[
            raft_pb2.Entry(index=index, term=term, kind=kind, data=data)
            for index, term, kind, data in m.entries
        ],
    )


def _vote_request(m: VoteRequest) -> raft_pb2.VoteRequest:
    return raft_pb2.VoteRequest(
        pre=m.pre,
        sought=m.sought,
        last_index=m.last_index,
        last_term=m.last_term,
        transfer=m.transfer,
    )


def _chunk(m: SnapshotChunk) -> raft_pb2.SnapshotChunk:
    return raft_pb2.SnapshotChunk(
        index=m.index,
        last_term=m.last_term,
        size=m.size,
        offset=m.offset,
        data=m.data,
        round=m.round,
    )


def _hello(m: Hello) -> raft_pb2.Hello:
    return raft_pb2.Hello(
        format=m.format,
        cluster_id=m.cluster_id,
        node_id=m.node_id,
        address=m.address,
        disk_id=m.disk_id,
        term=m.term,
        last_index=m.last_index,
        last_term=m.last_term,
        configuration_index=m.configuration_index,
        commands_version=m.commands_version,
        clock_ms=m.clock_ms,
    )


def _read_hello(frame: raft_pb2.Frame) -> Hello:
    m = frame.hello
    return Hello(
        term=frame.term,
        cluster_id=m.cluster_id,
        node_id=m.node_id,
        address=m.address,
        disk_id=m.disk_id,
        last_index=m.last_index,
        last_term=m.last_term,
        configuration_index=m.configuration_index,
        commands_version=m.commands_version,
        clock_ms=m.clock_ms,
        format=m.format,
    )


def _read_vote_request(frame: raft_pb2.Frame) -> VoteRequest:
    m = frame.vote_request
    return VoteRequest(
        term=frame.term,
        sought=m.sought,
        pre=m.pre,
        last_index=m.last_index,
        last_term=m.last_term,
        transfer=m.transfer,
    )


def _read_vote_answer(frame: raft_pb2.Frame) -> VoteAnswer:
    m = frame.vote_answer
    return VoteAnswer(term=frame.term, sought=m.sought, pre=m.pre, granted=m.granted)


def _read_append(frame: raft_pb2.Frame) -> Append:
    m = frame.append
    entries = tuple(Entry(e.index, e.term, e.kind, e.data) for e in m.entries)
    if any(e.index != m.previous_index + 1 + n for n, e in enumerate(entries)):
        raise Malformed("entries that do not follow each other")
    return Append(
        term=frame.term,
        previous_index=m.previous_index,
        previous_term=m.previous_term,
        entries=entries,
        commit=m.commit,
        round=m.round,
    )


def _read_append_answer(frame: raft_pb2.Frame) -> AppendAnswer:
    m = frame.append_answer
    return AppendAnswer(term=frame.term, accepted=m.accepted, index=m.index, round=m.round)


def _read_chunk(frame: raft_pb2.Frame) -> SnapshotChunk:
    m = frame.snapshot_chunk
    return SnapshotChunk(
        term=frame.term,
        index=m.index,
        last_term=m.last_term,
        size=m.size,
        offset=m.offset,
        data=m.data,
        round=m.round,
    )


def _read_snapshot_answer(frame: raft_pb2.Frame) -> SnapshotAnswer:
    m = frame.snapshot_answer
    return SnapshotAnswer(term=frame.term, index=m.index, offset=m.offset, round=m.round)


def _read_refused(frame: raft_pb2.Frame) -> Refused:
    return Refused(term=frame.term, reason=frame.refused.reason, fatal=frame.refused.fatal)


_READERS: dict[str, Callable[[raft_pb2.Frame], Message]] = {
    "hello": _read_hello,
    "vote_request": _read_vote_request,
    "vote_answer": _read_vote_answer,
    "append": _read_append,
    "heartbeat": lambda frame: Heartbeat(term=frame.term, round=frame.heartbeat.round),
    "append_answer": _read_append_answer,
    "snapshot_chunk": _read_chunk,
    "snapshot_answer": _read_snapshot_answer,
    "timeout_now": lambda frame: TimeoutNow(term=frame.term),
    "refused": _read_refused,
}
