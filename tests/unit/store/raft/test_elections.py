"""Votes and patience, decision by decision."""

from dataclasses import replace

from warren.store.raft import elections, members
from warren.store.raft.entries import Entry, Kind, Log
from warren.store.raft.members import Configuration, Member
from warren.store.raft.messages import TimeoutNow, VoteAnswer, VoteRequest
from warren.store.raft.raft_state import (
    NEVER,
    Add,
    Candidate,
    Decision,
    Follower,
    Leader,
    Progress,
    Raft,
    Send,
    Timing,
    Transfer,
)

NOW = 100.0
TIMING = Timing()
SOON = NOW + TIMING.election_min


def test_who_hears_a_leader_denies_everyone_else_whatever_their_term() -> None:
    raft = a_raft(role=Follower(leader="n3", heard_at=NOW - 0.1))
    request = a_request(term=50, sought=50)

    decision = elections.receive_request(raft, a_log(), "n2", request, NOW, 0.0)

    denial = VoteAnswer(term=2, sought=50, pre=False, granted=False)
    assert decision == Decision(raft=raft, effects=(Send(to="n2", message=denial),))


def test_a_hand_over_is_heeded_even_by_who_hears_a_leader() -> None:
    raft = a_raft(role=Follower(leader="n3", heard_at=NOW - 0.1))
    request = a_request(term=3, sought=3, transfer=True)

    decision = elections.receive_request(raft, a_log(), "n2", request, NOW, 0.0)

    assert (decision.raft.term, decision.raft.vote) == (3, "n2")
    assert granted(decision)


def test_a_vote_is_given_once_in_a_term() -> None:
    first = elections.receive_request(a_raft(), a_log(), "n2", a_request(), NOW, 0.0)
    again = elections.receive_request(first.raft, a_log(), "n2", a_request(), NOW, 0.0)
    other = elections.receive_request(first.raft, a_log(), "n3", a_request(), NOW, 0.0)

    assert (granted(first), granted(again), granted(other)) == (True, True, False)


def test_a_log_that_is_behind_gets_no_vote() -> None:
    shorter = replace(a_request(), last_index=2)
    older = replace(a_request(), last_index=9, last_term=1)

    decisions = [
        elections.receive_request(a_raft(), a_log(), "n2", request, NOW, 0.0)
        for request in (shorter, older)
    ]

    assert [granted(decision) for decision in decisions] == [False, False]


def test_a_member_without_a_past_gives_no_vote() -> None:
    decision = elections.receive_request(a_raft(term=0), Log(), "n2", a_request(), NOW, 0.0)

    assert not granted(decision)


def test_a_question_before_the_election_costs_neither_term_nor_vote() -> None:
    raft = a_raft()
    question = replace(a_request(), term=2, pre=True)

    decision = elections.receive_request(raft, a_log(), "n2", question, NOW, 0.0)

    assert decision.raft == raft
    assert granted(decision)


def test_impatience_begins_with_a_question_to_all_voters() -> None:
    raft = a_raft(deadline=NOW)

    decision = elections.tick(raft, a_log(), NOW, 0.0)

    question = VoteRequest(term=2, sought=3, pre=True, last_index=3, last_term=2)
    role = Candidate(pre=True, granted=frozenset({"n1"}))
    assert decision == Decision(
        raft=replace(raft, role=role, deadline=SOON),
        effects=(Send(to="n2", message=question), Send(to="n3", message=question)),
    )


def test_whom_an_uncommitted_change_leaves_out_may_stand_until_it_is_committed() -> None:
    log = a_log()
    others = tuple(Member(node_id=n, address=f"{n}:1", voter=True) for n in ("n2", "n3"))
    data = members.to_bytes(Configuration(members=others))
    log.append((Entry(4, 2, Kind.MEMBERS, data),))

    may_yet_count = elections.tick(replace(a_raft(), commit=3), log, NOW, 0.0)
    counts_no_more = elections.tick(replace(a_raft(), commit=4), log, NOW, 0.0)

    assert isinstance(may_yet_count.raft.role, Candidate)
    assert isinstance(counts_no_more.raft.role, Follower)


def test_a_majority_of_votes_makes_a_leader_that_opens_its_term() -> None:
    raft = a_raft(term=3, role=Candidate(pre=False, granted=frozenset({"n1"})))
    vote = VoteAnswer(term=3, sought=3, pre=False, granted=True)

    decision = elections.receive_answer(raft, a_log(), "n2", vote, NOW, 0.0)

    progress = {peer: Progress(next=4, answered_at=NOW) for peer in ("n2", "n3")}
    assert decision == Decision(
        raft=replace(raft, role=Leader(opening=4, progress=progress)),
        effects=(Add(entries=(Entry(4, 3, Kind.NOTHING, b""),)),),
    )


def test_votes_are_counted_once_and_of_voters_only() -> None:
    log = a_log(voters=("n1", "n2", "n3", "n4", "n5"), learners=("n6",))
    raft = a_raft(term=3, role=Candidate(pre=False, granted=frozenset({"n1"})))
    vote = VoteAnswer(term=3, sought=3, pre=False, granted=True)
    for sender in ("n2", "n2", "n6", "stranger"):
        raft = elections.receive_answer(raft, log, sender, vote, NOW, 0.0).raft
    assert raft.role == Candidate(pre=False, granted=frozenset({"n1", "n2"}))

    decision = elections.receive_answer(raft, log, "n3", vote, NOW, 0.0)

    assert isinstance(decision.raft.role, Leader)


