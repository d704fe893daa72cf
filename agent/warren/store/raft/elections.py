"""Who leads: patience, votes, leaving the lead, handing it over. Pure.

Laws: one vote per member and term; a vote only for a log that is not behind; only voters of the
newest configuration in the log are counted, each once; but whoever an uncommitted change leaves out
may stand, as its log may be the only one that can win. Before a member raises its term it asks
whether it would win (`pre`), and who hears a leader denies everyone else, so that a member that
returns disturbs nobody. A leader that no majority answers leaves by itself, and names a successor:
if it is only deaf, the others hear it and need not wait. Who lost an election to another candidate
tries again soon, as the two have stood in each other's way.
"""

from dataclasses import replace

from warren.store.raft.entries import Entry, Kind, LogView
from warren.store.raft.messages import AppendAnswer, TimeoutNow, VoteAnswer, VoteRequest
from warren.store.raft.raft_state import (
    NEVER,
    Add,
    Candidate,
    Decision,
    Effect,
    Follower,
    Leader,
    Progress,
    Raft,
    Send,
    Transfer,
)

SOON = 0.1
"""Least share of `election_min` to wait where there is reason not to wait for all of it: so long a
lost connection to the leader may take to come back."""


def tick(raft: Raft, log: LogView, now: float, chance: float) -> Decision:
    """Let time pass."""
    if isinstance(raft.role, Leader):
        return _tick_leader(raft, raft.role, log, now, chance)
    if now < raft.deadline or not log.may_count(raft.me, raft.commit):
        return Decision(raft=raft)
    return campaign(raft, log, now, chance)


def campaign(raft: Raft, log: LogView, now: float, chance: float) -> Decision:
    """Ask all voters whether this member would win."""
    raft = replace(
        raft,
        role=Candidate(pre=True, granted=frozenset({raft.me})),
        deadline=_deadline(raft, now, chance),
    )
    return _count(raft, log, now, chance, _requests(raft, log, transfer=False))


def elect(raft: Raft, log: LogView, now: float, chance: float, *, transfer: bool) -> Decision:
    """Ask for votes in a new term. `transfer`: even of those who hear a leader."""
    raft = replace(
        raft,
        term=raft.term + 1,
        vote=raft.me,
        role=Candidate(pre=False, granted=frozenset({raft.me})),
        deadline=_deadline(raft, now, chance),
    )
    return _count(raft, log, now, chance, _requests(raft, log, transfer=transfer))


def receive_request(
    raft: Raft, log: LogView, sender: str, request: VoteRequest, now: float, chance: float
) -> Decision:
    """Answer a candidate. It may be ignored: a vote not given harms nobody."""
    if is_led(raft, now) and not request.transfer:
        return _deny(raft, sender, request)
    if not request.pre and request.sought > raft.term:
        raft = step_down(raft, request.sought, now, chance)
    if not _may_vote(raft, log, sender, request):
        return _deny(raft, sender, request)
    if not request.pre:
        raft = replace(raft, vote=sender, deadline=_deadline(raft, now, chance))
    return Decision(raft=raft, effects=(_answer(raft, sender, request, granted=True),))


def receive_answer(
    raft: Raft, log: LogView, sender: str, answer: VoteAnswer, now: float, chance: float
) -> Decision:
    """Count a vote, if it is for the election that is under way."""
    role = raft.role
    if not isinstance(role, Candidate) or role.pre != answer.pre:
        return Decision(raft=raft)
    sought = raft.term + 1 if role.pre else raft.term
    if answer.sought != sought or sender not in log.configuration.voters:
        return Decision(raft=raft)
    if not answer.granted:
        soon = raft.deadline if role.pre else min(raft.deadline, _soon(raft, now, chance))
        return Decision(raft=replace(raft, deadline=soon))
    raft = replace(raft, role=replace(role, granted=role.granted | {sender}))
    return _count(raft, log, now, chance, ())


def receive_timeout_now(
    raft: Raft, log: LogView, sender: str, now: float, chance: float
) -> Decision:
    """The leader wants this member to lead: ask for votes at once, without asking whether."""
    if raft.leader != sender or raft.me not in log.configuration.voters:
        return Decision(raft=raft)
    return elect(raft, log, now, chance, transfer=True)


def follow(raft: Raft, leader: str, now: float, chance: float) -> Raft:
    """The leader of this term spoke."""
    role = raft.role
    assert not isinstance(role, Leader), f"{leader} leads term {raft.term}, as {raft.me} does"
    incoming = role.incoming if isinstance(role, Follower) and role.leader == leader else None
    role = Follower(leader=leader, heard_at=now, incoming=incoming)
    return replace(raft, role=role, deadline=_deadline(raft, now, chance))


def step_down(raft: Raft, term: int, now: float, chance: float) -> Raft:
    """Become a follower that knows no leader, in `term`, which is not older than this one."""
    assert term >= raft.term
    vote = raft.vote if term == raft.term else None
    was_leader = isinstance(raft.role, Leader)
    deadline = _deadline(raft, now, chance) if was_leader else raft.deadline
    return replace(raft, term=term, vote=vote, role=Follower(), deadline=deadline)


def lose_contact(raft: Raft, peer: str, now: float, chance: float) -> Raft:
    """The connection with `peer` ended. If it led, it is probably gone: be less patient."""
    raft = replace(raft, connected=raft.connected - {peer})
    if raft.leader != peer:
        return raft
    role = raft.role
    assert isinstance(role, Follower)
    role = replace(role, heard_at=NEVER)
    return replace(raft, role=role, deadline=min(raft.deadline, _soon(raft, now, chance)))


