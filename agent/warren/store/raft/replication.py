"""How entries come to be everywhere: sending, receiving, committing, and proving the lead. Pure.

Laws: a follower forgets entries only where they contradict the leader's, and never a committed one;
it commits no further than what the leader's message itself confirmed; what to send next never moves
back on good news; only entries of the leader's own term are counted; a leader counts itself by what
its disk holds, like everyone else.
"""

from collections.abc import Mapping
from dataclasses import replace

from warren.store.raft import elections
from warren.store.raft.entries import Entry, LogView
from warren.store.raft.members import Configuration
from warren.store.raft.messages import Append, AppendAnswer, Heartbeat
from warren.store.raft.raft_state import (
    Add,
    Broken,
    Decision,
    Effect,
    Leader,
    Progress,
    Raft,
    Send,
    Sending,
    SendSnapshot,
    Truncate,
)

BATCH_ENTRIES = 1024
BATCH_BYTES = 1 << 20
WINDOW_ENTRIES = 4096
WINDOW_BYTES = 4 << 20
"""Sent to a follower and not yet answered."""
RESEND_CHUNK = 1.0
"""Seconds without an answer after which a piece of a snapshot is sent again."""


def receive_append(
    raft: Raft, log: LogView, sender: str, append: Append, now: float, chance: float
) -> Decision:
    """Take a leader's entries."""
    return _take(elections.follow(raft, sender, now, chance), log, sender, append)


def receive_heartbeat(
    raft: Raft, sender: str, heartbeat: Heartbeat, now: float, chance: float
) -> Decision:
    """The leader is there, and busy sending a snapshot."""
    raft = elections.follow(raft, sender, now, chance)
    answer = AppendAnswer(term=raft.term, accepted=True, index=0, round=heartbeat.round)
    return Decision(raft=raft, effects=(Send(to=sender, message=answer),))


def receive_answer(raft: Raft, sender: str, answer: AppendAnswer, now: float) -> Raft:
    """Learn on a leader what a follower has."""
    role = raft.role
    if not isinstance(role, Leader) or sender not in role.progress:
        return raft
    before = role.progress[sender]
    echoed = max(before.echoed, answer.round)
    # Who was told no more for a while is told something at once, and not with the next heartbeat.
    told = 0 if is_hushed(raft, before, now) else before.told_commit
    after = replace(before, answered_at=now, asked_at=None, echoed=echoed, told_commit=told)
    if answer.accepted and answer.index:
        match = max(before.match, answer.index)
        after = replace(
            after,
            match=match,
            next=max(before.next, match + 1),
            probing=False,
            waiting=False,
            sending=None,
        )
    elif not answer.accepted and answer.index:
        hint = max(before.match + 1, min(answer.index, before.next))
        after = replace(after, next=hint, probing=True, waiting=False)
    return _with_progress(raft, role, sender, after)


def connect(raft: Raft, peer: str) -> Raft:
    """A new connection: what was sent on the old one may be lost."""
    raft = replace(raft, connected=raft.connected | {peer})
    role = raft.role
    if not isinstance(role, Leader) or peer not in role.progress:
        return raft
    before = role.progress[peer]
    first = before.match + 1 if before.match else before.next
    after = replace(
        before,
        next=first,
        probing=True,
        waiting=False,
        asked_at=None,
        told_commit=0,
        sending=None,
    )
    return _with_progress(raft, role, peer, after)


