"""Appending, committing and proving the lead, decision by decision."""

from dataclasses import replace

import pytest
from warren.store.raft import replication
from warren.store.raft.entries import Entry, Kind, Log
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
    SendSnapshot,
    Truncate,
)

from tests.unit.store.raft.test_elections import NOW, a_log, a_raft

FOUR = Entry(4, 2, Kind.COMMAND, b"four")


def test_entries_that_follow_are_added_and_confirmed() -> None:
    decision = receive(an_append(entries=(FOUR,), commit=9))

    assert decision.effects == (Add(entries=(FOUR,)), accepted(4))
    assert decision.raft.commit == 4


def test_entries_that_are_known_already_change_nothing() -> None:
    known = (Entry(2, 1, Kind.COMMAND, b"a"),)

    decision = receive(an_append(previous=(1, 1), entries=known, commit=0))

    assert decision.effects == (accepted(2),)


def test_only_what_contradicts_the_leader_is_forgotten() -> None:
    other = (Entry(2, 1, Kind.COMMAND, b"a"), Entry(3, 3, Kind.COMMAND, b"new"))

    decision = receive(an_append(previous=(1, 1), entries=other, term=3))

    assert decision.effects == (
        Truncate(first=3),
        Add(entries=other[1:]),
        accepted(3, term=3),
    )


def test_to_forget_a_committed_entry_is_to_be_broken() -> None:
    other = (Entry(3, 3, Kind.COMMAND, b"new"),)
    raft = replace(a_raft(term=3), commit=3)

    with pytest.raises(Broken, match="n2 would replace committed entry 3"):
        replication.receive_append(
            raft, a_log(), "n2", an_append(previous=(2, 1), entries=other, term=3), NOW, 0.0
        )


def test_commit_goes_no_further_than_what_the_message_confirms() -> None:
    decision = receive(an_append(previous=(1, 1), commit=3))

    assert decision.raft.commit == 1


@pytest.mark.parametrize(
    ("previous", "hint"), [((9, 2), 4), ((3, 1), 3), ((2, 2), 1)], ids=["gap", "term", "run"]
)
def test_a_gap_or_another_term_is_answered_with_where_to_try(
    previous: tuple[int, int], hint: int
) -> None:
    decision = receive(an_append(previous=previous, term=3))

    refusal = AppendAnswer(term=3, accepted=False, index=hint, round=0)
    assert decision.effects == (Send(to="n2", message=refusal),)


def test_entries_below_the_base_are_taken_as_known() -> None:
    log = a_log()
    log.compact(2, (2, log.configuration))
    entries = (Entry(2, 1, Kind.COMMAND, b"a"), Entry(3, 2, Kind.NOTHING, b""), FOUR)
    raft = replace(a_raft(), commit=2)

    decision = replication.receive_append(
        raft, log, "n2", an_append(previous=(1, 1), entries=entries), NOW, 0.0
    )

    assert decision.effects == (Add(entries=(FOUR,)), accepted(4))


def test_a_leader_commits_what_a_majority_has_durably_in_its_own_term() -> None:
    log = a_log()
    raft = leading(n2=3, n3=0)

    assert replication.advance(raft, log, durable=3).commit == 3
    assert replication.advance(raft, log, durable=0).commit == 0
    assert replication.advance(replace(raft, term=3), log, durable=3).commit == 0


def test_a_learner_is_not_part_of_a_majority() -> None:
    log = a_log(voters=("n1", "n2", "n3"), learners=("n4", "n5"))
    raft = leading(n4=3, n5=3)

    assert replication.advance(raft, log, durable=3).commit == 0


def test_good_news_never_moves_back_what_is_sent_next() -> None:
    raft = leading(n2=0)
    assert isinstance(raft.role, Leader)
    ahead = replace(raft.role, progress={"n2": Progress(next=90, match=5)})
    answer = AppendAnswer(term=2, accepted=True, index=7, round=0)

    after = replication.receive_answer(replace(raft, role=ahead), "n2", answer, NOW)

    assert isinstance(after.role, Leader)
    assert after.role.progress["n2"] == Progress(next=90, match=7, probing=False, answered_at=NOW)