def wake(raft: Raft, now: float, chance: float) -> Raft:
    """This member slept: what it did not hear in that time says nothing of the leader."""
    if isinstance(raft.role, Leader):
        return raft
    return replace(raft, deadline=max(raft.deadline, _deadline(raft, now, chance)))


def begin_transfer(raft: Raft, to: str, now: float) -> Raft:
    """Hand the lead to `to` as soon as it has everything."""
    assert isinstance(raft.role, Leader)
    transfer = Transfer(to=to, until=now + raft.timing.election_max)
    return replace(raft, role=replace(raft.role, transfer=transfer))


def is_led(raft: Raft, now: float) -> bool:
    """This member leads, or heard a leader lately."""
    match raft.role:
        case Leader():
            return True
        case Follower(heard_at=heard_at):
            return now - heard_at < raft.timing.election_min
        case _:
            return False


def present(raft: Raft, now: float) -> frozenset[str]:
    """On a leader: the members that answered lately, and itself."""
    assert isinstance(raft.role, Leader)
    since = now - raft.timing.quorum_check
    heard = {peer for peer, p in raft.role.progress.items() if p.answered_at > since}
    return frozenset({raft.me, *heard})


def _tick_leader(raft: Raft, role: Leader, log: LogView, now: float, chance: float) -> Decision:
    configuration = log.configuration
    left = raft.me not in configuration.voters and log.configuration_index <= raft.commit
    if left or not configuration.has_quorum(present(raft, now)):
        down = step_down(raft, raft.term, now, chance)
        return Decision(raft=down, effects=_farewell(raft, role, log))
    transfer = role.transfer
    if transfer is None:
        return Decision(raft=raft)
    if now > transfer.until or transfer.to not in configuration.voters:
        return Decision(raft=replace(raft, role=replace(role, transfer=None)))
    progress = role.progress.get(transfer.to)
    if transfer.asked or progress is None or progress.match < log.last_index:
        return Decision(raft=raft)
    raft = replace(raft, role=replace(role, transfer=replace(transfer, asked=True)))
    return Decision(raft=raft, effects=(Send(to=transfer.to, message=TimeoutNow(term=raft.term)),))


def _farewell(raft: Raft, role: Leader, log: LogView) -> tuple[Effect, ...]:
    """A leader that leaves names its successor, so that nobody waits."""
    voters = [peer for peer in role.progress if peer in log.configuration.voters]
    best = max(
        voters, key=lambda p: (role.progress[p].match, role.progress[p].answered_at), default=None
    )
    return () if best is None else (Send(to=best, message=TimeoutNow(term=raft.term)),)


def _may_vote(raft: Raft, log: LogView, sender: str, request: VoteRequest) -> bool:
    """A member without a configuration has no past to vote by: it may have lost its disk."""
    if not log.configuration.members or isinstance(raft.role, Leader):
        return False
    if (request.last_term, request.last_index) < (log.last_term, log.last_index):
        return False
    if request.pre:
        return request.sought > raft.term
    return request.sought == raft.term and raft.vote in (None, sender)


def _count(
    raft: Raft, log: LogView, now: float, chance: float, effects: tuple[Effect, ...]
) -> Decision:
    role = raft.role
    assert isinstance(role, Candidate)
    if not log.configuration.has_quorum(role.granted):
        return Decision(raft=raft, effects=effects)
    if role.pre:
        return elect(raft, log, now, chance, transfer=False)
    return _win(raft, log, now)


def _win(raft: Raft, log: LogView, now: float) -> Decision:
    """Lead. The first entry is empty: committing it commits all that came before."""
    opening = Entry(log.last_index + 1, raft.term, Kind.NOTHING, b"")
    others = log.configuration.ids - {raft.me}
    progress = {peer: Progress(next=opening.index, answered_at=now) for peer in sorted(others)}
    role = Leader(opening=opening.index, progress=progress)
    return Decision(raft=replace(raft, role=role), effects=(Add(entries=(opening,)),))


def _requests(raft: Raft, log: LogView, *, transfer: bool) -> tuple[Effect, ...]:
    role = raft.role
    assert isinstance(role, Candidate)
    request = VoteRequest(
        term=raft.term,
        sought=raft.term + 1 if role.pre else raft.term,
        pre=role.pre,
        last_index=log.last_index,
        last_term=log.last_term,
        transfer=transfer,
    )
    others = sorted(log.configuration.voters - {raft.me})
    return tuple(Send(to=peer, message=request) for peer in others)


def _deny(raft: Raft, sender: str, request: VoteRequest) -> Decision:
    """A leader of an older term is told so; a candidate learns the term from the answer."""
    return Decision(raft=raft, effects=(_answer(raft, sender, request, granted=False),))


def _answer(raft: Raft, sender: str, request: VoteRequest, *, granted: bool) -> Send:
    answer = VoteAnswer(term=raft.term, sought=request.sought, pre=request.pre, granted=granted)
    return Send(to=sender, message=answer)


def stale(raft: Raft, sender: str) -> Send:
    """Tell a leader of an older term that there is a newer one."""
    answer = AppendAnswer(term=raft.term, accepted=False, index=0, round=0)
    return Send(to=sender, message=answer)


def _soon(raft: Raft, now: float, chance: float) -> float:
    return now + raft.timing.election_min * (SOON + chance / 2)


def _deadline(raft: Raft, now: float, chance: float) -> float:
    low, high = raft.timing.election_min, raft.timing.election_max
    return now + low + (high - low) * chance
