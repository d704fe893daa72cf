"""Snapshots between members: what a follower does with the pieces it is sent. Pure.

Laws: a snapshot no newer than what is committed here is not needed, and changes nothing; pieces are
taken in order and from one leader's file only; nothing of the member changes before the whole file
is checked and durable (`node.py` does that for `Install`), and then the log's suffix is kept where
it agrees with the snapshot. The files themselves are in `snapshot_files.py`.
"""

from dataclasses import replace

from warren.store.raft import elections
from warren.store.raft.entries import LogView
from warren.store.raft.messages import AppendAnswer, SnapshotAnswer, SnapshotChunk
from warren.store.raft.raft_state import (
    NEVER,
    Decision,
    Effect,
    Follower,
    Incoming,
    Install,
    KeepChunk,
    Leader,
    Raft,
    Send,
    Sending,
)

CHUNK_BYTES = 1 << 18


def receive_chunk(
    raft: Raft, sender: str, chunk: SnapshotChunk, now: float, chance: float
) -> Decision:
    """Take a piece, or say which one is wanted."""
    raft = elections.follow(raft, sender, now, chance)
    role = raft.role
    assert isinstance(role, Follower)
    if chunk.index <= raft.commit:
        return Decision(raft=raft, effects=(have_all(raft, sender, chunk.index, chunk.round),))
    wanted = _wanted(role.incoming, sender, chunk)
    if chunk.offset != wanted or not chunk.data:
        return Decision(raft=raft, effects=(_held(raft, sender, chunk, wanted),))
    held = wanted + len(chunk.data)
    keep = KeepChunk(offset=wanted, data=chunk.data, first=wanted == 0)
    if held >= chunk.size:
        raft = replace(raft, role=replace(role, incoming=None))
        install = Install(sender=sender, index=chunk.index, term=chunk.last_term, round=chunk.round)
        return Decision(raft=raft, effects=(keep, install))
    incoming = Incoming(
        leader=sender, term=chunk.term, index=chunk.index, size=chunk.size, offset=held
    )
    raft = replace(raft, role=replace(role, incoming=incoming))
    effects: tuple[Effect, ...] = (keep, _held(raft, sender, chunk, held))
    return Decision(raft=raft, effects=effects)


def receive_answer(raft: Raft, sender: str, answer: SnapshotAnswer, now: float) -> Raft:
    """Learn on a leader which piece is wanted next."""
    role = raft.role
    if not isinstance(role, Leader) or sender not in role.progress:
        return raft
    known = role.progress[sender]
    sending = known.sending
    if sending is not None and sending.index == answer.index:
        sending = Sending(index=answer.index, offset=answer.offset, sent_at=NEVER)
    echoed = max(known.echoed, answer.round)
    known = replace(known, answered_at=now, asked_at=None, echoed=echoed, sending=sending)
    return replace(raft, role=replace(role, progress={**role.progress, sender: known}))


def forget_sending(raft: Raft, peer: str) -> Raft:
    """The file that was being sent is gone, a newer one is there: start over with that."""
    role = raft.role
    if not isinstance(role, Leader) or peer not in role.progress:
        return raft
    known = replace(role.progress[peer], sending=None)
    return replace(raft, role=replace(role, progress={**role.progress, peer: known}))


def agrees(log: LogView, index: int, term: int) -> bool:
    """The log holds the entry that a snapshot ends with: what follows it there may stay."""
    return log.term_at(index) == term


def have_all(raft: Raft, sender: str, index: int, round_: int) -> Send:
    """Everything up to `index` is committed here, so it is what the leader has."""
    answer = AppendAnswer(term=raft.term, accepted=True, index=index, round=round_)
    return Send(to=sender, message=answer)


def start_over(raft: Raft, sender: str, index: int, round_: int) -> Send:
    """What arrived is not what was sent."""
    answer = SnapshotAnswer(term=raft.term, index=index, offset=0, round=round_)
    return Send(to=sender, message=answer)


def _wanted(incoming: Incoming | None, sender: str, chunk: SnapshotChunk) -> int:
    if incoming is None:
        return 0
    same = (incoming.leader, incoming.term, incoming.index, incoming.size) == (
        sender,
        chunk.term,
        chunk.index,
        chunk.size,
    )
    return incoming.offset if same else 0


def _held(raft: Raft, sender: str, chunk: SnapshotChunk, offset: int) -> Send:
    answer = SnapshotAnswer(term=raft.term, index=chunk.index, offset=offset, round=chunk.round)
    return Send(to=sender, message=answer)