def test_a_round_is_confirmed_by_a_majority_that_answered_it() -> None:
    raft = leading(n2=3, n3=3)
    assert isinstance(raft.role, Leader)
    role = replace(raft.role, round=5)
    answered = {
        "n2": replace(role.progress["n2"], echoed=4),
        "n3": replace(role.progress["n3"], echoed=3),
    }

    assert replication.confirmed_round(replace(raft, role=role), a_log()) == 0
    role = replace(role, progress=answered)
    assert replication.confirmed_round(replace(raft, role=role), a_log()) == 4


def test_until_a_first_answer_one_message_is_out() -> None:
    log = a_log()
    raft = replace(leading(n2=0), connected=frozenset({"n2"}))

    first = replication.outgoing(raft, log, 0, NOW)
    log.append((FOUR,))
    second = replication.outgoing(first.raft, log, 0, NOW)

    assert [entries_of(e) for e in first.effects] == [3]
    assert second.effects == ()


def test_who_does_not_answer_is_told_no_more_until_it_does_or_the_quorum_is_looked_at() -> None:
    silent = Progress(next=4, match=3, probing=False, answered_at=NOW, asked_at=NOW, told_commit=2)
    role = Leader(opening=3, progress={"n2": silent, "n3": silent})
    raft = replace(a_raft(role=role, connected=frozenset({"n2", "n3"})), commit=2)
    timing = raft.timing

    def told(raft: Raft, seconds: float) -> set[str]:
        effects = replication.outgoing(raft, a_log(), 0, NOW + seconds).effects
        return {effect.to for effect in effects if isinstance(effect, Send)}

    answer = AppendAnswer(term=2, accepted=True, index=3, round=0)
    told_all = replace(raft, role=replace(role, told_at=NOW + timing.hush))
    just_told = replication.receive_answer(told_all, "n2", answer, NOW + timing.hush + 0.01)
    again = replication.connect(raft, "n3")
    assert told(raft, timing.hush) == {"n2", "n3"}
    assert told(raft, timing.hush + 0.01) == set()
    assert told(just_told, timing.hush + 0.01) == {"n2"}
    assert told(again, timing.hush + 0.01) == {"n3"}
    assert told(raft, timing.quorum_check + 0.01) == {"n2", "n3"}


def test_who_is_behind_the_log_is_sent_the_snapshot_and_heartbeats() -> None:
    log = a_log()
    log.compact(3, (3, log.configuration))
    raft = replace(leading(n2=0), connected=frozenset({"n2"}))

    decision = replication.outgoing(raft, log, 3, NOW)

    assert decision.effects == (
        SendSnapshot(to="n2", index=3, offset=0, round=0),
        Send(to="n2", message=Heartbeat(term=2, round=0)),
    )
    assert replication.outgoing(decision.raft, log, 3, NOW).effects == ()


def receive(append: Append) -> Decision:
    return replication.receive_append(a_raft(term=append.term), a_log(), "n2", append, NOW, 0.0)


def an_append(
    *,
    previous: tuple[int, int] = (3, 2),
    entries: tuple[Entry, ...] = (),
    commit: int = 0,
    term: int = 2,
) -> Append:
    return Append(
        term=term,
        previous_index=previous[0],
        previous_term=previous[1],
        entries=entries,
        commit=commit,
        round=0,
    )


def accepted(index: int, term: int = 2) -> Send:
    return Send(to="n2", message=AppendAnswer(term=term, accepted=True, index=index, round=0))


def leading(**match: int) -> Raft:
    """n1 leads term 2; each of the others has its log up to a place."""
    progress = {
        peer: Progress(next=index + 1, match=index, answered_at=NOW)
        for peer, index in match.items()
    }
    for peer in ("n2", "n3"):
        progress.setdefault(peer, Progress(next=1))
    return a_raft(role=Leader(opening=3, progress=dict(sorted(progress.items()))))


def entries_of(effect: Effect) -> int:
    assert isinstance(effect, Send)
    assert isinstance(effect.message, Append)
    return len(effect.message.entries)


def test_an_empty_log_takes_the_first_entries() -> None:
    first = Entry(1, 2, Kind.COMMAND, b"x")

    decision = replication.receive_append(
        a_raft(), Log(), "n2", an_append(previous=(0, 0), entries=(first,)), NOW, 0.0
    )

    assert decision.effects == (Add(entries=(first,)), accepted(1))
