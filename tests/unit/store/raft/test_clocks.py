"""Who is told that its clock is wrong."""

import pytest
from warren.store.raft import clocks

HERE = 1_700_000_000.0
DAY = 86_400.0
THREE = {"n1", "n2", "n3"}


def test_a_clock_that_both_others_contradict_is_wrong() -> None:
    assert clocks.verdict(HERE, {"n2": DAY, "n3": DAY + 0.2}, THREE) == (
        "this host's clock is off by about a day: it says 2023-11-14 22:13:20 UTC, and those of "
        "n2 and n3 say 2023-11-15 22:13:20 UTC; set it, nothing was changed here"
    )


@pytest.mark.parametrize(
    "ahead",
    [
        {},
        {"n2": DAY},
        {"n2": DAY, "n3": 0.1},
        {"n2": DAY, "n3": -DAY},
        {"n2": 30.0, "n3": 30.0},
        {"n2": DAY, "stranger": DAY},
    ],
)
def test_without_a_majority_that_agrees_nobody_knows_who_is_wrong(ahead: dict[str, float]) -> None:
    assert clocks.verdict(HERE, ahead, THREE) == ""


def test_of_two_managers_neither_is_told_to_stop() -> None:
    assert clocks.verdict(HERE, {"n2": DAY}, {"n1", "n2"}) == ""


@pytest.mark.parametrize(
    ("seconds", "about"),
    [(90.0, "2 minutes"), (7300.0, "2 hours"), (-DAY, "a day"), (3 * DAY, "3 days")],
)
def test_a_difference_is_told_with_both_times(seconds: float, about: str) -> None:
    told = clocks.difference("n2", HERE, HERE + seconds)

    assert told.startswith(f"the clocks of this host and of n2 differ by about {about}: here it is")
    assert clocks.difference("n2", HERE, HERE + 2.0) == ""