def outgoing(raft: Raft, log: LogView, snapshot_index: int, now: float) -> Decision:
    """All that a leader has to say now. Called once per turn, after all that was received."""
    role = raft.role
    if not isinstance(role, Leader):
        return Decision(raft=raft)
    progress = _for_members(role.progress, log, raft.me, now)
    due = now - role.told_at >= raft.timing.heartbeat
    urgent = due or role.round > role.told_round
    effects: list[Effect] = []
    after: dict[str, Progress] = {}
    for peer, known in progress.items():
        after[peer] = known
        if peer not in raft.connected or is_hushed(raft, known, now):
            continue
        said = len(effects)
        if known.next <= log.base_index:
            after[peer] = _offer_snapshot(known, peer, snapshot_index, role.round, now, effects)
            if urgent:
                beat = Heartbeat(term=raft.term, round=role.round)
                effects.append(Send(to=peer, message=beat))
        else:
            after[peer] = _send_entries(raft, log, known, peer, effects, urgent=urgent)
        if known.asked_at is None and len(effects) > said:
            after[peer] = replace(after[peer], asked_at=now)
    if after != role.progress or urgent:
        told_at = now if urgent else role.told_at
        role = replace(role, progress=after, told_at=told_at, told_round=role.round)
        raft = replace(raft, role=role)
    return Decision(raft=raft, effects=tuple(effects))


def advance(raft: Raft, log: LogView, durable: int) -> Raft:
    """Commit what a majority of the voters has on its disks."""
    role = raft.role
    if not isinstance(role, Leader):
        return raft
    configuration = log.configuration
    held = {peer: p.match for peer, p in role.progress.items()}
    held[raft.me] = durable
    index = _majority(configuration, held)
    if index <= raft.commit or log.term_at(index) != raft.term:
        return raft
    return replace(raft, commit=index)


def begin_round(raft: Raft) -> Raft:
    """Ask everyone whether this member still leads. Rounds count up within a term."""
    assert isinstance(raft.role, Leader)
    return replace(raft, role=replace(raft.role, round=raft.role.round + 1))


def confirmed_round(raft: Raft, log: LogView) -> int:
    """The newest round that a majority answered: when it began, nobody else led."""
    assert isinstance(raft.role, Leader)
    echoed = {peer: p.echoed for peer, p in raft.role.progress.items()}
    echoed[raft.me] = raft.role.round
    return _majority(log.configuration, echoed)


def is_hushed(raft: Raft, known: Progress, now: float) -> bool:
    """On a leader: nothing is said to that member now, as it has not answered for a while."""
    timing = raft.timing
    return known.asked_at is not None and timing.hush < now - known.asked_at < timing.quorum_check


def is_open(raft: Raft) -> bool:
    """This member leads and knows what is committed."""
    return isinstance(raft.role, Leader) and raft.commit >= raft.role.opening


def _take(raft: Raft, log: LogView, sender: str, append: Append) -> Decision:
    if append.previous_index < log.base_index:
        return _take_below_base(raft, log, sender, append)
    term = log.term_at(append.previous_index)
    if term != append.previous_term:
        hint = log.last_index + 1 if term is None else _first_of_term(raft, log, append, term)
        return Decision(raft=raft, effects=(_answer(raft, sender, append, hint, accepted=False),))
    known = _already_known(log, append)
    fresh = append.entries[known:]
    effects: list[Effect] = []
    if fresh and fresh[0].index <= log.last_index:
        if fresh[0].index <= raft.commit:
            raise Broken(f"{sender} would replace committed entry {fresh[0].index}")
        effects.append(Truncate(first=fresh[0].index))
    if fresh:
        effects.append(Add(entries=fresh))
    confirmed = append.previous_index + len(append.entries)
    raft = replace(raft, commit=max(raft.commit, min(append.commit, confirmed)))
    effects.append(_answer(raft, sender, append, confirmed, accepted=True))
    return Decision(raft=raft, effects=tuple(effects))


def _take_below_base(raft: Raft, log: LogView, sender: str, append: Append) -> Decision:
    """What is below the base is in the snapshot, hence committed, hence the leader's too."""
    skipped = log.base_index - append.previous_index
    if len(append.entries) < skipped:
        end = append.previous_index + len(append.entries)
        return Decision(raft=raft, effects=(_answer(raft, sender, append, end, accepted=True),))
    if append.entries[skipped - 1].term != log.term_at(log.base_index):
        raise Broken(f"{sender} would replace entry {log.base_index}, which is in the snapshot")
    rest = replace(
        append,
        previous_index=log.base_index,
        previous_term=append.entries[skipped - 1].term,
        entries=append.entries[skipped:],
    )
    return _take(raft, log, sender, rest)


