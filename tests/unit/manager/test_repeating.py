"""Which calls are attempted again, and what their end is called."""

import pytest
from warren.manager import repeating
from warren.model.errors import (
    Conflict,
    DeadlineExceeded,
    LeaderMoved,
    OutcomeUnknown,
    Unavailable,
    WarrenError,
)

UNKNOWN = "no majority answered: whether the change was made is unknown"


def text_of(error: WarrenError) -> tuple[type[WarrenError], str]:
    return type(error), str(error)


@pytest.mark.parametrize(
    ("error", "repeated"),
    [
        (LeaderMoved("m2 leads"), True),
        (OutcomeUnknown("no answer"), True),
        (Unavailable("m4 does not listen yet"), False),
        (DeadlineExceeded("no answer"), False),
        (Conflict("changed"), False),
    ],
)
def test_what_a_change_of_leaders_caused_is_repeated(error: WarrenError, repeated: bool) -> None:
    assert repeating.is_worth_repeating(error) is repeated


def test_a_handler_that_lost_the_lead_was_not_done() -> None:
    lost = Unavailable("this manager lost the lead")

    assert text_of(repeating.as_seen_outside(lost, leads=False)) == (LeaderMoved, str(lost))
    assert repeating.as_seen_outside(lost, leads=True) is lost


def test_a_refusal_stays_what_it_is_whoever_leads() -> None:
    conflict = Conflict("web was changed")

    assert repeating.as_seen_outside(conflict, leads=False) is conflict
    assert repeating.at_the_end(conflict, maybe_done=True) is conflict


@pytest.mark.parametrize(
    ("error", "maybe_done", "end"),
    [
        (Unavailable("no leader"), False, (Unavailable, "no leader")),
        (
            Unavailable("no majority answered"),
            True,
            (OutcomeUnknown, UNKNOWN),
        ),
        (OutcomeUnknown(UNKNOWN), True, (OutcomeUnknown, UNKNOWN)),
    ],
)
def test_a_change_that_may_have_been_made_ends_so(
    error: WarrenError, maybe_done: bool, end: tuple[type[WarrenError], str]
) -> None:
    assert text_of(repeating.at_the_end(error, maybe_done=maybe_done)) == end