def test_an_answer_to_another_election_is_not_counted() -> None:
    raft = a_raft(term=3, role=Candidate(pre=False, granted=frozenset({"n1"})))
    answers = (
        VoteAnswer(term=3, sought=2, pre=False, granted=True),
        VoteAnswer(term=3, sought=3, pre=True, granted=True),
        VoteAnswer(term=3, sought=3, pre=False, granted=False),
    )

    for answer in answers:
        decision = elections.receive_answer(raft, a_log(), "n2", answer, NOW, 0.0)
        assert decision == Decision(raft=raft)


def test_a_leader_that_no_majority_answers_leaves_and_names_who_answered_last() -> None:
    silent = {
        "n2": Progress(next=4, match=3, answered_at=NOW - 0.37),
        "n3": Progress(next=4, match=3, answered_at=NOW - 0.36),
    }
    raft = a_raft(role=Leader(opening=3, progress=silent))

    decision = elections.tick(raft, a_log(), NOW, 0.0)

    down = replace(raft, role=Follower(), deadline=SOON)
    heir = Send(to="n3", message=TimeoutNow(term=2))
    assert decision == Decision(raft=down, effects=(heir,))


def test_two_candidates_that_deny_each_other_try_again_soon() -> None:
    candidate = Candidate(pre=False, granted=frozenset({"n1"}))
    raft = a_raft(role=candidate, deadline=NOW + TIMING.election_max)
    denied = VoteAnswer(term=2, sought=2, pre=False, granted=False)

    decision = elections.receive_answer(raft, a_log(), "n2", denied, NOW, 0.5)

    soon = NOW + TIMING.election_min * (elections.SOON + 0.25)
    assert decision == Decision(raft=replace(raft, deadline=soon))


def test_who_is_told_that_it_would_not_win_waits_for_its_turn() -> None:
    candidate = Candidate(pre=True, granted=frozenset({"n1"}))
    raft = a_raft(role=candidate, deadline=NOW + TIMING.election_max)
    denied = VoteAnswer(term=2, sought=3, pre=True, granted=False)

    decision = elections.receive_answer(raft, a_log(), "n2", denied, NOW, 0.5)

    assert decision == Decision(raft=raft)


def test_the_lead_is_handed_over_only_when_the_heir_has_everything() -> None:
    transfer = Transfer(to="n2", until=NOW + 1)
    behind = {p: Progress(next=4, match=2, answered_at=NOW) for p in ("n2", "n3")}
    ready = {p: Progress(next=4, match=3, answered_at=NOW) for p in ("n2", "n3")}

    waits = elections.tick(
        a_raft(role=Leader(opening=3, progress=behind, transfer=transfer)), a_log(), NOW, 0.0
    )
    asks = elections.tick(
        a_raft(role=Leader(opening=3, progress=ready, transfer=transfer)), a_log(), NOW, 0.0
    )

    assert waits.effects == ()
    assert asks.effects == (Send(to="n2", message=TimeoutNow(term=2)),)


def test_only_the_leader_may_call_for_an_election() -> None:
    raft = a_raft(role=Follower(leader="n3", heard_at=NOW))

    obeyed = elections.receive_timeout_now(raft, a_log(), "n3", NOW, 0.0)
    ignored = elections.receive_timeout_now(raft, a_log(), "n2", NOW, 0.0)

    assert obeyed.raft.role == Candidate(pre=False, granted=frozenset({"n1"}))
    assert ignored == Decision(raft=raft)


def test_a_lost_connection_to_the_leader_shortens_patience() -> None:
    raft = a_raft(
        role=Follower(leader="n3", heard_at=NOW), connected=frozenset({"n2", "n3"}), deadline=200.0
    )

    other = elections.lose_contact(raft, "n2", NOW, 0.0)
    leader = elections.lose_contact(raft, "n3", NOW, 0.0)

    assert other == replace(raft, connected=frozenset({"n3"}))
    assert leader.deadline == NOW + TIMING.election_min * elections.SOON
    assert leader.role == Follower(leader="n3", heard_at=NEVER)


def granted(decision: Decision) -> bool:
    (send,) = decision.effects
    assert isinstance(send, Send)
    assert isinstance(send.message, VoteAnswer)
    return send.message.granted


def a_request(*, term: int = 3, sought: int = 3, transfer: bool = False) -> VoteRequest:
    return VoteRequest(
        term=term, sought=sought, pre=False, last_index=3, last_term=2, transfer=transfer
    )


def a_raft(
    *,
    term: int = 2,
    role: Follower | Candidate | Leader = Follower(),  # noqa: B008 - it is immutable
    deadline: float = 0.0,
    connected: frozenset[str] = frozenset(),
) -> Raft:
    return Raft(
        me="n1", timing=TIMING, term=term, role=role, deadline=deadline, connected=connected
    )


def a_log(*, voters: tuple[str, ...] = ("n1", "n2", "n3"), learners: tuple[str, ...] = ()) -> Log:
    """Entries 1 to 3, of terms 1, 1 and 2."""
    everyone = [
        *(Member(node_id=n, address=f"{n}:1", voter=True) for n in voters),
        *(Member(node_id=n, address=f"{n}:1") for n in learners),
    ]
    data = members.to_bytes(Configuration(members=tuple(everyone)))
    log = Log()
    log.append(
        (
            Entry(1, 1, Kind.MEMBERS, data),
            Entry(2, 1, Kind.COMMAND, b"a"),
            Entry(3, 2, Kind.NOTHING, b""),
        )
    )
    return log
