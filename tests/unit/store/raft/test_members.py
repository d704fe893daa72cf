"""Which changes of members are lawful."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from warren.store.raft import members
from warren.store.raft.members import Change, Configuration, Member, Refusal, Situation, Step

IDS = tuple(f"n{number}" for number in range(1, 7))
ALL = frozenset(IDS)
CALM = Situation(settled=True, present=ALL, caught_up=ALL)


def test_a_member_is_added_as_a_learner_and_promoted_when_it_has_caught_up() -> None:
    before = of("n1")
    behind = Situation(settled=True, present=ALL, caught_up=frozenset({"n1"}))
    wish = Change(step=Step.PROMOTE, node_id="n2")

    added = members.change(before, Change(step=Step.ADD, node_id="n2", address="n2:1"), CALM)

    assert added == of("n1", learners=("n2",))
    assert members.change(added, wish, behind) == Refusal(
        reason="n2 has not caught up with the log yet"
    )
    assert members.change(added, wish, CALM) == of("n1", "n2")


def test_one_change_at_a_time() -> None:
    busy = Situation(settled=False, present=ALL, caught_up=ALL)

    answer = members.change(of("n1", "n2"), Change(step=Step.REMOVE, node_id="n2"), busy)

    assert answer == Refusal(reason="a change of members is under way; one is made at a time")


def test_what_is_so_already_is_no_change() -> None:
    before = of("n1", "n2", learners=("n3",))
    wishes = (
        Change(step=Step.ADD, node_id="n2", address="n2:1"),
        Change(step=Step.PROMOTE, node_id="n2"),
        Change(step=Step.DEMOTE, node_id="n3"),
        Change(step=Step.REMOVE, node_id="n9"),
    )

    assert [members.change(before, wish, CALM) for wish in wishes] == [before] * 4


def test_who_was_removed_may_not_return() -> None:
    after = members.change(of("n1", "n2"), Change(step=Step.REMOVE, node_id="n2"), CALM)
    assert isinstance(after, Configuration)

    again = members.change(after, Change(step=Step.ADD, node_id="n2", address="x"), CALM)

    assert again == Refusal(reason="n2 was removed; its host must join as a new node")


def test_the_last_one_that_counts_stays() -> None:
    before = of("n1", learners=("n2",))

    for step in (Step.REMOVE, Step.DEMOTE):
        answer = members.change(before, Change(step=step, node_id="n1"), CALM)
        assert answer == Refusal(reason="it is the last manager that counts")


def test_a_change_that_loses_the_quorum_is_refused() -> None:
    few = Situation(settled=True, present=frozenset({"n1", "n2"}), caught_up=ALL)

    wish = Change(step=Step.REMOVE, node_id="n2")
    answer = members.change(of("n1", "n2", "n3"), wish, few)

    assert answer == Refusal(
        reason="quorum would be lost: 1 of the 2 managers that would be left are in contact, "
        "2 are needed"
    )


def test_learners_are_no_quorum() -> None:
    configuration = of("n1", "n2", "n3", learners=("n4", "n5"))

    assert not configuration.has_quorum({"n1", "n4", "n5"})
    assert configuration.has_quorum({"n1", "n3"})


@given(
    voters=st.sets(st.sampled_from(IDS), min_size=1),
    learners=st.sets(st.sampled_from(IDS)),
    step=st.sampled_from(Step),
    node_id=st.sampled_from(IDS),
    present=st.frozensets(st.sampled_from(IDS)),
)
def test_majorities_before_and_after_a_change_always_share_a_member(
    voters: set[str], learners: set[str], step: Step, node_id: str, present: frozenset[str]
) -> None:
    before = of(*sorted(voters), learners=tuple(sorted(learners - voters)))
    now = Situation(settled=True, present=present, caught_up=present)

    after = members.change(before, Change(step=step, node_id=node_id, address="x"), now)

    if isinstance(after, Configuration):
        for some in majorities(before):
            assert all(some & others for others in majorities(after))


def majorities(configuration: Configuration) -> list[frozenset[str]]:
    voters = sorted(configuration.voters)
    return [frozenset(c) for c in itertools.combinations(voters, configuration.quorum)]


def of(*voters: str, learners: tuple[str, ...] = ()) -> Configuration:
    everyone = [
        *(Member(node_id=n, address=f"{n}:1", voter=True) for n in voters),
        *(Member(node_id=n, address=f"{n}:1") for n in learners),
    ]
    return Configuration(members=tuple(sorted(everyone, key=lambda m: m.node_id)))
