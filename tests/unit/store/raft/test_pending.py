"""Each request gets one answer."""

from warren.store.raft.pending import Answer, Done, NotDone, Pending, Unknown


def test_an_entry_of_another_term_in_its_place_means_that_it_never_happened() -> None:
    pending, answers = Pending(), list[Answer]()
    pending.add_proposal(7, 2, 10.0, answers.append)
    pending.add_proposal(7, 4, 10.0, answers.append)

    pending.applied(7, 4, b"outcome")
    pending.applied(7, 4, b"again")

    assert answers == [NotDone(reason="another leader took over"), Done(outcome=b"outcome")]


def test_a_snapshot_over_its_place_leaves_its_end_unknown() -> None:
    pending, answers = Pending(), list[Answer]()
    pending.add_proposal(7, 2, 10.0, answers.append)
    pending.add_proposal(9, 2, 10.0, answers.append)

    pending.skipped(8)

    assert [type(answer) for answer in answers] == [Unknown]


def test_who_loses_the_lead_answers_writes_with_unknown_and_refuses_reads() -> None:
    pending, answers = Pending(), list[Answer]()
    pending.add_proposal(7, 2, 10.0, answers.append)
    pending.add_read(10.0, answers.append)
    pending.begin_round(1, 7)
    pending.add_read(10.0, answers.append)

    pending.lead_lost()
    pending.lead_lost()
    pending.expire(99.0)

    lost = NotDone(reason="this manager lost the lead")
    assert answers == [Unknown(reason="the leader changed before it answered"), lost, lost]


def test_a_read_waits_for_its_round_and_for_its_entry() -> None:
    pending, answers = Pending(), list[Answer]()
    pending.add_read(10.0, answers.append)
    pending.begin_round(3, 7)

    pending.confirmed(2, 7)
    pending.confirmed(3, 6)
    assert answers == []
    pending.confirmed(3, 7)
    pending.confirmed(3, 7)

    assert answers == [Done()]


def test_whoever_waits_too_long_is_told_so_once() -> None:
    pending, answers = Pending(), list[Answer]()
    pending.add_proposal(7, 2, 10.0, answers.append)
    pending.add_proposal(7, 2, 20.0, answers.append)
    pending.add_read(10.0, answers.append)

    pending.expire(9.0)
    pending.expire(10.0)
    pending.expire(11.0)

    late = Unknown(reason="no majority of the managers answered in time")
    assert answers == [late, late]