def _first_of_term(raft: Raft, log: LogView, append: Append, term: int) -> int:
    """Where the run of entries begins that the leader does not have: one round instead of many."""
    first = append.previous_index
    while first - 1 > max(log.base_index, raft.commit) and log.term_at(first - 1) == term:
        first -= 1
    return first


def _already_known(log: LogView, append: Append) -> int:
    for position, entry in enumerate(append.entries):
        if log.term_at(entry.index) != entry.term:
            return position
    return len(append.entries)


def _answer(raft: Raft, sender: str, append: Append, index: int, *, accepted: bool) -> Send:
    answer = AppendAnswer(term=raft.term, accepted=accepted, index=index, round=append.round)
    return Send(to=sender, message=answer)


def _for_members(
    progress: Mapping[str, Progress], log: LogView, me: str, now: float
) -> Mapping[str, Progress]:
    """The same members as the newest configuration has."""
    others = log.configuration.ids - {me}
    if progress.keys() == others:
        return progress
    new = Progress(next=log.last_index + 1, answered_at=now)
    return {peer: progress.get(peer, new) for peer in sorted(others)}


def _send_entries(
    raft: Raft, log: LogView, known: Progress, peer: str, effects: list[Effect], *, urgent: bool
) -> Progress:
    role = raft.role
    assert isinstance(role, Leader)
    sent = False
    while _may_send(log, known):
        entries = log.slice(known.next, count=BATCH_ENTRIES, size_bytes=BATCH_BYTES)
        effects.append(_append(raft, role, log, known.next - 1, peer, entries))
        known = replace(known, next=entries[-1].index + 1, waiting=known.probing)
        sent = True
    if not sent and (urgent or known.told_commit < raft.commit):
        effects.append(_append(raft, role, log, known.next - 1, peer, ()))
    elif not sent:
        return known
    return replace(known, told_commit=raft.commit)


def _may_send(log: LogView, known: Progress) -> bool:
    if known.next > log.last_index or (known.probing and known.waiting):
        return False
    if known.probing:
        return True
    sent = known.next - 1
    if sent - known.match >= WINDOW_ENTRIES:
        return False
    return log.size_between(known.match, sent) < WINDOW_BYTES


def _append(
    raft: Raft, role: Leader, log: LogView, previous: int, peer: str, entries: tuple[Entry, ...]
) -> Send:
    term = log.term_at(previous)
    assert term is not None
    message = Append(
        term=raft.term,
        previous_index=previous,
        previous_term=term,
        entries=entries,
        commit=raft.commit,
        round=role.round,
    )
    return Send(to=peer, message=message)


def _offer_snapshot(
    known: Progress, peer: str, index: int, round_: int, now: float, effects: list[Effect]
) -> Progress:
    """The next piece, one at a time. A newer snapshot than the one under way starts over."""
    sending = known.sending
    if sending is None:
        sending = Sending(index=index)
    if now - sending.sent_at < RESEND_CHUNK:
        return known
    effects.append(SendSnapshot(to=peer, index=sending.index, offset=sending.offset, round=round_))
    return replace(known, sending=replace(sending, sent_at=now))


def _majority(configuration: Configuration, values: Mapping[str, int]) -> int:
    """The largest value that a majority of the voters reached."""
    reached = sorted((values.get(voter, 0) for voter in configuration.voters), reverse=True)
    return reached[configuration.quorum - 1] if reached else 0


def _with_progress(raft: Raft, role: Leader, peer: str, progress: Progress) -> Raft:
    return replace(raft, role=replace(role, progress={**role.progress, peer: progress}))
