"""The sentences that refuse a value."""

import pytest
from warren.model.constraints import DNS_LABEL, Constraint, NotEmpty, Pattern, Range


@pytest.mark.parametrize(
    ("constraint", "value", "refusal"),
    [
        (Range(1, 3), 1, None),
        (Range(1, 3), 3, None),
        (Range(1, 3), 0, "0 is not between 1 and 3"),
        (Range(1, 3), 3.5, "3.5 is not between 1 and 3"),
        (NotEmpty(), "x", None),
        (NotEmpty(), "", "must not be empty"),
        (NotEmpty(), (), "must not be empty"),
        (Pattern("a+", "some a"), "aa", None),
        (Pattern("a+", "some a"), "aab", "'aab' is not some a"),
        (Pattern("a+", "some a"), "a\n", "'a\\n' is not some a"),
    ],
)
def test_says_why_a_value_is_refused(
    constraint: Constraint, value: object, refusal: str | None
) -> None:
    assert constraint.check(value) == refusal


@pytest.mark.parametrize("name", ["a", "web", "web-1", "1", "a" * 63])
def test_takes_dns_labels(name: str) -> None:
    assert DNS_LABEL.check(name) is None


@pytest.mark.parametrize("name", ["", "Web", "-web", "web-", "a.b", "a_b", "a" * 64, "wéb", "a "])
def test_refuses_other_names(name: str) -> None:
    assert DNS_LABEL.check(name) is not None
